"""Photo files made on the fly, whole, odd and broken, from pictures without anybody on them."""

import base64
import io
import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

JPEG_END = b"\xff\xd9"
XMP = (
    b"http://ns.adobe.com/xap/1.0/\0"
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
VIDEO = b"\0\0\0\x18ftypmp42" + b"x" * 1000 + b"\xff\xda\x00\x08" + b"x" * 1000


def quarters(height: int = 60, width: int = 40) -> Pixels:
    """Another colour in each quarter, so that any wrong turn shows."""
    image = np.full((height, width, 3), 240, np.uint8)
    image[: height // 2, : width // 2] = (250, 10, 10)
    image[: height // 2, width // 2 :] = (10, 250, 10)
    image[height // 2 :, : width // 2] = (10, 10, 250)
    return image


def noise(height: int = 80, width: int = 80, seed: int = 0) -> Pixels:
    """Hard to pack, so that every part of a file matters."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def scene(height: int, width: int, seed: int = 0, grain: float = 4.0) -> Pixels:
    """Soft patches with some grain, as photos have them."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 255, (7, 7, 3), np.uint8)
    image = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    image += rng.standard_normal(image.shape, np.float32) * grain
    return np.clip(image, 0, 255).astype(np.uint8)


def encode(image: NDArray[np.generic], form: str = "JPEG", mode: str | None = None, **options: object) -> bytes:
    """Encodes by Pillow, in another mode such as `L`, `RGBA` or `CMYK` where one is given."""
    picture, stream = Image.fromarray(image), io.BytesIO()
    if form == "JPEG":
        options = {"quality": 95, **options}
    (picture.convert(mode) if mode else picture).save(stream, form, **options)
    return stream.getvalue()


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """Puts a segment behind the start of a JPEG."""
    return data[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def exif(orientation: int, order: str = "<", taken: str = "", kind: int = 3, thumbnail: bytes = b"") -> bytes:
    """An EXIF block with its prefix, by hand: little (`<`) or big (`>`) endian, with or without a thumbnail."""
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *([orientation, 0] if kind == 3 else [orientation]))
    entries = [struct.pack(order + "HHI", 0x112, kind, 1) + value]
    count = 1 + bool(taken)
    after = 8 + 2 + 12 * count + 4
    inner = b""
    if taken:
        entries.append(struct.pack(order + "HHII", 0x8769, 4, 1, after))
        text = taken.encode() + b"\0"
        inner = struct.pack(order + "HHHII", 1, 0x9003, 2, len(text), after + 18) + struct.pack(order + "I", 0) + text
    last = b""
    following = 0
    if thumbnail:
        following = after + len(inner)
        pairs = [(0x201, following + 30), (0x202, len(thumbnail))]
        last = struct.pack(order + "H", 2) + b"".join(struct.pack(order + "HHII", tag, 4, 1, v) for tag, v in pairs)
        last += struct.pack(order + "I", 0) + thumbnail
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    folder = struct.pack(order + "H", count) + b"".join(entries) + struct.pack(order + "I", following)
    return b"Exif\0\0" + head + folder + inner + last


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_file(
    rows: list[bytes], width: int, bits: int = 8, kind: int = 2, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG of rows of packed samples, without filters, by hand."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    return png_start(header) + before + chunk(b"IDAT", packed) + after + chunk(b"IEND", b"")


def png_start(header: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def png_of(image: NDArray[np.generic], before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of an array of 8 or 16 bits with 1, 2, 3 or 4 channels, by hand."""
    planes = image[:, :, None] if image.ndim == 2 else image
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[planes.shape[2]]
    bits = 8 * planes.itemsize
    rows = [row.astype(f">u{planes.itemsize}").tobytes() for row in planes]
    return png_file(rows, planes.shape[1], bits, kind, before, after)


def interlaced_png(image: Pixels) -> bytes:
    """An Adam7 PNG of RGB, by hand."""
    packed = b""
    for left, top, across, down in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
    ):  # fmt: skip
        part = image[top::down, left::across]
        packed += b"".join(b"\0" + row.tobytes() for row in part if part.shape[1])
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 2, 0, 0, 1)
    return png_start(header) + chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b"")


def empty_png(width: int, height: int, bits: int = 8, kind: int = 2) -> bytes:
    """A PNG that says how large it is and holds hardly anything."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return png_start(header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def flat_png(width: int, height: int) -> bytes:
    """A whole black PNG of 16-bit RGBA, small as a file and huge as an image."""
    packer, row = zlib.compressobj(1), b"\0" * (1 + 8 * width)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return (
        png_start(struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def webp_with_exif(image: Pixels, block: bytes, **options: object) -> bytes:
    """A WebP with these very bytes as its EXIF chunk."""
    data = encode(image, "WEBP", exif=exif(1), **options)
    start = data.find(b"EXIF")
    data = data[:start] + b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def scan_bomb(scans: int, side: int = 256) -> bytes:
    """A progressive JPEG with its last scan repeated, which takes a decoder long and hardly any bytes."""
    data = encode(scene(side, side), progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + JPEG_END


def huge_jpeg(width: int, height: int) -> bytes:
    """A JPEG of one grey scan of many megapixels, made without ever holding its pixels.

    It is a flat 8 x 8 picture whose only coded block is repeated: of a difference of 0 and no detail, 2 + 4 bits in the
    usual tables.
    """
    small = encode(np.full((8, 8), 90, np.uint8), quality=75, optimize=False)
    frame = small.find(b"\xff\xc0")
    head = small[: frame + 5] + struct.pack(">HH", height, width) + small[frame + 9 :]
    start = head.find(b"\xff\xda") + 2
    start += int.from_bytes(head[start : start + 2], "big")
    # Four blocks of 001010 each make three bytes.
    blocks = (-(-width // 8)) * (-(-height // 8))
    body = bytes([0b00101000, 0b10100010, 0b10001010]) * (-(-blocks // 4))
    return head[:start] + body + JPEG_END


# Made once with x265 from `quarters`, since the decoder cannot encode. In the first the file demands a quarter turn and
# EXIF repeats it: applied once, the picture is 60 x 40. In the second the upper half is transparent, the file upright.
_TURNED_HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9j"
    "AAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAO4AAgAAAAAC2gABAAAAAAAAAFYAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAA"
    "ABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNg"
    "AAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZE"
    "AcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAACgAAAABAAAAPAAAAAH////oAAAAAv////wA"
    "AAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAA"
    "AUxtZGF0AAAA6igBrwT47eoCBv9jFH//dn+y+/hle7hx8R5eyRx8TuXc240RxqGggnnnODWOW87Hc7TDzDkFTXdP1/qX698veV+mD4yxACls"
    "1/22khiDjPshi3ro1tH4z5l7WcHnqcTBjuAUrh2jHLli83/sg63aJi7rPk8IIVGdtbQSp+x1YFcX310zCda0tJ2fH5zny/AH2X73P5n4dnLi"
    "Pleh41N+81AVVu5VWlUz27wupJ89eC9E2R9+VfsC3pa0JBOPMejpar0BEhKSLI4RR1TlEy1XmAn06VFRB4rM/zfQuOdnEb+yNGk/cD7IzwGw"
    "YAAAAAZFeGlmAABNTQAqAAAACAACARIAAwAAAAEABgAAh2kABAAAAAEAAAAmAAAAAAABkAMAAgAAABQAAAA4AAAAADIwMjQ6MDU6MDYgMDc6"
    "MDg6MDkA"
)
_CLEAR_HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAmttZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9j"
    "AAAAAERAAAIAAQAAAAACjwABAAAAAAAAAO4AAgAAAAADfQABAAAAAAAAAPYAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAA"
    "ABVpbmZlAgAAAAACAABodmMxAAAAAA5waXRtAAAAAAABAAABqmlwcnAAAAGCaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNg"
    "AAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZE"
    "AcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAACgAAAABAAAAPAAAAAH////oAAAAAv////wA"
    "AAACAAAAEHBpeGkAAAAAAwgICAAAAHBodmNDAQQIAAAAn/gAAAAAHvAA/Pz4+AAADwNgAAEAF0ABDAH//wQIAAADAJ/4AAADAAAeugJAYQAB"
    "ACVCAQEECAAAAwCf+AAAAwAAHsCCBBZbq5Ka5sCAAAAMgAAAAwCEYgABAAZEAcFzwIkAAAAOcGl4aQAAAAABCAAAACdhdXhDAAAAAHVybjpt"
    "cGVnOmhldmM6MjAxNTphdXhpZDoxAAAAACBpcG1hAAAAAAAAAAIAAQWBAgMFhAACBYYDB4iEAAAAGmlyZWYAAAAAAAAADmF1eGwAAgABAAEA"
    "AAHsbWRhdAAAAOooAa8E+O3qAgb/YxR//3Z/svv4ZXu4cfEeXskcfE7l3NuNEcahoIJ55zg1jlvOx3O0w8w5BU13T9f6l+vfL3lfpg+MsQAp"
    "bNf9tpIYg4z7IYt66NbR+M+Ze1nB56nEwY7gFK4doxy5YvN/7IOt2iYu6z5PCCFRnbW0EqfsdWBXF99dMwnWtLSdnx+c58vwB9l+9z+Z+HZy"
    "4j5XoeNTfvNQFVbuVVpVM9u8LqSfPXgvRNkfflX7At6WtCQTjzHo6Wq9ARISkiyOEUdU5RMtV5gJ9OlRUQeKzP830LjnZxG/sjRpP3A+yM8B"
    "sGAAAADyKAGuCfCgNiSDKa/TvJ1AE3xA6f6+/3L/dr7gALzfGV+CI3Yuv29gvcf2UxEtWTfg4puwuI5WC/ZPXvhTySfpi6ofsqx9ulndgtvZ"
    "j6Bdz+kQv02G9Pq/wGLdNQvFJ2iSntvMvLsI37rVIVXx3O42pd9Tj61RA0p1A3rCUnbgUZvyFtMZU+XS0YjXpG1ySzrqVM1KM6MHmwP/4sht"
    "ObDJU+IU14KR6K8GrJDSVybmiBi71VDdq8GseCGUM5n4Gw1FTtPJ7OM0F2wS6TutPW0Qv/qFlHrRJb+6Y+hoe1t1R0n41tEgb8X6aa/93ym7"
    "RI5NScA="
)


def turned_heic() -> bytes:
    return base64.b64decode(_TURNED_HEIC)


def clear_heic() -> bytes:
    return base64.b64decode(_CLEAR_HEIC)
