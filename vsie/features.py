"""Features of clips: for evaluation (every frame of every clip) and for downstream use (`tools/extract.py`).

A frame has two latents: encoded *alone* (T = 1), which image-level classification is asked of, and encoded *with its clip
around it*, in windows that may be longer than those of training, which tracking is asked of. For a still encoder they are
the same.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from vsie import checkpoint, pose
from vsie.encoders.base import Encoder
from vsie.feature_set import Columns, Features
from vsie.methods.base import Method, Split
from vsie.model import build_method

IMAGES = 512  # images per forward pass
OTHERS = 256  # images per batch where BatchNorm is in train mode: that of SIE's released probes
STATISTICS = 100  # batches that move its running statistics: of those before them 3e-5 is left


@dataclass(frozen=True)
class Model:
    """A trained run, ready to use; `vsie.load(RUN)` gives it.

    Attributes:
        method: The whole method, in eval mode; it has `embed` and `steer`.
        config: The run's config as plain dicts.
    """

    method: Method
    config: Mapping[str, Any]

    @property
    def encoder(self) -> Encoder:
        """Clip (B, 3, T, H, W), float in [0, 1], to latents (B, S, D)."""
        return self.method.encoder

    @property
    def split(self) -> Split:
        """Latents to (invariant, equivariant), of a method that splits them."""
        return self.method.split

    @torch.inference_mode()
    def __call__(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Clips (B, 3, T, H, W), float in [0, 1] -> invariant (B, I), one per clip, and equivariant (B, S, E), one per step.

        Of a method that does not split its latent both are all of it.
        """
        latents = self.encoder(clip).float()
        invariant, equivariant = self.split(latents) if self.method.splits else (latents, latents)
        return invariant.mean(1), equivariant

    @torch.inference_mode()
    def steer(self, equivariant: Tensor, motion: Tensor) -> Tensor:
        """Where `motion` (..., 4, 4), in the run's frame, takes equivariant parts (..., E): embedded predictions (..., e).

        A method that does not split its latent (its ``part`` is ``all``) is given the whole latent.

        Raises:
            ValueError: The run's method has learned no steering.
        """
        if not self.method.steers:
            raise ValueError(f"{type(self.method).__name__.lower()} has learned no steering: it has no predictor")
        return self.method.steer(self.method.embed(equivariant), motion.to(equivariant.dtype))


def device_of(name: str) -> str:
    """The device of that name; of ``auto`` the GPU where there is one.

    Raises:
        ValueError: There is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros((), device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device is {name!r}, which is not here ({reason}); expected auto, cpu or cuda") from None
    return name


def load(run: str | Path, *, device: str | torch.device = "cpu") -> Model:
    """Load a run folder (or a checkpoint folder), strictly and without Hydra.

    Raises:
        FileNotFoundError: There is no checkpoint in it.
        ValueError: Config and weights do not fit; what differs is named.
    """
    config = checkpoint.read_config(Path(run))
    method = untrained(config)
    checkpoint.load_weights(Path(run), method)
    return Model(method.to(device).eval(), config)


def untrained(config: Mapping[str, Any]) -> Method:
    """The method of a run's config with random weights, wherever the run had its first ones from: nothing is downloaded."""
    encoder = {**config["encoder"]}
    return build_method({**config, "encoder": encoder | ({"weights": None} if "weights" in encoder else {})})


def covering(length: int, frames: int, widest: int | None = None) -> np.ndarray:
    """Windows (W, frames) of evenly spaced frames that together hold every frame of a clip.

    The spacing is the widest that fits and is not above `widest`, training's. Where `frames` does not divide `length` the last
    windows share frames with others; a clip shorter than a window gives one window that holds its last frame.
    """
    if length <= frames:
        return np.minimum(np.arange(frames), length - 1)[None]
    spacing = length // frames if widest is None else min(length // frames, widest)
    block = spacing * frames
    starts = [base + offset for base in range(0, length - block + 1, block) for offset in range(spacing)]
    if length % block:
        starts += [length - block + offset for offset in range(spacing)]
    return np.array(starts)[:, None] + spacing * np.arange(frames)[None]


