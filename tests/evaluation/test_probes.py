"""Probes by gradient descent: what they are given, which is gone on with, what is kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vsie.evaluation import moments
from vsie.evaluation.audit import Rows, linear_prediction, mlp_prediction
from vsie.evaluation.moments import BESIDE, conditioning
from vsie.evaluation.probes import Given, Training, best


def ill(count: int, seed: int, faint: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (count, 16), one direction of which is all but everything, and the wanted numbers, told by a faint one."""
    mix = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)))[0]
    own = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    scale = torch.full((16,), faint)
    scale[0] = 1
    wanted = torch.stack([own[:, 3], own[:, 3] * own[:, 4]], 1)
    return (own * scale) @ mix, wanted


def test_conditioning_lifts_faint_directions_and_leaves_rounding_out():
    x, _ = ill(4000, 1, faint=0.01)
    x[:, 5] = x[:, 6]  # 15 directions are left
    x = torch.cat([x, torch.full((4000, 1), 3.0)], 1)  # and a dead dimension
    mean, beside, white = conditioning(x)
    assert beside.shape == (17, 17) and white.shape == (17, 15)
    torch.testing.assert_close(torch.cov(Given(mean, white)(x).mT), torch.eye(15), atol=1e-2, rtol=0)
    alive = x[:, :16]
    variances, directions = torch.linalg.eigh(torch.corrcoef(alive.double().mT))
    given = Given(mean, beside)(x)
    assert given[:, 16].abs().max() == 0
    found = torch.cov((given[:, :16].double() @ directions[:, 1:]).mT)
    torch.testing.assert_close(found, torch.diag(variances[1:] + BESIDE**2), atol=1e-2, rtol=0)


def test_what_probes_are_given_does_not_depend_on_the_unit():
    x, _ = ill(4000, 1, faint=0.1)
    unit = torch.logspace(-2, 2, 16)
    for which in (1, 2):
        (mean, *maps), (other, *others) = conditioning(x), conditioning(x * unit)
        one, two = Given(mean, maps[which - 1])(x), Given(other, others[which - 1])(x * unit)
        torch.testing.assert_close(one @ one.mT, two @ two.mT, atol=2e-2, rtol=1e-2)  # up to a sign of each direction


@pytest.mark.parametrize("faint", [1.0, 0.003])
def test_what_a_faint_direction_tells_is_found(faint):
    """As well as where all directions are equally strong: the product of two directions needs the MLP."""
    (train, wanted), (test, answer) = ill(3000, 1, faint), ill(1000, 2, faint)
    rows, objects = Rows(train, test), torch.arange(3000).numpy() // 10
    linear = 1 - (linear_prediction(rows, wanted) - answer).square().mean(0) / answer.var(0)
    mlp = 1 - (mlp_prediction(rows, wanted, objects, steps=300) - answer).square().mean(0) / answer.var(0)
    assert linear[0] > 0.95 and linear[1] < 0.1 and mlp.min() > 0.8


def test_a_latent_that_is_one_point_tells_nothing_and_breaks_nothing():
    point, wanted = torch.full((200, 4), 2.0), torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    assert len(conditioning(point)) == 2
    objects = torch.arange(200).numpy() // 10
    rows = Rows(point, point)
    for predicted in (linear_prediction(rows, wanted), mlp_prediction(rows, wanted, objects, steps=20)):
        assert predicted.isfinite().all() and predicted.std(0).max() < 1e-3


def lines(*slopes: float, judged: bool = True) -> list[Training]:
    """Probes y = w s x of which the slope s says how fast they learn y = 3 x."""
    trainings = []
    for slope in slopes:
        probe = nn.Sequential(Given(torch.zeros(1), torch.full((1, 1), slope)), nn.Linear(1, 1, bias=False))
        nn.init.zeros_(probe[1].weight)
        x = torch.linspace(-1, 1, 9)[:, None]

        def error(probe=probe, x=x):
            return (probe(x) - 3 * x).square().mean()

        judge = (lambda error=error: float(error())) if judged else None
        trainings.append(Training(probe, error, judge, steps=40, rate=0.1))
    return trainings


def test_the_more_promising_probe_goes_on_and_the_other_stops():
    slow, fast = lines(0.01, 1.0)
    assert best([slow, fast]) is fast.probe
    assert (slow.step, fast.step) == (5, 40) and fast.lowest < 1 < slow.lowest


def test_without_judges_the_first_probe_is_trained_and_kept_as_it_ends():
    slow, fast = lines(0.01, 1.0, judged=False)
    assert best([slow, fast]) is slow.probe and (slow.step, fast.step) == (40, 0) and slow.weights is None


def test_the_best_weights_are_kept_and_not_the_last():
    (training,) = lines(1.0)
    judge, looks = training.judge, []

    def worse_and_worse() -> float:
        looks.append(judge())
        return float(len(looks))

    training.judge = worse_and_worse
    probe = training.finished()
    assert len(looks) > 3 and float(probe[1].weight) == 0.0  # the first look is at the untrained one
    assert not any(p.requires_grad for p in probe.parameters())


def test_conditioning_of_many_rows_sees_all_steps_of_clips(monkeypatch):
    """Every second row of clips of two frames is a first frame: a stride would not see what only the second one shows."""
    monkeypatch.setattr(moments, "CONDITIONED", 500)
    rows = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    rows[::2, 3] = 0.0
    mean, beside, white = conditioning(rows)
    assert white.shape == (4, 4) and float(beside[3].abs().max()) > 0
    for again, other in zip((mean, beside, white), conditioning(rows), strict=True):
        assert torch.equal(again, other)
