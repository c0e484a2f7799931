"""What all methods share: encode the windows of an object, split the latent, project, steer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from vsie.distributed import world_size
from vsie.encoders.base import Encoder
from vsie.methods.conditioning import Conditioning
from vsie.methods.projector import Projector
from vsie.objectives import Covariance, Variance
from vsie.predictors.base import Predictor


@dataclass(frozen=True)
class Split:
    """Where a latent is cut: invariant first, equivariant last.

    Args:
        invariant: Width of the invariant part.
        equivariant: Width of the equivariant part.
    """

    invariant: int
    equivariant: int

    def __post_init__(self) -> None:
        if self.invariant < 1 or self.equivariant < 1:
            raise ValueError(f"both parts of the split need a width, found {self.invariant} | {self.equivariant}")

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (..., D) -> invariant (..., invariant), equivariant (..., equivariant)."""
        return latents[..., : self.invariant], latents[..., self.invariant :]


READY = "ready"  # beside the terms of a method that is not always


@dataclass
class Outputs:
    """What a method's step gives.

    Attributes:
        loss: The weighted sum, a scalar with gradient.
        terms: Each unweighted term, a scalar tensor.
        latents: Per-step representations (B, N, D), without gradient: for probes and alarms.
        ready: How far the method is ready for changed colours, from 0 to 1, a scalar without gradient and the same in all
            processes; 1 of a method that always is.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    latents: Tensor
    ready: Tensor | float = 1.0


class Method(nn.Module):
    """Encoder, split, projectors, and (where the method has one) conditioning and predictor.

    A method's own constructor takes its own options by keyword and hands everything else on, ``(*parts, own=..., **shared)``:
    what stands here is said once, and `vsie.components.options` gathers it along the classes.

    Args:
        encoder: Clip -> per-step latents.
        conditioning: How deltas are told to the predictor; for a method without one the frame in which evaluation states motion.
        predictor: None for methods without one.
        invariant_share: Share of the encoder's latent that is the invariant part, of a method that splits it (`splits`).
        weights: Weight of each term by name; exactly the method's own terms.
        projector_width: See `Projector`.
        projector_layers: See `Projector`.
        projector_norm: See `Projector`.
    """

    TERMS: tuple[str, ...] = ()
    NEEDS_PREDICTOR = True
    VIEWS = 2  # of an object, the least that the terms are of
    PROJECTORS = "parts"  # one for each part; ``invariant``: for that alone; ``whole``: one, `projector`, for all; ``none``
    told = False  # whether the conditioning is of use without a predictor
    direct_supervision = False  # whether a pose or a label is a target: never in one column, unmarked, with those that are not
    needs_labels = False  # then `terms` is given the labels too
    weighs = False  # whether `terms` takes `trust` (B, N, N) in the motion between views: all that are told or asked of motion
    part = "equi"  # what `embed` takes: the equivariant part of the latent, or ``all`` of it
    one_clip = False  # whether all views of an object come from one clip, with one light: the trainer says so
    progress = 0.0  # share of the training that is done, which the trainer says before each step
    mixed = False  # bfloat16 in the encoder; poses, statistics and cosines always have all of float32
    similarity = "euclidean"  # in which sense a prediction is near its target: what inversion and retrieval use

    def __init__(
        self,
        encoder: Encoder,
        conditioning: Conditioning,
        predictor: Predictor | None = None,
        *,
        invariant_share: float = 0.5,
        weights: Mapping[str, float],
        projector_width: int = 256,
        projector_layers: int = 3,
        projector_norm: str = "batch",
    ) -> None:
        super().__init__()
        if set(weights) != set(self.TERMS):
            raise ValueError(f"weights name {sorted(weights)}, but the terms of {type(self).__name__} are {sorted(self.TERMS)}")
        if self.NEEDS_PREDICTOR and predictor is None:
            raise ValueError(f"{type(self).__name__} needs a predictor")
        invariant = round(encoder.dim * invariant_share)
        self.encoder, self.conditioning = encoder, conditioning
        self.predictor = predictor if self.NEEDS_PREDICTOR else None
        self.split = Split(invariant, encoder.dim - invariant)
        self.weights = {name: float(weights[name]) for name in self.TERMS}
        if not any(self.weights.values()):
            raise ValueError(f"the weights of {type(self).__name__.lower()} are all 0: there is nothing to learn")
        self.projector_options = dict(width=projector_width, layers=projector_layers, norm=projector_norm)
        if self.PROJECTORS in ("parts", "invariant"):
            self.invariant_projector = Projector(self.split.invariant, **self.projector_options)
        if self.PROJECTORS == "parts":
            self.equivariant_projector = Projector(self.split.equivariant, **self.projector_options)
        if self.PROJECTORS == "whole":
            self.projector = Projector(encoder.dim, **self.projector_options)
        self.variance, self.covariance = Variance(half=True), Covariance()

    @classmethod
    def predictor_width(cls, encoder: Encoder, options: Mapping[str, Any]) -> int:
        """Width of the latents that a predictor acts on, in a method with these options."""
        if options["projector_layers"]:
            return options["projector_width"]
        return encoder.dim - round(encoder.dim * options["invariant_share"]) if cls.part == "equi" else encoder.dim

    @torch.no_grad()
    def fit(self, source: Tensor, target: Tensor) -> None:
        """Take from training pairs of poses (M, 4, 4), before the training, what conditioning and predictor go by."""
        if self.predictor is not None or self.told:
            self.conditioning.fit(source, target)
        if self.predictor is not None:
            self.predictor.fit(self.conditioning(source, target))

    def check_views(self, windows: int, steps: int) -> None:
        """Refuse items of too few views for the method, before any data is opened.

        Args:
            windows: Windows per object.
            steps: Steps per window.

        Raises:
            ValueError: It says which options give more.
        """
        if windows * steps < self.VIEWS:
            raise ValueError(f"{type(self).__name__.lower()} needs at least {self.VIEWS} views of an object, found {windows} "
                             f"windows of {steps}: more of data.windows or data.frames")  # fmt: skip

    def check_data(self, *, posed: bool, classes: int) -> None:
        """Refuse data that the method cannot be trained on, before training starts.

        Args:
            posed: Whether the training data has poses.
            classes: Number of classes, 0 without labels.

        Raises:
            ValueError: It says what is missing.
        """
        if self.needs_motion and not posed:
            raise ValueError(f"{self.untold}: motion=estimated takes it from the pictures, and method=vicreg, simclr, byol or "
                             "trajectory needs none")  # fmt: skip

    @property
    def needs_motion(self) -> bool:
        """Whether training has to be told how things move."""
        return self.weighs

    @property
    def untold(self) -> str:
        """What is wrong where nothing is known of motion."""
        verb = "is supervised by" if self.direct_supervision else "is conditioned on"
        return f"{type(self).__name__.lower()} {verb} known motion, but the data has no poses (manifest column 'poses')"

    def after_step(self, step: int, steps: int) -> None:
        """Called after each step of the optimiser, `step` of `steps` being done: for what follows the weights slowly."""

    def encode(self, clips: Tensor, encoder: Encoder | None = None) -> Tensor:
        """Windows (B, V, 3, T, H, W) of B objects -> per-step latents (B, V * S, D) in float32; by another encoder if given."""
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=self.mixed):
            latents = (encoder or self.encoder)(rearrange(clips, "b v c t h w -> (b v) c t h w"))
        return rearrange(latents, "(b v) s d -> b (v s) d", b=clips.shape[0]).float()

    def forward(self, clips: Tensor, poses: Tensor | None, labels: Tensor | None = None, trust: Tensor | None = None) -> Outputs:
        """One step.

        Args:
            clips: Windows (B, V, 3, T, H, W).
            poses: (B, V, S, 4, 4) at the encoder's step times, (B, V, S, 4, 5) with hues, or None.
            labels: Classes (B,), -1 where unknown; only where `needs_labels`.
            trust: (B, V * S, V * S) in the motion between steps, [source, target]; None where all of it is known. Only where the
                method `weighs`.
        """
        latents = self.encode(clips)
        poses = None if poses is None else rearrange(poses, "b v s i j -> b (v s) i j")
        labels = [labels] if self.needs_labels else []
        weights = {"trust": trust} if self.weighs else {}
        return self.outputs(latents, self.terms(latents, poses, *labels, **weights))

    def outputs(self, latents: Tensor, terms: dict[str, Tensor]) -> Outputs:
        """What a step gives, from its latents (B, N, D) and what `terms` gives."""
        terms = dict(terms)
        ready = terms.pop(READY, 1.0)
        loss = sum(self.weights[name] * term for name, term in terms.items() if self.weights[name])
        if world_size() > 1 and not all(self.weights.values()):  # where processes share gradients every parameter needs one
            loss = loss + sum(0.0 * parameter.flatten()[0] for parameter in self.parameters() if parameter.requires_grad)
        return Outputs(loss, {name: term.detach() for name, term in terms.items()}, latents.detach(), ready)

    def terms(self, latents: Tensor, poses: Tensor | None) -> dict[str, Tensor]:
        """The method's terms from latents (B, N, D) and poses (B, N, 4, 4), by the names in TERMS.

        Beside them, from a method that is not always ready, `Outputs.ready`.
        """
        raise TypeError(f"{type(self).__name__} must define its terms")

    def predict(self, embedded: Tensor, poses: Tensor) -> Tensor:
        """Predict every view of an object from every other: embedded (B, N, e), poses (B, N, 4, 4) -> (B, N, N, e)."""
        return self.predictor(embedded, self.conditioning.all_pairs(poses))

    def known(self, poses: Tensor | None) -> Tensor:
        """The poses, for a method that cannot do without."""
        if poses is None:
            raise ValueError(self.untold)
        return poses

    def anti_collapse(self, *embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Variance hinge and covariance of embeddings (B, N, e) side by side, over the whole batch."""
        rows = torch.cat(embedded, -1).flatten(0, 1)
        return self.variance(rows), self.covariance(rows)

    def summarise(self, latents: Tensor, poses: Tensor) -> Tensor:
        """The invariant representation (B, I) of a set of M steps of each of B objects, of latents (B, M, D), poses (B, M, 4, 4).

        The mean of the invariant part, or of all of a latent that is not split, unless a method has a way of its own.
        """
        return (self.split(latents)[0] if self.splits else latents).mean(1)

    # Steering, as evaluation and downstream users see it (`vsie.evaluation.inputs.Steering`).

    @property
    def frame(self) -> str:
        """The frame of the deltas, ``body`` or ``camera``."""
        return self.conditioning.frame

    @property
    def steers(self) -> bool:
        """Whether the method has learned where a motion takes a latent; without, evaluation steers by the identity."""
        return self.predictor is not None

    @property
    def splits(self) -> bool:
        """Whether training asks different things of the two parts of the latent; else evaluation is of all of it alone."""
        return self.PROJECTORS != "whole" and self.part != "all"

    @property
    def linear(self) -> bool:
        """Whether steering is ``sum_k h_k(delta) A_k z``, so that `expand` and `coefficients` are there."""
        return self.steers and self.predictor.linear

    @property
    def uses_translation(self) -> bool:
        """Whether steering depends on the translation of a motion."""
        return self.conditioning.translation

    @property
    def uses_colour(self) -> bool:
        """Whether steering between two views is told how the hues of floor and light change."""
        return self.conditioning.colour != "none" and (self.predictor is not None or self.told)

    def embed(self, latents: Tensor) -> Tensor:
        """The space in which the predictor acts: the `part` of latents (..., d) that it is for -> (..., e)."""
        return self.equivariant_projector(latents) if self.PROJECTORS == "parts" else latents

    def steer(self, embedded: Tensor, motion: Tensor) -> Tensor:
        """Where motions (..., 4, 4) in `frame` take embedded latents (..., e), shapes as for a predictor: (..., e)."""
        return self.predictor(embedded, self.conditioning.of_motion(motion))

    def pair_steer(self, embedded: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """`steer` by the motions between poses (..., 4, 4); with raw quaternions the sign is the pair's own."""
        return self.predictor(embedded, self.conditioning(source, target))

    def expand(self, embedded: Tensor) -> Tensor:
        """A_k z for every k: (..., e) -> (..., K, e)."""
        return self.predictor.expand(embedded)

    def coefficients(self, motion: Tensor) -> Tensor:
        """h_k of motions (..., 4, 4) in `frame`: (..., K); differentiable."""
        return self.predictor.coefficients(self.conditioning.of_motion(motion))

    def pair_coefficients(self, source: Tensor, target: Tensor) -> Tensor:
        """h_k of the motions between poses (..., 4, 4): (..., K); with raw quaternions the sign is the pair's own."""
        return self.predictor.coefficients(self.conditioning(source, target))

    @property
    def sign_free(self) -> bool:
        """Whether a motion alone leaves the sign of its encoding open and W(-q) = -W(q), so that inversion tries both.

        Where W is not odd (centred, cosines of colours beside q, a hidden layer) the quaternion with w >= 0 is tried alone.
        """
        told = self.conditioning
        odd = not told.centred and told.colour != "circle" and not len(getattr(self.predictor, "trunk", ()))
        return told.encoding == "quaternion_raw" and odd
