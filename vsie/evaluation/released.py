"""The probes of SIE's released scripts (Garrido et al., ICML 2023), to the letter: what `compat=sie` prints.

Kept for comparison with published figures, quirks included: the R2 is about ONE scalar mean over all dimensions (a constant
scores 0.229 on 3DIEBench's quaternions, not 0), hue differences are not circular, the quaternion has the sign of the pair,
one pair of views per test object is drawn. The retrieval measures of the same scripts are in `steering.py` (`released`).

Notable: the scripts encode every drawn image again in each of 300 epochs. Here features are computed once, all heads of a
question (one per part of the latent) share each drawn batch, and every step is on the features' device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vsie import pose
from vsie.evaluation import rotations
from vsie.evaluation.moments import Unscorable
from vsie.feature_set import Features, flat

EPOCHS, BATCH, RATE, HIDDEN = 300, 256, 1e-3, 1024
HUES = pose.HUES


@dataclass(frozen=True)
class Views:
    """The frames of O objects (orbits, where these are other) in one list, and where each one's begin: what views are drawn from.

    Attributes:
        features: (N, D), the whole latent of every frame, on the device where probes are trained.
        order: (N,) frames sorted by object.
        starts: (O,) place in `order` of each object's first frame.
        counts: (O,) frames of each object.
        objects: (O,) ids; of several orbits of an object all have its id.
    """

    features: Tensor
    order: Tensor
    starts: Tensor
    counts: Tensor
    objects: np.ndarray

    @classmethod
    def of(cls, features: Features, device: torch.device | str = "cpu", source: str = "image") -> Views:
        """The views of a set of clips, each frame as `source` gives it."""
        groups = features.views()
        counts = np.array([len(group) for group in groups])
        return cls(
            features=flat(features, "all", source).to(device), order=torch.from_numpy(np.concatenate(groups)),
            starts=torch.from_numpy(counts.cumsum() - counts), counts=torch.from_numpy(counts),
            objects=np.array([features.objects[group[0] // features.frames] for group in groups]),
        )  # fmt: skip

    def one(self, generator: torch.Generator) -> tuple[Tensor]:
        """A random view of every object: frames (O,)."""
        first = (torch.rand(len(self.counts), generator=generator, dtype=torch.float64) * self.counts).long()
        return (self.order[self.starts + first],)

    def two(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random ordered pair of different views of every object: frames (O,), (O,).

        Raises:
            Unscorable: An object has only one view.
        """
        if int(self.counts.min()) < 2:
            lonely = self.objects[int(self.counts.argmin())]
            raise Unscorable(f"object {lonely} has one view; pairs of views need two of each object")
        draw = torch.rand(2, len(self.counts), generator=generator, dtype=torch.float64)
        first = (draw[0] * self.counts).long()
        second = (first + 1 + (draw[1] * (self.counts - 1)).long()) % self.counts
        return self.order[self.starts + first], self.order[self.starts + second]


def validation(features: Features, seed: int = 0) -> np.ndarray:
    """The frames (O, 3) that one epoch of the released validation sees of each object, among all N * F: one for questions of one
    view, then the two of a pair; (O, 1) where an object has one view and pairs cannot be asked for."""
    views = Views.of(features)
    draws = (views.one, views.two) if int(views.counts.min()) > 1 else (views.one,)
    return torch.stack([frames for draw in draws for frames in draw(torch.Generator().manual_seed(seed))], 1).numpy()


def widths(features: Features) -> dict[str, tuple[int, int]]:
    """First and last dimension of each part that has any."""
    dims = features.image.shape[-1]
    spans = {"inv": (0, features.invariant_dim), "equi": (features.invariant_dim, dims), "all": (0, dims)}
    return {part: spans[part] for part in features.parts()}


def linear_head(dim: int, outputs: int) -> nn.Module:
    """The head of the classification probe."""
    return nn.Linear(dim, outputs)


def pair_head(dim: int, outputs: int) -> nn.Module:
    """The head of the pair probes, on two latents side by side: 2 d - 1024 - 1024 - outputs."""
    layers = [nn.Linear(2 * dim, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs)]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Question:
    """What a probe is asked.

    Attributes:
        head: Width of one part, number of outputs -> the module.
        outputs: Number of outputs.
        views: 1 or 2 views of an object as input.
        loss: Outputs and targets -> a scalar.
        targets: Frames (B,), one or two -> targets (B, ...).
    """

    head: Callable[[int, int], nn.Module]
    outputs: int
    views: int
    loss: Callable[[Tensor, Tensor], Tensor]
    targets: Callable[..., Tensor]


def classification(labels: Tensor, classes: int) -> Question:
    """The class of one view, of frames whose labels are (N,)."""
    return Question(linear_head, classes, 1, nn.functional.cross_entropy, lambda frame: labels[frame])


def rotation(poses: Tensor, reference: Tensor) -> Question:
    """The raw quaternion (xyzw, the sign of the pair) of ``R1^-1 R2``, of frames whose poses are (N, 4, 4).

    `reference` (4,) is the `pose.mean_quaternion` of the train poses, see `pose.encode_pair`.
    """
    options = {"frame": "body", "encoding": "quaternion_raw", "reference": reference}

    def targets(first: Tensor, second: Tensor) -> Tensor:
        return pose.encode_pair(poses[first], poses[second], **options).float()

    return Question(pair_head, 4, 2, nn.functional.mse_loss, targets)


def colour(hues: Tensor) -> Question:
    """The plain differences of the two hues (in turns), of frames whose hues are (N, 2)."""
    return Question(pair_head, 2, 2, nn.functional.mse_loss, lambda first, second: (hues[second] - hues[first]).float())


