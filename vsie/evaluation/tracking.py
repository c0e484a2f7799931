"""Can a whole clip be tracked? Errors over a horizon, drift over the clip, and the residual of a closed loop.

Notable: two trackers are asked the same way. The `probe` is the supervised pair MLP of `pose.py`; `inversion` asks the
predictor alone (`inversion.py`). Each first gives every ordered pair of frames of a clip a relative rotation and a trust,
then `synchronisation.py` makes one trajectory of them. RPE and drift are the trajectory's; `..._pair` keys are those of the
single pairs, and the closed loop is theirs too (a trajectory closes by construction).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.evaluation import rotations
from vsie.evaluation.inputs import Steering
from vsie.evaluation.inversion import Candidates, invert_pairs
from vsie.evaluation.pose import PairProbe, entries
from vsie.feature_set import Features
from vsie.synchronisation import synchronise

HORIZONS = (1, 2, 4, 8)
PAIRS = 120_000  # at most so many ordered pairs of frames: with 16 frames 500 clips, evenly over the objects
LONGEST = 48  # frames of a clip that are tracked jointly; longer clips are tracked on their first so many


@dataclass(frozen=True)
class Clips:
    """The clips that are tracked: their indices (B,), true poses (B, F, 4, 4), object ids (B,)."""

    index: np.ndarray
    poses: Tensor
    objects: np.ndarray

    @classmethod
    def of(cls, features: Features) -> Clips:
        """Evenly chosen clips so that all their ordered pairs of frames are at most `PAIRS`."""
        frames = min(features.frames, LONGEST)
        cap = max(1, PAIRS // (frames * max(1, frames - 1)))
        number = len(features.objects)
        order = np.lexsort((np.arange(number), features.objects))
        index = np.sort(order[np.unique(np.linspace(0, number - 1, min(cap, number)).round().astype(int))])
        poses = torch.from_numpy(np.ascontiguousarray(features.poses[index, :frames], dtype=np.float64))
        return cls(index=index, poses=poses, objects=features.objects[index])

    @property
    def frames(self) -> int:
        """Frames that are tracked, per clip."""
        return self.poses.shape[1]

    def pairs(self, total_frames: int) -> tuple[Tensor, Tensor]:
        """All ordered pairs of frames (B * F * F,), as indices into the N * `total_frames` frames; source-major."""
        base = torch.from_numpy(self.index)[:, None] * total_frames + torch.arange(self.frames)
        source = base[:, :, None].expand(-1, -1, self.frames)
        return source.flatten(), source.mT.flatten()


@dataclass(frozen=True)
class Tracks:
    """What a tracker says of clips: relative rotations (B, F, F, 3, 3), trust (B, F, F), trajectory (B, F, 3, 3)."""

    relative: Tensor
    trust: Tensor
    trajectory: Tensor


def _assemble(relative: Tensor, trust: Tensor, clips: Clips, frame: str) -> Tracks:
    shape = (len(clips.index), clips.frames, clips.frames)
    relative, trust = relative.double().reshape(*shape, 3, 3), trust.double().reshape(shape)
    return Tracks(relative=relative, trust=trust, trajectory=synchronise(relative, trust, frame=frame))


def by_probe(probe: PairProbe, features: Tensor, clips: Clips, *, total_frames: int, frame: str) -> Tracks:
    """Track with the pair probe on features (N * F, d); its trust is the mean singular value of the matrix it gives, which
    is 1 where it is sure and shrinks where it averages."""
    matrices = entries(probe.predict(features, *clips.pairs(total_frames))).double()
    return _assemble(pose.project(matrices), torch.linalg.svdvals(matrices).mean(-1), clips, frame)


def by_inversion(steering: Steering, embedded: Tensor, clips: Clips, grid: Candidates, *, total_frames: int) -> Tracks:
    """Track by inverting the predictor on embedded latents (N * F, e); its trust is the margin over the second mode."""
    relative, margin = invert_pairs(steering, embedded, *clips.pairs(total_frames), grid)
    return _assemble(relative, margin, clips, steering.frame)


def deltas(trajectory: Tensor, horizon: int, frame: str) -> Tensor:
    """Relative rotations (B, F - h, 3, 3) between frames t and t + h of rotations (B, F, 3, 3)."""
    first, second = trajectory[:, : trajectory.shape[1] - horizon], trajectory[:, horizon:]
    return first.mT @ second if frame == "body" else second @ first.mT


def compose(steps: Tensor, frame: str) -> Tensor:
    """Running products (B, n, 3, 3) of successive deltas (B, n, 3, 3): the delta from frame 0 to frame 1, 2, ..., n."""
    total, result = steps[:, 0], [steps[:, 0]]
    for i in range(1, steps.shape[1]):
        total = total @ steps[:, i] if frame == "body" else steps[:, i] @ total
        result.append(total)
    return torch.stack(result, 1)


def closed_loop(steps: Tensor, back: Tensor, frame: str) -> np.ndarray:
    """Angle (B,) in degrees left after going frame by frame to the last and back to the first in one jump.

    It needs no truth, and is no measure by itself: who says that nothing ever moves closes every loop.
    """
    forward = compose(steps, frame)[:, -1]
    loop = forward @ back if frame == "body" else back @ forward
    return torch.rad2deg(pose.angle(loop)).numpy()


@dataclass(frozen=True)
class TrackScores:
    """Per-item errors in degrees with the object of every item, and the chain's drift with horizon (F - 1,)."""

    errors: dict[str, np.ndarray]
    objects: dict[str, np.ndarray]
    chain_curve: np.ndarray

    def metrics(self) -> dict[str, float]:
        """Medians, and the exponent a of the chain's drift ~ h^a (0.5 a random walk, 1 a bias)."""
        result = {name: float(np.median(errors)) for name, errors in self.errors.items()}
        if len(self.chain_curve) >= 3:
            result["drift_exponent"] = exponent(self.chain_curve)
        return result


