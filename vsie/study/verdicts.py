"""What judged runs say, as numbers with intervals: the measures of a study, differences between rows, the plane, verdicts.

A verdict is a function of numbers: a difference is paired by seed and by held-out object (`vsie.evaluation.paired`), and it is
``not shown`` where its 95 % interval holds zero. How much pose a representation holds is what the best of all probes finds, above
that probe's floor: an eraser that only blinds one kind of probe gains nothing by it.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsie.evaluation import paired
from vsie.evaluation.leakage import POSE_COLUMNS
from vsie.evaluation.paired import Estimate, Minus, Quantity, Relative, Sample, Worst, estimate
from vsie.report.measures import COLUMNS, ROWS
from vsie.report.planes import Point
from vsie.study import comparison

MARGIN = 0.01  # of class accuracy: so much less is held to be as good
CLASS = "class_linear"
ERASERS = {
    "leace-rotation": "LEACE (vec R)", "leace-basis": "LEACE (basis of functions)", "linear": "one-shot linear",
    "inlp": "INLP, 8 rounds", "rasa": "RASA, 8 rounds", "orbit": "orbit removal, no labels",
}  # fmt: skip
INPUTS = {"all": "all", "equi": "equi", "inv": "inv, learned", "raw": "raw backbone", "random_init": "random init"}


@dataclass(frozen=True)
class Judged:
    """A run that was judged: what `comparison.read` gives, its row in the study, its samples, and of which clips they are."""

    row: str
    run: comparison.Run
    samples: Mapping[str, Sample]
    clips: str

    def metric(self, key: str) -> float:
        """A measure, NaN where it was not taken."""
        return self.run.metrics.get(key, math.nan)


def read(row: str, folder: Path) -> Judged:
    """A judged run.

    Raises:
        FileNotFoundError, ValueError: See `comparison.read` and `paired.load`.
    """
    samples, clips = paired.load(folder / "samples.npz")
    return Judged(row, comparison.read(folder), samples, clips)


Rows = Mapping[str, Sequence[Judged]]


@dataclass(frozen=True)
class Measure:
    """One number of a run.

    Attributes:
        words: Its name on the page.
        group: Under which heading.
        unit: ``deg`` or ``share``.
        higher: Whether more is better.
        key: In metrics.json; the floor is looked up beside it.
        make: Of a run what it is made of, None where that was not kept; None for the sample of `key`.
        main: Whether a verdict about its group counts it.
        null: Of a run what stands beside a number that was made: who sees nothing.
        number: Of a run the number, where nothing that it is made of is kept.
        whole: In metrics.json, of a latent that is not split.
    """

    words: str
    group: str
    unit: str
    higher: bool
    key: str
    make: Callable[[Judged], Quantity | None] | None = None
    main: bool = True
    null: Callable[[Judged], float] | None = None
    number: Callable[[Judged], float] | None = None
    whole: str = ""

    def key_of(self, run: Judged) -> str:
        """`key`, or `whole` where the run's latent is not split."""
        return self.whole if self.whole and self.key not in run.run.metrics else self.key

    def quantity(self, run: Judged) -> Quantity | None:
        """What it is made of in a run."""
        return run.samples.get(self.key_of(run)) if self.make is None else self.make(run)

    def value(self, run: Judged) -> float:
        """The number of a run; NaN where it was not taken."""
        made = self.quantity(run)
        if made is None and self.number is not None:
            return self.number(run)
        return run.metric(self.key_of(run)) if made is None else made.value

    def floor(self, run: Judged) -> float:
        """What stands beside it: who sees nothing, or the null."""
        if self.null is not None:
            return self.null(run)
        if self.make is not None:  # above its floor, or a share of what is above it
            return 0.0 if not math.isnan(self.value(run)) else math.nan
        return comparison.first_of(run.run.metrics, *(f"{self.key_of(run)}/{name}" for name in ("floor", "null", "shuffled")))

    def text(self, value: float) -> str:
        """The number as text."""
        return "-" if math.isnan(value) else f"{value:.1f}" if self.unit == "deg" else f"{value:.3f}"


