"""What a JPEG file is made of, without decoding it: where its picture ends, and which of it a decoder needs."""

import re
from dataclasses import dataclass, field

from selfie_localizer.photos.exif import PREFIX
from selfie_localizer.photos.limits import ImageError, Limits

SIGNATURE = b"\xff\xd8\xff"
END = b"\xff\xd9"

_MARKER = re.compile(rb"\xff([^\x00\xff])")
# Inside the coded picture FF00 is a byte FF, and FFD0 to FFD7 are restart markers; any other marker ends it.
_SCAN_END = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_ALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_SCAN, _END, _COMMENT, _JFIF, _EXIF, _ADOBE = 0xDA, 0xD9, 0xFE, 0xE0, 0xE1, 0xEE
_BETWEEN_SCANS = {0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, _COMMENT, *range(0xE0, 0xF0)}
_ALL_COEFFICIENTS = (1 << 64) - 1
_MAX_SEGMENTS = 100_000


@dataclass
class Jpeg:
    """The structure of one JPEG picture.

    Attributes:
        width: In pixels, as stored.
        height: In pixels, as stored.
        exif: The first EXIF block, or b"".
        one_pass: The picture is stored in one scan, so that a decoder need not hold it whole.
        progressive: Later scans refine earlier ones.
        has_end: An end marker follows the picture.
        is_covered: Every scan that the picture needs has at least begun; where not, the file ends too early.
        mcu: Width and height in pixels of the smallest part that is coded together.
    """

    width: int = 0
    height: int = 0
    exif: bytes = b""
    progressive: bool = False
    has_end: bool = False
    mcu: tuple[int, int] = (8, 8)
    scans: int = 0
    _pieces: list[tuple[int, int]] = field(default_factory=list)
    # Component -> which of its 64 coefficients have been sent, a bit each; and which of them to their last bit.
    _begun: dict[int, int] = field(default_factory=dict)
    _sent: dict[int, int] = field(default_factory=dict)

    @property
    def one_pass(self) -> bool:
        return not self.progressive and self.scans == 1 and self.is_covered

    @property
    def is_covered(self) -> bool:
        if not self._sent or self._begun != self._sent:
            return False
        # An encoder may leave out fine detail of colour.
        first, *others = self._sent.values()
        return first == _ALL_COEFFICIENTS and all(sent & 1 for sent in others)

    def essence(self, data: bytes) -> bytes:
        """Returns what a decoder needs of the file: no metadata, nothing that follows the picture, and no end marker.

        Decoders stumble over odd metadata, and take what lies behind the end into account.
        """
        # Bytes FF at the end are padding: a coded FF is followed by 00.
        body = b"".join(data[start:end] for start, end in self._pieces).rstrip(b"\xff")
        if not self.has_end:
            # Half a file in a place reserved for the whole: zeros would be taken for flat rows. One may be true.
            body = body[: len(body.rstrip(b"\0")) + 1]
        return data[:2] + body


def parse_jpeg(data: bytes, limits: Limits) -> Jpeg:
    """Walks through a JPEG file's segments up to the end of its picture.

    Args:
        data: The file's bytes.
        limits: The number of scans is checked while they are counted.

    Raises:
        ImageError: The file ends before its picture begins, is damaged, or has too many scans.
    """
    jpeg, at = Jpeg(), 2
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER.search(data, at)
        if match is None:
            break
        marker, at = match[1][0], match.end()
        if marker in _ALONE:
            continue
        if marker == _END:
            jpeg.has_end = True
            break
        # Without an end marker the walk has come to whatever follows the picture.
        if jpeg.scans and marker not in _BETWEEN_SCANS:
            break
        end = at + int.from_bytes(data[at : at + 2], "big")
        if end < at + 2 or end > len(data):
            break
        if marker in _FRAMES:
            _read_frame(jpeg, data[at + 2 : end], marker)
        elif marker == _EXIF and not jpeg.exif and data.startswith(PREFIX, at + 2):
            jpeg.exif = data[at + 2 : end]
        if marker == _SCAN:
            _read_scan(jpeg, data[at + 2 : end])
            limits.check_scans(jpeg.scans)
            after = _SCAN_END.search(data, end)
            end = after.start() if after else len(data)
        if _is_needed(marker, data[at + 2 : at + 16]):
            jpeg._pieces.append((match.start(), end))
        at = end
        if not jpeg.progressive and jpeg.is_covered:
            jpeg.has_end = data.startswith(END, at)
            break
    else:
        raise ImageError(f"damaged: more than {_MAX_SEGMENTS:,} segments")
    if not jpeg.width or not jpeg.scans:
        raise ImageError("truncated: the file ends before the image begins")
    return jpeg


def _is_needed(marker: int, body: bytes) -> bool:
    if marker == _JFIF:
        return body.startswith(b"JFIF\0")
    if marker == _ADOBE:
        return body.startswith(b"Adobe") and len(body) >= 12
    return marker != _COMMENT and not 0xE0 <= marker < 0xF0


def _read_frame(jpeg: Jpeg, body: bytes, marker: int) -> None:
    if jpeg.width:
        raise ImageError("damaged: a JPEG of two frames")
    count = body[5] if len(body) > 5 else 0
    if not 1 <= count <= 4 or len(body) < 6 + 3 * count:
        raise ImageError("damaged header (frame)")
    jpeg.height, jpeg.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if not jpeg.width or not jpeg.height:
        raise ImageError("damaged header (no size)")
    jpeg.progressive = marker in _PROGRESSIVE
    sampling = [body[7 + 3 * index] for index in range(count)]
    jpeg.mcu = (8 * max(1, *(value >> 4 for value in sampling)), 8 * max(1, *(value & 15 for value in sampling)))
    jpeg._sent = {body[6 + 3 * index]: 0 for index in range(count)}
    jpeg._begun = dict(jpeg._sent)


def _read_scan(jpeg: Jpeg, body: bytes) -> None:
    count = body[0] if body else 0
    if not jpeg.width or not 1 <= count <= 4 or len(body) < 4 + 2 * count:
        raise ImageError("damaged header (scan)")
    first, last, missing_bits = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count] & 15
    if not jpeg.progressive:
        first, last, missing_bits = 0, 63, 0
    if first > last or last > 63:
        raise ImageError("damaged header (scan)")
    jpeg.scans += 1
    for index in range(count):
        component = body[1 + 2 * index]
        if component in jpeg._sent:
            coefficients = ((1 << (last + 1)) - 1) & ~((1 << first) - 1)
            jpeg._begun[component] |= coefficients
            jpeg._sent[component] |= 0 if missing_bits else coefficients


def shrink_factor(width: int, height: int, least_side: int) -> int:
    """Returns the largest of 1, 2, 4 and 8 by which a JPEG can shrink with a shorter side of at least `least_side`."""
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or -(-min(width, height) // factor) >= least_side)