def exponent(curve: np.ndarray) -> float:
    """Slope of log error against log horizon of a curve (H,), horizons 1 to H; errors above 60 degrees are left out, where
    the circle's end bends the curve."""
    horizon = np.arange(1, len(curve) + 1)
    keep = (curve > 1e-6) & (curve < 60)
    if keep.sum() < 2:
        return float("nan")
    return float(np.polyfit(np.log(horizon[keep]), np.log(curve[keep]), 1)[0])


def score(tracks: Tracks, clips: Clips, frame: str) -> TrackScores:
    """All errors of a tracker."""
    true = clips.poses[..., :3, :3]
    frames = clips.frames
    errors: dict[str, np.ndarray] = {}
    objects: dict[str, np.ndarray] = {}

    def keep(name: str, values: np.ndarray) -> None:
        errors[name] = values.reshape(-1)
        objects[name] = np.repeat(clips.objects, values.size // len(clips.objects))

    for horizon in (h for h in HORIZONS if h < frames):
        wanted = deltas(true, horizon, frame)
        keep(f"rpe_deg@{horizon}", rotations.errors_deg(deltas(tracks.trajectory, horizon, frame), wanted))
        direct = tracks.relative.diagonal(horizon, 1, 2).permute(0, 3, 1, 2)
        keep(f"rpe_pair_deg@{horizon}", rotations.errors_deg(direct, wanted))
    steps = tracks.relative.diagonal(1, 1, 2).permute(0, 3, 1, 2)
    from_start = true[:, :1].mT @ true[:, 1:] if frame == "body" else true[:, 1:] @ true[:, :1].mT
    start = tracks.trajectory[:, :1]
    tracked = start.mT @ tracks.trajectory[:, 1:] if frame == "body" else tracks.trajectory[:, 1:] @ start.mT
    drift = rotations.errors_deg(tracked, from_start)
    chain = rotations.errors_deg(compose(steps, frame), from_start)
    keep("drift_deg", drift[:, -1])
    keep("drift_pair_deg", chain[:, -1])
    keep("closed_loop_deg", closed_loop(steps, tracks.relative[:, -1, 0], frame))
    off = ~torch.eye(frames, dtype=torch.bool)
    every = torch.einsum("biac,bjad->bijcd", true, true) if frame == "body" else torch.einsum("bjac,bidc->bijad", true, true)
    keep("pair_median_deg", rotations.errors_deg(tracks.relative[:, off], every[:, off]))
    return TrackScores(errors=errors, objects=objects, chain_curve=np.median(chain, 0))


def floors(train: Features, clips: Clips, frame: str, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """What who sees nothing gets on the same clips.

    ``constant``: for each horizon the best constant rotation of the train clips at that horizon (drift: at the whole
    clip's). ``identity``: nothing moves. ``floor``: the lower of both, since clips that turn either way have two best constants,
    and which side of the test clips is the larger is chance. The closed loop of both is about 0 whatever the data, so its floor
    is instead that of deltas of the right horizon drawn from random train clips.
    """
    rotation = torch.from_numpy(np.ascontiguousarray(train.poses[:, : clips.frames, :3, :3], dtype=np.float64))
    true = clips.poses[..., :3, :3]
    frames = min(clips.frames, rotation.shape[1])
    result: dict[str, dict[str, float]] = {"constant": {}, "identity": {}}
    none = torch.eye(3, dtype=torch.float64)
    last = frames - 1
    for horizon in sorted({h for h in HORIZONS if h < frames} | {last}):
        seen, wanted = deltas(rotation, horizon, frame).flatten(0, 1), deltas(true, horizon, frame).flatten(0, 1)
        constant = rotations.best_constants(seen, seed=seed)["geodesic_median_deg"]
        scores = {
            "constant": float(np.median(rotations.errors_deg(constant.expand(wanted.shape), wanted))),
            "identity": float(np.median(rotations.errors_deg(none.expand(wanted.shape), wanted))),
        }
        for name, value in scores.items():
            if horizon in HORIZONS:
                result[name][f"rpe_deg@{horizon}"] = result[name][f"rpe_pair_deg@{horizon}"] = value
            if horizon == last:
                result[name]["drift_deg"] = result[name]["drift_pair_deg"] = value
    seen, wanted = _all_pairs(rotation, frame), _all_pairs(true, frame)
    constant = rotations.best_constants(seen, seed=seed)["geodesic_median_deg"]
    result["constant"]["pair_median_deg"] = float(np.median(rotations.errors_deg(constant.expand(wanted.shape), wanted)))
    result["identity"]["pair_median_deg"] = float(np.median(rotations.errors_deg(none.expand(wanted.shape), wanted)))
    generator = torch.Generator().manual_seed(seed)
    shape = (len(clips.index), last)
    steps = deltas(rotation, 1, frame).flatten(0, 1)
    back = deltas(rotation, last, frame).flatten(0, 1).mT
    random_steps = steps[torch.randint(len(steps), shape, generator=generator)]
    random_back = back[torch.randint(len(back), shape[:1], generator=generator)]
    result["constant"]["closed_loop_deg"] = float(np.median(closed_loop(random_steps, random_back, frame)))
    result["identity"]["closed_loop_deg"] = 0.0
    lower = {key: min(value, result["identity"][key]) for key, value in result["constant"].items()}
    return result | {"floor": lower | {"closed_loop_deg": result["constant"]["closed_loop_deg"]}}


def _all_pairs(rotation: Tensor, frame: str, cap: int = 500) -> Tensor:
    """Relative rotations (P, 3, 3) of all ordered pairs of different frames of at most `cap` clips (B, F, 3, 3)."""
    rotation = rotation[:: max(1, len(rotation) // cap)]
    off = ~torch.eye(rotation.shape[1], dtype=torch.bool)
    text = "biac,bjad->bijcd" if frame == "body" else "bjac,bidc->bijad"
    return torch.einsum(text, rotation, rotation)[:, off].flatten(0, 1)
