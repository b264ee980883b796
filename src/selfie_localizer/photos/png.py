"""What a PNG file is made of, without decoding it."""

import struct
import zlib
from dataclasses import dataclass, field

from selfie_localizer.photos.limits import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6

_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
_DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
# First column and row, and the steps between them, of the seven passes of an interlaced PNG.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
_MAX_CHUNKS = 100_000
_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


@dataclass
class Png:
    """The structure of a PNG.

    Attributes:
        width: In pixels, as stored.
        height: In pixels, as stored.
        bits: For each sample.
        kind: GREY, RGB, PALETTE, GREY_ALPHA or RGB_ALPHA.
        exif: The first EXIF block, or b"".
        frames: Pictures of an animation; 0 where it is none.
        key: The colour that stands for "transparent", in samples as stored; None without one.
    """

    width: int
    height: int
    bits: int
    kind: int
    interlaced: bool
    exif: bytes = b""
    frames: int = 0
    key: tuple[int, ...] | None = None
    _pieces: list[tuple[int, int]] = field(default_factory=list)
    _coded: list[tuple[int, int]] = field(default_factory=list)

    def essence(self, data: bytes) -> bytes:
        """Returns a PNG of the picture alone: no metadata, however long, no colour profiles, no animation."""
        return SIGNATURE + b"".join(data[start:end] for start, end in self._pieces) + _END

    def is_whole(self, data: bytes) -> bool:
        """Tells whether the coded picture has all its rows, by unpacking it with little memory."""
        missing, unpacker = self._raw_size(), zlib.decompressobj()
        try:
            for start, end in self._coded:
                packed = data[start:end]
                while packed and missing > 0 and not unpacker.eof:
                    missing -= len(unpacker.decompress(packed, 2**20))
                    packed = unpacker.unconsumed_tail
        except zlib.error:
            return False
        return missing <= 0

    def _raw_size(self) -> int:
        """Returns how many bytes the picture has unpacked, with the one before each row that names its filter."""
        passes = _PASSES if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for left, top, across, down in passes:
            columns = -(-(self.width - left) // across)
            rows = -(-(self.height - top) // down)
            if columns > 0 and rows > 0:
                total += rows * (1 + (columns * _CHANNELS[self.kind] * self.bits + 7) // 8)
        return total


def parse_png(data: bytes) -> Png:
    """Walks through a PNG file's chunks.

    Raises:
        ImageError: The file is damaged or ends before its picture does.
    """
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise ImageError("truncated: the file ends before the image begins")
    width, height, bits, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if not 0 < width < 2**31 or not 0 < height < 2**31 or bits not in _DEPTHS.get(kind, ()) or interlaced > 1:
        raise ImageError("damaged header (IHDR)")
    png = Png(width, height, bits, kind, bool(interlaced))
    at, has_end = len(SIGNATURE), False
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            break
        length, name = struct.unpack_from(">I4s", data, at)
        start, end = at + 8, at + 8 + length
        if end + 4 > len(data):
            break
        if name == b"IEND":
            has_end = True
            break
        if name == b"eXIf" and not png.exif:
            png.exif = data[start:end]
        elif name == b"fcTL":
            png.frames += 1
        elif name == b"tRNS" and not _is_sound(data, at, end):
            # Libpng ignores a broken one as well.
            name = b""
        elif name == b"tRNS" and png.kind in (GREY, RGB) and length == 2 * _CHANNELS[png.kind]:
            png.key = struct.unpack(f">{_CHANNELS[png.kind]}H", data[start:end])
        if name in _KEPT:
            png._pieces.append((at, end + 4))
        if name == b"IDAT":
            png._coded.append((start, end))
        at = end + 4
    else:
        raise ImageError(f"damaged: more than {_MAX_CHUNKS:,} chunks")
    # How the picture is turned may stand behind it, so even a whole one needs its end.
    if not png._coded or not has_end:
        raise ImageError("truncated: the file ends before the image does")
    return png


def _is_sound(data: bytes, at: int, end: int) -> bool:
    return zlib.crc32(data[at + 4 : end]) == int.from_bytes(data[end : end + 4], "big")
