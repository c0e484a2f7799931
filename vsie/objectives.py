"""Loss terms, one small module each; every term is over the global batch and returns a scalar tensor.

Shapes: B objects, N views (steps) of each, d the width. Views of one object are the rows of (B, N, d). Terms that compare
views of one object are means over objects, which data-parallel averaging makes global; terms that are statistics of the
whole batch (variance, covariance, shares, contrast between objects) gather it first, with gradient.

Where motion is only estimated, equivariance terms are given `trust`, (B, N, N) in [0, 1], [source, target]: how far the delta
of a pair can be believed, 0 where nothing is known of it. Their mean over pairs is then weighted by it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vsie.distributed import gather, mean, rank, world_size


def variance_within(views: Tensor) -> Tensor:
    """Variance (B, d) among the views (B, N, d) of each object (divided by N)."""
    return views.var(1, correction=0)


class Invariance(nn.Module):
    """Mean squared distance per dimension between two different views of one object (VICReg's and SIE's first term).

    Over all N (N - 1) ordered pairs at once: the mean squared difference of two different draws is 2 N / (N - 1) times
    the variance among the views.
    """

    def forward(self, views: Tensor) -> Tensor:
        """Embeddings (B, N, d) -> scalar."""
        count = views.shape[1]
        if count < 2:
            raise ValueError(f"invariance needs at least 2 views of an object, found {count}")
        return 2 * count / (count - 1) * variance_within(views).mean()


class Variance(nn.Module):
    """Hinge on the standard deviation of each dimension over the batch (Bardes, Ponce, LeCun, ICLR 2022).

    Args:
        epsilon: Under the root.
        half: SIE's convention: the hinge divided by 2.
    """

    def __init__(self, *, epsilon: float = 1e-4, half: bool = False) -> None:
        super().__init__()
        self.epsilon, self.factor = epsilon, 0.5 if half else 1.0

    def forward(self, rows: Tensor) -> Tensor:
        """Embeddings (R, d), of this process -> scalar over the global batch."""
        deviation = (gather(rows).var(0) + self.epsilon).sqrt()
        return self.factor * torch.relu(1 - deviation).mean()


class Covariance(nn.Module):
    """Sum of the squared off-diagonal covariances over the batch, divided by d (VICReg's third term)."""

    def forward(self, rows: Tensor) -> Tensor:
        """Embeddings (R, d), of this process -> scalar over the global batch."""
        rows = gather(rows)
        rows = rows - rows.mean(0)
        covariance = rows.mT @ rows / (len(rows) - 1)
        return (covariance.square().sum() - covariance.diagonal().square().sum()) / rows.shape[1]


class EquivarianceError(nn.Module):
    """SIE's equivariance term: mean squared error per dimension between predicted and actual latents."""

    def forward(self, predicted: Tensor, actual: Tensor, trust: Tensor | None = None) -> Tensor:
        """Predictions (B, N, N, d), [source, target], of views (B, N, d) -> scalar; a view does not predict itself."""
        error = (predicted - actual[:, None]).square().mean(-1)  # [B, source, target]
        return _mean_off_diagonal(error, trust)


class Contrast(nn.Module):
    """What contrastive terms share.

    Args:
        temperature: Of the softmax over cosine similarities.
    """

    def __init__(self, *, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def similarity(self, predicted: Tensor, actual: Tensor) -> Tensor:
        """Logits (B, N, N, N), [source, delta to, view], of predictions (B, N, N, d) and views (B, N, d) of the same objects."""
        predicted, actual = (nn.functional.normalize(x.float(), dim=-1) for x in (predicted, actual))
        return torch.einsum("bstd,bcd->bstc", predicted, actual) / self.temperature


class EquivarianceContrast(Contrast):
    """InfoNCE between predicted and actual latents among the views of one object: what MRR and H@k measure.

    The source view is left out of the candidates, so predicting "no change" wins nothing; other objects are not
    candidates, so knowing what the object is wins nothing either.

    Trust weighs the pairs that are asked about, never the candidates: another view of the object is not where the delta leads,
    whether or not its own delta is known. To leave it out would make the question easier where less is known.
    """

    def forward(self, predicted: Tensor, actual: Tensor, trust: Tensor | None = None) -> Tensor:
        """Predictions (B, N, N, d), [source, target], of views (B, N, d) -> scalar."""
        count = actual.shape[1]
        if count < 3:
            raise ValueError(f"contrast among an object's views needs at least 3 views (2 candidates), found {count}")
        similarity = self.similarity(predicted, actual)
        diagonal = torch.eye(count, dtype=torch.bool, device=actual.device)
        similarity = similarity.masked_fill(diagonal[:, None, :], -torch.inf)  # the source is no candidate
        positive = similarity.diagonal(dim1=2, dim2=3).masked_fill(diagonal, 0)  # [B, source, target]
        error = similarity.logsumexp(-1) - positive  # a view does not predict itself: its diagonal is left out below
        return _mean_off_diagonal(error, trust)

    @staticmethod
    def learned(error: Tensor, views: Tensor, trust: Tensor | None = None) -> Tensor:
        """How far an error among views (B, N, d) is below that of a guess: 0 a guess, 1 no error; a scalar without gradient.

        The same in all processes. 0 where no motion is trusted.
        """
        objects, count, _ = views.shape
        guess = _mean_off_diagonal(error.detach().new_full((objects, count, count), math.log(count - 1)), trust)
        return (mean(guess - error) / math.log(count - 1)).clamp(0, 1)


class DeltaContrast(Contrast):
    """InfoNCE between a view and what the predictor makes of a source by each delta: which one led here? What inversion asks.

    The candidates are the source moved to each view of the object, itself included: "no change" is an answer, and a wrong one.
    `EquivarianceContrast` compares views under one delta and says nothing of which delta fits a view best, so that a latent
    in which most is alike in all views (clips of one light) may be inverted to no motion at all.

    Trust weighs the pairs that are asked about, never the candidates.
    """

    def forward(self, predicted: Tensor, actual: Tensor, trust: Tensor | None = None) -> Tensor:
        """Predictions (B, N, N, d), [source, delta to], of views (B, N, d) -> scalar."""
        similarity = self.similarity(predicted, actual)
        error = similarity.logsumexp(2) - similarity.diagonal(dim1=2, dim2=3)  # [B, source, view]
        return _mean_off_diagonal(error, trust)


class SteeredContrast(Contrast):
    """InfoNCE between predicted and actual latents among the views of *all* objects of the batch (EquiMod, SEN).

    Only the source view is no candidate. Unlike in `EquivarianceContrast`, knowing which object it is wins most of it. Trust
    weighs the pairs that are asked about, never the candidates.
    """

    def forward(self, predicted: Tensor, actual: Tensor, trust: Tensor | None = None) -> Tensor:
        """Predictions (B, N, N, d), [source, target], of views (B, N, d) -> scalar, candidates from the global batch."""
        objects, count = actual.shape[:2]
        predicted, actual = (nn.functional.normalize(x.float(), dim=-1) for x in (predicted, actual))
        candidates = gather(actual).flatten(0, 1)  # [world * B * N, d]
        similarity = predicted.flatten(0, 1) @ candidates.mT / self.temperature  # [B * N, target, candidate]
        source = rank() * objects * count + torch.arange(objects * count, device=actual.device)
        similarity = similarity.scatter(2, source[:, None, None].expand(-1, count, 1), -torch.inf)
        positive = torch.einsum("bstd,btd->bst", predicted, actual) / self.temperature
        return _mean_off_diagonal(similarity.logsumexp(-1).unflatten(0, (objects, count)) - positive, trust)


class ObjectContrast(Contrast):
    """Instance discrimination with every other view of the object a positive (SimCLR; Khosla et al. 2020's outer sum)."""

    def forward(self, views: Tensor) -> Tensor:
        """Embeddings (B, N, d) -> scalar: -log p(another view of the object | view), negatives from other objects."""
        views = gather(nn.functional.normalize(views.float(), dim=-1))
        objects, count, _ = views.shape
        rows = views.flatten(0, 1)
        similarity = (rows @ rows.mT / self.temperature).unflatten(-1, (objects, count))  # [B*N, B, N]
        own = torch.arange(objects, device=views.device).repeat_interleave(count)
        same = own[:, None] == torch.arange(objects, device=views.device)  # [B*N, B]
        negatives = similarity.masked_fill(same[..., None], -torch.inf).flatten(1).logsumexp(-1)  # [B*N]
        positives = similarity[same].unflatten(0, (objects, count))  # [B, N, N]
        error = torch.logaddexp(positives, negatives.unflatten(0, (objects, count))[..., None]) - positives
        return _mean_off_diagonal(error)


class WithinObjectShare(nn.Module):
    """How much of a representation's variance is variance among the views of one object, in half-whitened space: in [0, 1].

    ``tr((T + r t I)^-1 W) / tr((T + r t I)^-1 T)`` with the total covariance T, its mean variance t, and the covariance W within
    objects. Zero: the representation does not move with the view. It is charged to the representation itself, before any
    projector: the usual invariance term, behind a projector, leaves nearly all of the pose in the representation. Whitening
    makes a faint direction that knows the pose cost as much as a strong one; the ridge r keeps directions that are only noise
    out of it, whose share is 1 whatever the encoder does. With a large r an encoder pays less by putting nearly all variance
    into one direction and the pose into faint ones, where a probe that whitens still finds it (r = 1, measured).

    Args:
        ridge: r, in mean variances.
    """

    def __init__(self, *, ridge: float = 0.1) -> None:
        super().__init__()
        self.ridge = ridge

    def forward(self, views: Tensor) -> Tensor:
        """Representations (B, N, d) -> scalar over the global batch."""
        views = gather(views)
        centred = (views - views.mean((0, 1))).flatten(0, 1)
        within = (views - views.mean(1, keepdim=True)).flatten(0, 1)
        total, inner = (rows.mT @ rows / len(rows) for rows in (centred, within))
        floor = self.ridge * total.diagonal().mean() + 1e-8
        solved = torch.linalg.solve(
            total + floor * torch.eye(len(total), dtype=total.dtype, device=total.device), torch.cat([inner, total], 1)
        )
        inner, total = solved.chunk(2, 1)
        return inner.trace() / total.trace().clamp_min(1e-8)  # of a constant nothing is within objects


def weighted_mean(error: Tensor, trust: Tensor | None = None) -> Tensor:
    """Mean of errors (...) weighted by trust (...), over the global batch; 0 where nothing is trusted.

    None: all count alike, and data-parallel averaging makes the mean global. Trust may be unevenly shared by the processes, so
    its sum is over all of them; the factor undoes that averaging.
    """
    if trust is None:
        return error.mean()
    trust = trust.detach().to(error.dtype)
    total = gather(trust.sum()[None]).sum()
    return world_size() * (error * trust).sum() / total.clamp_min(1e-12)


def off_diagonal(trust: Tensor | None) -> Tensor | None:
    """Trust (B, N, N) in the pairs of different views, (B, N (N - 1)), the target's number running fastest; None stays None."""
    return None if trust is None else trust[:, ~torch.eye(trust.shape[1], dtype=torch.bool, device=trust.device)]


def _mean_off_diagonal(error: Tensor, trust: Tensor | None = None) -> Tensor:
    """Mean of (B, N, N) without the N diagonal places, weighted by trust (B, N, N) where it is given."""
    count = error.shape[1]
    if trust is not None:
        return weighted_mean(error, trust * ~torch.eye(count, dtype=torch.bool, device=error.device))
    diagonal = error.diagonal(dim1=1, dim2=2)
    return (error.sum() - diagonal.sum()) / (error.shape[0] * count * (count - 1))
