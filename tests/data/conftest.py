"""Small videos written by PyAV, good and bad, and a small posed data set."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vsie import pose
from vsie.data import load


def moving_picture(frames: int = 16, height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    """uint8 (T, H, W, 3): smooth colours that move, with something of the frame's number in every pixel."""
    rng = np.random.default_rng(seed)
    y, x, t = np.meshgrid(np.arange(height), np.arange(width), np.arange(frames), indexing="ij")
    waves = [np.sin(x / rng.uniform(3, 9) + y / rng.uniform(3, 9) + t / 2 + rng.uniform(0, 6)) for _ in range(3)]
    return np.ascontiguousarray((np.stack(waves, -1) * 90 + 128).astype(np.uint8).transpose(2, 0, 1, 3))


def write_video(path: Path, pictures: np.ndarray, *, codec: str = "libx264", pix_fmt: str = "yuv420p", stamps=None,
                rotation: int = 0, gop: int = 4, options: dict | None = None, fps: int = 12) -> Path:  # fmt: skip
    """Encode uint8 (T, H, W, 3). `stamps`: presentation times in ms, for a variable frame rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:  # Matroska has random names else
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt, stream.codec_context.gop_size = pix_fmt, gop
        stream.options = {"crf": "18"} | (options or {}) if codec == "libx264" else options or {}
        if stamps is not None:
            from fractions import Fraction

            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def yaw_poses(frames: int, start: float, step: float) -> np.ndarray:
    angles = torch.zeros(frames, 3, dtype=torch.float64)
    angles[:, 2] = start + step * torch.arange(frames)
    poses = pose.rigid(pose.from_euler_xyz(angles)).numpy()
    poses[:, 2, 3] = 2.5
    return poses


def write_dataset(folder: Path, *, objects: int, clips: int, frames: int = 16, size: int = 32, val: int = 2) -> Path:
    """A folder as vsie.render writes it; the last `val` objects are of split val."""
    rows = ["path,label,object,clip,split,poses"]
    for number in range(objects):
        for clip in range(clips):
            name = f"clips/object_{number}/{clip}"
            seed = number * clips + clip
            write_video(folder / f"{name}.mp4", moving_picture(frames, size, size, seed))
            np.savez(folder / f"{name}.npz", times=np.arange(frames) / 12, object_in_camera=yaw_poses(frames, 0.3 * seed, 0.2))
            split = "val" if number >= objects - val else "train"
            rows.append(f"{name}.mp4,{number % 3},object_{number},{clip},{split},{name}.npz")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "classes.txt").write_text("cup\nchair\ncar\n")
    return folder


@pytest.fixture(scope="session")
def posed_folder(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("posed"), objects=8, clips=3)


@pytest.fixture(scope="session")
def manifest(posed_folder):
    return load(posed_folder)
