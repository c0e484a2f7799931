"""Does the predictor land on the right view? The rank of the true view among the other views of the object.

Notable: with ``W(delta) z = sum_k h_k A_k z`` all steered latents of an object are compared with all its views in K-space,
``<W z_i, z_m> = sum_k h_k <A_k z_i, z_m>``; no steered latent is ever built, except for PRE. A predictor that is not linear
in the latent is evaluated for every pair of views instead. Both measures read the embedded latents in pieces, and many of
them are a file (`embed`).

Each has two forms. The sound one leaves the source out of the candidates, since a predictor that does nothing would find it.
SIE's released one (`released=True`) steers view 0 to all views of its object, itself included, among all of them, by cosine.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.evaluation.inputs import Steering, linear, part_of, view_poses
from vsie.evaluation.moments import Unscorable
from vsie.feature_set import LARGE, Features, flat
from vsie.files import reserve

VIEWS = 32
HITS = (1, 5)
QUERIES = 100_000  # of PRE where every view is a source: each is compared with all views of the set
TABLE = 2**24  # similarities of an object's views at once
CHUNK = 4096  # queries and candidates of PRE at once: 64 MiB of similarities


class Identity:
    """The predictor that ignores the delta: what a method without a predictor steers with, and a floor for all.

    Args:
        similarity: See `vsie.evaluation.inputs.Steering`.
        frame: The same.
        part: The same: ``all`` for latents that are not split.
    """

    def __init__(self, *, similarity: str = "cosine", frame: str = "body", part: str = "equi"):
        self.similarity, self.frame, self.part = similarity, frame, part

    def embed(self, latents: Tensor) -> Tensor:
        """The latents themselves."""
        return latents

    def expand(self, embedded: Tensor) -> Tensor:
        """One product, (..., 1, e)."""
        return embedded[..., None, :]

    def coefficients(self, delta: Tensor) -> Tensor:
        """Always 1, (..., 1)."""
        return torch.ones_like(delta[..., 0, :1])


@torch.no_grad()
def embed(steering: Steering, latents: Tensor, *, chunk: int = 8192, device=None) -> Tensor:
    """Embedded latents (N, e), finite, of latents (N, d), in pieces; of more than `LARGE` a file that goes with the tensor.

    Args:
        steering: The predictor, on `device`.
        latents: Of all frames; may be a file.
        chunk: Rows at once.
        device: Where the predictor is; None for where the latents are. A file is never on another device than the CPU.

    Raises:
        ValueError: When the predictor's space holds NaN.
    """
    device = latents.device if device is None else device
    embedded = None
    for start in range(0, len(latents), chunk):
        piece = steering.embed(latents[start : start + chunk].to(device)).float()
        if not bool(piece.isfinite().all()):
            raise ValueError("the steering's embedded latents are not finite; there is nothing to steer")
        if embedded is None:
            embedded = _table(len(latents), piece)
        embedded[start : start + len(piece)] = piece
    return embedded


def _table(rows: int, like: Tensor) -> Tensor:
    """A table (rows, e) for rows like these (n, e): in memory, or, of more than `LARGE` rows, in a file without a name."""
    if rows <= LARGE:
        return like.new_empty(rows, like.shape[1])
    with tempfile.TemporaryFile(prefix="vsie-embedded-") as file:  # the map keeps it until the tensor is gone
        reserve(file.fileno(), 4 * rows * like.shape[1])
        return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=(rows, like.shape[1])))


def take(embedded: Tensor, index: Tensor, device="cpu") -> Tensor:
    """Rows `index` (P,) of embedded latents (N, e), which may be a file; only these are read."""
    return embedded[index].to(device)


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


def expected_scores(above: Tensor, tied: Tensor, hits: Sequence[int] = HITS) -> dict[str, np.ndarray]:
    """Reciprocal rank and hits (P,), in expectation over the order of tied candidates: a collapsed latent gets chance."""
    above, tied = above.double().cpu(), tied.double().cpu()
    harmonic = _harmonic()
    last = (above + tied + 1).long()
    result = {"mrr": ((harmonic[last] - harmonic[above.long()]) / (tied + 1)).numpy()}
    for top in hits:
        result[f"hit@{top}"] = ((top - above) / (tied + 1)).clamp(0, 1).numpy()
    return result


@functools.cache
def _harmonic() -> Tensor:
    """The sums of 1 / 1 to 1 / n for n from 0 to 100,000."""
    return torch.cat([torch.zeros(1, dtype=torch.float64), (1 / torch.arange(1, 100_001, dtype=torch.float64)).cumsum(0)])


def chance(candidates: np.ndarray, hits: Sequence[int] = HITS) -> dict[str, float]:
    """Exact expectation of a random order, for candidate counts (P,): MRR H_n / n, hits k / n."""
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, candidates.max() + 1))])
    result = {"mrr": float((harmonic[candidates] / candidates).mean())}
    for top in hits:
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


def _object_similarities(steering: Steering, views: Tensor, poses: Tensor, sources: Tensor, similarity: str) -> Tensor:
    """Similarity (S, V, V) of view i, one of `sources` (S,), steered by the delta to j, against view m; larger is nearer.

    Only its order in m counts, so what is common to all m (the length of the steered latent) is left out.
    """
    if similarity == "cosine":
        candidates, offset = torch.nn.functional.normalize(views, dim=-1), 0.0
    else:
        candidates, offset = views, 0.5 * views.square().sum(-1)
    if not linear(steering):
        predicted = steered(steering, views[sources, None], poses[sources, None], poses[None])  # (S, V, e)
        return torch.einsum("ije,me->ijm", predicted, candidates) - offset
    mixing = coefficients(steering, poses[sources, None], poses[None], views.dtype)  # (S, V, K)
    products = torch.einsum("ike,me->ikm", steering.expand(views[sources]), candidates)
    return torch.einsum("ijk,ikm->ijm", mixing, products) - offset


def _object_ranks(steering: Steering, views: Tensor, poses: Tensor, *, released: bool) -> tuple[Tensor, Tensor]:
    """`ranks` (Q,), (Q,) of all queries among embedded views (V, e) of an object, sources by sources: memory is V^2, not V^3."""
    number, found = len(views), []
    kind, sources = ("cosine", 1) if released else (steering.similarity, number)
    for own in torch.arange(sources).split(max(1, TABLE // number**2)):
        similarity = _object_similarities(steering, views, poses, own, kind)
        asked = torch.ones(similarity.shape[:2], dtype=torch.bool)
        if not released:  # the source is no candidate
            place = torch.arange(len(own))
            similarity[place, :, own] = -torch.inf
            asked[place, own] = False
        source, target = asked.nonzero(as_tuple=True)
        found.append(ranks(similarity[source, target], target.to(similarity.device)))
    above, tied = zip(*found, strict=True)
    return torch.cat(above), torch.cat(tied)


@torch.no_grad()
def retrieve(
    steering: Steering, embedded: Tensor, features: Features, *, cap: int | None = VIEWS,
    hits: Sequence[int] = HITS, released: bool = False, device="cpu",
) -> SteeringScores:  # fmt: skip
    """Steer every view of every object to each of its other views and rank the true one among the others.

    Args:
        steering: The predictor, on `device`.
        embedded: (N * F, e) of all frames, see `embed`; read object by object.
        features: For the poses and the objects.
        cap: Views per object, evenly taken over all its clips; None for all.
        hits: The k of H@k.
        released: SIE's form: see the module's docstring.
        device: Where it is computed.

    Raises:
        ValueError: When no object has three views: with one candidate every rank is 1.
    """
    all_poses = view_poses(steering, features)
    values: dict[str, list[np.ndarray]] = {}
    objects, counts = [], []
    for group in features.views(cap):
        number = len(group)
        if number < 3:
            continue
        index = torch.from_numpy(in_order(features, group) if released else group)
        views, poses = take(embedded, index, device), all_poses[index].to(device)
        above, tied = _object_ranks(steering, views, poses, released=released)
        for name, scores in expected_scores(above, tied, hits).items():
            values.setdefault(name, []).append(scores)
        objects.append(np.full(len(above), features.objects[group[0] // features.frames]))
        counts.append(np.full(len(above), number if released else number - 1))
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


def nearest_of_many(
    similarity: str, predicted: Tensor, embedded: Tensor, bank: Tensor, *, exclude: Tensor | None = None,
    mixing: Tensor | None = None, chunk: int = CHUNK,
) -> Tensor:  # fmt: skip
    """`nearest` among rows `bank` (M,) of embedded latents (N, e), which are read in pieces: place in `bank` (P,).

    With `mixing` (R, Q, K) `predicted` are K products (R, K, e) of each of R sources, and the P = R * Q queries their sums:
    sources that are steered more often than K times cost K comparisons of latents, and not Q.
    """
    count = len(predicted) if mixing is None else len(predicted) * mixing.shape[1]
    best = predicted.new_full((count,), -torch.inf)
    place = torch.zeros(count, dtype=torch.long, device=predicted.device)
    exclude = None if exclude is None else exclude.to(predicted.device)
    queries, chunk = predicted.flatten(0, -2), min(chunk, len(bank))
    # Written again for every piece: large tables that come and go leave the heap in holes (measured: 12 GB of them).
    held = embedded.new_empty(chunk, embedded.shape[1])
    products = predicted.new_empty(len(queries) * chunk)
    sums = products if mixing is None else predicted.new_empty(count * chunk)
    for start in range(0, len(bank), chunk):
        some = bank[start : start + chunk].to(embedded.device)
        rows = torch.index_select(embedded, 0, some, out=held[: len(some)]).to(predicted)
        if similarity == "cosine":
            rows /= rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        table = torch.mm(queries, rows.mT, out=products[: len(queries) * len(rows)].view(len(queries), len(rows)))
        if mixing is not None:
            out = sums[: count * len(rows)].view(*mixing.shape[:2], len(rows))
            table = torch.bmm(mixing, table.unflatten(0, predicted.shape[:2]), out=out).flatten(0, 1)
        if similarity != "cosine":
            table -= 0.5 * rows.square().sum(-1)
        if exclude is not None:
            inside = ((exclude >= start) & (exclude < start + len(rows))).nonzero()[:, 0]
            table[inside, exclude[inside] - start] = -torch.inf
        value = table.amax(1)
        better = (value > best).nonzero()[:, 0]  # few after the first pieces: only there it matters which candidate it is
        column = table[better].argmax(1) if 4 * len(better) < count else table.argmax(1)[better]
        best[better], place[better] = value[better], column + start
    return place.cpu()


def in_order(features: Features, group: np.ndarray) -> np.ndarray:
    """An object's frames as they are numbered on disk (virtual clips put views in another order), so that view 0 is first."""
    numbers = getattr(features, "frame_numbers", None)
    return group if numbers is None else group[np.argsort(numbers.reshape(-1)[group], kind="stable")]


