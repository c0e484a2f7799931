"""One clip: draw it, render it, write it as an H.264 video and an archive of arrays. Bytes depend on the seed only.

Of x264's presets `ultrafast` is the best here, measured on rendered clips of 16 frames: the fastest to write (2.2 ms at
64 px, 8 ms at 256 px) and to read (1.2 ms, 4 ms), the smallest error at equal crf, 1.5 x the size of `veryfast`.
That error, decoded against rendered, in levels of 255: 2.1 at 64 px, 1.75 at 128 px, 1.5 at 256 px; on the object's
pixels 7.3, 5.2 and 3.6, of which 6.7, 4.7 and 3.2 are 4:2:0 chroma and the readers' fast YUV-to-RGB, not the quantiser.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vsie.files import atomic_path
from vsie.render import Light, Renderer
from vsie.render import trajectories as motion

AUXILIARY = ("depth", "mask", "normals", "flow", "occlusion")
GROUP_OF_PICTURES = 4
QUALITY = 18
CHANGED = {"ood": 1, "translated": 1}
"""How often pictures of the same arguments have become others since 0.1.0: of a trajectory, of `translated` objects, or of `all`.
Whoever changes what is rendered counts up what it concerns; then nothing that was rendered before is continued or used in its
place. What is not named here is as it always was, whatever the version."""
_TO_YUV = np.array(
    [[65.481, 128.553, 24.966, 16 * 255], [-37.797, -74.203, 112, 128 * 255], [112, -93.786, -18.214, 128 * 255]]
) / 255  # fmt: skip
"""BT.601, limited range: what every reader assumes of a video that does not say otherwise."""


@dataclass(frozen=True)
class ClipSettings:
    """What all clips of a data set have in common: frames per clip, pixels, and what is kept of them.

    Attributes:
        frames: Frames per clip.
        size: Height and width in pixels; even, for H.264.
        trajectory: One of `vsie.render.trajectories.KINDS`.
        seed: Seed of the data set.
        supersample: Rays per pixel along each side.
        fps: Frames per second.
        auxiliary: Arrays to keep beside the poses, of `AUXILIARY`.
    """

    frames: int
    size: int
    trajectory: str
    seed: int
    supersample: int
    fps: float
    auxiliary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("frames", "size", "supersample"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.size % 2 or self.size < 16:
            raise ValueError(f"size is {self.size}, expected an even number of pixels (H.264, 4:2:0) and at least 16")
        if not self.fps > 0:
            raise ValueError(f"fps is {self.fps}, expected more than 0")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, expected at least 0")
        if self.trajectory not in motion.KINDS:
            raise ValueError(f"trajectory is {self.trajectory!r}, expected one of {', '.join(motion.KINDS)}")
        unknown = [name for name in self.auxiliary if name not in AUXILIARY]
        if unknown:
            raise ValueError(f"auxiliary names {unknown[0]!r}, expected any of {', '.join(AUXILIARY)}")
        if self.trajectory in ("views", "ood") and {"flow", "occlusion"} & set(self.auxiliary):
            raise ValueError(
                f"auxiliary names flow or occlusion, but trajectory={self.trajectory} has no motion between its frames"
            )


def changes(trajectory: str, translated: bool = False) -> dict[str, dict[str, int]]:
    """What of `CHANGED` concerns these pictures, under ``changed``; nothing where they are as they always were."""
    concerned = ("all", trajectory, "translated") if translated else ("all", trajectory)
    found = {name: CHANGED[name] for name in concerned if name in CHANGED}
    return {"changed": found} if found else {}


def generator(seed: int, item: int, clip: int | None = None) -> np.random.Generator:
    """The random numbers of object `item`'s mesh (no clip) or of one of its clips: independent streams of one seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(item, 0 if clip is None else clip + 1)))


