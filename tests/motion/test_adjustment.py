"""Bundle adjustment on points whose places are computed, and the pose graph."""

from __future__ import annotations

import math

import pytest
import torch

from vsie import pose
from vsie.motion import adjustment, trajectory
from vsie.motion.adjustment import Prior, State, Tracks

FRAMES, POINTS = 6, 60


def scene(seed: int = 0, noise: float = 0.0, frames: int = FRAMES) -> tuple[Tracks, State]:
    """A bumpy thing about the centre that turns by 8 degrees a frame about a tilted axis, and the exact state."""
    generator = torch.Generator().manual_seed(seed)
    rays = (torch.rand(2, frames, 2, POINTS, generator=generator) - 0.5) * 0.3
    depth = 1 - 0.1 * torch.rand(2, frames, POINTS, generator=generator)
    axis = torch.tensor([[0.0, -0.7, -0.7], [0.3, 0.6, 0.5]])
    turn = math.radians(8) * torch.arange(frames)[:, None] * torch.nn.functional.normalize(axis, dim=1)[:, None]
    state = State(pose.exp(turn), depth, torch.tensor([0.0, 0.0, 1.0]).repeat(2, 1))
    anchors = torch.arange(frames)
    views = anchors[:, None] + torch.tensor([1, 2, -1, -2])
    inside = (views >= 0) & (views < frames)
    views = torch.where(inside, views, anchors[:, None])
    weight = inside[None, :, :, None].float().expand(2, -1, -1, POINTS)
    factor = torch.eye(2)[..., None].expand(2, frames, 1, 2, 2, POINTS)
    seen = torch.zeros(2, frames, 4, 2, POINTS)
    tracks = Tracks(rays, seen, factor, weight, anchors, views, 200.0, torch.tensor([64.0, 64.0]))
    seen = adjustment.project(tracks, state)[3]
    seen = seen + noise / 200 * torch.randn(seen.shape, generator=generator)
    return Tracks(**{**tracks.__dict__, "seen": seen}), state


def loose(state: State, spread: float = 0.2, steady: float = 0.0) -> Prior:
    return Prior(torch.full_like(state.depth, 0.95), torch.full_like(state.depth, spread**-2), steady, torch.tensor([1e8, 1e8]))


def start(state: State) -> State:
    return State(torch.eye(3).expand_as(state.rotation).clone(), torch.full_like(state.depth, 0.95), state.centre.clone())


def error_deg(found: State, true: State) -> torch.Tensor:
    return pose.geodesic(found.rotation.double(), true.rotation.double()).rad2deg()


def test_exact_places_give_exact_turns_and_depths():
    tracks, true = scene()
    begin = State(pose.exp(0.7 * pose.log(true.rotation)), torch.full_like(true.depth, 0.95), true.centre)
    found, fit = adjustment.adjust(tracks, begin, loose(true, 100.0), iterations=25, scale=0.5)
    assert float(error_deg(found, true).max()) < 0.3
    assert float((found.depth - true.depth).abs().median()) < 0.005
    assert float(fit.residual[:, :, :, :].median()) < 0.02


def test_a_long_clip_is_found_in_as_few_steps_as_a_short_one():
    """From no turn at all; damping of the frames' own rotations, not of the turns, left 6 degrees of 8 at 80 frames."""
    for frames in (8, 80):
        tracks, true = scene(frames=frames)
        found, _ = adjustment.adjust(tracks, start(true), loose(true, 100.0, steady=1e4), iterations=6, scale=0.5)
        turns = [state.rotation[:, 1:] @ state.rotation[:, :-1].mT for state in (found, true)]
        assert float(pose.geodesic(*turns).rad2deg().mean()) < 0.01


def test_known_depth_tells_how_far_the_centre_is():
    tracks, true = scene()
    begin = State(torch.eye(3).expand_as(true.rotation).clone(), true.depth, true.centre * 1.06)
    known = Prior(true.depth, torch.full_like(true.depth, 1e5), 0.0, torch.tensor([1e8, 1e8, 1e-2]))
    found, fit = adjustment.adjust(tracks, begin, known, iterations=25, scale=0.5)
    assert float((found.centre[:, 2] - 1).abs().max()) < 0.002 and float(error_deg(found, true).max()) < 0.1
    assert fit.normal.shape[-1] == 3 * FRAMES + 3
    held, _ = adjustment.adjust(tracks, begin, loose(true), iterations=5, scale=0.5)
    assert torch.equal(held.centre[:, 2], begin.centre[:, 2])


def test_what_is_believed_of_the_centre_is_believed_however_often_one_begins_again():
    """Else it is no belief but a damping: ten calls of a step would take the centre wherever the pictures do."""
    tracks, true = scene()
    beside = torch.tensor([0.02, 0.0, 0.0])
    begin = State(torch.eye(3).expand_as(true.rotation).clone(), true.depth, true.centre + beside)
    known = Prior(true.depth, torch.full_like(true.depth, 1e4), 0.0, torch.tensor([1e6, 1e6, 1e6]))
    whole, _ = adjustment.adjust(tracks, begin, known, iterations=10, scale=0.5)
    steps = begin
    for _ in range(10):
        steps, _ = adjustment.adjust(tracks, steps, known, iterations=1, scale=0.5)
    torch.testing.assert_close(steps.centre, whole.centre, atol=1e-7, rtol=0)
    firm = Prior(true.depth, known.information, 0.0, torch.tensor([1e10, 1e10, 1e10]))
    held, _ = adjustment.adjust(tracks, begin, firm, iterations=10, scale=0.5)
    assert float((held.centre - true.centre).abs().max()) < 1e-3  # where it is believed to be, not where it began


