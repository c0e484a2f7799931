"""A grid of runs over seeds: trained or taken, judged alike, and answered on one page.

A run's place is ``OUT/runs/<row>-<seed>``. One that is there and complete is not trained again, one that has been judged on what
is asked is not judged again; both are seen from what lies in the folder, so the same command goes on where it was stopped.
Runs trained elsewhere are taken by links to their files: nothing is ever written to where they are. What was found of judged
runs can be kept without their weights, a small folder each, and taken from there: a page can be made where nothing was trained.

Notable: every run is trained and judged by the tools themselves, each in a process of its own with its share of the cores: two
that both take all cores slow each other down by a factor of ten. Data is rendered once, before any of them starts.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import glob
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from vsie import checkpoint, components, pipeline
from vsie.config import CONFIGS, compose, from_plain, to_plain
from vsie.evaluation import paired, suite
from vsie.files import atomic_path, write_text
from vsie.report.write import STAMP
from vsie.schemas import GridConfig, TrainConfig
from vsie.study import page, verdicts

TOOLS = CONFIGS.parent / "tools"
SAMPLES = "samples.npz"
FOUND = ("config.yaml", "metrics.json", SAMPLES, STAMP)  # what the page is made of
LINKED = ("config.yaml", "log.csv", "checkpoint/*", "features/[!.]*/*")  # a folder each; none that is half written
TAIL = 12  # lines of a failed command's log that are shown


@dataclass(frozen=True, eq=False)
class Cell:
    """One run of the grid.

    Attributes:
        row: Name of its row.
        seed: Its seed.
        folder: Where it is, or will be.
        overrides: What `tools/train.py` is told; None where it was trained elsewhere and no row of the grid says.
        config: The whole config; of a taken run its own.
        source: Where it was trained, of a taken run.
    """

    row: str
    seed: int
    folder: Path
    overrides: tuple[str, ...] | None
    config: TrainConfig
    source: Path | None = None

    @property
    def name(self) -> str:
        """Of the run in messages."""
        return f"{self.row}, seed {self.seed}"


def quoted(key: str, value: str | Path) -> str:
    """An override ``key=value`` whose value Hydra takes literally."""
    return f"{key}='" + str(value).replace("'", "\\'") + "'"


def planned(
    grid: GridConfig, out: Path, *, rows: Sequence[str] | None = None, seeds: Sequence[int] = (0, 1, 2),
    images: int | None = None, overrides: Sequence[str] = (),
) -> list[Cell]:  # fmt: skip
    """The cells of a grid, seed by seed, so that a study that is stopped early has whole seeds.

    Raises:
        ValueError: An unknown row, a seed twice, a group chosen twice, or an override that does not fit, with the row named.
    """
    rows = list(grid.rows) if rows is None else list(rows)
    unknown = [row for row in rows if row not in grid.rows]
    if unknown:
        raise ValueError(f"rows: the grid has no row {', '.join(unknown)}; it has {', '.join(grid.rows)}")
    if len(set(seeds)) < len(seeds) or not seeds:
        raise ValueError(f"seeds is {list(seeds)}, expected at least one, each once")
    own = [entry for entry in overrides if entry.partition("=")[0].lstrip("+") == "trainer.images"]
    if own and images is not None:
        raise ValueError(f"images is {images} and overrides has {own[-1]}, expected one of them")
    budget = images if images is not None or own else grid.images
    made: dict[str, tuple[tuple[str, ...], TrainConfig]] = {}
    for row in rows:
        told = [*grid.common, *overrides, *grid.rows[row], *([] if budget is None else [f"trainer.images={budget}"])]
        keys = [entry.partition("=")[0] for entry in told]
        twice = sorted({key for key in keys if keys.count(key) > 1 and (CONFIGS / key).is_dir()})
        if twice:  # the last one would win, and the row would be another one than it looks
            raise ValueError(f"row {row}: {', '.join(twice)} is chosen twice: {', '.join(told)}")
        try:
            made[row] = tuple(told), compose("train", told)
        except ValueError as error:
            raise ValueError(f"row {row}: {error}") from None
    cells = []
    for seed in seeds:
        for row, (told, config) in made.items():
            folder = out / "runs" / f"{row}-{seed}"
            config = dataclasses.replace(config, seed=seed, out=str(folder))
            cells.append(Cell(row, seed, folder, (*told, f"seed={seed}"), config))
    return cells


def taken(take: Sequence[str], out: Path) -> list[Cell]:
    """The runs that ``name=PATTERN`` say, each a row's, with the seeds of their own configs.

    Raises:
        ValueError: Not of that form; two runs of a row with the same seed.
        FileNotFoundError: A pattern that no folder fits, or a folder that holds no run.
    """
    cells: dict[tuple[str, int], Cell] = {}
    for entry in take:
        row, equals, pattern = entry.partition("=")
        if not (row and equals and pattern):
            raise ValueError(f"take: found {entry!r}, expected row=PATTERN of run folders")
        folders = [Path(name) for name in sorted(glob.glob(str(Path(pattern).expanduser()))) if Path(name).is_dir()]
        if not folders:
            raise FileNotFoundError(f"take: {pattern} matches no folder")
        for source in folders:
            config = from_plain(checkpoint.read_config(source, weights=not weightless(source)))
            if (row, config.seed) in cells:
                other = cells[row, config.seed].source
                raise ValueError(f"take: {source} and {other} are both {row} with seed {config.seed}")
            folder = out / "runs" / f"{row}-{config.seed}"
            cells[row, config.seed] = Cell(row, config.seed, folder, None, config, source.resolve())
    return list(cells.values())


def steps(config: TrainConfig) -> int:
    """How many steps the training of a config takes."""
    return max(1, round(config.trainer.images / (config.trainer.batch * config.data.windows * config.data.frames)))


def progress(run: Path) -> tuple[int, int]:
    """The step that a run has come to, and the last one; (0, 0) where there is no checkpoint."""
    if checkpoint.locate(run, missing_ok=True) is None:
        return 0, 0
    return int(checkpoint.load_state(run)["step"]), steps(from_plain(checkpoint.read_config(run)))


def complete(run: Path) -> bool:
    """Whether a run has been trained to its end."""
    done, wanted = progress(run)
    return done >= wanted > 0


def weightless(run: Path) -> bool:
    """Whether a folder holds what was found of a run (`keep`) and not the run itself."""
    return all((run / name).is_file() for name in FOUND) and checkpoint.locate(run, missing_ok=True) is None


def keep(runs: Iterable[Path], folder: Path) -> None:
    """Copy what was found of judged runs into `folder`, a folder each of some hundred kB, which `taken` reads.

    Outcomes of objects that no measure of the page is made of are left out, and the place where the run was.
    """
    for run in runs:
        place = folder / run.name
        if (run / STAMP).resolve() == (place / STAMP).resolve():  # also of a run that was taken from there
            continue
        (place / STAMP).unlink(missing_ok=True)  # the last to come: what is half copied is not taken for whole
        place.mkdir(parents=True, exist_ok=True)
        samples, clips = paired.load(run / SAMPLES)
        paired.save(place / SAMPLES, {key: sample for key, sample in samples.items() if verdicts.on_page(key)}, clips=clips)
        config = checkpoint.read_config(run, weights=False) | {"out": None}
        write_text(place / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        for name in ("metrics.json", STAMP):
            with atomic_path(place / name) as temporary:
                shutil.copyfile(run / name, temporary)


def link(source: Path, folder: Path) -> None:
    """Let `folder` be the run of `source` by links to its files: what is written there is not written to the source.

    What a study found of the run is linked as well; whether it answers what is asked now, `judged` tells.

    Raises:
        FileExistsError: The folder holds a run that is no such link.
    """
    held = checkpoint.locate(folder, missing_ok=True) if folder.exists() else None
    if held is not None and not (held / checkpoint.FILES[0]).is_symlink():
        raise FileExistsError(f"{folder} holds a run of its own; give another out=, or leave out take={source}")
    place = None if weightless(source) else checkpoint.locate(source)
    patterns = (*LINKED, *(FOUND if (source / STAMP).is_file() else ()))
    files = [file for pattern in patterns for file in sorted(source.glob(pattern)) if file.is_file()]
    wanted = {Path(checkpoint.FOLDER) / file.name: file for file in place.iterdir() if file.is_file()} if place else {}
    wanted |= {file.relative_to(source): file for file in files if file.parent.name != checkpoint.FOLDER}
    for name, file in wanted.items():
        target = folder / name
        if target.is_symlink() and Path(os.readlink(target)) == file.resolve():
            continue
        if target.exists() and not target.is_symlink():
            continue  # made here
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(file.resolve())


def identity(run: Path, protocol: Sequence[str], data: str | None, compat: str | None = None) -> dict[str, Any]:
    """What an evaluation is of: the weights, the questions, how they are asked (`compat`: as released too), the clips where these
    are not the run's own."""
    weights = None if weightless(run) else checkpoint.locate(run) / checkpoint.FILES[0]
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights else None
    return {"weights": found, "protocol": sorted(protocol), "measures": suite.VERSION, "data": data, "compat": compat}