def worst(run: Judged, family: str, row: str, columns: Sequence[str] = POSE_COLUMNS) -> Worst | None:
    """Pose left in a representation, above the floor, by the best of the probes; None where one of them was not asked."""
    keys = [f"{family}/{column}/{row}" for column in columns]
    if not all(key in run.samples for key in keys):
        return None
    return Worst([(run.samples[key], run.metric(f"{key}/floor")) for key in keys])


def share_of_class(run: Judged, column: str) -> Relative | None:
    """LeakClass: what equi knows of the class as a share of what all knows."""
    keys = [f"leakage/{column}/{row}" for row in ("equi", "all")]
    if not all(key in run.samples for key in keys):
        return None
    return Relative(run.samples[keys[0]], run.samples[keys[1]], run.metric(f"{keys[1]}/floor"))


@dataclass(frozen=True)
class Mean:
    """The mean of several scores."""

    parts: Sequence[Quantity]

    @property
    def names(self) -> np.ndarray:
        """Those of the scores, which have to agree."""
        return paired.common(self.parts)

    @property
    def value(self) -> float:
        """The mean."""
        return float(np.mean([part.value for part in self.parts]))

    def replicates(self, counts: np.ndarray) -> np.ndarray:
        """The same (R,) in resamples (R, objects)."""
        return np.mean([part.replicates(counts) for part in self.parts], 0)


def over_motions(run: Judged, rung: str, part: str) -> tuple[Mean | None, float]:
    """A rung of the ladder, the mean over the fixed motions that all held-out objects make, and the mean of its nulls."""
    found = {key: sample for key, sample in run.samples.items() if re.fullmatch(rf"ladder/{rung}@[^/]+/{part}", key)}
    most = max((len(sample.names) for sample in found.values()), default=0)
    found = {key: sample for key, sample in found.items() if len(sample.names) == most}
    if not found:
        return None, math.nan
    return Mean(list(found.values())), float(np.mean([run.metric(f"{key}/null") for key in found]))


def _rung(words: str, rung: str, part: str, *, main: bool = True) -> Measure:
    return Measure(
        words, "split", "share", True, f"ladder/{rung}/{part}", lambda run: over_motions(run, rung, part)[0], main,
        lambda run: over_motions(run, rung, part)[1],
    )  # fmt: skip


def _seis(words: str, score: str, part: str) -> Measure:
    """A held-out SEIS score, the mean over the fixed motions; its interval is in metrics.json, what it is made of is not kept."""

    def mean(run: Judged, end: str) -> float:
        pattern = rf"seis/{score}@[^/]+/{part}{end}"
        found = [value for key, value in run.run.metrics.items() if re.fullmatch(pattern, key) and not math.isnan(value)]
        return float(np.mean(found)) if found else math.nan

    return Measure(
        words, "split", "share", True, f"seis/{score}/{part}", main=False, null=lambda run: mean(run, "/null"),
        number=lambda run: mean(run, ""),
    )  # fmt: skip