def test_noise_of_a_third_of_a_pixel_and_outliers():
    tracks, true = scene(noise=0.3)
    wrong = torch.rand(tracks.weight.shape, generator=torch.Generator().manual_seed(1)) < 0.15
    seen = torch.where(wrong[..., None, :], tracks.seen + 0.05, tracks.seen)
    begin = State(pose.exp(0.7 * pose.log(true.rotation)), torch.full_like(true.depth, 0.95), true.centre)
    tracks = Tracks(**{**tracks.__dict__, "seen": seen})
    found, _ = adjustment.adjust(tracks, begin, loose(true), iterations=25, scale=0.5)
    assert float(error_deg(found, true).max()) < 8  # of 40 degrees


def test_the_gradient_is_the_costs_own():
    """The cost falls along the step, and at the solution a turn of any frame by half a degree raises it."""
    tracks, true = scene(noise=0.3)
    prior = loose(true, steady=100.0)
    state, costs = start(true), []
    for _ in range(15):
        state, fit = adjustment.adjust(tracks, state, prior, iterations=1, scale=0.5)
        costs.append(fit.cost)
    costs = torch.stack(costs)
    assert (costs[-1] < 0.2 * costs[0]).all()
    best = adjustment.adjust(tracks, state, prior, iterations=1, scale=0.5)[1].cost
    for axis in torch.eye(3):
        turned = State(state.rotation.clone(), state.depth, state.centre)
        turned.rotation[:, 2] = pose.exp(math.radians(0.5) * axis) @ turned.rotation[:, 2]
        assert (adjustment.adjust(tracks, turned, prior, iterations=1, scale=0.5)[1].cost > best).all()


def test_drift_over_a_clip_is_bounded():
    """Solved as a whole, the last of 16 frames is known nearly as well as the second; chained pairs drift away."""
    frames = 16
    tracks, true = scene(noise=0.4, frames=frames)
    begin = State(pose.exp(0.9 * pose.log(true.rotation)), torch.full_like(true.depth, 0.95), true.centre)
    whole, _ = adjustment.adjust(tracks, begin, loose(true), iterations=15, scale=0.5)

    def two(ahead: torch.Tensor, behind: torch.Tensor) -> torch.Tensor:
        """Of frame t and of frame t + 1, for all t of both clips."""
        return torch.stack([ahead[:, :-1], behind[:, 1:]], 2).flatten(0, 1)

    pairs = Tracks(
        two(tracks.rays, tracks.rays), two(tracks.seen[:, :, :1], tracks.seen[:, :, 2:3]),
        torch.eye(2)[..., None].expand(1, 2, 1, 2, 2, POINTS), torch.ones(2 * (frames - 1), 2, 1, POINTS),
        torch.tensor([0, 1]), torch.tensor([[1], [0]]), tracks.focal, tracks.middle,
    )  # fmt: skip
    count = 2 * (frames - 1)
    flat = torch.full((count, 2, POINTS), 0.95)
    state = State(torch.eye(3).repeat(count, 2, 1, 1), flat, torch.tensor([0.0, 0.0, 1.0]).repeat(count, 1))
    alone = Prior(flat, torch.full_like(flat, 0.2**-2), 0.0, torch.tensor([1e8, 1e8]))
    steps = adjustment.adjust(pairs, state, alone, iterations=15, scale=0.5)[0].rotation[:, 1].unflatten(0, (2, frames - 1))
    chained = [torch.eye(3).expand(2, 3, 3)]
    for step in steps.unbind(1):
        chained.append(step @ chained[-1])
    drift = error_deg(State(torch.stack(chained, 1), true.depth, true.centre), true).mean(0)
    bounded = error_deg(whole, true).mean(0)
    assert float(bounded[8]) < 0.5 * float(drift[8]) and float(bounded[15]) < 0.5 * float(drift[15])
    assert float(bounded[15]) < 5 * float(bounded[1]) + 0.5  # of 15 times as far


def test_a_steady_prior_makes_the_turn_steady():
    tracks, true = scene(noise=2.0)

    def change(steady: float) -> float:
        found, _ = adjustment.adjust(tracks, start(true), loose(true, steady=steady), iterations=20, scale=2.0)
        steps = pose.log(found.rotation[:, 1:] @ found.rotation[:, :-1].mT)
        return float((steps[:, 1:] - steps[:, :-1]).norm(dim=-1).mean())

    assert change(1e6) < 0.2 * change(0.0)


