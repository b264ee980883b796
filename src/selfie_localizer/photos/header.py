"""What a photo says of itself, read without decoding it.

How a photo is turned follows the rule of the browsers, for which it was made: a JPEG's first EXIF segment, a PNG's
eXIf chunk, a WebP's EXIF chunk; XMP is ignored. Decoding follows this header.
"""

from dataclasses import dataclass
from typing import Any

from selfie_localizer.photos import jpeg, png, webp
from selfie_localizer.photos.exif import read_exif
from selfie_localizer.photos.heic import heif_format, open_heic
from selfie_localizer.photos.limits import DEFAULT_LIMITS, ImageError, Limits

__all__ = ["DECODED_SIDE", "SNIFFED_BYTES", "Header", "ImageError", "examine", "image_format", "read_header"]

# A JPEG is decoded at a half, a quarter or an eighth of its size where its shorter side is still at least this long.
DECODED_SIDE = 640
# So many of a file's first bytes tell its format.
SNIFFED_BYTES = 64


@dataclass(frozen=True)
class Header:
    """What a photo says of itself.

    Attributes:
        format: `JPEG`, `PNG`, `WEBP` or `HEIC`, by content.
        width: In pixels, as displayed.
        height: In pixels, as displayed.
        orientation: The EXIF orientation 1..8 that is to be applied to the stored pixels; 1 for HEIC, whose decoder
            turns them itself.
        taken: Local time as `YYYY-MM-DDTHH:MM:SS`, or "" where the photo does not say.
    """

    format: str
    width: int
    height: int
    orientation: int
    taken: str


def image_format(start: bytes) -> str:
    """Returns `JPEG`, `PNG`, `WEBP`, `HEIC` or `AVIF` where a file's first `SNIFFED_BYTES` say so, else ""."""
    if start.startswith(jpeg.SIGNATURE):
        return "JPEG"
    if start.startswith(png.SIGNATURE):
        return "PNG"
    return "WEBP" if webp.is_webp(start) else heif_format(start)


def read_header(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Reads format, size, orientation and time without decoding, and refuses what would cost too much to decode.

    Args:
        data: The file's bytes.
        limits: What may be decoded.

    Raises:
        ImageError: Empty, over a limit, damaged, or not a JPEG, PNG, WebP or HEIC.
    """
    return examine(data, limits)[0]


def examine(data: bytes, limits: Limits) -> tuple[Header, Any]:
    """Returns the header and what else was learned of the file: a `Jpeg`, `Png`, `Webp` or the HEIC library's file.

    Raises:
        ImageError: As `read_header`.
    """
    if not data:
        raise ImageError("empty file")
    limits.check_bytes(len(data))
    found = image_format(data[:SNIFFED_BYTES])
    if found == "JPEG":
        photo = jpeg.parse_jpeg(data, limits)
        limits.check_jpeg_pixels(photo.width, photo.height)
        # Where later scans refine earlier ones, the whole image is held until the last one is in.
        factor = 1 if not photo.one_pass else jpeg.shrink_factor(photo.width, photo.height, DECODED_SIDE)
        limits.check_pixels(-(-photo.width // factor), -(-photo.height // factor))
        return _header(found, photo.width, photo.height, photo.exif), photo
    if found == "PNG":
        picture = png.parse_png(data)
        limits.check_pixels(picture.width, picture.height)
        limits.check_frames(picture.frames)
        return _header(found, picture.width, picture.height, picture.exif), picture
    if found == "WEBP":
        drawing = webp.parse_webp(data)
        limits.check_pixels(drawing.width, drawing.height)
        limits.check_frames(drawing.frames)
        return _header(found, drawing.width, drawing.height, drawing.exif), drawing
    if found == "HEIC":
        file = open_heic(data)
        width, height = file.size
        limits.check_pixels(width, height)
        return Header(found, width, height, 1, read_exif(file.info.get("exif") or b"")[1]), file
    if found == "AVIF":
        raise ImageError("an AVIF image, which is not supported: save it as JPEG, PNG or WebP")
    raise ImageError("not a JPEG, PNG, WebP or HEIC image")


def _header(kind: str, width: int, height: int, exif: bytes) -> Header:
    orientation, taken = read_exif(exif)
    if orientation >= 5:
        width, height = height, width
    return Header(kind, width, height, orientation, taken)
