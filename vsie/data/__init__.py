"""Videos and 3DIEBench on disk to batches: manifest, decoding, caches, windows, sampler, augmentation.

>>> manifest = load("data/manifest.csv")
>>> cache = FrameCache.build(manifest, "data/frames")
>>> dataset = WindowsDataset(manifest, "train", windows=2, frames=4, spacing=(1, 4), seed=0, cache=cache)
>>> sampler = StepSampler(len(dataset), batch=64, end=1000)
>>> loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate)
"""

from vsie.data.clips import ClipsDataset, collate
from vsie.data.decode import VideoError, VideoInfo, decode, probe
from vsie.data.frame_cache import FrameCache
from vsie.data.image_shards import ImageShards
from vsie.data.manifest import Manifest, load
from vsie.data.sampler import StepSampler
from vsie.data.windows import SkippedError, WindowsDataset

__all__ = [
    "ClipsDataset",
    "FrameCache",
    "ImageShards",
    "Manifest",
    "SkippedError",
    "StepSampler",
    "VideoError",
    "VideoInfo",
    "WindowsDataset",
    "collate",
    "decode",
    "load",
    "probe",
]