def test_the_mirrored_solution_looks_nearly_the_same():
    tracks, true = scene()
    first, second = (adjustment.project(tracks, state)[3] for state in (true, adjustment.mirrored(true)))
    wrong = State(true.rotation.mT, true.depth, true.centre)
    other = adjustment.project(tracks, wrong)[3]
    gap = (first - second)[:, 1:5].norm(dim=-2).mean()
    assert float(gap) < 0.35 * float((first - other)[:, 1:5].norm(dim=-2).mean())
    again = adjustment.mirrored(adjustment.mirrored(true))
    torch.testing.assert_close(again.rotation, true.rotation, atol=1e-5, rtol=0)


def test_covariance_is_that_of_many_repetitions():
    tracks, true = scene()
    flat = Prior(true.depth, torch.full_like(true.depth, 1e4), 0.0, torch.tensor([1e10, 1e10]))
    steps = []
    for seed in range(60):
        noise = 0.25 / 200 * torch.randn(tracks.seen.shape, generator=torch.Generator().manual_seed(seed))
        found, fit = adjustment.adjust(
            Tracks(**{**tracks.__dict__, "seen": tracks.seen + noise}), true, flat, iterations=3, scale=0.25
        )
        steps.append(pose.log(found.rotation[:, 1:] @ found.rotation[:, :-1].mT))
    scatter = torch.stack(steps).var(0).sum(-1)
    told = torch.diagonal(adjustment.step_covariance(fit.normal, found.rotation), dim1=-2, dim2=-1).sum(-1)
    ratio = (scatter.double() / told).sqrt()
    # Cauchy weights count a residual of one scale half, so what is told is wider than the truth
    assert 0.3 < float(ratio.min()) and float(ratio.max()) < 1.5


def test_the_pose_graph_closes_and_bounds_drift():
    generator = torch.Generator().manual_seed(0)
    rotation = pose.exp(torch.arange(12)[:, None] * torch.tensor([0.02, 0.2, 0.1]).double())
    place = torch.randn(12, 3, generator=generator).double().cumsum(0)
    true = pose.rigid(rotation, place - rotation @ place[0])
    true = true @ pose.inverse(true[:1])
    source, target = trajectory.pairs(12, (1, 3, 6))
    exact = pose.delta(true[source], true[target], "camera")
    found = trajectory.graph(source, target, exact, torch.ones(len(source)), 12)
    torch.testing.assert_close(found, true, atol=1e-6, rtol=0)
    noisy = pose.rigid(pose.exp(0.05 * torch.randn(len(source), 3, generator=generator).double())) @ exact
    joined = trajectory.graph(source, target, noisy, torch.ones(len(source)), 12)
    chained = true[:1]
    for step in noisy[:11]:
        chained = torch.cat([chained, (step @ chained[-1])[None]])
    assert float(pose.geodesic(joined, true)[6:].mean()) < 0.7 * float(pose.geodesic(chained, true)[6:].mean())


def test_what_a_pair_leaves_open_is_filled_in_by_its_neighbours():
    """One pair in a wrong minimum, one that tells nothing of the turn about an axis; exact pairs are left alone."""
    frames, turn = 9, torch.tensor([0.05, 0.15, 0.1]).double()
    source, target = trajectory.pairs(frames, (1, 2))
    turns = turn * (target - source)[:, None]
    covariance = (0.005**2 * torch.eye(3).double()).repeat(len(source), 1, 1)
    same = trajectory.steady_turns(source, target, turns, covariance, torch.ones(len(source)), frames, steadiness=1e3)
    torch.testing.assert_close(same, turn.expand(8, 3), atol=1e-6, rtol=0)
    turns[2] = -turn
    turns[5], covariance[5] = turn * torch.tensor([1.0, 0.0, 1.0]), torch.diag(torch.tensor([0.005, 1.0, 0.005]).double() ** 2)
    found = trajectory.steady_turns(source, target, turns, covariance, torch.ones(len(source)), frames, steadiness=1e3)
    assert float((found - turn).norm(dim=1).max()) < 0.05 * float(turn.norm())
    # a turn that does change, and that every pair tells clearly, is not smoothed away
    lively = turn * torch.tensor([1.0, 1.3, 0.8, 1.0, 1.4, 0.7, 1.1, 0.9]).double()[:, None]
    turns = torch.stack([lively[a:b].sum(0) for a, b in zip(source.tolist(), target.tolist(), strict=True)])
    covariance = (0.001**2 * torch.eye(3).double()).repeat(len(source), 1, 1)
    kept = trajectory.steady_turns(source, target, turns, covariance, torch.ones(len(source)), frames, steadiness=1e3)
    assert float((kept - lively).norm(dim=1).mean()) < 0.3 * float((lively - lively.mean(0)).norm(dim=1).mean())


@pytest.mark.parametrize("frames", [2, 3])
def test_short_clips(frames):
    source, target = trajectory.pairs(frames, (1, 2, 4))
    assert len(source) == (1 if frames == 2 else 3)
    found = trajectory.graph(source, target, torch.eye(4).repeat(len(source), 1, 1), torch.ones(len(source)), frames)
    torch.testing.assert_close(found, torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1))
