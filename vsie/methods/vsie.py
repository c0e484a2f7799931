"""vsie: the split latent of SIE, learned from video.

What differs from SIE (each measured, see .github/results/README.md):

* views are steps of clips: several windows of an object, each a few spaced frames that the encoder sees together;
* all ordered pairs among an object's steps are used, within windows and across them: with the factorised predictor an
  extra delta costs K numbers;
* deltas are told as first and second harmonics of the rotation, since a hypernetwork is linear in what it is told and knows no
  sharper function of a turn, and centred (`Conditioning`), so that no constant direction lets the equivariant part collapse;
* the equivariance term is contrast among the views of the same object (`EquivarianceContrast`), and, as far as that has been
  learned, contrast among the deltas (`DeltaContrast`): without it the predictor cannot be inverted where clips have one light;
  from the start it would keep the other from being learned;
* the invariant *representation*, before its projector, is charged with its within-object share of variance: that, and
  not the invariance of an embedding, takes the pose out of it. The charge is on the share's logarithm, so it asks for half of
  what is left with the same force, down to about a hundredth; and it counts as much as the equivariant part has learned to follow
  the motion. Before that it would keep pose out of the features that both parts stand on, and none would ever be learned
  where a view changes little but by motion (clips of one light and colour);
* motion comes first. Colours are changed so that contrast between objects is not won by them, but changed colours bury a motion
  that is not known yet: they wait until some of it is learned. Where an object is seen in one clip alone the contrast waits
  too, which until then would be won by the clip's light, and what that makes of the features is hard to undo.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vsie.methods.base import READY, Method
from vsie.objectives import DeltaContrast, EquivarianceContrast, EquivarianceError, Invariance, ObjectContrast, WithinObjectShare

LEAST_SHARE = 0.01  # a share well below it is not charged further
PATIENCE = (1 / 3, 2 / 3)  # shares of the training: between them what waits for motion to be learned comes in all the same


class VSIE(Method):
    """Split representation of video with contrast among an object's views.

    Args:
        invariant_share: Share of the latent that is invariant.
        weights: Of ``invariance``, ``identity`` (contrast between objects), ``equivariance`` (contrast among views),
            ``inversion`` (contrast among deltas), ``equivariance_error`` (SIE's mean squared error), ``variance``,
            ``covariance``, ``leak``: log(1 + share / 0.01). ``inversion`` and ``leak`` are multiplied by the part of the contrast
            among views that is learned, 0 to 1.
        after: How far the contrast among views has to be learned before colours change in full, and before the contrast between
            objects counts in full where each is seen in one clip alone; in proportion before that. Late in the training it is all
            the same. 0: from the start.
        temperature: Of the contrast among views and among deltas.
        identity_temperature: Of the contrast between objects.
    """

    VIEWS = 3  # a source and two candidates
    TERMS = ("invariance", "identity", "equivariance", "inversion", "equivariance_error", "variance", "covariance", "leak")
    similarity = "cosine"
    weighs = True

    def __init__(
        self, *parts: Any, after: float = 0.0, temperature: float = 0.1, identity_temperature: float = 0.1, **shared: Any
    ) -> None:
        super().__init__(*parts, **shared)
        if not 0 <= after <= 1:
            raise ValueError(f"method.after is {after}, expected a number from 0 to 1")
        self.after = after
        self.invariance, self.identity = Invariance(), ObjectContrast(temperature=identity_temperature)
        self.contrast, self.error = EquivarianceContrast(temperature=temperature), EquivarianceError()
        self.inversion = DeltaContrast(temperature=temperature)
        self.leak = WithinObjectShare()

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        poses = self.known(poses)
        representation, equivariant = self.split(latents)
        invariant, equivariant = self.invariant_projector(representation), self.equivariant_projector(equivariant)
        predicted = self.predict(equivariant, poses)
        variance, covariance = self.anti_collapse(invariant, equivariant)
        contrast = self.contrast(predicted, equivariant, trust)
        learned = self.contrast.learned(contrast, equivariant, trust)
        ready = self.ready(learned)
        return {
            "invariance": self.invariance(invariant),
            "identity": (ready if self.one_clip else 1.0) * self.identity(invariant),
            "equivariance": contrast,
            "inversion": learned * self.inversion(predicted, equivariant, trust),
            "equivariance_error": self.error(predicted, equivariant, trust),
            "variance": variance,
            "covariance": covariance,
            "leak": learned * torch.log1p(self.leak(representation) / LEAST_SHARE),
            READY: ready,
        }

    def ready(self, learned: Tensor) -> Tensor:
        """How much counts, from 0 to 1, of what waits for motion to be learned."""
        if not self.after or not self.weights["equivariance"]:
            return torch.ones_like(learned)
        first, last = PATIENCE
        return (learned / self.after).clamp(min=(self.progress - first) / (last - first)).clamp(0, 1)
