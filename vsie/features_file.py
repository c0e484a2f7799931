"""Features that somebody else made, from one `.npz` file, ready to be judged: `tools/evaluate.py features=FILE.npz`.

Rows are single frames (N, D), or clips of F steps (N, F, D). What is not in the file is not asked: without `labels` no class,
without `poses` no pose. What `tools/extract.py` writes is such a file.

===============  ========================  ====================================================================================
key              shape, of rows N          what it is
===============  ========================  ====================================================================================
features         (N, D) or (N, F, D)       latents without a split; or, in its place, both of
invariant        (N, I) or (N, F, I)       the invariant part (N, I may be one for all steps of a clip), and
equivariant      (N, E) or (N, F, E)       the equivariant part
objects          (N,)                      which object a row shows, numbers or names; the only other key that has to be there
labels           (N,)                      class, numbers (-1: none) or names
poses            (N, 4, 4) or (N, 3, 3)    object in camera (of clips (N, F, 4, 4) or (N, F, 3, 3)); rotations alone are enough
split            (N,)                      ``train`` (probes are fitted on them) or ``val`` / ``test``, the same for all rows
                                           of an object; without it a fifth of the objects is held out, drawn by the seed
clips            (N,)                      number of the clip within its object: rows of frames with one object and one number
                                           are a clip, in order of `times`; clips then have to be of one length
times            (N,) or (N, F)            seconds
latents          (N, L) or (N, F, L)       what else the scene was drawn from (hues in turns, angles in radians), and
latent_names     (L,)                      their names: floor_hue, spot_hue, spot_theta, spot_phi
paths            (N,)                      where a row comes from, for messages
===============  ========================  ====================================================================================

The singular forms of these names are taken too. Nothing in the file is unpickled.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsie.components import nearest
from vsie.feature_set import Features

KEYS = ("features", "invariant", "equivariant", "objects", "labels", "poses", "split", "clips", "times", "latents",
        "latent_names", "paths")  # fmt: skip
SINGULAR = {"feature": "features", "object": "objects", "label": "labels", "pose": "poses", "clip": "clips", "time": "times",
            "path": "paths", "splits": "split"}  # fmt: skip
HELD_OUT = 0.2  # share of the objects, where the file has no split
SPLITS = {"train": "train", "val": "test", "test": "test"}


@dataclass(frozen=True)
class Foreign:
    """What a file holds: train and test features, the names of the classes, whether poses are known, and lines about it."""

    train: Features
    test: Features
    classes: tuple[str, ...]
    posed: bool
    notes: tuple[str, ...]


def read(file: Path | str, *, seed: int = 0) -> Foreign:
    """Features from a file, see the module's docstring.

    Args:
        file: The `.npz`.
        seed: Of the objects that are held out where the file does not say which.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A key is missing, unknown, of another shape or kind than stated; file and key are named.
    """
    file = Path(file)
    found = _arrays(file)
    latents, invariant = _latents(file, found)
    rows, steps = len(latents), latents.shape[1:-1]
    wanted = {"objects": (rows,), "labels": (rows,), "split": (rows,), "clips": (rows,), "times": (rows, *steps),
              "paths": (rows,)}  # fmt: skip
    for key, shape in wanted.items():
        if key in found and found[key].shape != shape:
            raise _wrong(file, key, f"has shape {found[key].shape}", f"{shape}, as the features are {latents.shape}")
    if "objects" not in found:
        raise _wrong(file, "objects", "is missing", "which object each row shows: probes are judged on other objects")
    posed = "poses" in found
    poses = _poses(file, found["poses"], (rows, *steps)) if posed else np.broadcast_to(np.eye(4), (rows, *steps, 4, 4))
    scene, names = _scene(file, found, (rows, *steps))
    object_names, objects = np.unique(found["objects"], return_inverse=True)
    classes, labels = _labels(file, found.get("labels"), rows)
    columns = {
        "latents": latents, "poses": poses, "objects": objects, "labels": labels, "clips": _numbers(file, found, "clips", rows),
        "times": _times(file, found, (rows, *steps)), "paths": found.get("paths", np.arange(rows)).astype(np.str_),
        "split": found.get("split", np.zeros(rows)),
    }  # fmt: skip
    if scene is not None:
        columns["scene"] = scene
    columns = _clips(file, columns, grouped="clips" in found) if not steps else columns
    notes = []
    if "split" in found:
        test = _split(file, columns.pop("split"), columns["objects"], object_names)
    else:
        columns.pop("split")
        number = len(object_names)
        held = np.random.default_rng(seed).permutation(number)[: max(1, round(HELD_OUT * number))]
        test = np.isin(columns["objects"], held)
        notes.append(f"{file} has no key split: {len(held)} of its {number} objects, drawn by seed {seed}, are held out")
    if test.all() or not test.any():
        raise _wrong(file, "split" if "split" in found else "objects", f"leaves {int(test.sum())} of {len(test)} clips for test",
                     "some clips to fit probes on and some of other objects to judge them by")  # fmt: skip

    def part(keep: np.ndarray) -> Features:
        own = {name: values[keep] for name, values in columns.items()}
        return Features(
            image=own["latents"], clip=own["latents"], poses=own["poses"], times=own["times"], labels=own["labels"],
            objects=own["objects"], clips=own["clips"], paths=own["paths"].tolist(), invariant_dim=invariant,
            latents=own.get("scene"), latent_names=names,
        )  # fmt: skip

    return Foreign(part(~test), part(test), classes, posed, tuple(notes))


def _wrong(file: Path, key: str, found: str, expected: str) -> ValueError:
    return ValueError(f"{file}, key {key!r} {found}; expected {expected}")


def _arrays(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a file by the plural names of their keys."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there (features=)")
    try:
        archive = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is no .npz file ({error})") from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError(f"{file} holds one bare array, expected an .npz with the keys features and objects at least")
    found = {}
    with archive:
        for name in archive.files:
            key = SINGULAR.get(name, name)
            if key not in KEYS:
                raise ValueError(f"{file}, key {name!r} is not known{nearest(name, KEYS)}; known are {', '.join(KEYS)}")
            if key in found:
                raise ValueError(f"{file}, key {name!r} is there twice, as {key!r} too")
            try:
                values = archive[name]
                found[key] = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
            except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
                raise _wrong(
                    file, name, f"cannot be read ({error})", "numbers or fixed-width strings, no Python objects"
                ) from None
    return found


def _latents(file: Path, found: dict[str, np.ndarray]) -> tuple[np.ndarray, int]:
    """Latents float32 (N, D) or (N, F, D), and the width of the invariant part: 0 without a split."""
    halves = [key for key in ("invariant", "equivariant") if key in found]
    if ("features" in found) == bool(halves) or len(halves) == 1:
        has = ", ".join(repr(key) for key in ("features", *halves) if key in found) or "none of them"
        raise ValueError(f"{file} has {has}; expected either the key 'features', or both 'invariant' and 'equivariant'")
    parts = {key: found[key] for key in (halves or ["features"])}
    for key, values in parts.items():
        if values.ndim not in (2, 3) or 0 in values.shape or values.dtype.kind not in "fiu":
            raise _wrong(file, key, f"is {values.dtype} {values.shape}", "numbers (N, D) or (N, F, D), none of them 0")
        bad = int((~np.isfinite(values.reshape(len(values), -1))).any(1).sum())
        if bad:
            raise _wrong(file, key, f"has {bad} of {len(values)} rows with NaN or infinite numbers", "finite numbers")
    if not halves:
        return np.ascontiguousarray(parts["features"], dtype=np.float32), 0
    first, last = parts["invariant"], parts["equivariant"]
    if first.ndim == 2 and last.ndim == 3 and len(first) == len(last):
        first = np.repeat(first[:, None], last.shape[1], axis=1)
    if first.shape[:-1] != last.shape[:-1]:
        raise _wrong(file, "equivariant", f"has shape {last.shape}", f"the rows of 'invariant', which is {first.shape}")
    return np.concatenate([first, last], -1, dtype=np.float32, casting="same_kind"), first.shape[-1]


def _poses(file: Path, values: np.ndarray, rows: tuple[int, ...]) -> np.ndarray:
    """Poses (*rows, 4, 4) float64 from those or from rotations alone."""
    if values.shape not in ((*rows, 4, 4), (*rows, 3, 3)) or values.dtype.kind not in "fiu":
        raise _wrong(file, "poses", f"is {values.dtype} {values.shape}", f"numbers {(*rows, 4, 4)} or {(*rows, 3, 3)}")
    rotation = values[..., :3, :3].astype(np.float64)
    error = np.abs(np.swapaxes(rotation, -1, -2) @ rotation - np.eye(3)).max((-1, -2)).reshape(rows[0], -1).max(1)
    finite = np.isfinite(values).reshape(rows[0], -1).all(1)
    turns = (error < 1e-3) & (np.linalg.det(rotation).reshape(rows[0], -1).min(1) > 0)  # NaN does not either
    for good, found, expected in (
        (finite, "has NaN or infinite numbers", "finite numbers"), (turns, "is no rotation", "R^T R = 1 and det R = 1")
    ):  # fmt: skip
        if not good.all():
            row = int(np.argmin(good))
            raise _wrong(file, "poses", f"{found} in row {row} (and {int((~good).sum()) - 1} more)", expected)
    result = np.broadcast_to(np.eye(4), (*rows, 4, 4)).copy()
    result[..., : values.shape[-2], : values.shape[-1]] = values
    return result


def _scene(file: Path, found: dict[str, np.ndarray], rows: tuple[int, ...]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The scene's latents (*rows, L) and their names."""
    if ("latents" in found) != ("latent_names" in found):
        missing = "latent_names" if "latents" in found else "latents"
        raise _wrong(file, missing, "is missing", "both 'latents' and 'latent_names', or neither")
    if "latents" not in found:
        return None, ()
    names, values = found["latent_names"], found["latents"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise _wrong(file, "latent_names", f"is {names.dtype} {names.shape}", "strings (L,)")
    if values.shape != (*rows, len(names)) or values.dtype.kind not in "fiu":
        raise _wrong(file, "latents", f"is {values.dtype} {values.shape}", f"numbers {(*rows, len(names))}")
    return values.astype(np.float64), tuple(names.tolist())


def _labels(file: Path, values: np.ndarray | None, rows: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes and labels (N,) int64 among them; -1 for none."""
    if values is None:
        return (), np.full(rows, -1, np.int64)
    if values.dtype.kind == "U":
        names, labels = np.unique(values, return_inverse=True)
        return tuple(names.tolist()), labels.astype(np.int64)
    if values.dtype.kind not in "iu" or int(values.min()) < -1:
        least = f" from {values.min()}" if values.dtype.kind in "iuf" else ""
        raise _wrong(file, "labels", f"is {values.dtype}{least}", "whole numbers from -1 (none), or names")
    # numbers may be any, such as those of ImageNet: probes want them side by side
    kinds = np.unique(values[values >= 0])
    labels = np.where(values < 0, -1, np.searchsorted(kinds, values))
    return tuple(str(kind) for kind in kinds), labels.astype(np.int64)


def _numbers(file: Path, found: dict[str, np.ndarray], key: str, rows: int) -> np.ndarray:
    values = found.get(key, np.arange(rows))
    if values.dtype.kind == "U":
        return np.unique(values, return_inverse=True)[1].astype(np.int64)
    if values.dtype.kind not in "iu":
        raise _wrong(file, key, f"is {values.dtype}", "whole numbers or names")
    return values.astype(np.int64)


def _times(file: Path, found: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    if "times" not in found:
        return np.broadcast_to(np.arange(shape[-1], dtype=np.float64), shape).copy()  # the order in the file
    if found["times"].dtype.kind not in "fiu" or not np.isfinite(found["times"]).all():
        raise _wrong(file, "times", f"is {found['times'].dtype}, or not finite", "seconds")
    if found["times"].ndim > 1 and (np.diff(found["times"], axis=-1) < 0).any():
        row = int(np.argmax((np.diff(found["times"], axis=-1) < 0).any(-1)))
        raise _wrong(file, "times", f"goes back in clip {row}", "the frames of a clip in their order")
    return found["times"].astype(np.float64)


def _clips(file: Path, columns: dict[str, np.ndarray], *, grouped: bool) -> dict[str, np.ndarray]:
    """Columns of frames (N, ...) as columns of clips: (N / F, F, ...), or one (N / F) where a clip has one."""
    single = ("objects", "labels", "clips", "paths", "split")
    if not grouped:
        return {name: values if name in single else values[:, None] for name, values in columns.items()}
    order = np.lexsort((columns["times"], columns["clips"], columns["objects"]))
    changes = np.diff(columns["objects"][order]).astype(bool) | np.diff(columns["clips"][order]).astype(bool)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    lengths = np.diff(np.append(starts, len(order)))
    if lengths.min() != lengths.max():
        raise _wrong(file, "clips", f"makes clips of {lengths.min()} to {lengths.max()} rows",
                     "clips of one length (without this key frames are judged one by one)")  # fmt: skip
    result = {}
    for name, values in columns.items():
        values = values[order].reshape(len(starts), int(lengths[0]), *values.shape[1:])
        if name in ("labels", "split") and (values != values[:, :1]).any():
            raise _wrong(file, name, "differs within a clip", "one value for all rows of an object's clip")
        result[name] = values[:, 0] if name in single else values
    return result


def _split(file: Path, values: np.ndarray, objects: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Which clips are for test, bool (N,)."""
    if values.dtype.kind != "U" or not set(np.unique(values).tolist()) <= SPLITS.keys():
        shown = ", ".join(str(value) for value in np.unique(values)[:4])
        raise _wrong(file, "split", f"holds {shown}", "train, val or test")
    test = np.isin(values, [name for name, kind in SPLITS.items() if kind == "test"])
    both = np.intersect1d(objects[test], objects[~test])
    if len(both):
        raise _wrong(
            file, "split", f"has {len(both)} objects in train and in test, such as {names[both[0]]}", "no object in both"
        )
    return test
