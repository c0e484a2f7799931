"""Rendering a list of objects in one process or several: bar, clean stop, errors that name the object.

Workers are spawned, one thread each. They hold no state but the work's description, so one that dies costs its object
only: the next run finds what is missing.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from vsie.render.dataset import Item, Work

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_POLL_SECONDS = 0.2


class UnusableMesh(ValueError):
    """An object's mesh file cannot be used; others can."""


def run(
    work: Work, items: Sequence[Item], *, workers: int, progress: bool, skip: Callable[[Item, str], None]
) -> None:
    """Render what is missing of `items`.

    Args:
        work: How to render an item.
        items: The objects.
        workers: Processes; with 1, or one object, everything happens in this process.
        progress: Show a bar with frames per second.
        skip: Told of an object whose mesh file cannot be used, and why, in this process; what it raises stops the run.

    Raises:
        SystemExit: After SIGINT (130) or SIGTERM (143): clips that were begun are finished, no other is started. A
            second signal ends the process at once.
        RuntimeError: When a worker process died.
    """
    missing = {item.index: len(work.missing(item)) for item in items}
    todo = [item for item in items if missing[item.index]]
    for item in todo:
        _remove_leftovers(work, item)
    frames = work.settings.frames
    total = len(items) * work.clips_per_object * frames
    done = total - sum(missing.values()) * frames
    bar = tqdm(total=total, initial=done, unit="frame", desc="render", disable=not progress, mininterval=0.5)
    with bar, _signals() as received:
        if not todo:
            return
        runner = _run_here if min(workers, len(todo)) == 1 else _run_spawned
        runner(work, todo, workers, lambda: bool(received), bar.update, skip)
    if received:
        left = sum(bool(work.missing(item)) for item in todo)
        name = signal.Signals(received[0]).name
        print(f"stopped by {name}: {left} of {len(items)} objects are left; start again to continue", file=sys.stderr)
        raise SystemExit(128 + received[0])


def _run_here(
    work: Work, todo: list[Item], workers: int, stopped: Callable[[], bool], report: Callable, skip: Callable
) -> None:
    """Render in this process, with one thread."""
    with one_thread():
        for item in todo:
            if stopped():
                return
            try:
                report(work.render(item, stopped))
            except UnusableMesh as error:
                skip(item, str(error))


def _run_spawned(
    work: Work, todo: list[Item], workers: int, stopped: Callable[[], bool], report: Callable, skip: Callable
) -> None:
    """Render in `workers` spawned processes; a few objects wait in the queue, so stopping is quick."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    waiting = iter(todo)
    pending: dict[concurrent.futures.Future, Item] = {}
    count = min(workers, len(todo))
    try:
        with (
            thread_environment(),
            concurrent.futures.ProcessPoolExecutor(count, context, _start_worker, (work, stop)) as executor,
        ):
            try:
                with _interrupt_held_back():
                    for item in itertools.islice(waiting, 3 * count):
                        pending[executor.submit(_render_item, item)] = item
                while pending:
                    done, _ = concurrent.futures.wait(pending, _POLL_SECONDS, concurrent.futures.FIRST_COMPLETED)
                    if stopped():
                        stop.set()
                    for future in done:
                        try:
                            report(future.result())
                        except UnusableMesh as error:
                            skip(pending[future], str(error))
                        del pending[future]
                        item = None if stop.is_set() else next(waiting, None)
                        if item is not None:
                            pending[executor.submit(_render_item, item)] = item
            finally:
                stop.set()
                executor.shutdown(cancel_futures=True)
    except BrokenProcessPool:
        for item in pending.values():
            _remove_leftovers(work, item)
        if not stopped():  # else the signal went to the whole process group, and the workers are gone before us
            names = ", ".join(item.object for item in list(pending.values())[:count])
            raise RuntimeError(
                f"a render process died (killed, or out of memory?) at one of these objects: {names}; "
                f"start again to continue, with fewer workers if memory is short"
            ) from None


_worker: tuple[Work, Callable[[], bool]] | None = None


def _start_worker(work: Work, stop) -> None:
    """Set a spawned process up: go when the parent goes, one thread."""
    global _worker
    threading.Thread(target=_follow_parent, daemon=True).start()
    limit_threads()
    _worker = work, stop.is_set


def _follow_parent() -> None:
    """End this process when its parent has died, which no signal tells."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _render_item(item: Item) -> int:
    """Render one item in a worker; the number of frames."""
    work, stopped = _worker
    return work.render(item, stopped)


def limit_threads() -> contextlib.AbstractContextManager:
    """Keep linear algebra and OpenCV to one thread from now on: the work is split over processes already.

    Returns:
        What ends the limit of linear algebra, when left; OpenCV's stays.
    """
    import cv2
    import threadpoolctl

    cv2.setNumThreads(1)
    return threadpoolctl.threadpool_limits(1)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """`limit_threads`, for a while."""
    import cv2

    before = cv2.getNumThreads()
    try:
        with limit_threads():
            yield
    finally:
        cv2.setNumThreads(before)


@contextlib.contextmanager
def thread_environment() -> Iterator[None]:
    """Give the processes started inside one thread each."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the yielded list instead of dying of them; the second one acts as usual."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: object) -> None:
        received.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, not even while they import; for this one it comes at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _remove_leftovers(work: Work, item: Item) -> None:
    """Remove the temporary files of processes that were killed; those of a living process are left alone."""
    for path in work.folder(item).glob(".*.partial.*"):
        found = re.search(r"\.(\d+)\.partial\.", path.name)
        if found is None or not _alive(int(found[1])):
            path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    """Whether a process of this number runs on this machine; a dead one that nobody has waited for yet does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # there is no /proc on a Mac
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return True
