"""Every term against a slow reference written out in loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from vsie import objectives


@pytest.fixture
def views() -> torch.Tensor:
    return torch.randn(5, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_invariance_is_the_mean_squared_distance_of_all_pairs(views):
    slow = [(v[i] - v[j]).square().mean() for v in views for i, j in itertools.permutations(range(4), 2)]
    assert objectives.Invariance()(views).item() == pytest.approx(torch.stack(slow).mean().item(), rel=1e-10)


def test_variance_is_a_hinge_on_the_standard_deviation(views):
    rows = 0.3 * views.flatten(0, 1)
    slow = sum(max(0.0, 1 - math.sqrt(rows[:, i].var().item() + 1e-4)) for i in range(6)) / 6
    assert objectives.Variance()(rows).item() == pytest.approx(slow)
    assert objectives.Variance(half=True)(rows).item() == pytest.approx(slow / 2)
    assert objectives.Variance()(100 * rows).item() == 0


def test_covariance_sums_squared_off_diagonals_over_d(views):
    rows = views.flatten(0, 1)
    matrix = torch.cov(rows.T)
    slow = sum(matrix[i, j].item() ** 2 for i in range(6) for j in range(6) if i != j) / 6
    assert objectives.Covariance()(rows).item() == pytest.approx(slow)


def test_equivariance_error_leaves_the_diagonal_out(views):
    predicted = torch.randn(5, 4, 4, 6, dtype=torch.float64)
    slow = [(predicted[b, i, j] - views[b, j]).square().mean() for b in range(5) for i, j in itertools.permutations(range(4), 2)]
    assert objectives.EquivarianceError()(predicted, views).item() == pytest.approx(torch.stack(slow).mean().item())


def test_equivariance_contrast_is_info_nce_among_the_objects_other_views(views):
    predicted = torch.randn(5, 4, 4, 6, dtype=torch.float64)
    cosine = torch.nn.functional.cosine_similarity
    slow = []
    for b in range(5):
        for source, target in itertools.permutations(range(4), 2):
            moved = predicted[b, source, target]
            logits = {c: (cosine(moved, views[b, c], dim=0) / 0.1).item() for c in range(4) if c != source}
            slow.append(math.log(sum(math.exp(v) for v in logits.values())) - logits[target])
    ours = objectives.EquivarianceContrast(temperature=0.1)(predicted, views).item()
    assert ours == pytest.approx(sum(slow) / len(slow), rel=1e-5)


def test_equivariance_contrast_wins_nothing_by_predicting_no_change(views):
    ignorant = views[:, :, None].expand(-1, -1, 4, -1)
    assert objectives.EquivarianceContrast()(ignorant, views).item() > math.log(3)


def test_delta_contrast_is_info_nce_among_the_deltas_of_a_source_no_motion_among_them(views):
    predicted = torch.randn(5, 4, 4, 6, dtype=torch.float64)
    cosine = torch.nn.functional.cosine_similarity
    slow = []
    for b in range(5):
        for source, target in itertools.permutations(range(4), 2):
            logits = [(cosine(predicted[b, source, e], views[b, target], dim=0) / 0.1).item() for e in range(4)]
            slow.append(math.log(sum(math.exp(v) for v in logits)) - logits[target])
    ours = objectives.DeltaContrast(temperature=0.1)(predicted, views).item()
    assert ours == pytest.approx(sum(slow) / len(slow), rel=1e-5)


def test_only_delta_contrast_asks_which_delta_fits_best(views):
    """Where nearly all of a latent is the same in all views, predictions that are all off in the same way unless nothing moves
    rank the views rightly and the deltas wrongly."""
    same, off = torch.eye(8, dtype=torch.float64)[6:]
    actual = same + 0.1 * torch.nn.functional.pad(torch.nn.functional.normalize(views, dim=-1), (0, 2))
    moved = torch.ones(4, 4, 1, dtype=torch.float64) - torch.eye(4, dtype=torch.float64)[..., None]
    predicted = actual[:, None] + 0.3 * off * moved
    terms = objectives.EquivarianceContrast(temperature=0.001), objectives.DeltaContrast(temperature=0.001)
    ranks, fits = (term(predicted, actual).item() for term in terms)
    assert ranks < 0.5 and fits > 5


def test_what_the_contrast_has_learned_is_nothing_for_a_guess_and_all_for_a_prophet(views):
    contrast, unit = objectives.EquivarianceContrast(temperature=0.01), torch.nn.functional.normalize(views, dim=-1)
    told = contrast(unit[:, None].expand(-1, 4, -1, -1), views)
    assert contrast.learned(told, views).item() > 0.99
    assert contrast.learned(torch.tensor(math.log(3)), views).item() == pytest.approx(0, abs=1e-6)
    assert contrast.learned(torch.tensor(5.0), views).item() == 0
    assert contrast.learned(torch.tensor(math.log(3) / 4), views).item() == pytest.approx(0.75)
    trust = torch.rand(5, 4, 4)
    assert contrast.learned(torch.tensor(math.log(3) / 4), views, trust).item() == pytest.approx(0.75, abs=1e-5)
    nobody = torch.zeros(5, 4, 4)  # nothing is known of any motion: nothing is learned, though there is no error either
    assert contrast.learned(contrast(torch.randn(5, 4, 4, 6), views, nobody), views, nobody).item() == 0


def test_equivariance_contrast_has_finite_gradients(views):
    views.requires_grad_()
    objectives.EquivarianceContrast()(views[:, None].expand(-1, 4, -1, -1), views).backward()
    assert views.grad.isfinite().all()


def test_object_contrast_has_every_other_view_as_positive(views):
    unit = torch.nn.functional.normalize(views, dim=-1)
    slow = []
    for b, (i, j) in itertools.product(range(5), itertools.permutations(range(4), 2)):
        positive = math.exp((unit[b, i] @ unit[b, j] / 0.2).item())
        negatives = sum(math.exp((unit[b, i] @ unit[o, k] / 0.2).item()) for o in range(5) if o != b for k in range(4))
        slow.append(-math.log(positive / (positive + negatives)))
    assert objectives.ObjectContrast(temperature=0.2)(views).item() == pytest.approx(sum(slow) / len(slow), rel=1e-5)


def test_within_object_share_is_zero_for_invariant_and_one_for_objectless():
    share = objectives.WithinObjectShare(ridge=1e-6)
    objects = torch.randn(50, 1, 6)
    assert share(objects.expand(-1, 8, -1)).item() == pytest.approx(0, abs=1e-6)
    assert share(torch.randn(1, 8, 6).expand(50, -1, -1)).item() == pytest.approx(1, abs=1e-4)


def test_within_object_share_of_a_constant_is_nothing_and_no_nan():
    views = torch.ones(4, 3, 8, requires_grad=True)
    share = objectives.WithinObjectShare()(views)
    share.backward()
    assert share.item() == 0 and views.grad.isfinite().all()


def test_within_object_share_is_the_trace_ratio_in_half_whitened_space(views):
    rows = views.flatten(0, 1) - views.mean((0, 1))
    inner = (views - views.mean(1, keepdim=True)).flatten(0, 1)
    total = rows.T @ rows / 20
    weight = torch.linalg.inv(total + 0.5 * total.diagonal().mean() * torch.eye(6))
    slow = torch.trace(weight @ (inner.T @ inner / 20)) / torch.trace(weight @ total)
    assert objectives.WithinObjectShare(ridge=0.5)(views).item() == pytest.approx(slow.item(), rel=1e-6)


def test_whitening_charges_a_faint_direction_that_moves_more_than_the_mean_over_dimensions_would():
    views = torch.randn(200, 1, 6, generator=torch.Generator().manual_seed(0)).expand(-1, 8, -1).clone()
    mix = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    views[..., 5] = 0.1 * torch.randn(200, 8, generator=torch.Generator().manual_seed(2))  # faint, and all motion
    turned = views @ mix
    per_dimension = objectives.variance_within(turned).mean(0) / turned.flatten(0, 1).var(0, correction=0)
    assert objectives.WithinObjectShare(ridge=0.01)(turned).item() > 3 * per_dimension.mean().item()


@pytest.mark.parametrize("term, least", [(objectives.Invariance(), 2), (objectives.EquivarianceContrast(), 3)])
def test_too_few_views_are_refused(term, least):
    views = torch.randn(3, least - 1, 4)
    arguments = (views,) if least == 2 else (views[:, :, None].expand(-1, -1, least - 1, -1), views)
    with pytest.raises(ValueError, match=f"at least {least} views"):
        term(*arguments)


def test_steered_contrast_has_all_views_but_the_source_as_candidates(views):
    predicted = torch.randn(5, 4, 4, 6, dtype=torch.float64)
    cosine = torch.nn.functional.cosine_similarity
    slow = []
    for b in range(5):
        for source, target in itertools.permutations(range(4), 2):
            moved = predicted[b, source, target]
            every = [(o, k) for o in range(5) for k in range(4) if (o, k) != (b, source)]
            logits = {c: (cosine(moved, views[c], dim=0) / 0.1).item() for c in every}
            slow.append(math.log(sum(math.exp(v) for v in logits.values())) - logits[b, target])
    ours = objectives.SteeredContrast(temperature=0.1)(predicted, views).item()
    assert ours == pytest.approx(sum(slow) / len(slow), rel=1e-5)
