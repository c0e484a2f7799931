"""The report of a run: metrics.json, the table, the pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from vsie import pose
from vsie.evaluation import paired
from vsie.evaluation import steering as steering_measure
from vsie.evaluation.inputs import Steering, part_of, view_poses
from vsie.evaluation.suite import Result
from vsie.feature_set import Features, flat
from vsie.files import write_text
from vsie.report import figures, measures, tables

STRIP_ROWS, STRIP_STEPS, PLOTTED_CLIPS = 4, 8, 8
STAMP = "judged.json"  # in which a study says what a run was judged on: of no use any more where a run is judged otherwise
OF_SOME = ("measures.md", "layers.csv", "layers.png", "trajectories.png", "steering.png", "samples.npz")  # of some protocols


def write_report(
    out: Path, run: Path, result: Result, test: Features, dataset, classes: Sequence[str], method, deltas: torch.Tensor,
    *, keep: bool = False,
) -> list[Path]:  # fmt: skip
    """Write metrics.json, samples.npz, table.txt, table.md and the pictures, and print the table.

    Args:
        out: Folder of the report.
        run: Folder of the run, whose ``log.csv`` is drawn where it is there.
        result: From `suite.evaluate`.
        test: The test features.
        dataset: ``dataset[i]["frames"]`` is clip i of `test`, (F, H, W, 3) uint8.
        classes: Names of the classes.
        method: The steering; one whose ``steers`` is false is not steered.
        deltas: (M, 4, 4) training deltas in the method's frame, for the axis of what is tracked.
        keep: Keep what is in ``metrics.json`` under other keys.

    Returns:
        The files written.
    """
    out = Path(out)
    metrics = {**result.metrics, **result.intervals}
    if keep and (out / "metrics.json").is_file():
        metrics = {**json.loads((out / "metrics.json").read_text(encoding="utf-8")), **metrics}
    if not keep:
        (out / STAMP).unlink(missing_ok=True)
    write_text(out / "metrics.json", json.dumps(plain(metrics), indent=1, sort_keys=True) + "\n")
    if result.samples:
        paired.save(out / "samples.npz", result.samples, clips=paired.fingerprint(test))
    table, known = tables.terminal(metrics), _known(metrics, measures.terminal)
    table += f"\n\n{known}" if known else ""
    direct = f"\n\n{tables.DIRECT}" if getattr(method, "direct_supervision", False) else ""
    write_text(out / "table.txt", table + direct + "\n")
    write_text(out / "table.md", tables.markdown(metrics) + direct + "\n")
    written = [out / "metrics.json", out / "table.txt", out / "table.md"]
    if known:
        write_text(out / "measures.md", _known(metrics, measures.markdown) + "\n")
        written.append(out / "measures.md")
    if rows := figures.layer_rows(metrics):
        lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
        write_text(out / "layers.csv", "\n".join(lines) + "\n")
        written += [out / "layers.csv", figures.layer_curves(metrics, out / "layers.png")]
    axis = motion_axis(torch.as_tensor(deltas))
    if (Path(run) / "log.csv").is_file():
        written.append(figures.training_curves(Path(run) / "log.csv", out / "training.png"))
    own = [name for name in test.parts() if name != "all"] or ["all"]
    parts = {name: flat(test, name, "clip").numpy() for name in own}
    turned, angles = body_axis(test), frame_angles(test)
    written.append(
        figures.components(parts, np.repeat(test.labels, test.frames), angles, out / "components.png", classes=classes)
    )
    if "tracking/true" in result.arrays:
        written.append(_trajectories(result, test, axis, method.frame, out / "trajectories.png"))
    if getattr(method, "steers", True) and part_of(method) in test.parts():
        strip = _strip(test, dataset, method, turned, out / "steering.png")
        written += [strip] if strip is not None else []
    there = {*written, *([out / "samples.npz"] if result.samples else [])}
    for name in () if keep else OF_SOME:  # what an earlier evaluation of other questions left here
        if out / name not in there:
            (out / name).unlink(missing_ok=True)
    print(f"\n{table}\n")
    for note in result.notes:
        print(f"note: {note}")
    print("written: " + ", ".join(str(file) for file in written))
    return written


def _known(metrics: dict[str, float], form: Callable[[Mapping[str, float]], str]) -> str:
    """Tables of what each part knows; those against estimated motion apart, under a line that says so."""
    true, told = form(metrics), form(tables.stripped(metrics))
    return "\n\n".join([part for part in (true, told and f"{tables.AGAINST.capitalize()}:", told) if part])


def plain(metrics: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: null instead."""
    return {key: None if value is None or math.isnan(value) else value for key, value in metrics.items()}