def render_clip(
    renderer: Renderer, settings: ClipSettings, rng: np.random.Generator, *, speed: tuple[float, float] = motion.SPEED
) -> tuple[np.ndarray, dict]:
    """Draw a trajectory and light and render them.

    Args:
        renderer: Of the object.
        settings: The data set's.
        rng: From `generator`.
        speed: Range of the trajectory's speed, radians per frame.

    Returns:
        The frames (T, H, W, 3) uint8, and the arrays of the clip's archive by name: times (T,) in seconds,
        object_in_camera (T, 4, 4), intrinsics (3, 3), latents (T, 7) in 3DIEBench's order, all float64, and what
        `settings.auxiliary` asks for.
    """
    trajectory = motion.sample(settings.trajectory, settings.frames, rng, speed=speed)
    lights = [motion.sample_light(rng) for _ in range(settings.frames if trajectory.relit else 1)]
    cameras = None if trajectory.viewpoints is None else trajectory.cameras
    span = 1 if trajectory.relit else settings.frames
    parts = [
        renderer.render_clip(
            trajectory.rotations[index * span : (index + 1) * span],
            light=Light(*light),
            cameras=cameras,
            auxiliary=settings.auxiliary,
        )
        for index, light in enumerate(lights)
    ]
    rendered = {name: np.concatenate([part[name] for part in parts]) for name in ("rgb", *settings.auxiliary)}
    arrays = {
        "times": np.arange(settings.frames) / settings.fps,
        "object_in_camera": trajectory.object_in_camera,
        "intrinsics": trajectory.cameras[0].intrinsics(settings.size),
        "latents": np.concatenate([trajectory.angles, np.broadcast_to(lights, (settings.frames, 4))], axis=1),
    }
    kinds = {"depth": np.float32, "mask": bool, "normals": np.float16, "flow": np.float32, "occlusion": bool}
    arrays |= {name: rendered[name].astype(kinds[name], copy=False) for name in settings.auxiliary}
    return rendered["rgb"], arrays


def encode_video(frames: np.ndarray, fps: float) -> bytes:
    """Frames (T, H, W, 3) uint8 as an H.264 MP4: 4:2:0, closed groups of 4 pictures, no B-frames, one thread.

    The same frames give the same bytes. Chroma is the mean of 2 x 2 pixels, rounded to nearest, as readers undo it.
    """
    import av

    stream_file = io.BytesIO()
    with av.open(stream_file, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        groups = f"keyint={GROUP_OF_PICTURES}:min-keyint={GROUP_OF_PICTURES}:scenecut=0:open-gop=0"
        options = {"preset": "ultrafast", "crf": str(QUALITY), "x264-params": f"{groups}:bframes=0:threads=1"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for planes in _yuv_planes(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())
    return stream_file.getvalue()


def archive_bytes(arrays: dict[str, np.ndarray], *, compress: bool) -> bytes:
    """Arrays as the bytes of an .npz, always the same ones: no dates, no system's mark; deflated quickly if wanted."""
    archive_file = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(archive_file, "w", compression=method, compresslevel=1 if compress else None) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.create_system, entry.external_attr = method, 3, 0o600 << 16
            archive.writestr(entry, member.getbuffer(), compresslevel=1 if compress else None)
    return archive_file.getvalue()


def write_clip(base: Path, frames: np.ndarray, arrays: dict[str, np.ndarray], fps: float) -> None:
    """Write `base`.npz, then `base`.mp4, each whole or not at all: a clip with a video is complete."""
    archive = archive_bytes(arrays, compress=bool(set(arrays) & set(AUXILIARY)))
    with atomic_path(base.with_suffix(".npz")) as temporary:
        temporary.write_bytes(archive)
    with atomic_path(base.with_suffix(".mp4")) as temporary:
        temporary.write_bytes(encode_video(frames, fps))


def _yuv_planes(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 as planar YUV 4:2:0, (T, 3 H / 2, W) uint8: what x264 takes."""
    import cv2

    count, height, width, _ = frames.shape
    rows = np.ascontiguousarray(frames).reshape(count * height, width, 3)
    halved = cv2.resize(rows, (width // 2, count * height // 2), interpolation=cv2.INTER_AREA)
    luma = cv2.transform(rows, _TO_YUV[:1])  # [T*H, W]
    chroma = cv2.transform(halved, _TO_YUV[1:])  # [T*H/2, W/2, 2]
    chroma = np.moveaxis(chroma.reshape(count, -1, 2), -1, 1)  # [T, 2, H*W/4]
    planes = np.concatenate([luma.reshape(count, -1), chroma.reshape(count, -1)], axis=1)
    return planes.reshape(count, height * 3 // 2, width)