def stamp(run: Path) -> dict[str, Any]:
    """What a run was judged on, as `identity` says it.

    Raises:
        ValueError: The file is something else; it is named.
    """
    file = run / STAMP
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} does not say what a run was judged on ({error})") from None
    if not isinstance(found, dict) or not isinstance(found.get("protocol"), list):
        raise ValueError(f"{file} does not say what a run was judged on (protocol is missing)")
    return found


def judged(run: Path, protocol: Sequence[str], data: str | None, compat: str | None = None) -> bool:
    """Whether a run, as it is, has been asked all of `protocol`."""
    if not (run / STAMP).is_file() or not (run / "metrics.json").is_file() or not (run / SAMPLES).is_file():
        return False
    found, wanted = stamp(run), identity(run, protocol, data, compat)
    same = ("measures", "data", "compat") if weightless(run) else ("weights", "measures", "data", "compat")
    return set(wanted["protocol"]) <= set(found["protocol"]) and all(found.get(key) == wanted[key] for key in same)


def config_in(folder: Path) -> TrainConfig | None:
    """The config of the run, or of what was found of one, that is in a folder; None where there is none."""
    if not weightless(folder) and checkpoint.locate(folder, missing_ok=True) is None:
        return None
    return from_plain(checkpoint.read_config(folder, weights=not weightless(folder)))


