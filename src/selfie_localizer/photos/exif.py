"""The two things that matter of an EXIF block: how the picture is turned, and when it was taken."""

import re
import struct
from datetime import datetime

PREFIX = b"Exif\0\0"

_ORIENTATION = 0x0112
_EXIF_FOLDER = 0x8769
_TAKEN = 0x9003
_ASCII, _SHORT, _LONG = 2, 3, 4
_MAX_ENTRIES = 1_000


def read_exif(block: bytes) -> tuple[int, str]:
    """Reads orientation and time from an EXIF block; of a broken block, what can be read.

    Args:
        block: A TIFF header and its directories, with or without the prefix `Exif\\0\\0`.

    Returns:
        The orientation 1..8, which is 1 where none is given as browsers demand it (one SHORT, 1..8); and
        DateTimeOriginal as `YYYY-MM-DDTHH:MM:SS`, or "".
    """
    block = block.removeprefix(PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 1, ""
    first = _directory(block, order, _number(block, order, 4, "I"))
    orientation = 1
    kind, count, at = first.get(_ORIENTATION, (0, 0, 0))
    if (kind, count) == (_SHORT, 1) and 1 <= _number(block, order, at, "H") <= 8:
        orientation = _number(block, order, at, "H")
    kind, count, at = first.get(_EXIF_FOLDER, (0, 0, 0))
    inner = _directory(block, order, _number(block, order, at, "I")) if (kind, count) == (_LONG, 1) else {}
    kind, count, at = inner.get(_TAKEN, (0, 0, 0))
    start = _number(block, order, at, "I")
    return orientation, _time(block[start : start + min(count, 20)]) if kind == _ASCII and count > 4 else ""


def _directory(block: bytes, order: str, offset: int) -> dict[int, tuple[int, int, int]]:
    """Returns tag -> (type, count, where its value or the value's offset stands); the first of equal tags counts."""
    entries: dict[int, tuple[int, int, int]] = {}
    if offset < 8:
        return entries
    for index in range(min(_number(block, order, offset, "H"), _MAX_ENTRIES)):
        at = offset + 2 + 12 * index
        if at + 12 > len(block):
            break
        tag, kind, count = struct.unpack_from(order + "HHI", block, at)
        entries.setdefault(tag, (kind, count, at + 8))
    return entries


def _number(block: bytes, order: str, at: int, form: str) -> int:
    """Returns a number, or 0 where the block ends before it."""
    if at < 0 or at + struct.calcsize(form) > len(block):
        return 0
    return int(struct.unpack_from(order + form, block, at)[0])


def _time(text: bytes) -> str:
    match = re.match(rb"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)", text)
    if match is None:
        return ""
    try:
        return datetime(*(int(part) for part in match.groups())).isoformat()  # type: ignore[arg-type]
    except ValueError:
        return ""