def invariant_width(method: Method) -> int:
    """How many dimensions of a method's latents, from the first, are the invariant part; 0 where it does not split them."""
    return method.split.invariant if method.splits else 0


class Whole(nn.Module):
    """An encoder in the place of a method: no split, no predictor; deltas are in the body frame."""

    frame, steers, splits, direct_supervision = "body", False, False, False

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder, self.split = encoder, SimpleNamespace(invariant=0, equivariant=encoder.dim)


class Backbone(Encoder):
    """The backbone of an encoder as an encoder: what it knows before our head and mixing."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.whole, self.dim = encoder, 0  # how wide it is shows when it is used
        self.stride, self.apart = encoder.stride, encoder.apart

    @staticmethod
    def differs(encoder: Encoder) -> bool:
        """Whether something of ours comes after the backbone, so that its features are not the latents themselves."""
        return not isinstance(getattr(encoder, "head", nn.Identity()), nn.Identity) or len(getattr(encoder, "mixing", ())) > 0

    def raw(self, clip: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> features (B, T / stride, features); nothing comes after it."""
        return self.whole.raw(clip)


@torch.inference_mode()
def encode(encoder: nn.Module, images: Tensor, *, precision: str = "32-true") -> Tensor:
    """Latents (B, S, D), float32, of clips (B, T, H, W, 3) uint8 on the encoder's device, in bounded memory."""
    device = next(encoder.parameters()).device
    chunk = max(1, IMAGES // images.shape[1])
    parts = []
    for clip in images.split(chunk):
        clip = rearrange(clip.to(device), "b t h w c -> b c t h w").float().div_(255)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            parts.append(encoder(clip).float())
    return torch.cat(parts)


def encode_clip(
    encoder: Encoder, video: Tensor, frames: int, *, widest: int | None = None, precision: str = "32-true"
) -> tuple[Tensor, Tensor]:
    """Every step of clips (N, F, H, W, 3) uint8, alone and in context.

    Args:
        encoder: In eval mode.
        video: Clips of one length.
        frames: How many frames of a clip the encoder sees together, a multiple of its stride; 1 for an encoder of stills.
        widest: Largest number of frames from one of them to the next; None for what fits. Steps of several frames are of
            neighbours.

    Returns:
        Latents (N, S, D) of single frames and of steps in context; S = F for encoders of stride 1, else F // stride, and the
        single frames are those in the middle of each step. A clip shorter than a step is its middle frame, alone.
    """
    count, length = video.shape[:2]
    if encoder.apart:
        images = rearrange(video, "n f h w c -> (n f) 1 h w c")
        seen = encode(Backbone(encoder), images, precision=precision)
        return mixed(encoder, rearrange(seen, "(n f) 1 d -> n f d", n=count), frames, widest=widest, precision=precision)
    if encoder.stride > 1:
        middle = video[:, middles(encoder, length)]
        alone = encode(encoder, rearrange(middle, "n s h w c -> (n s) 1 h w c"), precision=precision)
        alone = rearrange(alone, "(n s) 1 d -> n s d", n=count)
        if frames == 1 or length < encoder.stride:
            return alone, alone
        return alone, _in_windows(encoder, whole_steps(encoder, video), frames, 1, precision)
    alone = encode(encoder, rearrange(video, "n f h w c -> (n f) 1 h w c"), precision=precision)
    alone = rearrange(alone, "(n f) 1 d -> n f d", n=count)
    return alone, alone if min(frames, length) == 1 else _in_windows(encoder, video, frames, widest, precision)


@torch.inference_mode()
def mixed(
    encoder: Encoder, seen: Tensor, frames: int, *, widest: int | None = None, precision: str = "32-true"
) -> tuple[Tensor, Tensor]:
    """What `encode_clip` gives of an encoder that sees frames apart, from what its backbone gave of every frame.

    Args:
        encoder: Its `mix` follows the backbone.
        seen: Features of the backbone (N, F, features) on the encoder's device.
        frames: See `encode_clip`.
        widest: See `encode_clip`.
        precision: See `encode`.
    """
    count, length = seen.shape[:2]
    windows = covering(length, min(frames, length), widest)
    with torch.autocast(seen.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
        alone = rearrange(encoder.mix(rearrange(seen, "n f d -> (n f) 1 d")).float(), "(n f) 1 d -> n f d", n=count)
        if windows.shape[1] == 1:
            return alone, alone
        latents = encoder.mix(rearrange(seen[:, windows], "n w t d -> (n w) t d")).float()
    return alone, _every_step(rearrange(latents, "(n w) t d -> n (w t) d", n=count), windows)


def _in_windows(encoder: Encoder, video: Tensor, frames: int, widest: int | None, precision: str) -> Tensor:
    """Every step of clips, see `encode_clip`, from windows of `frames` frames: latents (N, S, D). With a stride `widest` is 1."""
    windows = covering(video.shape[1], min(frames, video.shape[1]), widest)
    latents = encode(encoder, rearrange(video[:, windows], "n w t h w2 c -> (n w) t h w2 c"), precision=precision)
    latents = rearrange(latents, "(n w) s d -> n (w s) d", n=len(video))
    return _every_step(latents, windows[:, :: encoder.stride] // encoder.stride)


def _every_step(latents: Tensor, steps: np.ndarray) -> Tensor:
    """Latents (N, W * S, D) of windows that hold `steps` (W, S), in the order of steps; where two hold one the first counts."""
    _, first = np.unique(steps, return_index=True)
    return latents[:, torch.from_numpy(first)]


def has_batch_norm(encoder: nn.Module) -> bool:
    """Whether statistics of a batch could enter the latents."""
    return any(isinstance(module, _BatchNorm) and module.track_running_stats for module in encoder.modules())


@contextlib.contextmanager
def batch_statistics(encoder: nn.Module, *, moving: bool = False) -> Iterator[None]:
    """BatchNorm in train mode, all else in eval mode; the running statistics stay as they are unless they are `moving`."""
    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for norm in norms:
        norm.training, norm.track_running_stats = True, moving
    try:
        yield
    finally:
        for norm in norms:
            norm.training, norm.track_running_stats = False, True


def encode_among_others(encoder: Encoder, video: Tensor, *, precision: str = "32-true", seed: int = 0) -> Tensor:
    """Single frames of clips (N, F, H, W, 3) uint8 with BatchNorm in train mode: latents (N, S, D).

    See `encode_mixed`; of several frames that are one step the one in its middle.
    """
    return encode_mixed(encoder, video[:, middles(encoder, video.shape[1])], precision=precision, seed=seed)


def middles(encoder: Encoder, length: int) -> Tensor:
    """Of a clip of so many frames those in the middle of each step (S,); of one shorter than a step the one in its middle."""
    steps, stride = length // encoder.stride, encoder.stride
    return torch.arange(steps) * stride + stride // 2 if steps else torch.tensor([length // 2])


def whole_steps(encoder: Encoder, frames: Tensor) -> Tensor:
    """Of what clips have for each frame (N, F, ...) that of whole steps; of clips shorter than a step that of `middles`."""
    length = frames.shape[1]
    return frames[:, : length - length % encoder.stride] if length >= encoder.stride else frames[:, middles(encoder, length)]


def encode_mixed(encoder: Encoder, video: Tensor, *, precision: str = "32-true", seed: int = 0) -> Tensor:
    """Frames of objects (N, V, H, W, 3) uint8, each alone, with BatchNorm in train mode: latents (N, V, D).

    A batch is one frame of each object, drawn by `seed`, as SIE's released probes see one view of each of 256 objects: they
    leave the frozen backbone in train mode, so a latent depends on the batch around it.
    """
    count = len(video)
    order = torch.rand(count, video.shape[1], generator=torch.Generator().manual_seed(seed)).argsort(1)
    clips = torch.arange(count)
    latents = [None] * video.shape[1]
    with batch_statistics(encoder):
        for step, frame in enumerate(order.unbind(1)):
            latents[step] = encode(encoder, video[clips, frame][:, None], precision=precision)
    return torch.cat(latents, 1)[clips[:, None], order.argsort(1)]


def with_moved_statistics(method: Method, dataset, *, precision: str = "32-true", description: str = "statistics") -> Method:
    """A copy of a method whose encoder's running statistics are those that training frames leave in BatchNorm.

    SIE's released probes learn with the frozen backbone in train mode and are judged in eval mode: with statistics that moved
    with every batch they learned from. `STATISTICS` batches, each a frame of `OTHERS` clips of `dataset` drawn at random.
    """
    moved = copy.deepcopy(method).eval()
    encoder, generator, left = moved.encoder, np.random.default_rng(0), STATISTICS
    with batch_statistics(encoder, moving=True), tqdm(total=left, desc=description, unit="batch", mininterval=1) as bar:
        while left > 0:
            items = generator.permutation(len(dataset))[:OTHERS].tolist()
            video = torch.stack([torch.as_tensor(dataset[i]["frames"]) for i in items])
            video = video[:, middles(encoder, video.shape[1])]
            for _ in range(min(left, video.shape[1])):
                frame = torch.from_numpy(generator.integers(video.shape[1], size=len(items)))
                encode(encoder, video[torch.arange(len(items)), frame][:, None], precision=precision)
                bar.update()
            left -= video.shape[1]
    return moved


def evaluation_features(
    method: Method, dataset, *, frames: int, widest: int | None = None, precision: str = "32-true", description: str = "features",
    among_others: bool = False, folder: Path | None = None,
) -> Features:  # fmt: skip
    """Features of all clips of `dataset` (`vsie.data.windows.ClipsDataset`; clips of one length); see `encode_clip`.

    With `among_others` each frame is encoded alone with BatchNorm in train mode, in batches of frames of `OTHERS` clips drawn
    at random: for the protocols as SIE released them. With a `folder` the columns are written there as they come, for
    `feature_set.write_features` to complete, and are never in memory.
    """
    encoder = method.encoder
    was_training = method.training
    method.eval()
    columns = Columns(len(dataset), folder)
    put = columns.put
    paths: list[str] = [""] * len(dataset)

    # clips are in memory whole
    batches = [list(some) for some in _chunks(len(dataset), max(1, IMAGES // max(frames, len(dataset[0]["frames"]))))]
    if among_others:
        order = np.random.default_rng(0).permutation(len(dataset))
        batches = [batch.tolist() for batch in np.array_split(order, -(-len(order) // OTHERS))]
    for items in tqdm(batches, desc=description, unit="batch", mininterval=1):
        clips = [dataset[i] for i in items]
        lengths = {len(clip["frames"]) for clip in clips}
        if len(lengths) > 1:
            raise ValueError(f"evaluation needs clips of one length, found {sorted(lengths)} frames, such as {clips[0]['path']}")
        video = torch.stack([torch.as_tensor(clip["frames"]) for clip in clips])
        if among_others:
            alone = context = encode_among_others(encoder, video, precision=precision, seed=items[0])
        else:
            alone, context = encode_clip(encoder, video, frames, widest=widest, precision=precision)
        times = torch.stack([torch.as_tensor(clip["times"]) for clip in clips]).double()
        still = torch.eye(4).expand(video.shape[1], 4, 4)  # where no pose is known, none is asked for later
        poses = torch.stack([torch.as_tensor(clip.get("poses", still)) for clip in clips]).double()
        for name, key in (("latents", "latents"), ("frame_numbers", "numbers")):
            if key in clips[0]:
                known = torch.stack([clip[key] for clip in clips])
                put(name, items, known[:, middles(encoder, video.shape[1])].numpy())
        if video.shape[1] < encoder.stride:
            times, poses = whole_steps(encoder, times), whole_steps(encoder, poses)
        elif encoder.stride > 1:
            instants = encoder.step_times(whole_steps(encoder, times))
            times, poses = instants, pose.interpolate(times, poses, instants)
        put("image", items, alone.cpu().numpy())
        if context is not alone:
            put("clip", items, context.cpu().numpy())
        put("times", items, times.numpy())
        put("poses", items, poses.numpy())
        for name, key in (("labels", "label"), ("objects", "object"), ("clips", "clip"), ("orbits", "orbit")):
            if key in clips[0]:
                put(name, items, np.array([int(clip[key]) for clip in clips], dtype=np.int64))
        for item, clip in zip(items, clips, strict=True):
            paths[item] = str(clip["path"])
    method.train(was_training)
    found = {"clip": columns.found["image"]} | columns.found
    names = tuple(dataset.manifest.latent_names) if "latents" in found else ()
    return Features(**found, paths=paths, invariant_dim=invariant_width(method), latent_names=names)


def features_of_backbone(
    method: Method, seen: Features, *, frames: int, widest: int | None = None, precision: str = "32-true",
    description: str = "features", folder: Path | None = None,
) -> Features:  # fmt: skip
    """What `evaluation_features` gives of a method whose encoder sees frames apart, without another look at the clips.

    Args:
        method: In eval mode.
        seen: Features of the same clips by the backbone of its encoder (`Backbone`).
        frames: See `encode_clip`.
        widest: See `encode_clip`.
        precision: See `encode`.
        description: Of the bar.
        folder: See `evaluation_features`.
    """
    device = next(method.encoder.parameters()).device
    count, length = seen.image.shape[:2]
    columns = Columns(count, folder)
    options = {"widest": widest, "precision": precision}
    batches = list(_chunks(count, max(1, IMAGES // max(frames, length))))
    for items in tqdm(batches, desc=description, unit="batch", mininterval=1):
        piece = torch.from_numpy(np.array(seen.image[items.start : items.stop])).to(device)
        alone, context = mixed(method.encoder, piece, frames, **options)
        columns.put("image", items, alone.cpu().numpy())
        if context is not alone:
            columns.put("clip", items, context.cpu().numpy())
    image = columns.found["image"]
    clip = columns.found.get("clip", image)
    return dataclasses.replace(seen, image=image, clip=clip, invariant_dim=invariant_width(method))


def drawn_features(
    method: Method, dataset, known: Features, drawn: np.ndarray, *, precision: str = "32-true", description: str = "features",
) -> Features:  # fmt: skip
    """Some frames of each object, each alone: a clip of its own for each object.

    Args:
        method: Its encoder encodes, in eval mode.
        dataset: The clips.
        known: Features of all of them.
        drawn: (O, V) frames of O objects among all N * F of `known`.
        precision: See `encode`.
        description: Of the bar.
    """
    encoder, result = method.encoder, known.frames_of(drawn)
    place = middles(encoder, len(dataset[0]["frames"])).numpy()
    image = np.empty((*drawn.shape, known.image.shape[-1]), np.float32)
    for items in tqdm([np.array(some) for some in _chunks(len(drawn), OTHERS)], desc=description, unit="batch", mininterval=1):
        clips, steps = np.divmod(drawn[items], known.frames)
        read = {clip: dataset[clip]["frames"] for clip in np.unique(clips).tolist()}
        video = [torch.as_tensor(read[c][place[s]]) for c, s in zip(clips.ravel().tolist(), steps.ravel().tolist(), strict=True)]
        alone = encode(encoder, torch.stack(video)[:, None], precision=precision)
        image[items] = rearrange(alone, "(o v) 1 d -> o v d", o=len(clips)).cpu().numpy()
    return dataclasses.replace(result, image=image, clip=image)


def _chunks(count: int, size: int) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