def hues_of(features: Features) -> Tensor | None:
    """Floor and spot hue of all frames, (N * F, 2) float64, or None where they are not known."""
    columns = [features.latent(name) for name in HUES]
    return None if any(column is None for column in columns) else torch.from_numpy(np.stack(columns, 1))


def fit(
    question: Question, train: Views, parts: dict[str, tuple[int, int]], *, epochs: int = EPOCHS, batch: int = BATCH,
    rate: float = RATE, seed: int = 0, encode: Callable[..., Sequence[Tensor]] | None = None, progress: str | None = None,
) -> dict[str, nn.Module]:  # fmt: skip
    """Train the heads of a question, one per part, on the same draws: one view (or pair) per object and epoch.

    Args:
        question: What is asked.
        train: The views.
        parts: Part name to first and last dimension.
        epochs: Passes over the objects.
        batch: Objects per step.
        rate: Adam's.
        seed: Of the weights and the draws.
        encode: Frames (B,), one or two -> their latents (B, D) each, in place of the cached features.
        progress: Name of a bar; None for none.

    Returns:
        Part name to its head.
    """
    device = train.features.device
    encode = encode or (lambda *frames: [train.features[frame.to(device)] for frame in frames])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = {part: question.head(last - first, question.outputs).to(device) for part, (first, last) in parts.items()}
    optimiser = torch.optim.Adam([p for head in heads.values() for p in head.parameters()], lr=rate, fused=True)
    draw = train.one if question.views == 1 else train.two
    with torch.enable_grad():
        for _ in tqdm(range(epochs), desc=progress, disable=progress is None, leave=False, mininterval=1):
            frames = draw(generator)
            targets = question.targets(*frames).to(device)
            for some in torch.randperm(len(train.counts), generator=generator).split(batch):
                latents = encode(*(frame[some] for frame in frames))
                wanted = targets[some.to(device)]
                optimiser.zero_grad(set_to_none=True)
                sum(question.loss(output, wanted) for output in _outputs(heads, parts, latents).values()).backward()
                optimiser.step()
    return {part: head.eval().requires_grad_(False) for part, head in heads.items()}


def _outputs(heads: dict[str, nn.Module], parts: dict[str, tuple[int, int]], latents: Sequence[Tensor]) -> dict[str, Tensor]:
    return {
        part: heads[part](torch.cat([latent[:, first:last] for latent in latents], 1)) for part, (first, last) in parts.items()
    }


@dataclass(frozen=True)
class Answers:
    """Of the probes on one draw per test object: outputs (O, outputs) by part, targets (O, ...), and the constant floor's.

    Attributes:
        outputs: By part.
        targets: What is true.
        objects: (O,) ids.
        constant: (outputs,) the mean target of the train objects; None for classes.
    """

    outputs: dict[str, Tensor]
    targets: Tensor
    objects: np.ndarray
    constant: Tensor | None

    def r2(self, part: str) -> np.ndarray:
        """Terms (O, ...) of SIE's R2, see `rotations.r2_sie`."""
        return rotations.r2_sums(self.outputs[part], self.targets)

    def floor(self) -> float:
        """SIE's R2 of the constant."""
        return constant_r2(self.constant, self.targets)

    def hits(self, part: str, top: int) -> np.ndarray:
        """Whether the class is among the first `top`, (O,)."""
        best = self.outputs[part].topk(min(top, self.outputs[part].shape[1]), dim=1).indices
        return (best == self.targets[:, None]).any(1).double().numpy()


def constant_r2(constant: Tensor, targets: Tensor) -> float:
    """SIE's R2 of a constant (d,) on targets (O, d)."""
    return float(rotations.r2_sie(rotations.r2_sums(constant.expand(targets.shape), targets).sum(0)))


def mean_target(question: Question, train: Views, *, draws: int = 16, seed: int = 0) -> Tensor:
    """Mean target (outputs,) over `draws` pairs of every train object."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([question.targets(*train.two(generator)).double().mean(0) for _ in range(draws)]).mean(0)


@torch.no_grad()
def ask(
    heads: dict[str, nn.Module], question: Question, test: Views, parts: dict[str, tuple[int, int]], *,
    constant: Tensor | None = None, seed: int = 0, encode: Callable[..., Sequence[Tensor]] | None = None, chunk: int = 8192,
    drawn: bool = False,
) -> Answers:  # fmt: skip
    """What trained heads answer on one draw per test object, as in one epoch of the released validation.

    Args:
        heads: From `fit`.
        question: What is asked, of the test frames.
        test: The views.
        parts: As in `fit`.
        constant: For the floor, from `mean_target`.
        seed: Of the draw.
        encode: As in `fit`.
        chunk: Objects at once.
        drawn: The views are those that are drawn, as `validation` gives them.
    """
    device = test.features.device
    encode = encode or (lambda *frames: [test.features[frame.to(device)] for frame in frames])
    if drawn:
        frames = tuple(test.order[test.starts + place] for place in ((0,) if question.views == 1 else (1, 2)))
    else:
        frames = (test.one if question.views == 1 else test.two)(torch.Generator().manual_seed(seed))
    pieces = [
        _outputs(heads, parts, encode(*(frame[some] for frame in frames))) for some in torch.arange(len(frames[0])).split(chunk)
    ]
    outputs = {part: torch.cat([piece[part] for piece in pieces]).cpu() for part in parts}
    return Answers(outputs, question.targets(*frames), test.objects, constant)
