"""What is saved of a run and how it is loaded, strictly: training, features and `vsie.load` all stand on this.

A checkpoint is a folder: `model.safetensors` (weights and buffers), `config.yaml` (the run's whole config, readable) and
`state.pt` (optimiser, probes, step; loaded with `weights_only=True`, so never code; random draws are a function of seed and
step). A new checkpoint is written beside the old one and takes its place by renames: at every instant one of them is whole.
"""

from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from vsie.files import atomic_path, remove_partial

FOLDER = "checkpoint"
PREVIOUS = ".checkpoint.previous"
FILES = ("model.safetensors", "config.yaml", "state.pt")


def save(run: Path, model: nn.Module, config: Mapping[str, Any], state: Mapping[str, Any]) -> Path:
    """Write the run's checkpoint in place of the one before. Returns its folder.

    Raises:
        OSError: The disk is full, with the place named; the checkpoint before stays.
    """
    folder, previous = run / FOLDER, run / PREVIOUS
    if not folder.exists() and previous.exists():
        previous.rename(folder)  # a kill came between two renames
    upcoming = run / ".checkpoint.next"
    remove_partial(run, upcoming.name)  # what a kill left half-written
    shutil.rmtree(upcoming, ignore_errors=True)
    with atomic_path(upcoming) as temporary:
        temporary.mkdir(parents=True)
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in model.state_dict().items()}
        (temporary / FILES[0]).write_bytes(to_bytes(tensors))
        (temporary / FILES[1]).write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        buffer = io.BytesIO()  # written by Python, so that a full disk is an OSError and not an error of the writer's own kind
        torch.save(dict(state), buffer)
        (temporary / FILES[2]).write_bytes(buffer.getbuffer())
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    upcoming.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)
    return folder


def locate(run: Path, *, missing_ok: bool = False) -> Path | None:
    """The whole checkpoint of a run folder (or the folder itself when it is a checkpoint).

    Raises:
        FileNotFoundError: Nothing there, unless `missing_ok`; the message names what was looked for.
    """
    run = Path(run)
    if (run / FILES[0]).is_file():
        return run
    for folder in (run / FOLDER, run / PREVIOUS):  # the second where a kill came between two renames
        if all((folder / name).is_file() for name in FILES):
            return folder
    if missing_ok:
        return None
    raise FileNotFoundError(f"{run} holds no checkpoint: expected {FOLDER}/{{{','.join(FILES)}}} in it")


def read_config(run: Path, *, weights: bool = True) -> dict[str, Any]:
    """The config that a run's checkpoint was made with; without `weights` that in the folder itself."""
    folder = locate(run) if weights else Path(run)
    try:
        config = yaml.safe_load((folder / FILES[1]).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{folder / FILES[1]} is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(config, dict) or not {"encoder", "method", "conditioning", "predictor"} <= config.keys():
        raise ValueError(f"{folder / FILES[1]} is not the config of a vsie run")
    return config


def load_weights(run: Path, model: nn.Module) -> None:
    """Load the weights of a run into `model`, strictly.

    Raises:
        ValueError: The checkpoint is of another model; the tensors that are missing, left over or of another shape are named.
    """
    file = locate(run) / FILES[0]
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is not a readable checkpoint ({error})") from None
    own = model.state_dict()
    for name in own.keys() - tensors.keys():
        if name.endswith("predictor.directions"):  # a hypernetwork from before it took those of its training: all of them
            tensors[name] = torch.eye(len(own[name]))
    for name in own.keys() & tensors.keys():
        if name.endswith("conditioning.scale") and tensors[name].dim() == 0:  # from before each kind of number had its own
            tensors[name] = tensors[name].expand(len(own[name])).clone()
    wrong = [f"missing {name}" for name in own.keys() - tensors.keys()]
    wrong += [f"left over {name}" for name in tensors.keys() - own.keys()]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape
    ]  # fmt: skip
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"{file} is a checkpoint of another model: {'; '.join(sorted(wrong)[:5])}{more}")
    model.load_state_dict(tensors)


def load_state(run: Path) -> dict[str, Any]:
    """The training state of a run: optimiser, probes, step."""
    file = locate(run) / FILES[2]
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{file} is not the state of a training ({reason}); without it the run can be judged, but cannot go "
                         "on") from None  # fmt: skip
