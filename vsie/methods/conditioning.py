"""What a predictor is told of a motion: the delta's encoding, centred and scaled over the training deltas."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vsie import pose

COLOURS = {"none": 0, "difference": 2, "circle": 4}


class Conditioning(nn.Module):
    """Poses or motions -> numbers for a predictor.

    *Centred*: minus the mean over the training deltas. Any constant direction (a bias of 1, or the zz entry of vec R when
    a turntable only yaws) gives the predictor a part that does not depend on the motion, and with it the equivariant part
    collapses to invariance (measured: pose error 55 degrees with the constant, floor 67; 21 degrees centred, same loss).
    *Harmonics*: a hypernetwork is linear in what it is told. Of vec R it makes the first harmonics of a turn, and ranks views as
    bluntly as a cosine; the l = 2 block beside it tells what goes round twice (steering MRR .47 and .62 after 300,000 images).
    *Scaled*: to a mean square length of 1 over the training deltas, which the predictors' initialisation counts on. Rotation,
    translation and colour have an equal share of it each, whatever the unit of length is; what never changes is not told.

    Args:
        encoding: See `vsie.pose.encode`.
        frame: ``body`` or ``camera``; never mixed in one run.
        translation: Encode the translation too.
        centred: Off only for the paper-faithful SIE, which is given the raw quaternion.
        colour: What is told beside of how the hues of floor and light differ between two views (`pose.with_hues`): ``none``;
            ``difference``, in turns, as SIE's "rotation + colour"; ``circle``: cosine and sine, as a hue has no end. A motion
            without hues is told as one that leaves them.
    """

    STILL = 1e-8  # of the mean square of a block of numbers: what varies by no more is rounding

    def __init__(
        self, *, encoding: str = "harmonics", frame: str = "body", translation: bool = False, centred: bool = True,
        colour: str = "none",
    ) -> None:  # fmt: skip
        super().__init__()
        if frame not in pose.FRAMES:
            raise ValueError(f"conditioning.frame is {frame!r}, expected one of {', '.join(pose.FRAMES)}")
        if colour not in COLOURS:
            raise ValueError(f"conditioning.colour is {colour!r}, expected one of {', '.join(COLOURS)}")
        self.encoding, self.frame, self.translation, self.centred = encoding, frame, translation, centred
        self.colour = colour
        self.width = pose.width(encoding, translation) + COLOURS[colour]
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("scale", torch.ones(self.width))
        if encoding == "quaternion_raw":
            self.register_buffer("reference", torch.tensor([0.0, 0.0, 0.0, 1.0]))

    @torch.no_grad()
    def fit(self, source: Tensor, target: Tensor) -> None:
        """Take from training pairs of poses (M, 4, 4) the hemisphere of raw quaternions, and where `centred` mean and scale.

        Raises:
            ValueError: All pairs are the same motion.
        """
        if self.encoding == "quaternion_raw":
            self.reference.copy_(pose.mean_quaternion(torch.cat([source, target]).double()))
        if not self.centred:
            return
        numbers = self._encode(source.double(), target.double())
        mean = numbers.mean(0)
        blocks = [pose.WIDTHS[self.encoding], 3 if self.translation else 0, COLOURS[self.colour]]
        powers = [(part - part.mean(0)).square().sum(-1).mean() for part in numbers.split(blocks, -1)]
        sizes = [part.square().sum(-1).mean() for part in numbers.split(blocks, -1)]
        told = [bool(power > self.STILL * size) for power, size in zip(powers, sizes, strict=True)]
        if not any(told):
            raise ValueError("the training deltas are all the same motion: there is nothing for a predictor to be steered by")
        scales = [(sum(told) * power).rsqrt() if used else power.new_zeros(()) for power, used in zip(powers, told, strict=True)]
        self.mean.copy_(mean)
        self.scale.copy_(torch.cat([scale.expand(width) for scale, width in zip(scales, blocks, strict=True)]))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Numbers (..., width) for the deltas between poses (..., 4, 4)."""
        return self._standardise(self._encode(source, target))

    def of_motion(self, motion: Tensor) -> Tensor:
        """Numbers (..., width) for motions (..., 4, 4) in `frame`; differentiable."""
        return self._standardise(self._coloured(pose.encode(motion, self.encoding, self.translation), pose.hues(motion)))

    def all_pairs(self, poses: Tensor) -> Tensor:
        """Numbers (B, N, N, width), [source, target], for all deltas among poses (B, N, 4, 4)."""
        return self(poses[:, :, None], poses[:, None])

    def _encode(self, source: Tensor, target: Tensor) -> Tensor:
        options = dict(frame=self.frame, encoding=self.encoding, translation=self.translation,
                       reference=getattr(self, "reference", None))  # fmt: skip
        return self._coloured(pose.encode_pair(source, target, **options), pose.hues(target) - pose.hues(source))

    def _coloured(self, numbers: Tensor, hues: Tensor) -> Tensor:
        """Numbers (..., n) and behind them what is told of differences of hues (..., 2)."""
        if self.colour == "none":
            return numbers
        if self.colour == "circle":
            hues = torch.cat([(2 * math.pi * hues).cos(), (2 * math.pi * hues).sin()], -1)
        return torch.cat([numbers, hues.to(numbers).expand(*numbers.shape[:-1], -1)], -1)

    def _standardise(self, numbers: Tensor) -> Tensor:
        return (numbers - self.mean.to(numbers.dtype)) * self.scale.to(numbers.dtype)
