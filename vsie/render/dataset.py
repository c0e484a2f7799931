"""A folder of rendered clips with poses, labels and splits: planned whole, rendered object by object, in any order.

What is in the folder is a function of the arguments alone. The plan (which object, class, split, file) comes first;
each object's mesh and each of its clips then draw from random streams of their own, keyed by (seed, object, clip). So
the bytes do not depend on the number of workers, on shards, on the order or on how often the run was interrupted; and
what is done already is seen from the files, each of which is whole or not there.

    DIR/render.json      version and arguments, written first; a run with other arguments is refused
    DIR/classes.txt      one class name per line
    DIR/clips/OBJECT/CLIP.mp4 and .npz
    DIR/manifest.csv     path,label,object,clip,split,poses; written when all is there
    DIR/skipped.csv      object,file,reason of meshes that cannot be used, where there are any; they are in no manifest
    DIR/dataset.json     seed, version, counts, licence, arguments; written last

With layout=3diebench clips and manifest.csv give way to the layout of `vsie.render.three_die_bench`.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from fractions import Fraction
from pathlib import Path

import vsie
from vsie.files import locked, visible_files, write_text
from vsie.render import Renderer, pool
from vsie.render.clips import ClipSettings, changes, generator, render_clip, write_clip

MESH_SUFFIXES = (".obj", ".glb", ".gltf", ".ply")
LAYOUTS = ("clips", "3diebench")
Sources = tuple[list[str], list[list[tuple[str, str]]]]
MANIFEST_COLUMNS = ("path", "label", "object", "clip", "split", "poses")
SKIPPED_COLUMNS = ("object", "file", "reason")


@dataclass(frozen=True)
class Item:
    """One object of the plan.

    Attributes:
        index: Its number in the data set; with the seed, the key of its random numbers.
        object: Its id, unique in the data set.
        label: Its class, a line of classes.txt.
        split: ``train`` or ``val``.
        source: The family's name, or the path of the mesh's file.
    """

    index: int
    object: str
    label: int
    split: str
    source: str

    @property
    def named(self) -> str:
        """The object, for messages."""
        return f"object {self.object} (number {self.index}, from {self.source})"


@dataclass(frozen=True)
class Work:
    """What a worker has to know to render any item; small, and picklable."""

    out: Path
    clips_per_object: int
    settings: ClipSettings
    from_files: bool

    def folder(self, item: Item) -> Path:
        """The folder of an object's clips."""
        return self.out / "clips" / item.object

    def clip(self, item: Item, clip: int) -> Path:
        """Path of a clip without its suffix."""
        return self.folder(item) / str(clip)

    def files(self, item: Item, clip: int) -> tuple[Path, Path]:
        """What a finished clip consists of: the pictures, and what is known of them."""
        base = self.clip(item, clip)
        return base.with_suffix(".mp4"), base.with_suffix(".npz")

    def missing(self, item: Item) -> list[int]:
        """The clips of an object that still have to be rendered."""
        try:
            present = set(os.listdir(self.folder(item)))
        except FileNotFoundError:
            present = set()
        return [clip for clip in range(self.clips_per_object) if not {file.name for file in self.files(item, clip)} <= present]

    def render(self, item: Item, stopped) -> int:
        """Render what is missing of one object; the mesh and its search tree are built once.

        Args:
            item: The object.
            stopped: Called before each clip; True ends the work there.

        Returns:
            The number of frames rendered.

        Raises:
            pool.UnusableMesh: When the mesh's file cannot be used; another object's may.
            OSError: When the disk is full.
            ValueError: When the mesh cannot be rendered.
            RuntimeError: When anything else went wrong; each of these names the object.
        """
        rendered = 0
        try:
            clips = self.missing(item)
            renderer = None
            for clip in clips:
                if stopped():
                    break
                if renderer is None:
                    renderer = Renderer(self.mesh(item), size=self.settings.size, supersample=self.settings.supersample)
                rendered += self.render_one(renderer, item, clip)
        except pool.UnusableMesh:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                text = f"{error.strerror}; stopped at {item.named}; free some space and start again: it continues"
                raise OSError(errno.ENOSPC, text) from None
            kind = type(error) if type(error) in (ValueError, FileNotFoundError) else RuntimeError
            raise kind(f"{item.named}: {error if kind is not RuntimeError else repr(error)}") from error
        return rendered

    def render_one(self, renderer: Renderer, item: Item, clip: int) -> int:
        """Render and write one clip; the number of its frames."""
        frames, arrays = render_clip(renderer, self.settings, generator(self.settings.seed, item.index, clip))
        write_clip(self.clip(item, clip), frames, arrays, self.settings.fps)
        return len(frames)

    def mesh(self, item: Item):
        """The object's mesh, from its file or from its family with the object's own random numbers."""
        if self.from_files:
            from vsie.render import meshes

            try:
                return meshes.load(item.source)
            except (ValueError, FileNotFoundError) as error:
                raise pool.UnusableMesh(str(error)) from None
        from vsie.render import families

        return families.build(item.source, generator(self.settings.seed, item.index))