def motion_axis(deltas: torch.Tensor) -> torch.Tensor:
    """The main axis (3,) of rotation of deltas (M, 4, 4) or (M, 3, 3), its largest component positive."""
    vectors = pose.log(deltas[:, :3, :3].double())
    axis = torch.linalg.eigh(vectors.mT @ vectors).eigenvectors[:, -1]
    return axis * axis[axis.abs().argmax()].sign()


def body_axis(test: Features) -> torch.Tensor:
    """The main axis (3,), in the object's frame, about which the views of objects differ: what `angle_about` is asked for."""
    poses = torch.from_numpy(test.poses.reshape(-1, 4, 4))
    pairs = [(group[:1].repeat(len(group) - 1), group[1:]) for group in test.views(steering_measure.VIEWS) if len(group) > 1]
    if not pairs:
        return torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    first, second = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return motion_axis(pose.delta(poses[first], poses[second]))


def frame_angles(test: Features) -> np.ndarray:
    """How far each of all N * F frames is turned, degrees (N * F,): about the main axis from the first of all; where clips have
    no common frame (`Features.anchored`) about whichever axis from the first that has one with it."""
    poses = torch.from_numpy(test.poses.reshape(-1, 4, 4))
    if test.anchored:
        return angle_about(body_axis(test), poses[:1], poses)
    _, first, member = np.unique(test.orbit, return_index=True, return_inverse=True)
    start = poses[torch.from_numpy(np.repeat(first[member], test.frames) * test.frames)]
    return torch.rad2deg(pose.geodesic(start, poses)).numpy()


def angle_about(axis: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """Signed twist (...) in degrees about `axis` (3,) of the body-frame delta between poses (..., 4, 4)."""
    quaternion = pose.to_quaternion(pose.delta(source.double(), target.double())[..., :3, :3])
    twist = 2 * torch.atan2(quaternion[..., :3] @ axis.double(), quaternion[..., 3])
    return torch.rad2deg(torch.remainder(twist + math.pi, 2 * math.pi) - math.pi).numpy()


def _even(items: np.ndarray, count: int) -> np.ndarray:
    return items[np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))]


def _trajectories(result: Result, test: Features, axis: torch.Tensor, frame: str, out: Path) -> Path:
    """Angles of evenly chosen clips; where the motion has many axes, the angle from the first frame is drawn."""
    rows = _even(np.arange(len(result.arrays["tracking/index"])), PLOTTED_CLIPS)
    true = torch.from_numpy(result.arrays["tracking/true"][rows])
    one_axis = _share(true, axis) > 0.98
    trackers = {"probe": "pair probe", "inversion": "predictor inverted"}

    def angles(rotation: torch.Tensor) -> np.ndarray:
        if one_axis:
            return angle_about(axis, pose.rigid(rotation[:, :1]), pose.rigid(rotation))
        return np.degrees(pose.angle(rotation[:, :1].mT @ rotation).numpy())

    tracked, errors = {}, {}
    for key, name in trackers.items():
        if f"tracking/{key}" in result.arrays:
            rotation = torch.from_numpy(result.arrays[f"tracking/{key}"][rows])
            tracked[name] = angles(rotation)
            errors[name] = np.degrees(pose.geodesic(rotation, true).numpy())
    titles = [Path(test.paths[i]).parent.name or Path(test.paths[i]).stem for i in result.arrays["tracking/index"][rows]]
    label = "angle from the first frame, deg" if one_axis else "size of the rotation, deg"
    return figures.trajectories(angles(true), tracked, out, titles=titles, errors_deg=errors, ylabel=label, truth=result.truth)


