"""Thousands of photo files by many encoders and options, each compared with what Pillow makes of it.

Not compared: colour profiles and gamma (nobody applies them), XMP orientation (browsers ignore it, Pillow does not),
and colour keys of grey below 8 bits and of 16 bits (which Pillow compares with the wrong values).
"""

import io
import random
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from selfie_localizer.photos.decode import GROUND, decode
from selfie_localizer.photos.header import ImageError, image_format, read_header
from tests.photos import samples
from tests.photos.samples import chunk, encode, with_segment

MADE = 2_400
_ICC = b"ICC_PROFILE\0\1\1" + b"\0" * 300


def expected(data: bytes) -> NDArray[np.uint8]:
    """What Pillow shows of a file on the same ground."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP"))
        image.load()
        image.info.pop("xmp", None)
        image.info.pop("XML:com.adobe.xmp", None)
        image = ImageOps.exif_transpose(image)
    if image.mode == "I;16":
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (GROUND, GROUND, GROUND, 255)), image)
    return np.asarray(image.convert("RGB"))


def small(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return cv2.resize(image.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)


def a_picture(rng: random.Random) -> samples.Pixels:
    """Soft patches, quarters or noise, of odd sizes; a few are large enough to be shrunk."""
    longest = 1700 if rng.random() < 0.04 else 200
    height, width = (rng.randint(longest // 2 if longest > 200 else 1, longest) for _ in range(2))
    kind = rng.random()
    if kind < 0.6:
        return samples.scene(height, width, rng.randrange(10**6), rng.choice([0.0, 3.0, 20.0]))
    return samples.quarters(height, width) if kind < 0.8 else samples.noise(height, width, rng.randrange(10**6))


def an_exif(rng: random.Random) -> bytes:
    thumbnail = encode(samples.quarters(20, 30)) if rng.random() < 0.3 else b""
    taken = rng.choice(["", "2024:05:06 07:08:09"])
    return samples.exif(rng.randint(1, 8), rng.choice("<>"), taken, thumbnail=thumbnail)


def a_pillow_jpeg(rng: random.Random) -> bytes:
    options: dict[str, object] = {
        "quality": rng.choice([5, 30, 75, 90, 100]),
        "subsampling": rng.choice([0, 1, 2]),
        "progressive": rng.random() < 0.35,
        "optimize": rng.random() < 0.3,
    }
    if rng.random() < 0.25:
        options["restart_marker_rows"] = rng.randint(1, 3)
    elif rng.random() < 0.15:
        options["restart_marker_blocks"] = rng.randint(1, 9)
    if rng.random() < 0.1:
        # Pillow cannot thin out channels that are no colour differences.
        options.update(keep_rgb=True, subsampling=0)
    mode = rng.choice([None, None, None, "L", "CMYK", "YCbCr"])
    if mode is not None:
        options.pop("keep_rgb", None)
    image = a_picture(rng)
    try:
        return encode(image, "JPEG", mode, **options)
    except OSError:
        # Noise of the best quality overflows Pillow's buffer where it must be held whole.
        return encode(image, "JPEG", mode, quality=50)


def an_opencv_jpeg(rng: random.Random) -> bytes:
    image = a_picture(rng)
    if rng.random() < 0.3:
        image = np.ascontiguousarray(image[:, :, 0])
    options = [cv2.IMWRITE_JPEG_QUALITY, rng.choice([10, 60, 95, 100]), cv2.IMWRITE_JPEG_OPTIMIZE, rng.randint(0, 1)]
    options += [
        cv2.IMWRITE_JPEG_PROGRESSIVE,
        rng.randint(0, 1),
        cv2.IMWRITE_JPEG_RST_INTERVAL,
        rng.choice([0, 0, 1, 4]),
    ]
    factors = [0x111111, 0x211111, 0x221111, 0x411111, 0x121111]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, rng.choice(factors)]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def a_jpeg(rng: random.Random) -> bytes:
    data = a_pillow_jpeg(rng) if rng.random() < 0.7 else an_opencv_jpeg(rng)
    for _ in range(rng.choice([0, 0, 1, 2, 3])):
        data = rng.choice(_JPEG_EXTRAS)(data, rng)
    return data


def padded(data: bytes, rng: random.Random) -> bytes:
    """Fill bytes before the first marker behind the start, as the format allows."""
    return data[:2] + b"\xff" * rng.randint(1, 5) + data[2:]


_JPEG_EXTRAS: list[Callable[[bytes, random.Random], bytes]] = [
    lambda data, rng: with_segment(data, 0xE1, an_exif(rng)),
    lambda data, rng: with_segment(data, 0xE1, an_exif(rng)),
    lambda data, rng: with_segment(data, 0xE1, samples.XMP.replace(b"6", b"1")),
    lambda data, rng: with_segment(data, 0xE2, _ICC),
    lambda data, rng: with_segment(data, 0xE2, b"MPF\0" + rng.randbytes(60)),
    lambda data, rng: with_segment(data, 0xFE, rng.randbytes(rng.randint(0, 300))),
    lambda data, rng: with_segment(data, rng.randint(0xE3, 0xED), rng.randbytes(rng.randint(0, 300))),
    lambda data, rng: data + rng.randbytes(rng.randint(1, 3000)),
    lambda data, rng: data + samples.VIDEO,
    lambda data, rng: data + data,
    padded,
]


def a_pillow_png(rng: random.Random) -> bytes:
    image, mode = a_picture(rng), rng.choice([None, "1", "L", "P", "LA", "RGBA"])
    options: dict[str, object] = {"compress_level": rng.choice([0, 1, 6]), "optimize": rng.random() < 0.2}
    if mode == "P":
        palette = Image.fromarray(image).quantize(rng.choice([2, 4, 16, 200]))
        if rng.random() < 0.5:
            options["transparency"] = rng.choice([0, bytes(rng.randbytes(2))])
        stream = io.BytesIO()
        palette.save(stream, "PNG", **options)
        return stream.getvalue()
    if mode == "RGBA" and rng.random() < 0.7:
        alpha = cv2.resize(np.frombuffer(rng.randbytes(16), np.uint8).reshape(4, 4), image.shape[1::-1])
        return encode(np.dstack([image, alpha.reshape(image.shape[:2])]), "PNG", **options)
    return encode(image, "PNG", mode, **options)


def an_opencv_png(rng: random.Random) -> bytes:
    image = cv2.cvtColor(a_picture(rng), cv2.COLOR_RGB2BGR)
    kind = rng.choice(["8", "16", "grey", "grey16", "rgba16", "bilevel"])
    wide = image.astype(np.uint16) * 256 + rng.randrange(256)
    alpha = np.linspace(0, 65_535, wide[:, :, 0].size).reshape(wide.shape[:2]).astype(np.uint16)
    found = {
        "8": image,
        "16": wide,
        "grey": image[:, :, 0],
        "grey16": wide[:, :, 0],
        "rgba16": np.dstack([wide, alpha]),
        "bilevel": image[:, :, 0] & 128,
    }[kind]
    options = [cv2.IMWRITE_PNG_BILEVEL, 1] if kind == "bilevel" else []
    options += [cv2.IMWRITE_PNG_STRATEGY, rng.randint(0, 4), cv2.IMWRITE_PNG_COMPRESSION, rng.choice([1, 6, 9])]
    return cv2.imencode(".png", np.ascontiguousarray(found), options)[1].tobytes()


def a_hand_made_png(rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return samples.interlaced_png(a_picture(rng))
    bits, width, height = rng.choice([1, 2, 4, 8]), rng.randint(1, 99), rng.randint(1, 99)
    rows = [rng.randbytes((width * bits + 7) // 8) for _ in range(height)]
    if rng.random() < 0.5:
        return samples.png_file(rows, width, bits, 0)
    before = chunk(b"PLTE", rng.randbytes(3 * 2**bits))
    if rng.random() < 0.5:
        before += chunk(b"tRNS", rng.randbytes(rng.randint(1, 2**bits)))
    return samples.png_file(rows, width, bits, 3, before)


def a_png(rng: random.Random) -> bytes:
    data = rng.choice([a_pillow_png, a_pillow_png, an_opencv_png, a_hand_made_png])(rng)
    for _ in range(rng.choice([0, 0, 1, 2, 3])):
        # Behind IHDR, before everything else.
        extra = rng.choice(_PNG_EXTRAS)(rng)
        if extra[4:8] not in data[:5000]:
            data = data[:33] + extra + data[33:]
    return data + (rng.randbytes(50) if rng.random() < 0.1 else b"")


_PNG_EXTRAS: list[Callable[[random.Random], bytes]] = [
    lambda rng: chunk(b"eXIf", an_exif(rng).removeprefix(b"Exif\0\0")),
    lambda rng: chunk(b"gAMA", struct.pack(">I", rng.choice([45_455, 100_000]))),
    lambda rng: chunk(b"iCCP", b"profile\0\0" + samples.zlib.compress(_ICC)),
    lambda rng: chunk(b"tEXt", b"Comment\0" + b"x" * rng.randint(0, 3000)),
    lambda rng: chunk(b"zTXt", b"Comment\0\0" + samples.zlib.compress(b"y" * 3000)),
    lambda rng: chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + samples.XMP.replace(b"6", b"1")[29:]),
    lambda rng: chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    lambda rng: chunk(b"prVt", rng.randbytes(50)),
]


def a_webp(rng: random.Random) -> bytes:
    image = a_picture(rng)
    options: dict[str, object] = {"method": rng.choice([0, 4]), "quality": rng.choice([10, 75, 100])}
    options["lossless"] = rng.random() < 0.4
    options["exact"] = rng.random() < 0.3
    if rng.random() < 0.4:
        options["exif"] = an_exif(rng) if rng.random() < 0.5 else an_exif(rng).removeprefix(b"Exif\0\0")
    if rng.random() < 0.2:
        options["icc_profile"] = _ICC
    if rng.random() < 0.2:
        options.update(save_all=True, append_images=[Image.fromarray(255 - image)], minimize_size=rng.random() < 0.5)
    if rng.random() < 0.4:
        alpha = cv2.resize(np.frombuffer(rng.randbytes(16), np.uint8).reshape(4, 4), image.shape[1::-1])
        return encode(np.dstack([image, alpha.reshape(image.shape[:2])]), "WEBP", **options)
    return encode(image, "WEBP", rng.choice([None, None, "L"]) if "save_all" not in options else None, **options)


def truncated(rng: random.Random) -> tuple[bytes, bytes]:
    """A file that was cut short, and the whole one."""
    data = rng.choice([a_jpeg, a_jpeg, a_png, a_webp])(rng)
    # Zeros are valid code in a WebP, so that one filled up with them cannot be told from a flat picture.
    fillings = [b"", b"", samples.JPEG_END] + ([] if image_format(data[:64]) == "WEBP" else [b"\0" * 100])
    cut = data[: rng.randrange(len(data) // 8, len(data))] + rng.choice(fillings)
    return cut, data


def made_files() -> Iterator[tuple[str, bytes, bytes]]:
    for index in range(MADE):
        rng = random.Random(index)
        maker = rng.choice([a_jpeg, a_jpeg, a_jpeg, a_png, a_png, a_webp, truncated])
        made = maker(rng)
        yield f"{maker.__name__} {index}", *(made if isinstance(made, tuple) else (made, made))


def found_files() -> Iterator[tuple[str, bytes, bytes]]:
    """Pictures that lie in the packages installed beside Pillow."""
    for path in sorted(Path(PIL.__file__).parents[1].rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") and path.is_file():
            data = path.read_bytes()
            yield str(path), data, data


def check(name: str, data: bytes, whole: bytes) -> tuple[str, str]:
    """Returns how a file fared: `taken`, `refused`, or what is wrong; and details.

    Args:
        name: For messages.
        data: The file.
        whole: The file before it was cut short, which shows what is to be seen.
    """
    try:
        photo = decode(data)
    except ImageError as error:
        reason = str(error)
        return ("refused" if reason and "\n" not in reason else "no reason in one line"), reason
    header = read_header(data)
    assert (header.width, header.height) == (photo.width, photo.height), name
    wanted = expected(whole)
    if wanted.shape[:2] != (photo.height, photo.width):
        return "other size", str(wanted.shape)
    away = float(np.abs(small(photo.pixels) - small(wanted)).mean())
    return ("taken" if away < 2 else "differs"), f"{away:.2f}"


@pytest.mark.long
@pytest.mark.parametrize("source", [made_files, found_files])
def test_photos_of_many_encoders_are_shown_as_pillow_shows_them(
    source: Callable[[], Iterator[tuple[str, bytes, bytes]]],
) -> None:
    outcomes: Counter[tuple[str, str]] = Counter()
    odd = []
    for name, data, whole in source():
        outcome, details = check(name, data, whole)
        kind = name.split()[0] if source is made_files else image_format(data[:64])
        outcomes[kind, outcome] += 1
        # A file that was cut short may be refused, but what is taken must show what the whole one shows.
        if outcome != "taken" and (kind, outcome) != ("truncated", "refused"):
            odd.append(f"{name}: {outcome} ({details})")
    print(dict(outcomes))
    assert not odd
    if source is made_files:
        assert sum(outcomes.values()) == MADE
        assert sum(count for (_, outcome), count in outcomes.items() if outcome == "taken") > 0.8 * MADE
