"""What a WebP file is made of, without decoding it."""

import struct
from dataclasses import dataclass

from selfie_localizer.photos.limits import ImageError

_CODED = (b"VP8 ", b"VP8L")
_ALPHA_FLAG = 0x10
_TRUNCATED = "truncated: the file ends before the image does"
_MAX_CHUNKS = 100_000


@dataclass
class Webp:
    """The structure of a WebP.

    Attributes:
        width: Of the whole picture, in pixels, as stored.
        height: Of the whole picture, in pixels, as stored.
        exif: The EXIF block, or b"".
        frames: Pictures of an animation; 0 where it is none.
        offset: Column and row at which the first picture lies; an animation's may be smaller than the whole.
        size: Width and height of the first picture.
    """

    width: int = 0
    height: int = 0
    exif: bytes = b""
    frames: int = 0
    offset: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)
    _coded: bytes = b""
    _alpha: bytes | None = None

    def essence(self) -> bytes:
        """Returns a WebP of the first picture alone, so that a decoder need not hold an animation's other ones."""
        body = self._coded
        if self._alpha is not None:
            extended = struct.pack("<I", _ALPHA_FLAG) + _three(self.size[0] - 1) + _three(self.size[1] - 1)
            body = _chunk(b"VP8X", extended) + _chunk(b"ALPH", self._alpha) + body
        return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def is_webp(start: bytes) -> bool:
    """Tells whether a file that begins with these 16 or more bytes is a WebP."""
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def parse_webp(data: bytes) -> Webp:
    """Walks through a WebP file's chunks.

    Raises:
        ImageError: The file is damaged or ends before its picture does.
    """
    webp = Webp()
    # How the picture is turned stands behind it.
    if len(data) < struct.unpack("<I", data[4:8])[0] + 8 - 1:
        raise ImageError(_TRUNCATED)
    for name, start, end in _chunks(data, 12, len(data)):
        if name == b"VP8X" and end - start >= 10:
            webp.width, webp.height = _from_three(data, start + 4) + 1, _from_three(data, start + 7) + 1
        elif name == b"ANMF" and end - start >= 16:
            webp.frames += 1
            if not webp._coded:
                webp.offset = (2 * _from_three(data, start), 2 * _from_three(data, start + 3))
                _read_picture(webp, data, start + 16, end)
        elif name in (*_CODED, b"ALPH") and not webp._coded:
            _read_picture(webp, data, start - 8, end + end % 2)
        elif name == b"EXIF" and not webp.exif:
            webp.exif = data[start:end]
    if not webp._coded:
        raise ImageError(_TRUNCATED)
    if not webp.width:
        webp.width, webp.height = webp.size
    (left, top), (width, height) = webp.offset, webp.size
    is_placed = left + width <= webp.width and top + height <= webp.height
    if not is_placed or (not webp.frames and webp.size != (webp.width, webp.height)):
        raise ImageError("damaged header (size)")
    return webp


def _read_picture(webp: Webp, data: bytes, start: int, stop: int) -> None:
    """Reads the parts of one picture: its alpha, where that lies apart, and its colours."""
    for name, at, end in _chunks(data, start, stop):
        if end > len(data):
            raise ImageError(_TRUNCATED)
        if name == b"ALPH":
            webp._alpha = data[at:end]
        elif name in _CODED:
            webp.size = _size(name, data[at : at + 10])
            webp._coded = _chunk(name, data[at:end])
            if name == b"VP8L":
                webp._alpha = None
            return


def _size(name: bytes, head: bytes) -> tuple[int, int]:
    if name == b"VP8 " and len(head) == 10 and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[6:10])
        return width & 0x3FFF, height & 0x3FFF
    if name == b"VP8L" and len(head) >= 5 and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ImageError("damaged header (bitstream)")


def _chunks(data: bytes, at: int, stop: int) -> list[tuple[bytes, int, int]]:
    """Returns name, start and end of the chunks between two places; the last one may end behind the file."""
    found = []
    while at + 8 <= min(stop, len(data)):
        name, length = struct.unpack_from("<4sI", data, at)
        found.append((name, at + 8, at + 8 + length))
        at += 8 + length + length % 2
        if len(found) > _MAX_CHUNKS:
            raise ImageError(f"damaged: more than {_MAX_CHUNKS:,} chunks")
    return found


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _from_three(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
