"""Does the predictor land on the right view? The rank of the true view among the other views of the object.

Notable: with ``W(delta) z = sum_k h_k A_k z`` all steered latents of an object are compared with all its views in K-space,
``<W z_i, z_m> = sum_k h_k <A_k z_i, z_m>``; no steered latent is ever built, except for PRE. A predictor that is not linear
in the latent is evaluated for every pair of views instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.evaluation.inputs import Features, Steering, linear, part_of
from vsie.evaluation.pose import flat

VIEWS = 32
HITS = (1, 5)


class Identity:
    """The predictor that ignores the delta: what a method without a predictor steers with, and a floor for all."""

    def __init__(self, *, similarity: str = "cosine", frame: str = "body"):
        self.similarity, self.frame = similarity, frame

    def embed(self, equivariant: Tensor) -> Tensor:
        """The latents themselves."""
        return equivariant

    def expand(self, embedded: Tensor) -> Tensor:
        """One product, (..., 1, e)."""
        return embedded[..., None, :]

    def coefficients(self, delta: Tensor) -> Tensor:
        """Always 1, (..., 1)."""
        return torch.ones_like(delta[..., 0, :1])


@torch.no_grad()
def embed(steering: Steering, latents: Tensor, *, chunk: int = 8192) -> Tensor:
    """Embedded latents (N, e) of latents (N, d), in chunks, finite.

    Raises:
        ValueError: When the predictor's space holds NaN.
    """
    embedded = torch.cat([steering.embed(latents[i : i + chunk]) for i in range(0, len(latents), chunk)]).float()
    if not bool(embedded.isfinite().all()):
        raise ValueError("the steering's embedded latents are not finite; there is nothing to steer")
    return embedded


def coefficients(steering: Steering, source: Tensor, target: Tensor, dtype: torch.dtype) -> Tensor:
    """h (..., K) for the deltas between poses (..., 4, 4); by `pair_coefficients` where the steering has it."""
    own = getattr(steering, "pair_coefficients", None)
    if own is not None:
        return own(source.to(dtype), target.to(dtype)).to(dtype)
    return steering.coefficients(pose.delta(source, target, steering.frame).to(dtype)).to(dtype)


def ranks(similarity: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """How many candidates beat the true one, and how many tie with it.

    Args:
        similarity: (P, C), minus infinity for who is no candidate.
        true: (P,) index of the true candidate.

    Returns:
        Counts (P,), (P,); the true one is in neither.
    """
    own = similarity.gather(1, true[:, None])
    return (similarity > own).sum(1), (similarity == own).sum(1) - 1


def expected_scores(above: Tensor, tied: Tensor) -> dict[str, np.ndarray]:
    """Reciprocal rank and hits (P,), in expectation over the order of tied candidates: a collapsed latent gets chance."""
    above, tied = above.double(), tied.double()
    harmonic = torch.cat([torch.zeros(1, dtype=torch.float64), (1 / torch.arange(1, 100_001, dtype=torch.float64)).cumsum(0)])
    last = (above + tied + 1).long()
    result = {"mrr": ((harmonic[last] - harmonic[above.long()]) / (tied + 1)).numpy()}
    for top in HITS:
        result[f"hit@{top}"] = ((top - above) / (tied + 1)).clamp(0, 1).numpy()
    return result


def chance(candidates: np.ndarray) -> dict[str, float]:
    """Exact expectation of a random order, for candidate counts (P,): MRR H_n / n, hits k / n."""
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, candidates.max() + 1))])
    result = {"mrr": float((harmonic[candidates] / candidates).mean())}
    for top in HITS:
        result[f"hit@{top}"] = float(np.minimum(1, top / candidates).mean())
    return result


@dataclass(frozen=True)
class SteeringScores:
    """Per query (source view, other view): scores (Q,), the object (Q,), the number of candidates (Q,)."""

    values: dict[str, np.ndarray]
    objects: np.ndarray
    candidates: np.ndarray

    def metrics(self) -> dict[str, float]:
        """Means over all queries."""
        return {name: float(values.mean()) for name, values in self.values.items()}


def _object_similarities(steering: Steering, views: Tensor, poses: Tensor) -> Tensor:
    """Similarity (V, V, V) of view i steered by the delta to j, against view m; larger is nearer.

    Only its order in m counts, so what is common to all m (the length of the steered latent) is left out.
    """
    if steering.similarity == "cosine":
        candidates, offset = torch.nn.functional.normalize(views, dim=-1), 0.0
    else:
        candidates, offset = views, 0.5 * views.square().sum(-1)
    if not linear(steering):
        predicted = steered(steering, views[:, None], poses[:, None], poses[None])  # (V, V, e)
        return torch.einsum("ije,me->ijm", predicted, candidates) - offset
    mixing = coefficients(steering, poses[:, None], poses[None], views.dtype)  # (V, V, K)
    products = torch.einsum("ike,me->ikm", steering.expand(views), candidates)
    return torch.einsum("ijk,ikm->ijm", mixing, products) - offset


@torch.no_grad()
def retrieve(steering: Steering, embedded: Tensor, features: Features, *, cap: int = VIEWS) -> SteeringScores:
    """Steer every view of every object to each of its other views and rank the true one among the others.

    Args:
        steering: The predictor.
        embedded: (N * F, e) of all frames, see `embed`.
        features: For the poses and the objects.
        cap: Views per object, evenly taken over all its clips.

    Raises:
        ValueError: When no object has three views: with one candidate every rank is 1.
    """
    all_poses = torch.from_numpy(np.ascontiguousarray(features.poses.reshape(-1, 4, 4), dtype=np.float64))
    values: dict[str, list[np.ndarray]] = {}
    objects, counts = [], []
    for group in features.views(cap):
        number = len(group)
        if number < 3:
            continue
        index = torch.from_numpy(group)
        similarity = _object_similarities(steering, embedded[index], all_poses[index])
        diagonal = torch.arange(number)
        similarity[diagonal, :, diagonal] = -torch.inf  # the source is no candidate
        source, target = (~torch.eye(number, dtype=torch.bool)).nonzero(as_tuple=True)
        for name, scores in expected_scores(*ranks(similarity[source, target], target)).items():
            values.setdefault(name, []).append(scores)
        objects.append(np.full(len(source), features.objects[group[0] // features.frames]))
        counts.append(np.full(len(source), number - 1))
    if not objects:
        raise ValueError("steering is measured among the other views of an object; no object has three frames")
    return SteeringScores(
        values={name: np.concatenate(scores) for name, scores in values.items()},
        objects=np.concatenate(objects), candidates=np.concatenate(counts),
    )  # fmt: skip


@torch.no_grad()
def steered(steering: Steering, embedded: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Where the motions between poses (..., 4, 4) take embedded latents (..., e), any steering; shapes broadcast."""
    if linear(steering):
        return torch.einsum("...k,...ke->...e", coefficients(steering, source, target, embedded.dtype), steering.expand(embedded))
    own = getattr(steering, "pair_steer", None)
    if own is not None:
        return own(embedded, source.to(embedded.dtype), target.to(embedded.dtype))
    return steering.steer(embedded, pose.delta(source, target, steering.frame).to(embedded.dtype))