def unlike(own: TrainConfig, plan: TrainConfig) -> list[str]:
    """The options in which a run differs from what the grid says, in words; none that its method makes no use of."""
    method = components.find("methods", own.method["name"])
    unused = [] if method.NEEDS_PREDICTOR else ["predictor."]
    if not (method.NEEDS_PREDICTOR or method.told):
        unused += ["conditioning.encoding", "conditioning.centred", "conditioning.colour"]
    own, said = (pipeline.flatten(to_plain(config)) for config in (own, plan))
    keys = [key for key in sorted(own.keys() | said.keys())
            if own.get(key) != said.get(key) and key not in pipeline.FREE and not key.startswith(tuple(unused))]  # fmt: skip
    return [f"{key} is {own.get(key)!r} and not {said.get(key)!r}" for key in keys]


@dataclass
class Processes:
    """Commands, each logged and with its share of the cores; all are stopped together."""

    threads: int
    running: set[subprocess.Popen] = field(default_factory=set)
    stopped: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, command: Sequence[str], log: Path) -> int:
        """Run a command to its end; its exit status, or -1 where it was not started because all were stopped."""
        root, known = str(CONFIGS.parent), os.environ.get("PYTHONPATH")
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads),
                                    "PYTHONPATH": f"{root}{os.pathsep}{known}" if known else root}  # fmt: skip
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            stream.write(f"\n$ {' '.join(command)}\n".encode())
            stream.flush()
            with self.lock:
                if self.stopped:
                    return -1
                # A session of its own: Ctrl-C reaches the study alone, which asks its runs to save what they have.
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment,
                    start_new_session=True,
                )  # fmt: skip
                self.running.add(process)
            try:
                return process.wait()
            finally:
                with self.lock:
                    self.running.discard(process)

    def stop(self, patience: float = 60.0) -> None:
        """Ask all commands to stop (training saves first), and end those that do not."""
        with self.lock:
            self.stopped, asked = True, list(self.running)
        last = time.monotonic() + patience
        for process in asked:
            process.terminate()
        for process in asked:
            try:
                process.wait(max(0.1, last - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the study as Ctrl-C does, so that it does not leave its runs behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def work(cell: Cell, processes: Processes, *, logs: Path, protocol: Sequence[str], data: str | None, again: bool) -> str | None:
    """Train and judge one run where that is not done yet; None, or what went wrong."""
    log = logs / f"{cell.folder.name}.log"
    if not complete(cell.folder):
        options = [*cell.overrides, quoted("out", cell.folder), f"threads={processes.threads}", "protocol=[]"]
        status = processes.run([sys.executable, str(TOOLS / "train.py"), *options], log)
        if status or not complete(cell.folder):
            return failure(cell, "training", status, log)
    compat = cell.config.compat
    if again or not judged(cell.folder, protocol, data, compat):
        (cell.folder / STAMP).unlink(missing_ok=True)
        given = [quoted("checkpoint", cell.folder), "device=auto", *([quoted("data", data)] if data else [])]
        asked = [[f"protocol=[{','.join(protocol)}]", "overwrite=true"]]
        if compat and (released := [name for name in protocol if name in suite.RELEASED]):
            asked += [[f"protocol=[{','.join(released)}]", f"compat={compat}", quoted("out", cell.folder)]]
        for question in asked:
            status = processes.run([sys.executable, str(TOOLS / "evaluate.py"), *given, *question], log)
            if status:
                return failure(cell, "evaluation", status, log)
        write_text(cell.folder / STAMP, json.dumps(identity(cell.folder, protocol, data, compat), indent=1) + "\n")
    return None


def failure(cell: Cell, what: str, status: int, log: Path) -> str:
    """What went wrong, with the end of the log."""
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    tail = "\n".join(f"    {line}" for line in lines[-TAIL:])
    return f"{cell.name}: {what} ended with status {status}; {log} ends with\n{tail}"


def prepared(cells: Sequence[Cell], data: str | None) -> None:
    """Render and decode what the runs need, and estimate its motion where that is asked for, once for all of them."""
    seen: dict[str, TrainConfig] = {}
    for cell in cells:
        plain = to_plain(cell.config)
        kept = {key: plain["data"][key] for key in ("layout", "root", "size", "cache", "bench", "render")}
        kept |= {key: plain[key] for key in ("flow", "egomotion")} | {"motion": plain["motion"]["source"]}
        seen.setdefault(json.dumps(kept, sort_keys=True, default=str), cell.config)
    for config in seen.values():
        manifest, _ = pipeline.open_data(config)
        pipeline.open_motion(config, manifest)
    if data and cells:
        pipeline.open_data(pipeline.judged_on(from_plain(to_plain(cells[0].config)), data))


def gathered(grid: GridConfig, out: Path, *, take: Sequence[str], **options) -> tuple[list[Cell], list[str]]:
    """All cells, those taken in place of those planned, linked into `out`; and lines about what the reader should know.

    Raises:
        ValueError: Where a run should go, one of another config is; folder and options are named.
    """
    cells = {(cell.row, cell.seed): cell for cell in planned(grid, out, **options)}
    notes = []
    for cell in taken(take, out):
        done, last = progress(cell.source)
        if done < last:
            notes.append(f"{cell.name}: left out, {cell.source} is at step {done} of {last}.")
            cells.pop((cell.row, cell.seed), None)
            continue
        plan = cells.get((cell.row, cell.seed))
        if plan is not None and (different := unlike(cell.config, plan.config)):
            notes.append(f"{cell.name}: taken from {cell.source}, where {'; '.join(different)}.")
        link(cell.source, cell.folder)
        cells[cell.row, cell.seed] = cell
    for cell in cells.values():
        if cell.source is None and (there := config_in(cell.folder)) and (different := unlike(there, cell.config)):
            raise ValueError(f"{cell.name}: {cell.folder} holds another run, where {'; '.join(different)}; give another out=")
    return list(cells.values()), notes


def study(
    *, grid: GridConfig | Mapping[str, Any], out: Path | str, rows: Sequence[str] | None = None, seeds: Sequence[int] = (0, 1, 2),
    images: int | None = None, take: Sequence[str] = (), train: bool = True, again: bool = False, jobs: int = 2,
    threads: int | None = None, protocol: Sequence[str] | None = None, data: str | None = None, overrides: Sequence[str] = (),
    kept: Path | str | None = None,
) -> Path:  # fmt: skip
    """Train or take the runs of a grid, judge them, write the page; returns its file.

    Args:
        grid: Rows and questions.
        out: Folder of the study.
        rows: Only these rows; None for all.
        seeds: Of the runs that are trained.
        images: Budget of a run; None for the grid's.
        take: ``row=PATTERN`` of runs that were trained elsewhere; those that are not complete are left out and named.
        train: Train what is missing.
        again: Judge again what has been judged.
        jobs: Runs at once.
        threads: CPU threads of each; None for its share of the cores.
        protocol: What every run is asked; None for what the grid says.
        data: A manifest that all runs are judged on.
        overrides: Of `tools/train.py`, for every row.
        kept: Folder for what was found of every run, without its weights; `take` reads it.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: See `planned`, `taken`, `link`, `gathered`; no run is there; a run without
            weights was judged by other measures or on other data.
        ChildProcessError: Some run failed; the page about the others has been written.
    """
    grid = grid if isinstance(grid, GridConfig) else GridConfig(**grid)
    out = Path(out)
    protocol = list(grid.protocol or suite.DEFAULT) if protocol is None else list(protocol)
    suite.check_protocols(protocol)
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}, expected at least 1")
    threads = threads or max(1, (os.cpu_count() or 1) // jobs)
    cells, notes = gathered(grid, out, take=take, rows=rows, seeds=seeds, images=images, overrides=overrides)
    trained = {cell: complete(cell.folder) or weightless(cell.folder) for cell in cells}
    if not train:
        missing: dict[str, list[str]] = {}
        for cell in (cell for cell, done in trained.items() if not done):
            missing.setdefault(cell.row, []).append(str(cell.seed))
        notes += [f"{row}: not trained with seed {', '.join(which)}." for row, which in missing.items()]
        cells = [cell for cell in cells if trained[cell]]
    todo = [cell for cell in cells if again or not trained[cell] or not judged(cell.folder, protocol, data, cell.config.compat)]
    for cell in [cell for cell in todo if weightless(cell.folder)]:
        found, place = stamp(cell.folder), cell.source or cell.folder
        if (found.get("measures"), found.get("data")) != (suite.VERSION, data):
            raise ValueError(
                f"{place} holds what was found of a run, not its weights, and cannot be judged again: it was judged by measures "
                f"{found.get('measures')} on data {found.get('data')}, and the others by {suite.VERSION} on {data}"
            )
        lacking = [name for name in protocol if name not in found["protocol"]]
        said = f"was not asked {', '.join(lacking)}" if lacking else "cannot be judged again"
        notes.append(f"{cell.name}: {place} has no weights and {said}.")
        todo.remove(cell)
    failed: dict[Cell, str] = {}
    if todo:
        prepared(todo, data)
        processes, logs = Processes(threads), out / "logs"
        bar = tqdm(total=len(todo), desc="study", unit="run")
        pool = concurrent.futures.ThreadPoolExecutor(jobs)
        with termination_as_interrupt(), bar:
            options = {"logs": logs, "protocol": protocol, "data": data, "again": again}
            futures = {pool.submit(work, cell, processes, **options): cell for cell in todo}
            try:
                for future in concurrent.futures.as_completed(futures):
                    if wrong := future.result():
                        failed[futures[future]] = wrong
                        bar.write(wrong)
                    elif kept is not None:  # a study that is stopped has kept what it found
                        keep([futures[future].folder], Path(kept))
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                processes.stop()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    failed = {cell: failed[cell] for cell in cells if cell in failed}  # in the grid's order, not that of their ends
    done = [(cell.row, cell.seed, cell.folder) for cell in cells if cell not in failed]
    if not done:
        raise ValueError(f"{out}: no run is trained and judged" + "".join(f"\n{line}" for line in (*notes, *failed.values())))
    if kept is not None:
        keep((cell.folder for cell in cells if cell not in todo), Path(kept))
    written = page.write(done, grid, out, notes=[*notes, *(f"{cell.name}: failed." for cell in failed)])
    if failed:
        names = ", ".join(cell.name for cell in failed)
        raise ChildProcessError(f"{len(failed)} of {len(cells)} runs failed: {names}; {written} is about the others")
    return written