def queries(groups: Sequence[np.ndarray], sources: str, *, seed: int = 0, limit: int = QUERIES) -> tuple[Tensor, Tensor]:
    """Source and target frames (P,), (P,) of PRE, for objects whose frames are `groups`.

    Args:
        groups: Per object the indices of its frames, two at least.
        sources: ``first``: the first view to each other one; ``released``: the first view to all, itself included (SIE);
            ``every``: each view once, to another one drawn by `seed`, at most `limit` in all, evenly over the objects.
        seed: Of the draw.
        limit: See `sources`.
    """
    if sources in ("first", "released"):
        begin = 1 if sources == "first" else 0
        source = np.concatenate([np.full(len(group) - begin, group[0]) for group in groups])
        return torch.from_numpy(source), torch.from_numpy(np.concatenate([group[begin:] for group in groups]))
    generator = np.random.default_rng(seed)
    counts = np.array([len(group) for group in groups])
    starts, place = np.repeat(counts.cumsum() - counts, counts), np.concatenate([np.arange(count) for count in counts])
    frames, length = np.concatenate(groups), np.repeat(counts, counts)
    other = (place + 1 + np.floor(generator.random(len(frames)) * (length - 1)).astype(np.int64)) % length
    kept = np.unique(np.linspace(0, len(frames) - 1, min(limit, len(frames))).round().astype(np.int64))
    return torch.from_numpy(frames[kept]), torch.from_numpy(frames[starts + other][kept])


