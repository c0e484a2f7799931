"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    The temporary name keeps the suffix of `path` (writers choose their format by it) and starts with a dot. What is
    written may be a file or a folder; a folder replaces `path` only where `path` does not exist yet.

    Args:
        path: The final place. Its folder is made when it does not exist.

    Raises:
        OSError: With the folder named, when the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    _remove(temporary)  # of a process that had this number and was killed
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(errno.ENOSPC, f"no space left on the disk while writing {path}; nothing was replaced") from None
        raise
    finally:
        _remove(temporary)


def visible_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files below a folder that end in one of `suffixes` (lower case) and are not hidden, sorted; links are followed."""
    found, entered = [], set()
    for base, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(base)) in entered:  # a link to a folder above
            folders.clear()
            continue
        entered.add(real)
        visible = (name for name in names if not name.startswith("."))
        found += [Path(base, name) for name in visible if os.path.splitext(name)[1].lower() in suffixes]
    return sorted(found)


def remove_partial(folder: Path, pattern: str) -> None:
    """Remove what killed processes left half-written (`atomic_path`) of files in `folder` whose names a pattern fits.

    What a process that is running on this machine has begun stays.
    """
    stem, suffix = Path(pattern).stem, Path(pattern).suffix
    for left in folder.glob(f".{stem}.*.partial{suffix}"):
        process = left.name.removesuffix(f".partial{suffix}").rpartition(".")[2]
        if process.isdigit() and not _running(int(process)):
            _remove(left)


def _running(process: int) -> bool:
    """Whether a process of this number, another one than this, is there."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One builder of a folder at a time, over all processes of this machine: ``.<folder>.lock`` beside it.

    Raises:
        RuntimeError: In a worker that runs its parent's script again: it would wait for its parent's lock for ever.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(f'{folder} is built with workers: put what the script does below if __name__ == "__main__":')
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def reserve(file: int, size: int) -> None:
    """Take `size` bytes of the disk for an open file (its descriptor) that is going to be written through a map.

    Raises:
        OSError: The disk is too small: now, where a write through the map would end the program by a signal.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
