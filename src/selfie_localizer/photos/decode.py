"""From bytes to pixels, in one way for training, serving, `predict` and every annotator.

Pillow decodes JPEG and PNG: it writes nothing to the terminal, whatever is wrong with a file, and it shrinks a JPEG
while it decodes. OpenCV decodes WebP, in less than half the time.
"""

import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin

from selfie_localizer.photos import jpeg, png
from selfie_localizer.photos.header import DECODED_SIDE, examine
from selfie_localizer.photos.limits import DEFAULT_LIMITS, ImageError, Limits, why
from selfie_localizer.photos.webp import Webp

Pixels = NDArray[np.uint8]

# Detectors search larger images in a copy of this long side: faces are found as well, and boxes are as exact.
SEARCHED_SIDE = 640
# What shows through where a photo is transparent: neutral, so that no hidden colours come to light.
GROUND = 128
_STRIP_PIXELS = 2**20
# Stands for what is missing of a JPEG: coded picture that no photo has, with every restart marker in between. The noise
# has no byte FF, and differs from marker to marker, so that no chance makes all of it invisible.
_NOISE = np.random.default_rng(0).integers(0, 255, (17, 512), np.uint8)
_FILLER = b"".join(bytes(row) + b"\xff" + bytes([0xD0 + number % 8]) for number, row in enumerate(_NOISE))
_TRUNCATED = "truncated: rows of pixels are missing"