class Skipped:
    """Objects whose mesh files cannot be used, listed in a CSV; there is no file where there are none.

    Args:
        file: The CSV; only this process writes it.
        population: Of how many objects the share is taken.
        share: The share above which `add` raises.
    """

    def __init__(self, file: Path, population: int, share: float) -> None:
        self.file, self.population, self.share = file, population, share
        self.rows: list[tuple[str, str, str]] = []

    def add(self, item: Item, reason: str) -> None:
        """Note an object. Raises a ValueError when there are now too many of them."""
        self.rows.append((item.object, item.source, reason))
        _write_skipped(self.file, self.rows)
        self.check(f"; the last: {item.named}: {reason}")

    def check(self, last: str = "") -> None:
        """Raise a ValueError when there are too many."""
        if len(self.rows) > self.share * self.population:
            raise ValueError(
                f"the meshes of {len(self.rows)} of {self.population} objects cannot be used (see {self.file}), expected at most "
                f"{self.share:.2%} (allowed_skips){last}"
            )


def render_dataset(
    *,
    out: str | os.PathLike,
    objects: int | None,
    clips_per_object: int | None,
    frames: int | None,
    size: int,
    trajectory: str | None,
    seed: int,
    workers: int | None,
    layout: str = "clips",
    translated: bool = False,
    shard: tuple[int, int] = (0, 1),
    families: Sequence[str] | None = None,
    meshes: str | os.PathLike | None = None,
    auxiliary: Sequence[str] = (),
    supersample: int = 2,
    fps: float = 8.0,
    val_fraction: float = 0.2,
    allowed_skips: float = 0.01,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Render a data set, or what is still missing of it.

    Args:
        out: The folder. New, empty, or one that the same arguments began.
        objects: How many objects; with `meshes` at most so many, None for all.
        clips_per_object: Clips of each object, or its views with the layout ``3diebench``; None for 4, or 50.
        frames: Frames per clip; None for 16, or 1 with the layout ``3diebench``.
        size: Height and width in pixels, even.
        trajectory: One of `vsie.render.trajectories.KINDS`; None for turntable, or views.
        seed: Same seed, same bytes (on one machine).
        workers: Processes; 1 renders in this one, None takes one per core that this process may use.
        layout: ``clips``, or ``3diebench``: see `vsie.render.three_die_bench`.
        translated: Move objects too, as 3DIEBench-T does; with the layout ``3diebench`` only.
        shard: (i, n): only the i-th of n parts of the objects, i from 0. The last part to end writes the manifest.
        families: Procedural classes to use, all when None. Object i is of family i modulo their number.
        meshes: Objects from files instead: a folder with one folder per class of OBJ, GLB or PLY files at any depth, or
            a ShapeNetCore root with all_objects.npy; y is up in all of them.
        auxiliary: Arrays to keep in the archives: depth, mask, normals, flow, occlusion.
        supersample: Rays per pixel along each side.
        fps: Frames per second, for the times.
        val_fraction: Share of each class's objects in the split ``val``; with the layout ``3diebench`` one at least, unless 0.
        allowed_skips: Share of mesh files that may be unusable. Their objects are left out and listed in skipped.csv; more
            of them stop the run.
        overwrite: Remove what a run with other arguments left in `out`; never touches a folder of anything else.
        progress: Show a bar.

    Returns:
        Path of manifest.csv, or of this shard's manifest while other shards are still missing; with the layout
        ``3diebench`` the folder.

    Raises:
        ValueError: When an argument is out of range, or differs from the one that began the folder; when too many mesh files
            cannot be used; when the layout ``3diebench`` lacks an object to hold out.
        FileNotFoundError: When `meshes` is not there or holds no mesh.
        FileExistsError: When `out` holds something else.
        OSError: When the disk is full.
        SystemExit: After SIGINT or SIGTERM, with nothing half-written.
    """
    from vsie.render import three_die_bench

    part, parts = shard
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}, expected one of {', '.join(LAYOUTS)}")
    views = layout == "3diebench"
    if translated and not views:
        raise ValueError("translated is true, expected false: only layout=3diebench moves objects")
    clips_per_object = (50 if views else 4) if clips_per_object is None else clips_per_object
    frames = (1 if views else 16) if frames is None else frames
    trajectory = ("views" if views else "turntable") if trajectory is None else trajectory
    for name, value in {"objects": objects, "clips_per_object": clips_per_object, "workers": workers}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1")
    if not 0 <= part < parts:
        raise ValueError(f"shard is {part}/{parts}, expected i/n with 0 <= i < n")
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction is {val_fraction}, expected 0 <= val_fraction < 1")
    auxiliary = tuple(dict.fromkeys(auxiliary))
    settings = ClipSettings(frames, size, trajectory, seed, supersample, fps, auxiliary)
    classes, sources = _file_sources(Path(meshes)) if meshes is not None else _family_sources(families, objects)
    items = _plan(classes, sources, objects, Fraction(val_fraction).limit_denominator(1000))
    if views and val_fraction:
        items = _hold_out(items)
        _check_held_out(items, classes)
    arguments = asdict(settings) | {
        "auxiliary": list(auxiliary),
        "objects": len(items),
        "clips_per_object": clips_per_object,
        "families": None if meshes is not None else classes,
        "meshes": None if meshes is None else str(meshes),
        "val_fraction": val_fraction,
    }
    if meshes is not None:  # what is in the folder decides about classes, splits and random numbers
        plan = json.dumps([astuple(item) for item in items])
        arguments |= {"meshes_listed": hashlib.sha256(plan.encode()).hexdigest()[:16]}
    if views:  # not noted otherwise: folders of clips that were begun before this option existed go on
        three_die_bench.check(settings)
        arguments |= {"layout": layout, "translated": translated}
    arguments |= changes(trajectory, translated)
    out = Path(out)
    _claim(out, arguments, overwrite)
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in classes))

    if views:
        work = three_die_bench.ViewsWork(out, clips_per_object, settings, meshes is not None, tuple(classes), translated)
    else:
        work = Work(out, clips_per_object, settings, meshes is not None)
    mine = items[part * len(items) // parts : (part + 1) * len(items) // parts]
    skipped = Skipped(out / (f"skipped.shard-{part}-of-{parts}.csv" if parts > 1 else "skipped.csv"), len(items), allowed_skips)
    pool.run(work, mine, workers=workers or _cores(), progress=progress, skip=skipped.add)
    _write_skipped(skipped.file, skipped.rows)  # those of an earlier start may have been mended
    if skipped.rows:
        left = f"{len(skipped.rows)} of {len(mine)} objects are left out, their meshes cannot be used"
        print(f"{left}: see {skipped.file}", file=sys.stderr)

    if parts > 1:
        manifest = out / f"manifest.shard-{part}-of-{parts}.csv"
        _write_manifest(manifest, _kept(mine, skipped.rows), work)
        if not all((out / f"manifest.shard-{index}-of-{parts}.csv").exists() for index in range(parts)):
            return manifest
        skipped.rows = [row for index in range(parts) for row in _read_skipped(out / f"skipped.shard-{index}-of-{parts}.csv")]
        skipped.file = out / "skipped.csv"
        _write_skipped(skipped.file, skipped.rows)
        skipped.check()
    items = _kept(items, skipped.rows)
    if views and val_fraction:
        items = _hold_out(items)  # where the one that was to be held out cannot be used
        _check_held_out(items, classes)
    for item in items if parts > 1 else ():
        if missing := work.missing(item):
            raise FileNotFoundError(f"all {parts} shards are done, but {work.clip(item, missing[0])} is missing")
    if views:
        three_die_bench.write_index(out, items, classes)
    else:
        _write_manifest(out / "manifest.csv", items, work)
    _write_summary(out / "dataset.json", items, classes, arguments)
    return out if views else out / "manifest.csv"


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse_shard(text: str) -> tuple[int, int]:
    """``i/n`` as (i, n), i from 0."""
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if found is None or int(found[1]) >= int(found[2]):
        raise ValueError(f"shard is {text!r}, expected i/n with 0 <= i < n, such as 0/4")
    return int(found[1]), int(found[2])


def _family_sources(families: Sequence[str] | None, objects: int | None) -> Sources:
    """Classes, and for each class its objects as (id, source)."""
    from vsie.render import families as procedural

    known = procedural.names()
    classes = list(known if families is None else families)
    for name in classes:
        if name not in known:
            raise ValueError(f"families names {name!r}, expected any of {', '.join(known)}")
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"families is {classes}, expected at least one name and none twice")
    if objects is None:
        raise ValueError("objects is null, expected a number: procedural objects have no end")
    count = len(classes)
    return classes, [
        [(f"{name}_{index:06d}", name) for index in range(label, objects, count)] for label, name in enumerate(classes)
    ]


def _file_sources(root: Path) -> Sources:
    """Classes, and for each class its objects as (id, path), from a folder of files or a ShapeNetCore root."""
    if not root.is_dir():
        raise FileNotFoundError(f"meshes={root}: no such folder")
    if (root / "all_objects.npy").exists():
        from vsie.render import meshes

        listed = meshes.shapenet(root)
        found = [(entry.synset, f"{entry.synset}_{entry.object}", str(entry.path)) for entry in listed]
    else:
        files = visible_files(root, MESH_SUFFIXES)
        inside = [path.relative_to(root) for path in files]
        loose = [path for path in inside if len(path.parts) < 2]
        if loose:
            raise ValueError(f"meshes={root}: {loose[0]} is in no class, expected a folder per class with its files")
        found = [
            (path.parts[0], re.sub(r"[^\w.-]+", "-", "_".join(path.with_suffix("").parts)), str(file))
            for path, file in zip(inside, files, strict=True)
        ]
    if not found:
        raise FileNotFoundError(f"meshes={root}: no {', '.join(MESH_SUFFIXES)} file in it")
    twice = [name for name, count in Counter(name for _, name, _ in found).items() if count > 1]
    if twice:
        paths = [path for _, name, path in found if name == twice[0]]
        raise ValueError(f"meshes={root}: {paths[0]} and {paths[1]} have the same object id {twice[0]!r}; rename one")
    classes = sorted({label for label, _, _ in found})
    return classes, [[(name, path) for label, name, path in found if label == wanted] for wanted in classes]


def _plan(classes: list[str], sources: list[list[tuple[str, str]]], objects: int | None, val_fraction: Fraction) -> list[Item]:
    """All items, classes in turn: balanced for any number of objects that the classes allow.

    Every (1 / val_fraction)-th object of a class is in ``val``; where in a class the first one comes moves from
    class to class, so the share is right over few objects per class too.
    """
    turns = [
        (position, label)
        for position in range(max(map(len, sources)))
        for label in range(len(classes))
        if position < len(sources[label])
    ]
    items = []
    for index, (position, label) in enumerate(turns[:objects]):
        name, source = sources[label][position]
        phase = position * val_fraction + label * val_fraction % 1
        split = "val" if (phase + val_fraction) // 1 > phase // 1 else "train"
        items.append(Item(index, name, label, split, source))
    return items


def _hold_out(items: Sequence[Item]) -> list[Item]:
    """The plan with an object of each class in ``val``: the last one, where there are several and none is."""
    alone = _never_held_out(items)
    last = {item.label: item.index for item in items if alone.get(item.label, 0) > 1}
    return [replace(item, split="val") if item.index == last.get(item.label) else item for item in items]


def _check_held_out(items: Sequence[Item], classes: Sequence[str]) -> None:
    """Refuse classes without an object in ``val``, as all that reads 3DIEBench's layout would."""
    if alone := _never_held_out(items):
        names = ", ".join(f"{classes[label]} ({count} in train)" for label, count in alone.items())
        raise ValueError(
            f"layout=3diebench needs an object of every class in val, found none of {names}: expected at least 2 usable objects "
            f"of each class (objects={2 * len(classes)} where they are procedural), or val_fraction=0 to hold out nothing"
        )


def _never_held_out(items: Sequence[Item]) -> Counter[int]:
    """Labels of which no object is in ``val``, with their numbers of objects."""
    held_out = {item.label for item in items if item.split == "val"}
    return Counter(item.label for item in items if item.label not in held_out)


def _claim(out: Path, arguments: dict, overwrite: bool) -> None:
    """Make `out` this run's folder, or see that it already is; one process at a time, so that of shards which start together the
    first alone removes what was there.

    Raises:
        FileExistsError: When it holds something else.
        ValueError: When it was begun with other arguments.
    """
    record = out / "render.json"
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"out={out} is a file, expected a folder")
    # listed first: what another shard has written in the meantime is there only after its record
    others = sorted(name for name in os.listdir(out) if not name.startswith(f".{record.stem}.")) if out.is_dir() else []
    if others and not record.exists():
        raise FileExistsError(f"out={out} holds {others[0]!r} and no render.json, so it is not a data set of ours")
    with locked(record):
        if record.exists():
            try:
                before = json.loads(record.read_text(encoding="utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError):
                raise ValueError(f"{record} is not readable as JSON; remove {out} or choose another folder") from None
            before = {"meshes_listed": arguments.get("meshes_listed")} | before  # which 0.1.0 did not note
            noted = [name for name in ("layout", "translated", "changed") if name in before]  # where there is something to note
            different = [name for name in dict.fromkeys([*arguments, *noted]) if before.get(name) != arguments.get(name)]
            if different and not overwrite:
                found = "; ".join(f"{name}: found {before.get(name)!r}, expected {arguments.get(name)!r}" for name in different)
                raise ValueError(
                    f"out={out} was begun with other arguments ({found}); give the same ones to continue, or another folder"
                )
            if different:
                _empty(out, before.get("layout") == "3diebench")
        write_text(record, json.dumps({"version": vsie.__version__} | arguments, indent=1) + "\n")


def _empty(out: Path, views: bool) -> None:
    """Remove a data set of ours but its record: first what says that it is whole, then clips, or the views of its classes."""
    classes = out / "classes.txt"
    folders = ["clips", *(classes.read_text(encoding="utf-8").split("\n") if views and classes.is_file() else ())]
    for path in (out / "dataset.json", *out.glob("manifest*.csv"), *out.glob("skipped*.csv"), *out.glob("*.npy")):
        path.unlink(missing_ok=True)
    for name in filter(None, folders):
        shutil.rmtree(out / name, ignore_errors=True)
    classes.unlink(missing_ok=True)


def _write_skipped(file: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write the objects that are skipped, or no file where there are none."""
    if rows:
        write_text(file, _csv([SKIPPED_COLUMNS, *rows]))
    else:
        file.unlink(missing_ok=True)


def _read_skipped(file: Path) -> list[list[str]]:
    """What `_write_skipped` wrote."""
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8") as lines:
        return list(csv.reader(lines))[1:]


def _kept(items: Sequence[Item], skipped: Sequence[Sequence[str]]) -> list[Item]:
    """The items that are not skipped."""
    names = {name for name, _, _ in skipped}
    return [item for item in items if item.object not in names]


def _csv(rows: Iterable[Sequence]) -> str:
    """Rows as the text of a CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write_manifest(path: Path, items: Sequence[Item], work: Work) -> None:
    """Write the rows of `items`, in the plan's order."""
    rows: list[Sequence] = [MANIFEST_COLUMNS]
    for item in items:
        for clip in range(work.clips_per_object):
            video, poses = (path.relative_to(work.out).as_posix() for path in work.files(item, clip))
            rows.append([video, item.label, item.object, clip, item.split, poses])
    write_text(path, _csv(rows))


def _write_summary(path: Path, items: Sequence[Item], classes: list[str], arguments: dict) -> None:
    """Write dataset.json: what this is, how it was made, what may be done with it."""
    clips = len(items) * arguments["clips_per_object"]
    labels = Counter(item.label for item in items)
    if arguments["meshes"] is None:
        licence = "Apache-2.0: the meshes are made by vsie's own procedural families"
    else:
        licence = f"derived from the meshes in {arguments['meshes']}: their licence holds for the clips too"
    summary = {
        "seed": arguments["seed"],
        "version": vsie.__version__,
        "licence": licence,
        "counts": {
            "objects": len(items),
            "clips": clips,
            "frames": clips * arguments["frames"],
            "splits": {name: sum(item.split == name for item in items) for name in ("train", "val")},
            "classes": {name: labels[label] for label, name in enumerate(classes)},
        },
        "arguments": arguments,
    }
    write_text(path, json.dumps(summary, indent=1) + "\n")