@functools.cache
def measures() -> tuple[Measure, ...]:
    """All measures of the page, in its order."""
    found = [
        Measure("Top-1, single frame, inv", "class", "share", True, "classification/top1/inv"),
        Measure("Top-1, single frame, all", "class", "share", True, "classification/top1/all"),
        Measure("Top-1, clip, inv", "class", "share", True, "classification/clip_top1/inv", main=False),
        Measure("Top-1, clip, all", "class", "share", True, "classification/clip_top1/all", main=False),
        *(
            Measure(f"Top-1, {views} view{'s' * (views > 1)} as the method takes them together", "class", "share", True,
                    f"aggregate/top1@{views}", main=False)
            for views in (1, 3, 5)
        ),
        Measure("rotation of a pair, equi (or all), probe", "pose", "deg", False, "pose/geodesic_median_deg/equi",
                whole="pose/geodesic_median_deg/all"),
        Measure("rotation of a pair, predictor inverted", "pose", "deg", False, "pose/geodesic_median_deg/inversion"),
        Measure("steering, MRR", "steering", "share", True, "steering/mrr"),
        Measure("steering, H@1", "steering", "share", True, "steering/hit@1"),
    ]
    horizons = (("rpe_deg@1", "over 1 frame"), ("rpe_deg@8", "over 8 frames"), ("drift_deg", "drift at the last frame"))
    for tracker, words in (("inversion", "predictor inverted"), ("probe", "probe")):
        for key, name in horizons:
            found.append(Measure(f"tracking {name}, {words}", "tracking", "deg", False, f"tracking/{tracker}/{key}"))
    split = [
        Measure("pose left in inv, best of all probes", "split", "share", False, "leak/inv",
                lambda run: worst(run, "leakage", "inv")),
        *(
            Measure(f"{COLUMNS[column]} above its floor, inv", "split", "share", False, f"leak/{column}/inv",
                    lambda run, column=column: worst(run, "leakage", "inv", [column]), main=False)
            for column in POSE_COLUMNS
        ),
        Measure("rotation of a pair, inv, probe", "split", "deg", True, "pose/geodesic_median_deg/inv", main=False),
        Measure("class left in equi, of what all knows, linear", "split", "share", False, "leak_class/linear",
                lambda run: share_of_class(run, CLASS)),
        Measure("class left in equi, of what all knows, kNN", "split", "share", False, "leak_class/knn",
                lambda run: share_of_class(run, "class_knn"), main=False),
        _rung("ladder: inv stays as it is", "identity", "inv"),
        _rung("ladder: equi moves by an isometry", "isometry", "equi", main=False),
        _rung("ladder: equi moves by a linear map", "linear", "equi"),
        Measure("equi moves linearly, any motion", "split", "share", True, "ladder/conditional/equi"),
        Measure("variance of inv that lies within objects", "split", "share", False, "ladder/orbit_share/inv"),
        Measure("predictor: defect of the group law", "split", "share", False, "ladder/group_law", main=False),
        _seis("SEIS: S_inv of inv, held out", "inv", "inv"),
        _seis("SEIS: S_equiv of equi, held out", "equiv", "equi"),
        Measure("DCI: disentanglement", "split", "share", True, "dci/disentanglement", main=False),
        Measure("DCI: completeness", "split", "share", True, "dci/completeness", main=False),
    ]  # fmt: skip
    return tuple(found + split)


def on_page(key: str) -> bool:
    """Whether a sample is part of what the page says."""
    return key.startswith(("leakage/", "cleaned/", "single/", "ladder/")) or key in {
        key for measure in measures() for key in (measure.key, measure.whole)
    }


GROUPS = {"class": "class", "pose": "pose", "steering": "steering", "tracking": "tracking", "split": "the split"}


def alike(runs: Sequence[Judged]) -> bool:
    """Whether all were judged on the same clips: else their objects are others, and nothing can be pooled over them."""
    return len({run.clips for run in runs}) < 2


def over_seeds(runs: Sequence[Judged], make: Callable[[Judged], Quantity | None]) -> Estimate | None:
    """A number of a row over its seeds; None where a seed lacks it."""
    made = [make(run) for run in runs]
    return estimate(made) if made and all(item is not None for item in made) else None


