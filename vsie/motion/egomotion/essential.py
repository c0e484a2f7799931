"""A camera that moves through a rigid scene: the essential matrix, up to scale.

The start is OpenCV's MAGSAC (Barath et al., CVPR 2020), never plain RANSAC, whose errors at small turns are several times as
large; or, on a device, kornia's weighted eight-point solver over all pairs at once, reweighted by Sampson error. Of the four
motions the one with points before both cameras is taken. Where one plane explains the matches as well, the essential matrix
is not determined: the homography's motion takes its place.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.motion.egomotion.base import Observation
from vsie.motion.egomotion.pairwise import Deltas, Matches, Pairwise
from vsie.motion.foreground import fit_affine, weighted_median

PLANAR = 0.95  # share of the essential matrix' inliers that a homography has to explain for the scene to be a plane


class Essential(Pairwise):
    """Relative pose of a camera in a rigid scene; the translation of every delta has length 1 (0 where nothing moved).

    Args:
        points: Per frame, from the whole picture.
        solver: ``opencv`` or ``kornia``.
        threshold: Inlier distance in pixels.
        whole: Take points from the whole picture (a moving camera); off: from what moves against the background.
    """

    SCALE = "unit"

    def __init__(self, *, points: int = 600, solver: str = "opencv", threshold: float = 0.5, whole: bool = True) -> None:
        if solver not in ("opencv", "kornia"):
            raise ValueError(f"egomotion.solver is {solver!r}, expected opencv or kornia")
        self.points, self.solver, self.threshold, self.whole = points, solver, threshold, whole

    def _region(self, clip: Observation) -> Tensor:
        return torch.ones(clip.frames.shape[:3], dtype=torch.bool) if self.whole else clip.region

    def _deltas(self, clip: Observation, matches: Matches) -> Deltas:
        focal, middle = clip.camera
        told = matches.factor.square().sum((-1, -2)) / 2
        first, second = ((place - middle).double() / focal for place in (matches.place, matches.seen))
        weight = (matches.weight * told).double()
        starts = eight_point(first, second, weight, self.threshold / focal) if self.solver == "kornia" else None
        motions, covariances, inliers = [], [], []
        for pair in range(len(first)):
            good = (matches.weight[pair] > 0.3) & (told[pair] > 0.1)
            start = None if starts is None else starts[pair].numpy()
            motion, share = two_view(first[pair, good].numpy(), second[pair, good].numpy(), self.threshold / focal, start)
            size = np.linalg.norm((second - first)[pair, good].numpy(), axis=1)
            # rotation is told apart from translation by what is left of parallax: its noise over the picture's extent
            noise = self.threshold / focal / max(1.0, math.sqrt(good.sum())) / 0.1
            motions.append(torch.from_numpy(motion))
            covariances.append(torch.eye(3, dtype=torch.float64) * (noise**2 + 1e-6))
            inliers.append(share * min(1.0, float(np.median(size)) * focal / 0.3 if len(size) else 0.0))
        return Deltas(torch.stack(motions), torch.stack(covariances), torch.tensor(inliers, dtype=torch.float64))


def eight_point(first: Tensor, second: Tensor, weight: Tensor, scale: float, *, iterations: int = 30) -> Tensor:
    """Essential matrices (N, 3, 3) of matches (N, P, 2) in normalised coordinates: kornia's batched solver, reweighted."""
    from kornia.geometry.epipolar import find_fundamental, sampson_epipolar_distance

    # gross errors first: what is far from the picture's affine motion; later rounds judge by the epipolar lines alone
    affine = fit_affine(first, second - first, weight, scale=scale)
    ones = torch.cat([first, torch.ones_like(first[..., :1])], -1)
    away = (second - first - ones @ affine.mT).square().sum(-1)
    robust = weight / (1 + away / weighted_median(away, weight)[:, None].clamp_min(scale**2)).square()
    for _ in range(iterations):
        matrix = find_fundamental(first, second, robust.clamp_min(1e-9))
        u, values, v = torch.linalg.svd(matrix)
        level = values[:, :2].mean(1)
        matrix = (u * torch.stack([level, level, torch.zeros_like(level)], -1)[:, None]) @ v
        distance = sampson_epipolar_distance(first, second, matrix)
        spread = weighted_median(distance, weight)[:, None].clamp_min(scale**2)  # squared; narrows as the fit improves
        robust = weight / (1 + distance / spread).square()
    return matrix


def two_view(
    first: np.ndarray, second: np.ndarray, threshold: float, matrix: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """The motion (4, 4) between two views of P matches (P, 2) in normalised coordinates, and the share of inliers.

    The translation has length 1, and is zero where the matches show none; with fewer than eight matches nothing is known.

    Args:
        first: Normalised coordinates.
        second: Normalised coordinates.
        threshold: Inlier distance, normalised.
        matrix: An essential matrix to begin with; None for OpenCV's MAGSAC.
    """
    motion = np.eye(4)
    if len(first) < 8:
        return motion, 0.0
    cv2.setRNGSeed(0)
    if matrix is None:
        matrix, mask = cv2.findEssentialMat(
            first, second, np.eye(3), method=cv2.USAC_MAGSAC, prob=0.999, threshold=threshold, maxIters=2000
        )
        if matrix is None or matrix.shape != (3, 3):
            return motion, 0.0
        mask = mask.ravel() > 0
    else:
        mask = sampson(matrix, first, second) < 3 * threshold
    plane, flat = cv2.findHomography(first, second, cv2.USAC_MAGSAC, threshold, maxIters=2000, confidence=0.999)
    if plane is not None and mask.sum() and flat.sum() >= PLANAR * mask.sum():
        return from_homography(plane, first[flat.ravel() > 0]), float(flat.mean())
    if mask.sum() < 8:
        return motion, 0.0
    _, rotation, shift, front = cv2.recoverPose(matrix, first[mask], second[mask], np.eye(3))
    motion[:3, :3], motion[:3, 3] = rotation, shift.ravel()
    return motion, float(mask.mean() * (front.ravel() > 0).mean())


def sampson(matrix: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """First-order distance (P,) of matches (P, 2) from the epipolar constraint."""
    one, two = (np.concatenate([part, np.ones((len(part), 1))], 1) for part in (first, second))
    left, right = one @ matrix.T, two @ matrix
    top = np.einsum("pi,pi->p", two, left)
    return np.abs(top) / np.sqrt((left[:, :2] ** 2).sum(1) + (right[:, :2] ** 2).sum(1) + 1e-18)


def from_homography(plane: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The motion (4, 4) of a plane: of OpenCV's solutions with all points in front, the one that faces the camera most."""
    _, rotations, shifts, normals = cv2.decomposeHomographyMat(plane, np.eye(3))
    rays = np.concatenate([place, np.ones((len(place), 1))], 1)
    best, chosen = -np.inf, np.eye(4)
    for rotation, shift, normal in zip(rotations, shifts, normals, strict=True):
        ahead = (rays @ normal > 0).mean()
        facing = ahead + 0.1 * abs(float(normal[2, 0]))
        if facing > best:
            best = facing
            chosen = np.eye(4)
            chosen[:3, :3] = rotation
            length = float(np.linalg.norm(shift))
            chosen[:3, 3] = shift.ravel() / length if length > 1e-6 else 0
    chosen[:3, :3] = pose.project(torch.from_numpy(chosen[:3, :3])).numpy()
    return chosen
