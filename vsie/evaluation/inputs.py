"""What every measure is given: the features of a set of clips, and the predictor that steers them.

Notable: `Features` holds each frame twice, encoded alone (`image`) and encoded with its clip around it (`clip`), since
classification is asked of single frames and tracking of whole clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

PARTS = ("inv", "equi", "all")
SOURCES = ("image", "clip")


class Steering(Protocol):
    """A trained predictor in the form that evaluation needs: ``W(delta) z = sum_k h_k(delta) A_k z``.

    Optional members:

    * ``part``: which part of the latents `embed` takes; ``equi`` where there is none.
    * ``linear = False``, of a predictor that has no such sum. In place of `expand` and `coefficients` it then has
      ``steer(embedded, delta)``: steered latents (..., e) of embedded latents (..., e) and deltas (..., 4, 4) that broadcast.
      Steering is measured, and inverted, by evaluating it.
    * For a predictor that was given quaternions of either sign (SIE's raw ones, whose sign belongs to the pair and not to the
      delta): ``pair_coefficients(source, target)`` gives h_k, (..., K), from poses (..., 4, 4), and ``pair_steer(embedded,
      source, target)`` the steered latents; they are then used for steering. ``sign_free = True`` makes the factorised
      inversion try both signs of h (the direct one takes the canonical sign).
    * ``uses_translation``: whether a predictor that is not linear depends on the translation.

    Attributes:
        similarity: ``cosine`` where the equivariance term is contrastive, ``euclidean`` where it is a squared error.
        frame: ``body`` or ``camera``, the frame of the deltas.
    """

    similarity: str
    frame: str

    def embed(self, latents: Tensor) -> Tensor:
        """Latents (..., d), their equivariant part or what `part` says, to the space (..., e) in which the predictor acts."""

    def expand(self, embedded: Tensor) -> Tensor:
        """All products A_k z, (..., K, e), of embedded latents (..., e)."""

    def coefficients(self, delta: Tensor) -> Tensor:
        """h_k(delta), (..., K), of deltas (..., 4, 4) as `vsie.pose.delta` gives them in `frame`."""


def linear(steering: Steering) -> bool:
    """Whether the steering has `expand` and `coefficients`."""
    return getattr(steering, "linear", True)


def part_of(steering: Steering | None) -> str:
    """The part of the latents that the steering embeds."""
    return getattr(steering, "part", "equi")


@dataclass(frozen=True)
class Features:
    """Features of N clips of F frames (steps) each.

    Attributes:
        image: (N, F, D) float32, each frame encoded alone.
        clip: (N, F, D) float32, each frame encoded with its clip around it; equal to `image` for a still encoder.
        poses: (N, F, 4, 4) float64, object in camera.
        times: (N, F) float64 seconds.
        labels: (N,) int64 class of the object, -1 where there is none.
        objects: (N,) int64 id of the object; several clips may show one object.
        clips: (N,) number of the clip within its object.
        paths: N paths.
        invariant_dim: The first so many of the D dimensions are the invariant part, the rest the equivariant part; 0
            where the latent has no split.
        latents: (N, F, L) what the scene was drawn from beside the pose (hues in turns, angles in radians), or None.
        latent_names: L names, such as ``floor_hue``.
        frame_numbers: (N, F) int64 numbers of the frames on disk, where their order in a clip is another (virtual clips: view
            V of 3DIEBench is where this is V); None where it is not.
    """

    image: np.ndarray
    clip: np.ndarray
    poses: np.ndarray
    times: np.ndarray
    labels: np.ndarray
    objects: np.ndarray
    clips: np.ndarray
    paths: Sequence[str]
    invariant_dim: int
    latents: np.ndarray | None = None
    latent_names: Sequence[str] = ()
    frame_numbers: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or 0 in self.image.shape:
            raise ValueError(f"features.image has shape {self.image.shape}, expected (clips, frames, dims), none of them 0")
        number, frames, dims = self.image.shape
        expected = {
            "clip": (number, frames, dims), "poses": (number, frames, 4, 4), "times": (number, frames),
            "labels": (number,), "objects": (number,), "clips": (number,),
        }  # fmt: skip
        if self.latents is not None or self.latent_names:
            expected["latents"] = (number, frames, len(self.latent_names))
        if self.frame_numbers is not None:
            expected["frame_numbers"] = (number, frames)
        for name, shape in expected.items():
            found = np.shape(getattr(self, name))
            if found != shape:
                raise ValueError(f"features.{name} has shape {found}, expected {shape} as features.image is {self.image.shape}")
        if len(self.paths) != number:
            raise ValueError(f"features.paths has {len(self.paths)} entries, expected {number}, one per clip")
        if self.latents is not None and self.latents.shape != (number, frames, len(self.latent_names)):
            raise ValueError(
                f"features.latents has shape {self.latents.shape}, expected {(number, frames, len(self.latent_names))}: "
                f"its names are {', '.join(self.latent_names) or 'missing'}"
            )
        if not 0 <= self.invariant_dim <= dims:
            raise ValueError(f"features.invariant_dim is {self.invariant_dim}, expected a number from 0 to {dims}")

    @property
    def frames(self) -> int:
        """Frames (steps) per clip."""
        return self.image.shape[1]

    def part(self, name: str, source: str = "image") -> np.ndarray:
        """One part of the latent, (N, F, d): the first dims (`inv`), the last (`equi`), or both (`all`)."""
        if name not in PARTS:
            raise ValueError(f"part is {name!r}, expected one of {', '.join(PARTS)}")
        if source not in SOURCES:
            raise ValueError(f"source is {source!r}, expected one of {', '.join(SOURCES)}")
        values = self.image if source == "image" else self.clip
        split = {"inv": slice(None, self.invariant_dim), "equi": slice(self.invariant_dim, None), "all": slice(None)}
        return values[..., split[name]]

    def rows(self, name: str, source: str = "image") -> np.ndarray:
        """One part of all frames as one list, (N * F, d): a view, nothing is copied."""
        whole = self.image if source == "image" else self.clip
        flat = whole.reshape(-1, whole.shape[-1])
        first, last = self.part(name, source).shape[-1], whole.shape[-1]
        return {"inv": flat[:, :first], "equi": flat[:, last - first :], "all": flat}[name]

    def latent(self, name: str) -> np.ndarray | None:
        """One latent of all frames as one list, (N * F,) float64; None where it is not known for all of them."""
        if self.latents is None or name not in self.latent_names:
            return None
        values = self.latents[..., list(self.latent_names).index(name)].reshape(-1).astype(np.float64)
        return values if np.isfinite(values).all() else None

    def parts(self) -> tuple[str, ...]:
        """The parts that have at least one dimension; of a latent without a split only ``all``."""
        if self.invariant_dim == self.image.shape[-1]:
            return "inv", "all"
        return PARTS if self.invariant_dim else ("all",)

    def views(self, cap: int | None = None) -> list[np.ndarray]:
        """Per object the indices of its frames among all N * F, evenly thinned to at most `cap`; objects in sorted order."""
        frame_objects = np.repeat(self.objects, self.frames)
        order = np.argsort(frame_objects, kind="stable")
        _, starts = np.unique(frame_objects[order], return_index=True)
        groups = np.split(order, starts[1:])
        if cap is None:
            return groups
        return [group[np.linspace(0, len(group) - 1, min(cap, len(group))).round().astype(int)] for group in groups]


@dataclass(frozen=True)
class Live:
    """The encoder beside its features, for measures that have to look again: at moved pictures, between layers, at small turns.

    Attributes:
        encoder: `vsie.encoders.base.Encoder`, on the CPU and in eval mode.
        train: ``train[i]["frames"]`` is clip i of the train features, (F, H, W, 3) uint8.
        test: The same of the test features.
        window: How many frames of a clip the encoder sees together, and the largest number of frames between two of them.
        turns: Gives renderings of objects that turn a little (`vsie.render.turns.Turns`); None where there are none.
    """

    encoder: torch.nn.Module
    train: Sequence
    test: Sequence
    window: tuple[int, int]
    turns: Callable[[], object] | None = None


def check_scorable(features: Features, name: str) -> None:
    """Refuse features that hold NaN, or a part that is one point: no probe on them means anything.

    Raises:
        ValueError: Names the set, the source, and the part.
    """
    for source in SOURCES:
        for part in features.parts():
            values = features.part(part, source).reshape(-1, features.part(part, source).shape[-1])
            if not np.isfinite(values).all():
                bad = int((~np.isfinite(values)).any(1).sum())
                raise ValueError(f"{name} features, part {part} ({source}): {bad} of {len(values)} rows are not finite")
            spread = float(values.std(0).max())
            if spread <= 1e-6 * max(1.0, float(np.abs(values).max())):
                raise ValueError(
                    f"{name} features, part {part} ({source}) have collapsed: the largest standard deviation of a "
                    f"dimension is {spread:.1e} (rank 0); there is nothing to score"
                )
    rotations = torch.from_numpy(np.ascontiguousarray(features.poses[..., :3, :3]))
    error = (rotations.mT @ rotations - torch.eye(3, dtype=rotations.dtype)).abs().amax((-1, -2))
    if not bool((error <= 1e-3).all()):
        clip, frame = np.argwhere(~(error <= 1e-3).numpy())[0]
        raise ValueError(f"{name} features, {features.paths[clip]}, frame {frame}: the pose's rotation is not orthonormal")
