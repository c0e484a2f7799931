"""From a run's config to its method: the parts are looked up by name, the config is plain dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsie import components
from vsie.methods.base import Method
from vsie.methods.conditioning import Conditioning


def build_method(config: Mapping[str, Any]) -> Method:
    """Encoder, conditioning, predictor and method as `config` (a run's `config.yaml`) describes them.

    Raises:
        ValueError: An unknown component or option, or parts that do not fit; the nearest name is told.
    """
    encoder = components.build_from("encoders", config["encoder"])
    conditioning = Conditioning(**config["conditioning"])
    method = components.find("methods", config["method"]["name"])
    predictor = None
    if method.NEEDS_PREDICTOR:
        options = config["method"]
        width = options["projector_width"]
        if not options["projector_layers"]:  # no projector: the predictor acts on the representation itself
            width = encoder.dim - round(encoder.dim * options["invariant_share"])
        predictor = components.build_from("predictors", config["predictor"], width, conditioning.width)
    return components.build_from("methods", config["method"], encoder, conditioning, predictor)
