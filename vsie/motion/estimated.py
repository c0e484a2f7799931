"""Estimated motion as training takes it: the archives in memory, and the trust between any two steps of a clip.

Notable: the trust in a pair is that of `solver.known_pairs`, asked of a few steps of a long clip and not of all its frames:
variances of neighbours are kept summed up, and their least confidence over any stretch is a look into a table of the least
over 1, 2, 4, ... frames. Everything is in shared memory, once for all workers of a loader.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vsie import pose
from vsie.data.clips import LONGEST, ClipsDataset, CutClips
from vsie.data.decode import VideoError
from vsie.data.manifest import Manifest
from vsie.motion.archives import archive
from vsie.motion.solver import FLOOR

RELIABLE = 0.3  # confidence from which a step is good enough to judge others by


class EstimatedMotion:
    """The estimated motion of clips.

    Poses of a clip are deltas from the first frame of its stretch between cuts, in the camera frame: only deltas in that frame
    mean anything, and only within such a stretch. Of other pairs nothing is known, and trust in them is 0.

    Args:
        manifest: The videos.
        rows: Which of them, int (R,); the others have no motion here.
        folder: Where `estimate_manifest` keeps their archives. A video without one could not be read.
        weighted: Trust is confidence; False: it is 1 wherever a motion is known at all (a step without any confidence is not).
        progress: Show a bar.
    """

    def __init__(
        self, manifest: Manifest, rows: np.ndarray, folder: Path, *, weighted: bool = True, progress: bool = True
    ) -> None:
        self.manifest, self.folder, self.weighted = manifest, Path(folder), weighted
        lengths = np.zeros(len(manifest), np.int64)
        parts: dict[str, list[np.ndarray]] = {"poses": [], "confidence": [], "passed": [], "segment": []}
        scales: set[str] = set()
        for row in tqdm(np.sort(rows), desc="motion: read", unit="clip", mininterval=1, disable=not progress):
            file = archive(self.folder, manifest, int(row))
            if not file.is_file():
                continue
            with np.load(file) as found:
                poses, steps, variance = found["object_in_camera"], found["confidence"], found["covariance"]
                segment, scale = found["segment"], str(found["scale"])
            lengths[row] = len(poses)
            parts["poses"].append(poses.astype(np.float32))
            parts["confidence"].append(np.append(steps, 0.0).astype(np.float32))
            parts["passed"].append(np.append(0.0, np.trace(variance, axis1=1, axis2=2).cumsum()))
            parts["segment"].append(segment.astype(np.int32))
            scales |= {part.strip() for part in scale.split(";") if part.strip()}
        if not parts["poses"]:
            raise ValueError(f"{self.folder}: no motion of any of {len(rows)} clips of {manifest.file}")
        self.scales = tuple(sorted(scales))
        self._start = torch.from_numpy(np.append(0, lengths.cumsum())).share_memory_()
        shared = {name: torch.from_numpy(np.concatenate(values)).share_memory_() for name, values in parts.items()}
        self._poses, self._passed, self._segment = shared["poses"], shared["passed"], shared["segment"]
        self._least = _doublings(shared["confidence"], int(lengths.max())).share_memory_()

    def length(self, row: int) -> int:
        """Frames of a clip; 0 where its motion is not known."""
        return int(self._start[row + 1] - self._start[row])

    def poses(self, row: int, frames: int | None = None) -> np.ndarray:
        """Poses (T, 4, 4), float64, of a clip; see the class.

        Raises:
            VideoError: There is none.
            ValueError: The clip has another number of frames than `frames`.
        """
        begin, end = int(self._start[row]), int(self._start[row + 1])
        if begin == end:
            raise VideoError(f"{self.manifest.video(row)}: its motion was not estimated, as it could not be read")
        if frames is not None and end - begin != frames:
            raise ValueError(f"{archive(self.folder, self.manifest, row)}: motion of {end - begin} frames, expected {frames}, as "
                             f"{self.manifest.video(row)} has")  # fmt: skip
        return self._poses[begin:end].numpy().astype(np.float64)

    def trust(self, rows: np.ndarray, first: np.ndarray, last: np.ndarray, rotations: Tensor) -> Tensor:
        """How far the deltas between steps can be believed.

        Args:
            rows: (B, N) the clip of each step.
            first: (B, N) the frame at or before each step.
            last: (B, N) the frame at or after it.
            rotations: (B, N, 3, 3) of its pose.

        Returns:
            (B, N, N) float32 in [0, 1]: 0 between clips and across cuts, 1 from a step to itself.
        """
        rows, first, last = (torch.as_tensor(part, dtype=torch.int64) for part in (rows, first, last))
        first, last = self._start[rows] + first, self._start[rows] + last
        begin = torch.minimum(first[:, :, None], first[:, None])
        end = torch.maximum(last[:, :, None], last[:, None])
        related = rows[:, :, None] == rows[:, None]
        begin = torch.where(related, begin, end)  # any stretch of one clip; it does not count
        related = related & (self._segment[begin] == self._segment[end])
        apart = (end - begin).clamp_min(1)
        level = torch.frexp(apart.double()).exponent.long() - 1  # 2 ** level is the largest power of two up to it
        least = torch.minimum(self._least[level, begin], self._least[level, begin + apart - 2**level])
        least = torch.where(end > begin, least, torch.ones_like(least))
        least.diagonal(dim1=1, dim2=2).fill_(1)
        if not self.weighted:
            return (related & (least > 0)).float()
        turn = pose.geodesic(rotations[:, :, None], rotations[:, None])
        variance = self._passed[end] - self._passed[begin]
        told = 1 / (1 + variance / (turn.square() + FLOOR**2))
        told.diagonal(dim1=1, dim2=2).fill_(1)
        return (told * least * related).float()

    def reliable(self, row: int) -> tuple[int, int]:
        """First frame and length of the longest stretch of a clip that can be judged by: no cut, no step below `RELIABLE`."""
        begin, end = int(self._start[row]), int(self._start[row + 1])
        if end - begin < 2:
            return 0, 0
        good = (self._least[0, begin : end - 1] >= RELIABLE) & (self._segment[begin : end - 1] == self._segment[begin + 1 : end])
        edges = np.flatnonzero(np.diff(np.concatenate([[0], good.numpy().astype(np.int8), [0]])))
        if not len(edges):
            return 0, 0
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        best = int(lengths.argmax())
        return int(starts[best]), int(lengths[best]) + 1


class EstimatedClips(CutClips):
    """The clips of a split with their estimated motion in place of poses, cut to what can be judged by.

    Every clip is an orbit of its own (`Features.orbits`), as poses of two clips have no common frame. Of each the
    longest reliable stretch is taken, `frames` frames evenly over it; a clip without one of that length is left out, and counted.

    Args:
        clips: The clips.
        motion: Of all of them.
        frames: See `common_length`.
        widest: Largest number of frames from one to the next.
    """

    def __init__(self, clips: ClipsDataset, motion: EstimatedMotion, *, frames: int, widest: int) -> None:
        places = []
        for place, row in enumerate(clips.rows.tolist()):
            start, length = motion.reliable(row)
            if length >= frames:
                places.append((place, start + min(widest, length // frames) * np.arange(frames)))
        digest = hashlib.sha256()
        for place, numbers in places:
            digest.update(numbers.tobytes() + motion.poses(int(clips.rows[place])).tobytes())
        super().__init__(clips, places, f"{motion.folder} {frames} {widest} orbits {digest.hexdigest()}")
        self.motion = motion

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        row, (_, numbers) = int(self.rows[index]), self.places[index]
        poses = torch.from_numpy(self.motion.poses(row)[numbers]).float()
        return super().__getitem__(index) | {"orbit": torch.tensor(row), "poses": poses}


def common_length(motion: EstimatedMotion, rows: np.ndarray) -> int:
    """Frames that three quarters of the clips in `rows` with any reliable motion have in one stretch, 32 at most; 0 for none."""
    lengths = [length for _, length in map(motion.reliable, rows.tolist()) if length >= 3]
    return min(LONGEST, int(np.quantile(lengths, 0.25))) if lengths else 0


def _doublings(values: Tensor, longest: int) -> Tensor:
    """Row k of (L, F): the least of values (F,) from each place on over 2 ** k of them, for stretches up to `longest`."""
    rows = [values]
    while 2 ** len(rows) <= longest:
        reach = 2 ** (len(rows) - 1)
        ahead = torch.nn.functional.pad(rows[-1][reach:], (0, min(reach, len(values))), value=float("inf"))[: len(values)]
        rows.append(torch.minimum(rows[-1], ahead))
    return torch.stack(rows)