_TURNS: dict[int, Callable[[Pixels], Any]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
        pixels: As displayed; RGB, uint8, shape (h, w, 3). A large JPEG is held at a half, a quarter or an eighth.
        width: Of the full photo as displayed, in pixels; boxes are in these.
        height: Of the full photo as displayed, in pixels.
    """

    pixels: Pixels
    width: int
    height: int


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS, least_side: int = DECODED_SIDE) -> Photo:
    """Decodes a JPEG, PNG, WebP or, where its optional decoder is installed, HEIC as it is displayed.

    A JPEG is decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size whose shorter side is still at least
    `least_side`, which costs less time and memory; other formats at full size. Orientation is applied (see `header`),
    grey, palette and CMYK become RGB, 16 bits become 8, transparent parts show a grey ground, and of an animation the
    first picture is taken.

    Args:
        data: The file's bytes.
        limits: What is over them is refused before anything is decoded.
        least_side: In pixels; a very large number decodes at full size.

    Raises:
        ImageError: The image cannot be used, e.g. since rows of its pixels are missing; the message says why.
    """
    header, structure = examine(data, limits)
    try:
        pixels = _DECODERS[header.format](data, structure, limits, least_side)
    except ImageError:
        raise
    # Decoders raise whatever they stumble over in bytes that nobody has seen before.
    except Exception as error:
        raise ImageError(f"cannot be decoded as {header.format} ({why(error)})") from None
    if header.orientation in _TURNS:
        pixels = np.asarray(_TURNS[header.orientation](pixels), dtype=np.uint8)
    return Photo(pixels, header.width, header.height)


def square(data: bytes, size: int, limits: Limits = DEFAULT_LIMITS) -> tuple[Pixels, int, int]:
    """Decodes a photo and stretches it to the network's square: the one way into the network.

    Args:
        data: The file's bytes.
        size: Side of the square in pixels.
        limits: What may be decoded.

    Returns:
        RGB, uint8, shape (size, size, 3); and width and height of the full photo in pixels, by which a box that is
        relative to the square is scaled.

    Raises:
        ImageError: As `decode`.
    """
    photo = decode_for(size, data, limits)
    return resize(photo.pixels, size), photo.width, photo.height


def decode_for(size: int, data: bytes, limits: Limits = DEFAULT_LIMITS) -> Photo:
    """Decodes a photo for a network whose square has sides of `size` pixels; the rest is as in `decode`."""
    return decode(data, limits, max(DECODED_SIDE, size))


def read(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Photo:
    """Reads and decodes a file; the rest is as in `decode`.

    Raises:
        ImageError: The file cannot be read or used; the message says why.
    """
    return decode(read_bytes(path, limits), limits)


def read_bytes(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Reads a file, refusing one that is too large before reading it.

    Raises:
        ImageError: The file cannot be read, is no regular file, or is larger than `limits.max_bytes`.
    """
    try:
        found = Path(path).stat()
        # A pipe would be waited for without end.
        if not stat.S_ISREG(found.st_mode):
            raise ImageError("not a regular file")
        limits.check_bytes(found.st_size)
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


def _decode_jpeg(data: bytes, structure: jpeg.Jpeg, limits: Limits, least_side: int) -> Pixels:
    if not structure.is_covered:
        raise ImageError(_TRUNCATED)
    factor = jpeg.shrink_factor(structure.width, structure.height, least_side)
    limits.check_pixels(-(-structure.width // factor), -(-structure.height // factor))
    coded = structure.essence(data)
    pixels = _load_jpeg(coded + jpeg.END, factor)
    # A decoder leaves grey what is missing, so the last pixel shows it; but not where a channel or a finer pass is
    # missing, nor where something else stands in its place.
    is_separate = not structure.progressive and not structure.one_pass
    if is_separate or not structure.has_end or _is_blank(pixels[-1, -1]):
        _check_rows(pixels, coded, structure.mcu, factor)
    return pixels


def _load_jpeg(coded: bytes, factor: int) -> Pixels:
    # Not Image.open: it would warn of, or refuse, photos that a phone makes, and read metadata that is gone.
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(coded))
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    return _to_rgb(image)


def _is_blank(pixel: NDArray[np.uint8]) -> bool:
    """Tells whether a pixel looks as libjpeg leaves what is missing: mid-grey, in CMYK and RGB."""
    return any(bool((np.abs(pixel.astype(int) - value) <= 3).all()) for value in (64, 128))


def _check_rows(pixels: Pixels, coded: bytes, mcu: tuple[int, int], factor: int) -> None:
    """Refuses a JPEG whose coded picture ends before its last row.

    A decoder fills up what is missing and says nothing. But then it also makes something of bytes that are put in its
    place, while it never looks at what follows a whole picture.

    Raises:
        ImageError: Rows are missing.
    """
    differs = (_load_jpeg(coded + _FILLER + jpeg.END, factor) != pixels).any(axis=2)
    # The last block, with what its colours are blended into, may be wrong where the last byte alone is missing.
    height, width = differs.shape
    left, top = (
        (side - 1) * factor // block * block // factor for side, block in zip((width, height), mcu, strict=True)
    )
    differs[max(0, top - 2) :, max(0, left - 2) :] = False
    if differs.any():
        raise ImageError(_TRUNCATED)


def _decode_png(data: bytes, structure: png.Png, limits: Limits, least_side: int) -> Pixels:
    image = PngImagePlugin.PngImageFile(io.BytesIO(structure.essence(data)))
    image.load()
    # Pillow leaves rows black that the file does not have.
    is_doubtful = structure.interlaced or not np.asarray(image.crop((0, image.height - 1, *image.size))).any()
    if is_doubtful and not structure.is_whole(data):
        raise ImageError(_TRUNCATED)
    return _to_rgb(image, structure.key, structure.bits)


def _decode_webp(data: bytes, structure: Webp, limits: Limits, least_side: int) -> Pixels:
    found = cv2.imdecode(np.frombuffer(structure.essence(), np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise ImageError("cannot be decoded as WEBP")
    (left, top), (width, height) = structure.offset, structure.size
    if found.shape[:2] != (height, width):
        raise ImageError("damaged header (size)")
    if found.shape[2] == 4:
        picture = _on_ground(np.asarray(cv2.cvtColor(found, cv2.COLOR_BGRA2RGBA, dst=found), dtype=np.uint8))
    else:
        picture = np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB, dst=found), dtype=np.uint8)
    if structure.size == (structure.width, structure.height):
        return picture
    pixels = np.full((structure.height, structure.width, 3), GROUND, np.uint8)
    pixels[top : top + height, left : left + width] = picture
    return pixels


def _decode_heic(data: bytes, structure: Any, limits: Limits, least_side: int) -> Pixels:
    found = np.asarray(structure)
    if found.ndim == 2 or found.shape[2] == 1:
        return np.asarray(cv2.cvtColor(found, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    return _on_ground(found, is_multiplied=structure.mode == "RGBa") if found.shape[2] == 4 else found


_DECODERS: dict[str, Callable[[bytes, Any, Limits, int], Pixels]] = {
    "JPEG": _decode_jpeg,
    "PNG": _decode_png,
    "WEBP": _decode_webp,
    "HEIC": _decode_heic,
}


def _to_rgb(image: Image.Image, key: tuple[int, ...] | None = None, bits: int = 8) -> Pixels:
    """Turns a loaded image of any mode into RGB, strip by strip so that it is not held once more in between."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        strip = image if rows >= height else image.crop((0, top, width, bottom))
        pixels[top:bottom] = _strip_to_rgb(strip, key, bits)
    return pixels


def _strip_to_rgb(image: Image.Image, key: tuple[int, ...] | None, bits: int) -> NDArray[np.uint8]:
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode == "LA":
        image = image.convert("RGBA")
    elif image.mode in ("1", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    found = np.asarray(image)
    if image.mode == "RGBA":
        return _on_ground(found)
    if found.ndim == 2:
        found = found[:, :, None]
    clear = None
    if key is not None:
        # Grey of fewer than 8 bits has been spread to 0..255. Of RGB of 16 bits Pillow keeps the upper 8.
        spread = 255 // (2**bits - 1) if bits < 8 else 1
        wanted = [value >> 8 if bits == 16 and found.dtype == np.uint8 else value * spread for value in key]
        clear = (found == wanted).all(axis=2)
    if found.dtype != np.uint8:
        found = (found >> 8).astype(np.uint8)
    rgb = np.broadcast_to(found, (*found.shape[:2], 3))
    return rgb if clear is None else np.where(clear[:, :, None], np.uint8(GROUND), rgb)


def _on_ground(image: NDArray[np.uint8], is_multiplied: bool = False) -> Pixels:
    """Composes RGBA on the grey ground, strip by strip.

    Args:
        image: uint8, shape (height, width, 4).
        is_multiplied: The colours have been multiplied by alpha already.
    """
    height, width = image.shape[:2]
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image[top : top + rows]
        colours, alpha = strip[:, :, :3], strip[:, :, 3:].astype(np.uint16)
        weighted = colours.astype(np.uint16) * (np.uint16(255) if is_multiplied else alpha)
        total = np.minimum(weighted + GROUND * (255 - alpha) + 127, 255 * 255)
        pixels[top : top + rows] = total // 255
    return pixels
