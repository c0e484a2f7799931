"""Predictors: `(latent, delta) -> predicted latent`, one file each, with the contract of `vsie.predictors.base.Predictor`.

A file `name.py` here holds one predictor class called by the file's name (`hypernetwork.py` -> `Hypernetwork`) with
keyword-only options after `(dim, delta_dim)`; `configs/predictor/name.yaml` gives its options. Nothing has to be
registered.

A predictor that is `linear` in the latent also has `.expand(latent) -> (..., K, dim)` and `.coefficients(delta) ->
(..., K)` with `predictor(latent, delta) = sum_k coefficients_k * expand_k`: evaluation then compares, and inverts, in the K
numbers of a delta (hypernetwork, lie, identity). Any other is evaluated by its forward passes (mlp, film).
"""

from vsie.predictors.hypernetwork import Hypernetwork

__all__ = ["Hypernetwork"]
