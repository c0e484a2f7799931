"""seq-JEPA against its formula, one sequence and one token at a time."""

from __future__ import annotations

import pytest
import torch

from tests.methods.common import build, mean, random_poses
from vsie import pose


def attend(method, tokens):
    """The transformer, written out for one sequence (T, D): pre-norm attention and feed-forward."""
    heads = method.transformer.layers[0].self_attn.num_heads
    for layer in method.transformer.layers:
        normed = layer.norm1(tokens)
        weight, bias = layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
        query, key, value = (normed @ weight.T + bias).chunk(3, -1)
        width, mixed = tokens.shape[1] // heads, []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            share = (query[:, part] @ key[:, part].T / width**0.5).softmax(-1)
            mixed.append(share @ value[:, part])
        tokens = tokens + layer.self_attn.out_proj(torch.cat(mixed, -1))
        tokens = tokens + layer.linear2(torch.nn.functional.gelu(layer.linear1(layer.norm2(tokens))))
    return method.transformer.norm(tokens)


def told(method, first, second):
    return method.conditioning.of_motion(pose.rigid(first[:3, :3].T @ second[:3, :3]))


@pytest.mark.parametrize("context, drawn", [(3, 3), (3, 1), (2, 2), (20, 7)])
def test_the_next_view_is_predicted_from_an_aggregate_of_views_and_motions(context, drawn, monkeypatch):
    monkeypatch.setattr(torch, "randint", lambda low, high, size: torch.tensor(min(drawn, high - 1)))
    sequences = 8 // (drawn + 1)
    method = build("seq_jepa", f"method.context={context}", "method.layers=2")
    latents, targets, poses = torch.randn(3, 8, 32), torch.randn(3, 8, 32), random_poses(3, 8)
    torch.manual_seed(4)
    terms = method.terms(latents, targets, poses)
    torch.manual_seed(4)
    order = method.draw_sequences(latents)
    length = drawn + 1
    assert order.shape == (3, sequences, length)
    assert all(len(set(order[b].flatten().tolist())) == sequences * length for b in range(3))
    slow = []
    for b in range(3):
        for views in order[b].tolist():
            tokens = []
            for place, view in enumerate(views[:-1]):
                motion = torch.zeros(64)
                if place < length - 2:
                    motion = method.motion(told(method, poses[b, view], poses[b, views[place + 1]]))
                token = method.token(torch.cat([latents[b, view], motion]))
                tokens.append(token + method.place[length - 2 - place])
            aggregate = attend(method, torch.stack([*tokens, method.aggregate_token]))[-1]
            predicted = method.predictor(aggregate, told(method, poses[b, views[-2]], poses[b, views[-1]]))
            slow.append(1 - torch.cosine_similarity(predicted, targets[b, views[-1]], dim=0))
    assert terms["prediction"].item() == pytest.approx(mean(slow), rel=1e-4)


def test_sequences_of_all_lengths_are_learned_from():
    method, latents = build("seq_jepa", "method.context=3"), torch.randn(2, 8, 32)
    lengths = [method.draw_sequences(latents).shape[-1] for _ in range(60)]
    assert set(lengths) == {2, 3, 4} and method.draw_sequences(torch.randn(2, 2, 32)).shape == (2, 1, 2)


def test_steering_is_the_prediction_from_one_view():
    method = build("seq_jepa", "method.context=1").eval()
    latents, poses = torch.randn(4, 2, 32), random_poses(4, 2)
    torch.manual_seed(1)
    found = method.terms(latents, latents, poses)["prediction"]
    torch.manual_seed(1)
    source, target = method.draw_sequences(latents)[:, 0].T
    rows = torch.arange(4)
    predicted = method.pair_steer(latents[rows, source], poses[rows, source], poses[rows, target])
    slow = 1 - torch.cosine_similarity(predicted, latents[rows, target], dim=-1).mean()
    assert found.item() == pytest.approx(slow.item(), rel=1e-5)


def test_the_target_is_the_moving_average():
    method = build("seq_jepa", "method.momentum=0.5")
    clips, poses = torch.rand(3, 2, 3, 2, 16, 16), random_poses(3, 2, 2)
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    before = [p.clone() for p in method.target_encoder.parameters()]
    method.after_step(0, 10)
    for slow, old, fast in zip(method.target_encoder.parameters(), before, method.encoder.parameters(), strict=True):
        assert torch.allclose(slow, (old + fast) / 2, atol=1e-6)
    torch.manual_seed(0)
    outputs = method(clips, poses)
    torch.manual_seed(0)
    targets = method.encode(clips, method.target_encoder)
    terms = method.terms(outputs.latents, targets, poses.flatten(1, 2))
    assert outputs.terms["prediction"].item() == pytest.approx(terms["prediction"].item(), rel=1e-5)
    outputs.loss.backward()
    assert all(p.grad is None for p in method.target_encoder.parameters())


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_invariant_representation_of_views_is_the_aggregate_of_them_and_the_moves_between(count):
    method = build("seq_jepa", "method.context=3", "method.layers=2").eval()
    latents, poses = torch.randn(2, count, 32), random_poses(2, count)
    found = method.summarise(latents, poses)
    for b in range(2):
        tokens = []
        for view in range(count):
            motion = torch.zeros(64)
            if view < count - 1:
                motion = method.motion(told(method, poses[b, view], poses[b, view + 1]))
            token = method.token(torch.cat([latents[b, view], motion]))
            tokens.append(token + method.place[min(count - 1 - view, 2)])  # of more than three the first ones share a place
        assert torch.allclose(found[b], attend(method, torch.stack([*tokens, method.aggregate_token]))[-1], atol=1e-5)
    if count == 1:
        assert torch.allclose(found, method.alone(latents[:, 0]), atol=1e-6)


def test_other_methods_have_the_mean_of_their_invariant_part():
    method, latents = build("vsie"), torch.randn(4, 3, 32)
    assert torch.equal(method.summarise(latents, random_poses(4, 3)), latents[..., :16].mean(1))
