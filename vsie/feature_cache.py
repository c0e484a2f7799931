"""Features of a data set, kept in a run's folder: computed once per (weights, clips), read as memory maps."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vsie import features
from vsie.data import frame_cache, image_shards
from vsie.data.clips import ClipsDataset
from vsie.feature_set import ABOUT, Features, folder_of, linked_features, load_features, write_features
from vsie.files import atomic_path, remove_partial, write_text
from vsie.methods.base import Method


def state_of(dataset: ClipsDataset) -> str:
    """What tells the frames and poses of clips from those that were there before under the same names."""
    source = dataset.source
    key = source.key_of(dataset.rows) if isinstance(source, image_shards.JoinedShards) else getattr(source, "key", None)
    if dataset.manifest.unordered:
        key = (key or image_shards.state(source)) + (" swapped" if source.swap_rb else "")
    return key or frame_cache.state(dataset.manifest, getattr(source, "size", None))


def feature_set(
    run: Path, method: Method, splits, window: tuple[int, int], precision: str, name: str, among_others: bool = False,
    drawn: tuple[Features, np.ndarray] | None = None, seen: Sequence[Features] | None = None,
):  # fmt: skip
    """Features of the splits, computed once per (weights, clips): kept in the run's folder, and read as memory maps.

    Those that a run beside this one has are taken by hard links: of one seed, all methods begin with the same random encoder.
    Of an encoder that sees frames apart they are made from those of its backbone, `seen`, where these are there.
    """
    digest = hashlib.sha256()
    for tensor in (*method.encoder.parameters(), *method.encoder.buffers()):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    found = []
    for number, (split, dataset) in enumerate(splits.items()):
        key = digest.copy()
        source = Path(dataset.manifest.file)  # its content, not its time: opening rendered data writes the same manifest again
        version = hashlib.sha256(source.read_bytes()).hexdigest() if source.is_file() else source.stat().st_mtime_ns
        key.update(f"{source} {version} {split} {len(dataset)} {window} {precision}".encode())
        key.update(getattr(dataset, "told", "").encode())
        key.update(b"" if dataset.manifest.anchored else b"orbits")
        key.update(b"in blocks" if method.encoder.stride > 1 else b"")  # before, clips went through such an encoder whole
        key.update(state_of(dataset).encode())
        if drawn is not None:
            key.update(drawn[1].tobytes())
        if dataset.manifest.unordered:  # held-out rotations have the same index files, and change the split that is judged alone
            key.update("\0".join(dataset.manifest.path[dataset.rows]).encode() + dataset.manifest.label[dataset.rows].tobytes())
        folder = run / "features" / f"{name}-{split}-{key.hexdigest()[:12]}"
        if not (folder / ABOUT).is_file():
            shutil.rmtree(folder, ignore_errors=True)  # links to features that are gone
            said = dict(precision=precision, description=f"{name} {split}")
            options = dict(frames=window[0], widest=window[1], **said)
            with atomic_path(folder) as temporary:
                temporary.mkdir(parents=True)
                twins = (linked_features(other, temporary) for other in sorted(run.parent.glob(f"*/features/{folder.name}")))
                if (twin := next(filter(None, twins), None)) is not None:
                    made = dataclasses.replace(twin, invariant_dim=features.invariant_width(method))
                elif drawn is not None:
                    made = features.drawn_features(method, dataset, *drawn, **said)
                elif seen is not None and method.encoder.apart:
                    made = features.features_of_backbone(method, seen[number], **options, folder=temporary)
                else:
                    made = features.evaluation_features(method, dataset, **options, among_others=among_others, folder=temporary)
                write_features(temporary, made)
            remove_partial(folder.parent, f"{name}-{split}-*")
            for old in folder.parent.glob(f"{name}-{split}-*"):
                if old != folder:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
        found.append(load_features(folder))
    return tuple(found)


class Measured:
    """What was measured of features, remembered beside them (``measured.json``) for all runs in one folder that have the same:
    those of one seed begin with the same random encoder, and what it knows is measured once.

    Args:
        run: The run's folder.
        train: Its features that probes are fitted on, as `feature_set` gives them.
        test: Those that are judged.
    """

    def __init__(self, run: Path, train: Features, test: Features) -> None:
        self.fitted, folder = folder_of(train).name, folder_of(test)
        self.file, self.known = folder / "measured.json", {}
        for file in (*sorted(run.parent.glob(f"*/features/{folder.name}/measured.json")), self.file):
            with contextlib.suppress(FileNotFoundError, ValueError):  # just being removed, or no JSON: it is measured again
                self.known |= json.loads(file.read_text(encoding="utf-8"))

    def __call__(self, key: str, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        """What is known under `key`, measured where nothing is."""
        key = f"{self.fitted}: {key}"
        if key not in self.known:
            self.known[key] = measure()
        write_text(self.file, json.dumps(self.known, indent=1, sort_keys=True))
        return self.known[key]
