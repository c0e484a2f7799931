"""Features of a set of clips: what extraction makes, and evaluation asks.

Notable: `Features` holds each frame twice, encoded alone (`image`) and encoded with its clip around it (`clip`), since
classification is asked of single frames and tracking of whole clips. On disk it is a folder with one .npy file per column; read
again the columns are memory maps (private: the files never change), so that 3DIEBench's 2.6 million frames take no memory
but the pages that are being read. Who goes over all of them does so in pieces of `CHUNK` rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsie.files import atomic_path, reserve

PARTS = ("inv", "equi", "all")
SOURCES = ("image", "clip")
CHUNK = 65_536  # rows at once: 128 MiB of 512 dims
LARGE = 2**18  # rows beyond which tables stay in files
ABOUT = "about.json"


@dataclass(frozen=True)
class Features:
    """Features of N clips of F frames (steps) each.

    Attributes:
        image: (N, F, D) float32, each frame encoded alone.
        clip: (N, F, D) float32, each frame encoded with its clip around it; `image` itself for an encoder of stills.
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
        orbits: (N,) int64; the poses of clips that have one number are in one frame, as those of an object are where they are
            known. Where they are estimated clip by clip they are not, and pairs lie within clips. None: the objects, whose
            poses are all in one frame.
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
    orbits: np.ndarray | None = None

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
        if self.orbits is not None:
            expected["orbits"] = (number,)
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

    @property
    def orbit(self) -> np.ndarray:
        """(N,) int64: clips that have one number have their poses in one frame; the objects where `orbits` does not say else."""
        return self.objects if self.orbits is None else self.orbits

    @property
    def anchored(self) -> bool:
        """Whether a pose says how the object is turned; where every clip has a frame of its own only deltas within clips do."""
        return self.orbits is None

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

    def frames_of(self, chosen: np.ndarray) -> Features:
        """Features of frames `chosen` (O, V), places among all N * F; each row is of one object and becomes a clip."""
        clips, steps = np.divmod(chosen, self.frames)
        columns = {name: getattr(self, name) for name in ("image", "clip", "poses", "times", "latents", "frame_numbers")}
        of_frames = {name: None if value is None else value[clips, steps] for name, value in columns.items()}
        of_clips = {name: getattr(self, name)[clips[:, 0]] for name in ("labels", "objects", "clips")}
        if self.orbits is not None:
            of_clips["orbits"] = self.orbits[clips[:, 0]]
        paths = [self.paths[clip] for clip in clips[:, 0]]
        return dataclasses.replace(self, **of_frames, **of_clips, paths=paths)

    def parts(self) -> tuple[str, ...]:
        """The parts that have at least one dimension; of a latent without a split only ``all``."""
        if self.invariant_dim == self.image.shape[-1]:
            return "inv", "all"
        return PARTS if self.invariant_dim else ("all",)

    def views(self, cap: int | None = None) -> list[np.ndarray]:
        """Per object (per orbit, where these are other) the indices of its frames among all N * F, evenly thinned to at most
        `cap`; objects in sorted order."""
        frame_objects = np.repeat(self.orbit, self.frames)
        order = np.argsort(frame_objects, kind="stable")
        _, starts = np.unique(frame_objects[order], return_index=True)
        groups = np.split(order, starts[1:])
        if cap is None:
            return groups
        return [group[np.linspace(0, len(group) - 1, min(cap, len(group))).round().astype(int)] for group in groups]


def flat(features: Features, part: str, source: str) -> Tensor:
    """One part of all frames as one list, (N * F, d) float32; of more than `LARGE` the features where they are, not a copy."""
    rows = features.rows(part, source)
    return torch.from_numpy(np.asarray(rows, np.float32) if len(rows) > LARGE else np.ascontiguousarray(rows, np.float32))


def new_column(file: Path, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    """A column to be filled, in an .npy file that has its full size on the disk already."""
    column = np.lib.format.open_memmap(file, "w+", dtype=kind, shape=shape)
    with open(file, "r+b") as opened:
        reserve(opened.fileno(), file.stat().st_size)
    return column


class Columns:
    """Columns of `Features` that come in pieces: in memory, or in files of a folder.

    Args:
        rows: N, how many rows every column has.
        folder: Where the files are; None for memory.

    Attributes:
        found: The columns (N, ...) by name.
    """

    def __init__(self, rows: int, folder: Path | None = None) -> None:
        self.rows, self.folder, self.found = rows, folder, {}

    def put(self, name: str, items: Sequence[int], values: np.ndarray) -> None:
        """Rows (n, ...) of a column, which is made when its first ones come."""
        if name not in self.found:
            kept = (self.rows, *values.shape[1:]), values.dtype
            self.found[name] = np.empty(*kept) if self.folder is None else new_column(self.folder / f"{name}.npy", *kept)
        self.found[name][items] = values


def save_features(folder: Path, features: Features) -> None:
    """Write `Features` as a folder, atomically."""
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        write_features(temporary, features)


def write_features(folder: Path, features: Features) -> None:
    """Write the columns that are not in `folder` yet, and what is no array."""
    columns = {field.name: getattr(features, field.name) for field in dataclasses.fields(features)}
    if features.clip is features.image:
        columns["clip"] = None
    kept = {name: value for name, value in columns.items() if isinstance(value, np.ndarray)}
    for name, value in kept.items():
        file = folder / f"{name}.npy"
        if not file.exists():
            np.save(file, value)
    about = {"paths": list(features.paths), "latent_names": list(features.latent_names), "invariant_dim": features.invariant_dim}
    (folder / ABOUT).write_text(json.dumps({"columns": sorted(kept), **about}), encoding="utf-8")


def linked_features(folder: Path, target: Path) -> Features | None:
    """`Features` of a folder, whose columns are hard links in `target` too where its disk is the same; None when it is not there,
    or is being removed."""
    try:
        found = load_features(folder)
    except FileNotFoundError:
        return None
    for file in folder.glob("*.npy") if found is not None else ():
        with contextlib.suppress(OSError):
            os.link(file.resolve(), target / file.name)
    return found


def load_features(folder: Path) -> Features | None:
    """`Features` from a folder, as memory maps; None when it is not there."""
    if not (folder / ABOUT).is_file():
        return None
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    columns = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in about.pop("columns")}
    columns.setdefault("clip", columns["image"])
    about["latent_names"] = tuple(about["latent_names"])
    return Features(**columns, **about)


def folder_of(features: Features) -> Path:
    """Where features lie that were read by `load_features`."""
    return Path(features.image.filename).parent