def paired_by_seed(
    runs: Sequence[Judged], reference: Sequence[Judged], make: Callable[[Judged, Judged], Quantity | None]
) -> Estimate | None:
    """What `make` says of a run and the run of the reference with its seed, over the seeds that both were judged with.

    None where no pair was judged on the same clips, or not all on the same, where `make` says None of one, or where it is not
    known of one.
    """
    others = {run.run.seed: run for run in reference}
    pairs = [(run, others[run.run.seed]) for run in runs if run.run.seed in others]
    pairs = [(run, other) for run, other in pairs if run.clips == other.clips]
    made = [make(run, other) for run, other in pairs]
    if not alike([run for run, _ in pairs]) or not made or any(item is None for item in made):
        return None
    try:
        found = estimate(made)
    except ValueError:  # other objects
        return None
    return None if math.isnan(found.value) else found


def improvement(measure: Measure, runs: Sequence[Judged], reference: Sequence[Judged]) -> Estimate | None:
    """How much better a row is than another, paired by seed and held-out object: positive is better; None: not known."""

    def better(run: Judged, other: Judged) -> Minus | None:
        own, beside = measure.quantity(run), measure.quantity(other)
        if own is None or beside is None:
            return None
        return Minus(own, beside) if measure.higher else Minus(beside, own)

    return paired_by_seed(runs, reference, better)


def kept(measure: Measure, runs: Sequence[Judged], reference: Sequence[Judged]) -> Estimate | None:
    """The share that a row keeps of what another gains over the floor, paired as `improvement`.

    None where it is not known, or where there is next to nothing to keep: less than .02, or than a quarter of a floor in degrees.
    """

    def share(run: Judged, other: Judged) -> Relative | None:
        own, whole, floor = measure.quantity(run), measure.quantity(other), measure.floor(other)
        if own is None or whole is None or math.isnan(floor):
            return None
        return Relative(own, whole, floor, least=floor / 4 if measure.unit == "deg" else 0.02, higher=measure.higher)

    return paired_by_seed(runs, reference, share)


def counted(verdicts: Iterable[str]) -> str:
    """What several verdicts come to: ``yes``, ``no``, ``mixed`` or ``not shown``."""
    found = set(verdicts)
    if {"better", "worse"} <= found:
        return "mixed"
    return "yes" if "better" in found else "no" if "worse" in found else "not shown"


def against_eraser(leak: Estimate, utility: Estimate) -> str:
    """What is shown of a learned part against an eraser.

    Args:
        leak: Pose left in the learned part less pose left by the eraser.
        utility: Class accuracy of the learned part less that after the eraser.
    """
    less, more = leak.verdict(higher=False), utility.verdict()
    if less == "better":
        if more == "better":
            return "wins: less pose, more class"
        if utility.within(MARGIN):
            return f"wins: less pose, class at most {MARGIN:.0%} below"
        return "less pose, less class: neither wins" if more == "worse" else "less pose; class not shown to be as good"
    if less == "worse":
        return "more class, more pose: neither wins" if more == "better" else "loses: more pose, class not better"
    return {"better": "more class; pose not told apart", "worse": "less class; pose not told apart"}.get(more, "not shown")


def signed(measure: Measure, value: Estimate) -> str:
    """An improvement as text with its interval."""
    form = (lambda x: f"{x:+.1f}") if measure.unit == "deg" else (lambda x: f"{x:+.3f}")
    return f"{form(value.value)} ({form(value.low)} to {form(value.high)})"


def front(points: Sequence[Point]) -> list[str]:
    """The names of the points that no other beats in leak and utility at once."""

    def beaten(point: Point) -> bool:
        return any(
            other.leak.value <= point.leak.value
            and other.utility.value >= point.utility.value
            and (other.leak.value, other.utility.value) != (point.leak.value, point.utility.value)
            for other in points
        )

    return [point.name for point in points if not beaten(point)]


def representations(run: Judged, *, single: bool = False) -> dict[str, tuple[str, str]]:
    """Name on the page to (family, row) of every representation that was asked for class and by all probes of the pose.

    Args:
        run: Where from.
        single: Of frames encoded alone; else of frames with their clip around them.
    """
    found: dict[str, tuple[str, str]] = {}
    for key in run.samples:
        match = re.fullmatch(rf"({'single' if single else 'leakage|cleaned'})/{CLASS}/(.+)", key)
        if match and worst(run, *match.groups()) is not None:
            row = match.group(2)
            found.setdefault(ERASERS.get(row) or INPUTS.get(row) or ROWS.get(row, row), match.groups())
    if any(row in ERASERS for _, row in found.values()):  # the leakage matrix has one eraser of its own
        found = {words: (family, row) for words, (family, row) in found.items() if row != "leace"}
    return found


