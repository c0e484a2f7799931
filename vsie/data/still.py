"""One encoded image to one frame."""

from __future__ import annotations

import io
import os

import numpy as np

from vsie.data.decode import VideoError


def decode_image(data: bytes, path: str | os.PathLike, *, swap_rb: bool = False) -> np.ndarray:
    """An encoded image as uint8 (H, W, 3) RGB, upright as its EXIF says; with `swap_rb` red and blue change places.

    Grey images come out with three equal channels, images of 16 bits with their upper 8.

    Raises:
        VideoError: The data are no whole image; `path` is named.
    """
    import cv2

    cut = data.startswith(b"\xff\xd8") and not _whole_jpeg(data)  # OpenCV fills up what is missing with grey, silently
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data and not cut else None
    if image is None:
        raise VideoError(f"{path}: not an image that can be read whole")
    return image if swap_rb else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _whole_jpeg(data: bytes) -> bool:
    """Whether a JPEG reaches its end; phones put more behind it (a moving picture, notes), and Pillow knows it then."""
    if data.rstrip(b"\0").endswith(b"\xff\xd9"):
        return True
    from PIL import Image

    try:
        Image.open(io.BytesIO(data)).load()
    except OSError:
        return False
    return True
