"""What each part knows, while it is trained: online probes and collapse alarms that never touch the loss.

The probes are small heads on detached, standardised latents with an optimiser of their own. Their score on a batch is
taken *before* they learn from it and is averaged over steps, so nothing is scored on what it was just fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vsie import pose
from vsie.collapse import summary
from vsie.feature_set import PARTS
from vsie.methods.base import Split


class OnlineProbes(nn.Module):
    """Linear class probe and pair-pose probe (one hidden layer: a relative rotation is not linear in a pair) per part.

    Beside the pose stands who looks at nothing and answers with the mean rotation: ``online/pose_deg/floor``, on the same pairs.

    Args:
        split: Where the latent is cut.
        parts: Which of inv, equi and all are asked.
        classes: Number of classes; 0 where there are no labels.
        posed: Whether poses are known.
        momentum: Of the running averages of scores.
        frame: In which motion is asked.
        told: Whether it is not the true one, and so named.
    """

    def __init__(
        self, split: Split, classes: int, posed: bool, *, parts: Sequence[str] = PARTS, momentum: float = 0.98,
        frame: str = "body", told: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.parts, self.mean = tuple(parts), torch.eye(3)
        self.split, self.classes, self.posed, self.momentum = split, classes, posed, momentum
        self.frame, self.told = frame, told
        widths = {"inv": split.invariant, "equi": split.equivariant, "all": split.invariant + split.equivariant}
        widths = {part: widths[part] for part in self.parts}
        state = torch.random.get_rng_state()  # the model's own random numbers must not depend on who watches
        self.norms = nn.ModuleDict({part: nn.BatchNorm1d(width, affine=False) for part, width in widths.items()})
        self.class_heads = nn.ModuleDict({p: nn.Linear(w, classes) for p, w in widths.items()} if classes else {})
        self.pose_heads = nn.ModuleDict({p: pair_head(2 * w) for p, w in widths.items()} if posed else {})
        torch.random.set_rng_state(state)
        self.optimiser = torch.optim.Adam(self.parameters(), lr=2e-3) if classes or posed else None
        self.scores: dict[str, float] = {}

    def step(self, latents: Tensor, labels: Tensor | None, poses: Tensor | None, trust: Tensor | None = None) -> None:
        """Score, then learn from, detached latents (B, N, D), labels (B,), -1 unknown, poses (B, N, 4, 4), trust (B, N, N)."""
        if self.optimiser is None:
            return
        losses, motion, known = [], None, None
        if self.posed and poses is not None:
            motion = pose.delta(poses, poses.roll(1, 1), self.frame)[..., :3, :3]
            step = torch.arange(poses.shape[1], device=poses.device)
            known = None if trust is None else trust[:, step, step.roll(1)]
        for part, values in parts_of(self.split, latents, self.parts).items():
            values = self.norms[part](values.flatten(0, 1)).unflatten(0, values.shape[:2])
            labelled = None if labels is None or not self.classes else labels >= 0
            if labelled is not None and labelled.any():
                logits = self.class_heads[part](values[labelled]).flatten(0, 1)
                target = labels[labelled].repeat_interleave(values.shape[1])
                losses.append(nn.functional.cross_entropy(logits, target))
                self._score(f"online/top1/{part}", (logits.argmax(-1) == target).float().mean())
            if motion is not None:
                found = self.pose_heads[part](torch.cat([values, values.roll(1, 1)], -1))
                wrong = (found - motion[..., :2].mT.flatten(-2)).square()
                if known is not None:
                    wrong = wrong * (known / known.mean().clamp_min(1e-6))[..., None]
                losses.append(wrong.mean())
                self._score_pose(part, pose.from_6d(found.detach()), motion, known)
        if motion is not None:
            self._score_pose("floor", pose.project(self.mean).to(motion), motion, known)
            seen = motion.flatten(0, 1) if known is None else motion[known > 0]
            if len(seen):
                self.mean = self.mean.lerp(seen.mean(0).to(self.mean), 1 - self.momentum)
        if losses:
            self.optimiser.zero_grad(set_to_none=True)
            sum(losses).backward()
            self.optimiser.step()

    def _score_pose(self, part: str, found: Tensor, motion: Tensor, known: Tensor | None) -> None:
        error = pose.geodesic(found, motion).rad2deg()
        if known is not None:
            error = error[known > 0] if (known > 0).any() else error.new_full((1,), 90.0)  # nobody knows
        self._score(f"online/{'told_' if self.told else ''}pose_deg/{part}", error.median())

    def _score(self, key: str, value: Tensor) -> None:
        before = self.scores.get(key)
        value = value.item()
        self.scores[key] = value if before is None else self.momentum * before + (1 - self.momentum) * value

    def extra_state(self) -> dict[str, object]:
        """Everything that a resumed run needs to go on as if nothing had happened."""
        optimiser = self.optimiser.state_dict() if self.optimiser else {}
        return {"heads": self.state_dict(), "optimiser": optimiser, "scores": dict(self.scores), "mean": self.mean}

    def load_extra_state(self, state: dict[str, object]) -> None:
        """Undo `extra_state`."""
        self.load_state_dict(state["heads"])
        if self.optimiser:
            self.optimiser.load_state_dict(state["optimiser"])
        self.scores, self.mean = dict(state["scores"]), state.get("mean", self.mean)


def pair_head(width: int) -> nn.Module:
    """Two latents side by side (..., width) to the first two columns of the rotation between them (..., 6)."""
    return nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 6))


def parts_of(split: Split, latents: Tensor, parts: Sequence[str] = PARTS) -> dict[str, Tensor]:
    """Latents (B, N, D) by part: (B, N, d) each."""
    values = dict(zip(PARTS, (*split(latents), latents), strict=True))
    return {part: values[part] for part in parts}


def alarms(split: Split, latents: Tensor, parts: Sequence[str] = PARTS) -> dict[str, float]:
    """Collapse alarms of latents (B, N, D): per-part rank, standard deviation and within-object share of variance."""
    objects = torch.arange(len(latents), device=latents.device).repeat_interleave(latents.shape[1])
    return summary({part: values.flatten(0, 1) for part, values in parts_of(split, latents, parts).items()}, objects)
