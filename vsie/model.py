"""From a run's config to its method: the parts are looked up by name, the config is plain dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsie import components
from vsie.methods.base import Method
from vsie.methods.conditioning import Conditioning
from vsie.predictors.base import Predictor


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
        width = method.predictor_width(encoder, config["method"])
        predictor = components.build_from("predictors", config["predictor"], width, conditioning.width)
        check_told(predictor, conditioning)
    return components.build_from("methods", config["method"], encoder, conditioning, predictor)


def check_told(predictor: Predictor, conditioning: Conditioning) -> None:
    """Refuse a predictor that would be told motions in another form or frame than it takes them.

    Raises:
        ValueError: It says which options fit.
    """
    name = type(predictor).__name__.lower()
    if predictor.encoding is not None and (
        conditioning.encoding != predictor.encoding or conditioning.centred or conditioning.colour != "none"
    ):
        raise ValueError(f"predictor {name} has to be told the motion itself, found conditioning.encoding="
                         f"{conditioning.encoding} conditioning.centred={str(conditioning.centred).lower()}, expected "
                         f"conditioning.encoding={predictor.encoding} conditioning.centred=false "
                         "conditioning.colour=none")  # fmt: skip
    frame = getattr(predictor, "frame", conditioning.frame)
    if frame != conditioning.frame:
        raise ValueError(f"predictor.frame is {frame}, but conditioning.frame is {conditioning.frame}: expected the same")
