"""seq-JEPA (Ghaemi, Muller, Bakhtiari, 2025, arXiv 2505.03176): see some views and moves, predict the next view.

    z_i = f(x_i);  h = transformer([z_1, a_12], ..., [z_(M-1), a_(M-1)M], [z_M, 0], aggregate token)
    L = 1 - cos(predictor(h, a_M(M+1)), f'(x_(M+1)))

a_ij is the embedded motion from view i to view j, f' the moving average of the encoder f, without gradient. The aggregate h
tends to be what is common to the views, the encoder's output z to keep what a motion changes: no other term asks for either.

Sequences are the views of an object in random order, as many as there are of M + 1. Steering starts from one view: its
aggregate, moved by the predictor; so that one view is nothing new, M is drawn for each step, up to `context`. What evaluation
calls the latent is z; h, the paper's invariant representation, is judged by the protocol ``aggregate``, of 1, 3 and 5 views.
Ours: tokens have places (of more than M views the first ones share one), and view and motion side by side are brought to the
width of a view; a motion is embedded without BatchNorm, as what is told of it is centred and scaled already; the transformer's
norms are before its blocks, without dropout. The authors' predictor: ``predictor.hidden=[1024] predictor.norm=batch``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vsie.distributed import rank, world_size
from vsie.encoders.base import Encoder
from vsie.methods import ema
from vsie.methods.base import Method, Outputs
from vsie.objectives import weighted_mean


class SeqJEPA(Method):
    """Prediction of the next view's latent from an aggregate of views and motions.

    Args:
        invariant_share: Where extracted features are cut; nothing else is.
        weights: Of ``prediction``.
        context: M, the longest sequence of views that is aggregated; in training of 1 to M views, drawn for each step.
        layers: Of the transformer.
        heads: Of the transformer.
        embedding: Width of an embedded motion.
        momentum: Of the moving average at the start; it rises to 1 along a cosine.
        projector_width: Width of the transformer's hidden layers; there are no projectors.
        projector_layers: Not used.
        projector_norm: Not used.
    """

    TERMS = ("prediction",)
    PROJECTORS = "none"
    part = "all"
    similarity = "cosine"
    linear = False
    weighs = True

    def __init__(
        self,
        *parts: Any,
        context: int = 3,
        layers: int = 3,
        heads: int = 4,
        embedding: int = 64,
        momentum: float = 0.99,
        **shared: Any,
    ) -> None:
        super().__init__(*parts, **shared)
        if context < 1:
            raise ValueError(f"method.context is {context}, expected at least 1")
        dim = self.encoder.dim
        if dim % heads:
            raise ValueError(f"encoder.dim {dim} is not a multiple of method.heads {heads}")
        self.context, self.momentum = context, momentum
        self.motion = nn.Linear(self.conditioning.width, embedding)
        self.token = nn.Linear(dim + embedding, dim)
        self.place = nn.Parameter(0.02 * torch.randn(context, dim))  # counted back from the last view
        self.aggregate_token = nn.Parameter(0.02 * torch.randn(dim))
        layer = nn.TransformerEncoderLayer(
            dim, heads, self.projector_options["width"], dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.target_encoder = ema.follower(self.encoder)

    @classmethod
    def predictor_width(cls, encoder: Encoder, options: Mapping[str, object]) -> int:
        return encoder.dim

    def forward(self, clips: Tensor, poses: Tensor | None, labels: Tensor | None = None, trust: Tensor | None = None) -> Outputs:
        poses = self.known(poses).flatten(1, 2)
        latents = self.encode(clips)
        with torch.no_grad():
            targets = self.encode(clips, self.target_encoder)
        return self.outputs(latents, self.terms(latents, targets, poses, trust))

    def terms(self, latents: Tensor, targets: Tensor, poses: Tensor, trust: Tensor | None = None) -> dict[str, Tensor]:
        """From latents (B, N, D), the moving average's of the same views (B, N, D), and poses (B, N, 4, 4).

        With trust (B, N, N) in the motions a sequence counts as much as its least trusted motion.
        """
        order = self.draw_sequences(latents)  # [B, Q, M + 1]
        objects = torch.arange(len(latents), device=latents.device)[:, None, None]
        motions = self.conditioning(poses[objects, order[..., :-1]], poses[objects, order[..., 1:]])
        aggregate = self.aggregate(latents[objects, order[..., :-1]], motions[..., :-1, :])
        predicted = self.predictor(aggregate, motions[..., -1, :])
        target = targets[objects[..., 0], order[..., -1]]
        similarity = torch.cosine_similarity(predicted, target, dim=-1)
        if trust is None:
            return {"prediction": 1 - similarity.mean()}
        return {"prediction": weighted_mean(1 - similarity, trust[objects, order[..., :-1], order[..., 1:]].amin(-1))}

    def draw_sequences(self, latents: Tensor) -> Tensor:
        """Indices (B, Q, M + 1) of views: each object's views in random order, cut into sequences of one length."""
        objects, count = latents.shape[:2]
        length = 1 + int(torch.randint(1, min(self.context + 1, count), ()))
        # drawn for the global batch, so that the draw does not depend on how many processes share it
        draw = torch.rand(world_size() * objects, count)[rank() * objects : (rank() + 1) * objects]
        order = draw.argsort(1).to(latents.device)
        return order[:, : count // length * length].unflatten(1, (-1, length))

    def aggregate(self, views: Tensor, motions: Tensor) -> Tensor:
        """One vector (..., D) for views (..., M, D) and the told motions (..., M - 1, width) from each to the next."""
        shape, count = views.shape[:-2], views.shape[-2]
        told = self.motion(motions)
        told = torch.cat([told, told.new_zeros(*shape, 1, told.shape[-1])], -2)
        place = torch.arange(count - 1, -1, -1, device=views.device).clamp_max(self.context - 1)
        tokens = self.token(torch.cat([views, told], -1)) + self.place[place]
        tokens = torch.cat([tokens, self.aggregate_token.expand(*shape, 1, -1)], -2)
        return self.transformer(tokens.reshape(-1, count + 1, tokens.shape[-1]))[:, -1].reshape(*shape, -1)

    def summarise(self, latents: Tensor, poses: Tensor) -> Tensor:
        return self.aggregate(latents, self.conditioning(poses[:, :-1], poses[:, 1:]))

    def after_step(self, step: int, steps: int) -> None:
        ema.follow(self.target_encoder, self.encoder, ema.schedule(self.momentum, step, steps))

    def alone(self, embedded: Tensor) -> Tensor:
        """The aggregate (..., D) of single views (..., D)."""
        return self.aggregate(embedded[..., None, :], embedded.new_zeros(*embedded.shape[:-1], 0, self.conditioning.width))

    def steer(self, embedded: Tensor, motion: Tensor) -> Tensor:
        """Where motions (..., 4, 4) in `frame` take views (..., D), shapes as for a predictor: (..., D)."""
        return super().steer(self.alone(embedded), motion)

    def pair_steer(self, embedded: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """`steer` by the motions between poses (..., 4, 4)."""
        return super().pair_steer(self.alone(embedded), source, target)
