"""The archive that keeps the estimated motion of one video, and whether it still is that video's.

Notable: an archive has the fields of a pose file (`times`, `object_in_camera`, and `intrinsics` where they were used), so a
manifest of archives reads like one with known poses. What more there is says how far to trust them: poses of *different* clips
have no common frame, and across a cut nothing is known (`solver.known_pairs`). Every archive holds the settings that made it,
and what tells its video and the facts that were used from others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vsie.data import image_sequence
from vsie.data.manifest import Manifest

VERSION = 6  # of the archives; a change of the estimators' results raises it
USES = ("intrinsics", "depth", "mask")


def settings(flow: Mapping[str, Any], egomotion: Mapping[str, Any], size: int, uses: Sequence[str]) -> str:
    """All that a result depends on beside the video and what is told of it (`source_of`), as text: equal text, equal result."""
    drop = {"workers", "batch", "device"}
    plain = {name: {key: value for key, value in part.items() if key not in drop}
             for name, part in (("flow", flow), ("egomotion", egomotion))}  # fmt: skip
    return json.dumps({"version": VERSION, "size": size, "uses": sorted(uses), **plain}, sort_keys=True)


def source_of(video: Path, told: Path | None = None, uses: Sequence[str] = ()) -> str:
    """What tells a video, and what is used of its pose file, from others, as text.

    Of both size and time of change, and what decides where these differ: their content.
    """
    status = video.stat()
    source = {"bytes": status.st_size, "changed": status.st_mtime_ns, "sha256": image_sequence.digest(video)}
    return json.dumps(source | {"facts": {"changed": _changed(told), "sha256": _digest(told, uses)}})


def _changed(file: Path | None) -> list[int]:
    """Size and time of change of a file; nothing where there is none."""
    return [] if file is None else [file.stat().st_size, file.stat().st_mtime_ns]


def _digest(file: Path | None, uses: Sequence[str]) -> str:
    """The SHA-256 of what may be used of a pose file."""
    found = hashlib.sha256()
    for name, value in sorted(read_facts(file, uses).items()):
        found.update(f"{name} {value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    return found.hexdigest()


def read_facts(file: Path | None, uses: Collection[str]) -> dict[str, np.ndarray]:
    """What a pose file has of `uses`; nothing where there is none."""
    if file is None or not uses:
        return {}
    try:
        with np.load(file) as archive_file:
            return {name: np.asarray(archive_file[name]) for name in uses if name in archive_file.files}
    except Exception as error:  # zip, header and CRC errors come as half a dozen types
        raise ValueError(f"{file}: cannot be read as .npz ({error})") from None


def _same(video: Path, source: Mapping[str, Any]) -> bool:
    """Whether a video is the one of `source_of`; copying it changes its time, so the content decides."""
    status = video.stat()
    if video.is_dir() or video.suffix == image_sequence.SUFFIX:  # what it is made of changes without it
        return image_sequence.digest(video) == source["sha256"]
    if status.st_size != source["bytes"]:
        return False
    return status.st_mtime_ns == source["changed"] or image_sequence.digest(video) == source["sha256"]


def stale(file: Path, wanted: str, video: Path, told: Path | None = None) -> bool:
    """Whether an archive is missing (True), or made from this video by the wanted settings (False).

    Args:
        file: The archive.
        wanted: See `settings`.
        video: What it is to be the motion of.
        told: The pose file with what else is known of it.

    Raises:
        ValueError: It was made by other settings, from another video or from other facts, or is no archive of ours; the file
            and the difference are named.
    """
    if not file.is_file():
        return True
    try:
        with np.load(file) as archive:
            found, source = json.loads(str(archive["settings"])), json.loads(str(archive["source"]))
    except Exception as error:  # zip, header, key and JSON errors
        raise ValueError(f"{file}: not an archive of estimated motion ({error}); remove it or choose another out") from None
    expected = json.loads(wanted)
    different = [f"{name}: found {found.get(name)!r}, expected {value!r}" for name, value in expected.items()
                 if found.get(name) != value]  # fmt: skip
    if different:
        raise ValueError(f"{file}: motion estimated with other settings ({'; '.join(different)}); give the same ones, "
                         "overwrite=true, or another out")  # fmt: skip
    if not _same(video, source):
        raise ValueError(f"{file}: motion estimated from another video than {video} is now ({source['bytes']} bytes then, "
                         f"{video.stat().st_size} now); remove it, give overwrite=true, or another out")  # fmt: skip
    facts, uses = source["facts"], expected["uses"]
    if _changed(told) != facts["changed"] and _digest(told, uses) != facts["sha256"]:
        raise ValueError(f"{file}: motion estimated with other {', '.join(uses)} than are known of {video} now "
                         f"({told or 'no pose file'}); remove it, give overwrite=true, or another out")  # fmt: skip
    return False


def archive(out: Path, manifest: Manifest, row: int) -> Path:
    """Where the motion of a row is kept."""
    name = Path(str(manifest.path[row]))
    parts = name.parts[1:] if name.is_absolute() else name.parts
    return out / "motion" / Path(*parts[:-1], f"{parts[-1]}.npz")


def holds(file: Path, text: str) -> bool:
    """Whether an archive is there and of these settings."""
    if not file.is_file():
        return False
    with np.load(file) as found:
        return json.loads(str(found["settings"])) == json.loads(text)