def _share(rotation: torch.Tensor, axis: torch.Tensor) -> float:
    """Share of the rotation vectors' power between successive frames of (B, F, 3, 3) that lies on an axis (3,)."""
    vectors = pose.log(rotation[:, :-1].mT @ rotation[:, 1:])
    return float((vectors @ axis.double()).square().sum() / vectors.square().sum().clamp_min(1e-30))


@torch.no_grad()
def sweep(test: Features, method: Steering, axis: torch.Tensor, rows: int = STRIP_ROWS):
    """One frame of each of a few objects, steered along a sweep of its own other views' deltas, in order of their angle.

    Returns:
        Source frames (R,), the nearest of the other views to each steered latent (R, S), the true views (R, S), their angle
        apart in degrees (R, S), the S angles of the sweep; None where no object has enough views, or no pose is known.
    """
    groups = [group for group in test.views(steering_measure.VIEWS) if len(group) > STRIP_STEPS]
    if not groups or np.ptp(test.poses, axis=(0, 1)).max() == 0:  # where none is known all are the same
        return None
    poses, told = torch.from_numpy(test.poses.reshape(-1, 4, 4)), view_poses(method, test)
    embedded = steering_measure.embed(method, flat(test, part_of(method), "clip"))
    wanted = np.linspace(-180, 180, STRIP_STEPS + 1)[1:]
    sources, found, truth = [], [], []
    for group in [groups[i] for i in _even(np.arange(len(groups)), rows)]:
        index = torch.from_numpy(group)
        others = index[1:]
        own = axis if test.anchored else motion_axis(pose.delta(poses[index[:1]], poses[others]))
        angle = angle_about(own, poses[index[0]], poses[others])
        gap = np.abs((angle[None] - wanted[:, None] + 180) % 360 - 180)
        target = others[torch.from_numpy(gap.argmin(1))]
        predicted = steering_measure.steered(method, embedded[index[:1]], told[index[:1]], told[target])
        sources.append(int(index[0]))
        found.append(others[steering_measure.nearest(method, predicted, embedded[others])].numpy())
        truth.append(target.numpy())
    found, truth = np.stack(found), np.stack(truth)
    wrong = torch.rad2deg(pose.geodesic(poses[torch.from_numpy(found)], poses[torch.from_numpy(truth)])).numpy()
    return np.array(sources), found, truth, wrong, wanted


def pictures(test: Features, dataset, frames: np.ndarray) -> np.ndarray:
    """The images (..., H, W, 3) of frames (...) given by their place among all N * F of the test features."""
    used, place = np.unique(frames, return_inverse=True)
    clips = {clip: np.asarray(dataset[int(clip)]["frames"]) for clip in np.unique(used // test.frames)}
    stride = max(1, len(clips[used[0] // test.frames]) // test.frames)  # frames of the video per step of the encoder
    images = np.stack([clips[i // test.frames][(i % test.frames) * stride + stride // 2] for i in used])
    return images[place.reshape(np.shape(frames))]


def _strip(test: Features, dataset, method: Steering, axis: torch.Tensor, out: Path) -> Path | None:
    """The picture of `sweep`."""
    swept = sweep(test, method, axis)
    if swept is None:
        return None
    sources, found, truth, wrong, wanted = swept
    used, place = np.unique(np.concatenate([found.ravel(), truth.ravel(), sources]), return_inverse=True)
    found, truth, sources = np.split(place, [found.size, 2 * found.size])
    images = pictures(test, dataset, used)
    found, truth = found.reshape(wrong.shape), truth.reshape(wrong.shape)
    return figures.steering_strip(images, sources, found, truth, wanted, out, wrong=wrong)
