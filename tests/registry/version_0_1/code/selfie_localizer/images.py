"""From a file's bytes to pixels: one way for training and serving, so that both see the same picture.

Pillow reads the header, since OpenCV cannot tell an image's size without decoding it; OpenCV decodes and resizes.
"""

import io
import os
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_BYTES = 50 * 2**20
MAX_PIXELS = 100 * 10**6
# Detectors search larger images in a copy of this long side: faces are found as well, and boxes are as exact.
SEARCHED_SIDE = 640
_EXIF_ORIENTATION = 0x0112


class ImageError(ValueError):
    """An image that cannot be used; the message is the reason in a few words, without the file's name."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself: its format and its size in pixels as displayed (EXIF orientation applied)."""

    format: str
    width: int
    height: int


def read_header(data: bytes, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Header:
    """Reads format and size without decoding, and refuses what would be too large to decode.

    Raises:
        ImageError: Empty, larger than `max_bytes` or `max_pixels`, or not a JPEG, PNG or WebP.
    """
    if not data:
        raise ImageError("empty file")
    if len(data) > max_bytes:
        raise ImageError(f"{len(data):,} bytes, more than the limit of {max_bytes:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                kind = str(image.format)
                # A broken EXIF block is no reason to refuse a picture; OpenCV ignores it as well.
                try:
                    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
                except Exception:
                    orientation = 1
    except Image.DecompressionBombError:
        raise ImageError(f"more than the limit of {max_pixels:,} pixels") from None
    except UnidentifiedImageError:
        raise ImageError("not a JPEG, PNG or WebP image") from None
    except (OSError, ValueError, SyntaxError, struct.error, IndexError, TypeError) as error:
        raise ImageError(f"damaged header ({error})") from None
    if width * height > max_pixels:
        raise ImageError(f"{width:,} x {height:,} is more than the limit of {max_pixels:,} pixels")
    return Header(kind, height, width) if orientation in (5, 6, 7, 8) else Header(kind, width, height)


def _is_truncated(data: bytes, kind: str) -> bool:
    """Tells whether the file ends before its image does; OpenCV would fill the rest with grey and say nothing."""
    if kind == "PNG":
        return b"IEND" not in data[-64:] and b"IEND" not in data
    if kind == "WEBP":
        return len(data) < struct.unpack("<I", data[4:8])[0] + 8
    # JPEG: an end marker after the last scan; a thumbnail inside the header has an end marker of its own.
    return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def decode(data: bytes, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decodes a JPEG, PNG or WebP as it is displayed.

    EXIF orientation is applied, grey becomes RGB, alpha is dropped, CMYK is converted, 16 bits become 8, and of an
    animation the first picture is taken.

    Args:
        data: The file's bytes.
        max_bytes: Larger files are refused.
        max_pixels: Larger images are refused by their header, before anything is decoded.

    Returns:
        RGB, uint8, shape (height, width, 3).

    Raises:
        ImageError: The image cannot be used; the message says why.
    """
    header = read_header(data, max_bytes, max_pixels)
    if _is_truncated(data, header.format):
        raise ImageError("truncated: the file ends before the image does")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ImageError(f"cannot be decoded ({error.err})") from None
    if pixels is None:
        raise ImageError(f"cannot be decoded as {header.format}")
    if pixels.shape[:2] != (header.height, header.width):
        raise ImageError(f"decodes to another size than its header's {header.width} x {header.height}")
    return np.asarray(pixels, dtype=np.uint8)


def read(path: str | os.PathLike[str]) -> Pixels:
    """Reads and decodes an image file; the rest is as in `decode`.

    Raises:
        ImageError: The file cannot be read or used; the message says why.
    """
    return decode(read_bytes(path))


def read_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """Reads a file, refusing one that is too large before reading it.

    Raises:
        ImageError: The file cannot be read, is no regular file, or is larger than `max_bytes`.
    """
    try:
        found = Path(path).stat()
        # A pipe would be waited for without end.
        if not stat.S_ISREG(found.st_mode):
            raise ImageError("not a regular file")
        if found.st_size > max_bytes:
            raise ImageError(f"{found.st_size:,} bytes, more than the limit of {max_bytes:,}")
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})") from None


def resize(image: Pixels, size: int) -> Pixels:
    """Stretches an image to the network's square, as the article does.

    Args:
        image: RGB, uint8, shape (height, width, 3).
        size: Side of the square in pixels.

    Returns:
        RGB, uint8, shape (size, size, 3).
    """
    height, width = image.shape[:2]
    # Averaging over areas keeps a shrunk image free of aliasing; it is no good for enlarging.
    smaller = height * width > size * size
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def shrink(image: Pixels, side: int) -> Pixels:
    """Shrinks an image to a long side of at most `side` pixels; a smaller one is returned as it is.

    Args:
        image: uint8, shape (height, width) or (height, width, 3).
        side: Greatest long side in pixels.
    """
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