@torch.no_grad()
def pre(
    steering: Steering, embedded: Tensor, features: Features, *, cap: int | None = VIEWS, sources: str = "first",
    chunk: int = CHUNK, seed: int = 0, limit: int = QUERIES, device="cpu",
):  # fmt: skip
    """Prediction retrieval error (SIE): mean of 1 - <q_true, q_nn>^2, q_nn the absolute pose of the nearest neighbour
    among ALL frames of the set (the source left out) of the steered latent.

    Args:
        steering: The predictor, on `device`.
        embedded: (N * F, e) of all frames, see `embed`; read in pieces, once per `chunk` queries.
        features: For the poses and the objects.
        cap: Views per object that are asked for and searched, evenly taken; None for all.
        sources: See `queries`; with ``released`` the source is a candidate too, and cosine decides.
        chunk: Queries, and candidates, at once: memory is about chunk * (chunk + 4 e) * 4 bytes.
        seed: See `queries`.
        limit: See `queries`.
        device: Where it is computed.

    Returns:
        Errors (P,), objects (P,), and the floors: ``constant`` (the best constant pose) and ``random`` (a random frame).

    Raises:
        Unscorable: The poses of two objects are not in one frame.
    """
    if not features.anchored:
        raise Unscorable("PRE compares poses of all clips, and these have no common frame")
    groups = [group for group in features.views(cap) if len(group) > 1]
    if sources == "released":
        groups = [in_order(features, group) for group in groups]
    source, target = queries(groups, sources, seed=seed, limit=limit)
    bank = torch.from_numpy(np.concatenate(groups))
    place = torch.full((features.frames * len(features.objects),), -1)
    place[bank] = torch.arange(len(bank))
    poses = view_poses(steering, features)
    quaternions = pose.to_quaternion(poses[:, :3, :3])
    similarity = "cosine" if sources == "released" else steering.similarity
    own = None if sources == "released" else place[source]
    find = _find
    if sources != "every" and linear(steering):
        told = (poses[frames[:1]].to(device) for frames in (source, target))
        products = coefficients(steering, *told, embedded.dtype).shape[-1]
        find = _find_by_source if products * len(groups) < len(source) else _find
    found = find(steering, embedded, poses, source, target, bank, own, similarity=similarity, chunk=chunk, device=device)
    errors = 1 - (quaternions[target] * quaternions[bank[found]]).sum(-1).square()
    objects = features.objects[(target // features.frames).numpy()]
    return errors.numpy(), objects, pre_floors(quaternions[bank])


def _find(
    steering: Steering, embedded: Tensor, poses: Tensor, source: Tensor, target: Tensor, bank: Tensor, own: Tensor | None, *,
    similarity: str, chunk: int, device,
) -> Tensor:  # fmt: skip
    """Place in `bank` (P,) of what is nearest to frames `source` steered to the poses of `target`; `own` (P,) is no candidate."""
    found = []
    for some in torch.arange(len(source)).split(chunk):
        pieces = [_steered(steering, embedded, poses, source[part], target[part], device) for part in some.split(512)]
        exclude = None if own is None else own[some]
        found.append(nearest_of_many(similarity, torch.cat(pieces), embedded, bank, exclude=exclude, chunk=chunk))
    return torch.cat(found)


def _find_by_source(
    steering: Steering, embedded: Tensor, poses: Tensor, source: Tensor, target: Tensor, bank: Tensor, own: Tensor | None, *,
    similarity: str, chunk: int, device,
) -> Tensor:  # fmt: skip
    """`_find` for a linear steering and queries whose sources stand together: many queries at once, few candidates."""
    ids, counts = torch.unique_consecutive(source, return_counts=True)
    ends, most, found = counts.cumsum(0), int(counts.max()), []
    for some in torch.arange(len(ids)).split(max(1, 4 * chunk // most)):
        first, last = int(ends[some[0]] - counts[some[0]]), int(ends[some[-1]])
        row = torch.arange(len(some)).repeat_interleave(counts[some])
        cell = row, torch.arange(first, last) - (ends - counts)[some][row]  # sources with fewer queries leave cells empty
        products = steering.expand(take(embedded, ids[some], device))
        told = poses[source[first:last]].to(device), poses[target[first:last]].to(device)
        mixing = products.new_zeros(len(some), most, products.shape[1])
        mixing[cell] = coefficients(steering, *told, products.dtype)
        exclude = None
        if own is not None:
            exclude = torch.full((len(some), most), -1)
            exclude[cell] = own[first:last]
            exclude = exclude.flatten()
        options = dict(exclude=exclude, mixing=mixing, chunk=max(1, chunk // 4))
        near = nearest_of_many(similarity, products, embedded, bank, **options)
        found.append(near.unflatten(0, (len(some), most))[cell])
    return torch.cat(found)


def _steered(steering: Steering, embedded: Tensor, poses: Tensor, source: Tensor, target: Tensor, device) -> Tensor:
    """Frames `source` (P,) steered to the poses of `target` (P,); a source that stays is expanded once."""
    if not linear(steering):
        return steered(steering, take(embedded, source, device), poses[source].to(device), poses[target].to(device))
    ids, row = torch.unique_consecutive(source, return_inverse=True)
    expanded = steering.expand(take(embedded, ids, device))
    mixing = coefficients(steering, poses[source].to(device), poses[target].to(device), expanded.dtype)
    return torch.einsum("pk,pke->pe", mixing, expanded[row.to(device)])


def pre_floors(quaternions: Tensor) -> dict[str, float]:
    """PRE of who always names the best constant pose (``constant``), or a random one (``random``), of a set of poses (M, 4)."""
    moment = quaternions.mT @ quaternions / len(quaternions)
    return {"constant": float(1 - torch.linalg.eigvalsh(moment)[-1]), "random": float(1 - moment.square().sum())}


@torch.no_grad()
def evaluate(steering: Steering | None, test: Features, *, frame: str, source: str = "clip"):
    """Retrieval and PRE with their floors; the identity predictor on cosine where there is no steering.

    Returns:
        Scores, errors and objects of PRE (None where poses have no common frame), floors (``chance``, ``identity``), and the
        embedded test frames (N * F, e).
    """
    latents = flat(test, part_of(steering), source)
    predictor = steering if steering is not None else Identity(frame=frame)
    embedded = embed(predictor, latents)
    scores = retrieve(predictor, embedded, test)
    identity = Identity(similarity=predictor.similarity, frame=frame)
    floors = {"chance": chance(scores.candidates), "identity": retrieve(identity, embedded, test).metrics()}
    if not test.anchored:
        return scores, None, floors, embedded
    errors, objects, pre_floor = pre(predictor, embedded, test)
    floors["chance"]["pre"] = pre_floor["constant"]
    floors["identity"]["pre"] = float(pre(identity, embedded, test)[0].mean())
    return scores, (errors, objects), floors, embedded
