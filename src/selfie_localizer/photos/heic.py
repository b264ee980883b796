"""HEIC, which iPhones make, through an optional decoder."""

import importlib
import io
from types import ModuleType
from typing import Any

from selfie_localizer.photos.limits import ImageError, why

INSTALL = "pip install 'selfie-localizer[heic]'"

_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF = {b"avif", b"avis"}
_EITHER = {b"mif1", b"mif2", b"msf1", b"miaf"}


def heif_format(start: bytes) -> str:
    """Returns `HEIC` or `AVIF` where a file's first bytes say so, else "".

    Args:
        start: At least the first 16 bytes; with more of them, brands further on are seen as well.
    """
    if start[4:8] != b"ftyp":
        return ""
    size = min(int.from_bytes(start[:4], "big"), len(start))
    brands = [start[8:12], *(start[at : at + 4] for at in range(16, size - 3, 4))]
    if brands[0] in _AVIF:
        return "AVIF"
    if brands[0] in _HEIC:
        return "HEIC"
    if brands[0] not in _EITHER:
        return ""
    return "AVIF" if _AVIF.intersection(brands) else "HEIC"


def open_heic(data: bytes) -> Any:
    """Opens a HEIC file without decoding it.

    Its size is that of the displayed image, since the library turns and crops as the file demands. EXIF orientation
    must not be applied on top: in HEIC it only repeats what has been done.

    Returns:
        The library's file, whose `size`, `mode` and `info` are those of the primary image; `numpy.asarray` decodes it.

    Raises:
        ImageError: The decoder is not installed, or the file is damaged.
    """
    library = _library()
    if library is None:
        raise ImageError(f"a HEIC image: to read these, run `{INSTALL}`; or save it as JPEG")
    try:
        return library.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    # The library passes on whatever its C code reports.
    except Exception as error:
        raise ImageError(f"damaged header of a HEIC image ({why(error)})") from None


def _library() -> ModuleType | None:
    try:
        return importlib.import_module("pi_heif")
    except ImportError:
        return None