def nearest(steering: Steering, predicted: Tensor, bank: Tensor, *, exclude: Tensor | None = None) -> Tensor:
    """Index (P,) of the nearest of bank (M, e) to each predicted latent (P, e), `exclude` (P,) left out."""
    if steering.similarity == "cosine":
        similarity = predicted @ torch.nn.functional.normalize(bank, dim=-1).mT
    else:
        similarity = predicted @ bank.mT - 0.5 * bank.square().sum(-1)
    if exclude is not None:
        similarity.scatter_(1, exclude[:, None], -torch.inf)
    return similarity.argmax(1)


@torch.no_grad()
def pre(steering: Steering, embedded: Tensor, features: Features, *, cap: int = VIEWS, chunk: int = 1024):
    """Prediction retrieval error (SIE): mean of 1 - <q_true, q_nn>^2, q_nn the absolute pose of the nearest neighbour
    among ALL frames of the set (the source left out) of the steered latent.

    One source view per object, its first, is steered to each of its other views, as SIE does.

    Returns:
        Errors (P,), objects (P,), and the floors: ``constant`` (the best constant pose) and ``random`` (a random frame).
    """
    groups = [group for group in features.views(cap) if len(group) > 1]
    source = torch.cat([torch.full((len(group) - 1,), int(group[0])) for group in groups])
    target = torch.cat([torch.from_numpy(group[1:]) for group in groups])
    bank = torch.from_numpy(np.concatenate(groups))
    place = torch.full((features.frames * len(features.objects),), -1)
    place[bank] = torch.arange(len(bank))
    poses = torch.from_numpy(np.ascontiguousarray(features.poses.reshape(-1, 4, 4), dtype=np.float64))
    quaternions = pose.to_quaternion(poses[:, :3, :3])
    found = []
    for i in range(0, len(source), chunk):
        first, second = source[i : i + chunk], target[i : i + chunk]
        predicted = steered(steering, embedded[first], poses[first], poses[second])
        found.append(nearest(steering, predicted, embedded[bank], exclude=place[first]))
    errors = 1 - (quaternions[target] * quaternions[bank[torch.cat(found)]]).sum(-1).square()
    moment = quaternions[bank].mT @ quaternions[bank] / len(bank)
    objects = features.objects[(target // features.frames).numpy()]
    floor = {"constant": float(1 - torch.linalg.eigvalsh(moment)[-1]), "random": float(1 - moment.square().sum())}
    return errors.numpy(), objects, floor


@torch.no_grad()
def evaluate(steering: Steering | None, test: Features, *, frame: str, source: str = "clip"):
    """Retrieval and PRE with their floors; the identity predictor on cosine where there is no steering.

    Returns:
        Scores, PRE as `pre` gives it, floors (``chance``, ``identity``), and the embedded test frames (N * F, e).
    """
    latents = flat(test, part_of(steering), source)
    predictor = steering if steering is not None else Identity(frame=frame)
    embedded = embed(predictor, latents)
    scores = retrieve(predictor, embedded, test)
    errors, objects, pre_floor = pre(predictor, embedded, test)
    identity = Identity(similarity=predictor.similarity, frame=frame)
    floors = {"chance": chance(scores.candidates), "identity": retrieve(identity, embedded, test).metrics()}
    floors["chance"]["pre"] = pre_floor["constant"]
    floors["identity"]["pre"] = float(pre(identity, embedded, test)[0].mean())
    return scores, (errors, objects), floors, embedded