def shared(runs: Sequence[Judged], *, single: bool = False) -> dict[str, tuple[str, str]]:
    """The representations that all runs of a row have; none where these were judged on different clips."""
    if not alike(runs):
        return {}
    first, *others = (representations(run, single=single) for run in runs)
    return {words: place for words, place in first.items() if all(words in other for other in others)}


def points(runs: Sequence[Judged], columns: Sequence[str] = POSE_COLUMNS, *, single: bool = False) -> list[Point]:
    """Every representation of a row's runs on the plane of leak, by the best of `columns`, against class."""
    found = []
    for words, (family, row) in shared(runs, single=single).items():
        leak = over_seeds(runs, lambda run, f=family, r=row: worst(run, f, r, columns))
        utility = over_seeds(runs, lambda run, f=family, r=row: run.samples.get(f"{f}/{CLASS}/{r}"))
        found.append(Point(words, leak, utility, learned=row == "inv"))
    order = [*INPUTS.values(), *ERASERS.values()]
    return sorted(found, key=lambda point: order.index(point.name) if point.name in order else len(order))


def duels(runs: Sequence[Judged], *, single: bool = False) -> dict[str, tuple[Estimate, Estimate, str]]:
    """The learned invariant part against every eraser of the same runs: leak, utility (differences), and the verdict."""
    places, found = shared(runs, single=single), {}
    if INPUTS["inv"] not in places:
        return found
    own = "/".join((places[INPUTS["inv"]][0], CLASS, "inv"))
    for words, (family, row) in places.items():
        if row not in ERASERS:
            continue
        leak = over_seeds(runs, lambda run, f=family, r=row: Minus(worst(run, own.split("/")[0], "inv"), worst(run, f, r)))
        utility = over_seeds(runs, lambda run, f=family, r=row: Minus(run.samples[own], run.samples[f"{f}/{CLASS}/{r}"]))
        found[words] = leak, utility, against_eraser(leak, utility)
    return found


def erasing(name: str, found: Mapping[str, tuple[Estimate, Estimate, str]]) -> str:
    """What question (b) comes to for a row, in words."""
    wins = [words for words, (*_, said) in found.items() if said.startswith("wins")]
    loses = [words for words, (*_, said) in found.items() if said.startswith("loses")]
    less = [words for words, (leak, *_) in found.items() if leak.verdict(higher=False) == "better"]
    parts = [f"wins against {len(wins)} of {len(found)} erasers" + (f" ({', '.join(wins)})" if wins else "")]
    parts.append(f"holds less pose than {len(less)} of them")
    if loses:
        parts.append(f"loses against {', '.join(loses)}")
    traded = [words for words, (*_, said) in found.items() if "neither wins" in said]
    if traded:
        parts.append(f"neither wins against {len(traded)}, where one has less pose and the other more class")
    if len(wins) == len(found):
        head = "yes"
    elif wins:
        head = "in part"
    else:
        head = "no" if loses or len(traded) == len(found) else "not shown"
    return f"`{name}`: **{head}**: the learned invariant part {'; '.join(parts)}."


def compared(rows: Rows, names: Sequence[str], reference: str) -> dict[Measure, dict[str, Estimate]]:
    """Improvements of rows over a reference by measure; what is not known is left out."""
    found = {}
    for measure in measures():
        own = {name: improvement(measure, rows[name], rows[reference]) for name in names}
        own = {name: value for name, value in own.items() if value is not None}
        if own:
            found[measure] = own
    return found
