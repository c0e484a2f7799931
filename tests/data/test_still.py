from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import moving_picture
from vsie.data import VideoError
from vsie.data.still import decode_image


def jpeg(picture: np.ndarray, **options) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", **options)
    return data.getvalue()


PICTURE = moving_picture(1, 64, 64)[0]
THUMBNAIL = b"Exif\0\0" + jpeg(PICTURE[::4, ::4])  # with an end of its own, long before the picture's


@pytest.mark.parametrize("tail", [b"", b"\0\0", b"SEFT", b"\0\0\0\x18ftypmp42" + b"x" * 50, b"\xff" * 4])
@pytest.mark.parametrize("exif", [b"", THUMBNAIL])
def test_a_jpeg_is_read_with_whatever_a_phone_puts_behind_its_end(tail, exif):
    data = jpeg(PICTURE, exif=exif)
    np.testing.assert_array_equal(decode_image(data + tail, "a.jpg"), decode_image(data, "a.jpg"))


@pytest.mark.parametrize("exif", [b"", THUMBNAIL])
@pytest.mark.parametrize("share", [0.99, 0.9, 0.5])
def test_a_jpeg_that_was_cut_is_refused(exif, share):
    data = jpeg(PICTURE, exif=exif)
    with pytest.raises(VideoError, match="a.jpg: not an image that can be read whole"):
        decode_image(data[: int(share * len(data))], "a.jpg")
