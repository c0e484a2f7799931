"""RAFT (Teed and Deng, ECCV 2020; torchvision), on the device where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vsie.motion.flow.base import Flow, working_shape


class Raft(Flow):
    """torchvision's RAFT.

    Args:
        model: ``large`` or ``small``.
        weights: A local file with torchvision's state dict; None for torchvision's hub (downloaded on first use).
        resolution: Frames with a shorter side below this are enlarged to it; at least 128.
        updates: Recurrent updates of the flow.
        batch: Pairs per forward pass.
        device: None for a GPU where there is one.
    """

    def __init__(
        self, *, model: str = "large", weights: str | None = None, resolution: int = 256, updates: int = 12, batch: int = 8,
        device: str | None = None,
    ) -> None:  # fmt: skip
        if model not in ("large", "small"):
            raise ValueError(f"flow.model is {model!r}, expected large or small")
        if resolution < 128:
            raise ValueError(f"flow.resolution is {resolution}, expected at least 128: RAFT looks at an eighth of it")
        self.model, self.weights, self.resolution, self.updates, self.batch = model, weights, resolution, updates, batch
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._network: torch.nn.Module | None = None

    def network(self) -> torch.nn.Module:
        """The network with its weights, loaded once.

        Raises:
            FileNotFoundError: There is no such file, or the hub cannot be reached and has not been before.
            ValueError: The file holds other weights.
        """
        if self._network is not None:
            return self._network
        from torchvision.models import optical_flow

        build = getattr(optical_flow, f"raft_{self.model}")
        published = getattr(optical_flow, f"Raft_{self.model.capitalize()}_Weights").DEFAULT
        if self.weights is not None:
            if not Path(self.weights).is_file():
                raise FileNotFoundError(f"flow.weights={self.weights}: no such file, expected what {published.url} holds")
            network = build(weights=None)
            try:
                network.load_state_dict(torch.load(self.weights, map_location="cpu", weights_only=True))
            except Exception as error:  # pickle, zip and key errors come as half a dozen types
                raise ValueError(f"flow.weights={self.weights}: not the weights of raft_{self.model} ({error})") from None
        else:
            try:
                network = build(weights=published)
            except Exception as error:  # no network comes as URLError, timeouts, SSL and hash errors
                raise FileNotFoundError(
                    f"the weights of raft_{self.model} are not in {torch.hub.get_dir()}/checkpoints and cannot be downloaded "
                    f"({error}); get {published.url} and give it as flow.weights=FILE, or use flow=dis, which needs none"
                ) from None
        self._network = network.eval().to(self.device)
        return self._network

    @torch.inference_mode()
    def _pairs(self, first: np.ndarray, second: np.ndarray, progress: bool) -> np.ndarray:
        network = self.network()
        height, width = first.shape[1:3]
        shape = tuple(8 * -(-side // 8) for side in working_shape(height, width, self.resolution))
        ratio = torch.tensor([width / shape[1], height / shape[0]], device=self.device)[:, None, None]

        def load(frames: np.ndarray) -> torch.Tensor:
            images = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
            return torch.nn.functional.interpolate(images, shape, mode="bilinear", align_corners=False, antialias=True)

        parts = []
        for start in tqdm(range(0, len(first), self.batch), desc="flow", unit="batch", disable=not progress):
            part = slice(start, start + self.batch)
            found = network(load(first[part]), load(second[part]), num_flow_updates=self.updates)[-1]
            found = torch.nn.functional.interpolate(found, (height, width), mode="bilinear", align_corners=False) * ratio
            parts.append(found.permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(parts)
