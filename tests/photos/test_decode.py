"""Every usable photo as it is displayed, every other refused with its reason, and nothing on the terminal."""

import io
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from selfie_localizer.photos.decode import GROUND, Pixels, decode, read, read_bytes, resize, shrink, square
from selfie_localizer.photos.header import ImageError, read_header
from tests.photos import samples
from tests.photos.samples import JPEG_END, VIDEO, chunk, encode, noise, png_of, quarters, with_segment

WHOLE = {
    "baseline": encode(noise(150, 150)),
    "444": encode(noise(150, 150), subsampling=0),
    "progressive": encode(noise(150, 150), progressive=True),
    "grey": encode(noise(150, 150), mode="L"),
    "cmyk": encode(noise(150, 150), mode="CMYK"),
    "restarts": encode(noise(150, 150), restart_marker_rows=1),
}


def difference(first: Pixels, second: Pixels) -> int:
    return int(np.abs(first.astype(int) - second).max())


def pillow(data: bytes) -> Pixels:
    """What Pillow makes of a file without alpha."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


@given(
    orientation=st.integers(1, 8),
    form=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    order=st.sampled_from("<>"),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
)
@settings(max_examples=150)
def test_orientation_is_applied_as_pillow_applies_it(
    orientation: int, form: str, order: str, height: int, width: int
) -> None:
    data = encode(samples.scene(height, width), form, exif=samples.exif(orientation, order))
    photo, header = decode(data), read_header(data)
    assert difference(photo.pixels, pillow(data)) <= 2
    assert photo.pixels.shape == (photo.height, photo.width, 3) == (header.height, header.width, 3)


# --- JPEG: where it ends


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_whatever_follows_a_whole_jpeg_does_no_harm(data: bytes) -> None:
    expected = decode(data).pixels
    rng = random.Random(0)
    for tail in (VIDEO, b"\0" * 1000, data, *(rng.randbytes(2000) for _ in range(10))):
        np.testing.assert_array_equal(decode(data + tail).pixels, expected)


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("tail", [b"", b"\0" * 16, b"\0" * 5000, b"\xff", b"\xff" * 9, VIDEO[:500]])
def test_a_whole_jpeg_without_its_end_marker_is_taken(data: bytes, tail: bytes) -> None:
    assert difference(decode(data[:-2] + tail).pixels, decode(data).pixels) == 0


@pytest.mark.parametrize("data", [WHOLE[name] for name in WHOLE if name != "progressive"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("tail", [b"", JPEG_END, b"\0" * 9, b"\0" * 9000, JPEG_END + VIDEO])
def test_a_jpeg_that_lacks_rows_is_refused_whatever_stands_in_their_place(
    data: bytes, share: float, tail: bytes
) -> None:
    start = data.rfind(b"\xff\xda") + 20
    kept = start + int((len(data) - start) * share)
    with pytest.raises(ImageError, match="truncated"):
        decode(data[:kept] + tail)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.6])
@pytest.mark.parametrize("tail", [b"", JPEG_END])
def test_a_progressive_jpeg_that_lacks_whole_scans_is_refused(share: float, tail: bytes) -> None:
    data = WHOLE["progressive"]
    with pytest.raises(ImageError, match="truncated"):
        decode(data[: int(len(data) * share)] + tail)


def test_a_progressive_jpeg_that_lacks_its_last_refinement_only_is_taken() -> None:
    data = WHOLE["progressive"]
    photo = decode(data[: data.rfind(b"\xff\xda") + 30] + JPEG_END)
    assert np.abs(photo.pixels.astype(int) - decode(data).pixels).mean() < 8


def test_a_jpeg_of_a_scan_for_each_channel_is_refused_without_its_last_rows_of_colour() -> None:
    data = separate_scans(noise())
    assert np.abs(decode(data).pixels.astype(int) - noise()).mean() < 8
    with pytest.raises(ImageError, match="truncated"):
        decode(data[:-600] + JPEG_END)
    with pytest.raises(ImageError, match="truncated"):
        decode(data[: data.rfind(b"\xff\xda")] + JPEG_END)


def separate_scans(image: Pixels) -> bytes:
    """A sequential JPEG whose three channels, kept as RGB, come one after the other."""
    red, green, blue = (encode(np.ascontiguousarray(image[:, :, index])) for index in range(3))

    def coded(data: bytes) -> bytes:
        return data[data.rfind(b"\xff\xda") + 2 + 8 : -2]

    frame, scan = red.find(b"\xff\xc0"), red.find(b"\xff\xda")
    size = red[frame + 5 : frame + 9]
    channels = b"".join(bytes([number, 0x11, 0]) for number in b"RGB")
    head = red[:2] + red[red.find(b"\xff\xdb") : frame]
    head += b"\xff\xc0" + struct.pack(">H", 17) + b"\x08" + size + b"\x03" + channels + red[frame + 13 : scan]
    scans = [
        b"\xff\xda\0\x08\x01" + bytes([number, 0]) + b"\0\x3f\0" + coded(data)
        for number, data in zip(b"RGB", (red, green, blue), strict=True)
    ]
    return head + b"".join(scans) + JPEG_END


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_photo_that_is_flat_or_looks_like_missing_rows_is_taken(value: int) -> None:
    image = samples.scene(100, 100)
    image[50:] = value
    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 3}):
        assert decode(encode(image, **options)).pixels.shape == (100, 100, 3)


def test_a_truncated_photo_is_refused_though_its_thumbnail_is_whole() -> None:
    data = with_segment(encode(noise()), 0xE1, samples.exif(1, thumbnail=encode(noise(20, 20))))
    assert decode(data).pixels.shape == (80, 80, 3)
    with pytest.raises(ImageError, match="truncated"):
        decode(data[:-500])


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_png_or_webp_is_refused_at_any_length(form: str, share: float) -> None:
    data = encode(noise(), form)
    with pytest.raises(ImageError):
        decode(data[: int(len(data) * share)])


def test_a_png_that_lacks_rows_is_refused_though_its_chunks_are_whole() -> None:
    image = noise()
    short = png_of(image[:40]).replace(
        chunk(b"IHDR", struct.pack(">IIBBBBB", 80, 40, 8, 2, 0, 0, 0)),
        chunk(b"IHDR", struct.pack(">IIBBBBB", 80, 80, 8, 2, 0, 0, 0)),
    )
    for data in (short, samples.empty_png(3000, 3000)):
        with pytest.raises(ImageError, match="truncated"):
            decode(data)


def test_a_black_png_is_taken() -> None:
    assert not decode(png_of(np.zeros((50, 50, 3), np.uint8))).pixels.any()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_a_png_or_webp_without_its_end_is_refused_since_its_orientation_may_stand_there(form: str) -> None:
    data = encode(quarters(), form, exif=samples.exif(6))
    with pytest.raises(ImageError, match="truncated"):
        decode(data[:-12])


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 10}, {"quality": 100}])
@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_flat_webp_is_taken_though_its_code_ends_with_many_zeros(value: int, options: dict[str, object]) -> None:
    assert decode(encode(np.full((500, 700, 3), value, np.uint8), "WEBP", **options)).width == 700


# --- Size


@pytest.mark.parametrize(
    ("size", "least_side", "expected"),
    [
        ((1279, 1700), 640, (640, 850)),
        ((1278, 1700), 640, (1278, 1700)),
        ((1277, 1700), 640, (1277, 1700)),
        ((2560, 2600), 640, (640, 650)),
        ((2400, 3000), 640, (1200, 1500)),
        ((2400, 3000), 1201, (2400, 3000)),
        ((2400, 3000), 10**9, (2400, 3000)),
        ((1001, 777), 1, (126, 98)),
    ],
)
def test_a_jpeg_is_shrunk_while_its_shorter_side_stays_long_enough(
    size: tuple[int, int], least_side: int, expected: tuple[int, int]
) -> None:
    photo = decode(encode(samples.scene(*size)), least_side=least_side)
    assert photo.pixels.shape[:2] == expected
    assert (photo.height, photo.width) == size


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"mode": "L"}, {"mode": "CMYK"}])
def test_a_shrunk_jpeg_shows_what_the_whole_one_shows(options: dict[str, object]) -> None:
    data = encode(samples.scene(1400, 1300), **options)
    shrunk, whole = decode(data).pixels, decode(data, least_side=10**9).pixels
    assert shrunk.shape == (700, 650, 3)
    expected = cv2.resize(whole, (650, 700), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(int) - expected).mean() < 2


def test_a_shrunk_jpeg_is_turned_and_tells_its_full_size_as_displayed() -> None:
    photo = decode(encode(quarters(1400, 1300), exif=samples.exif(6)))
    assert photo.pixels.shape == (650, 700, 3)
    assert (photo.width, photo.height) == (1400, 1300)
    np.testing.assert_allclose(photo.pixels[10, 10], (10, 10, 250), atol=3)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_other_formats_keep_their_size(form: str) -> None:
    assert decode(encode(quarters(1400, 1300), form)).pixels.shape == (1400, 1300, 3)


# --- Colours


@pytest.mark.parametrize(
    ("form", "mode", "tolerance"),
    [("PNG", "RGBA", 0), ("WEBP", "RGBA", 4), ("PNG", "P", 20), ("JPEG", "CMYK", 4), ("JPEG", "YCbCr", 4)],
)
def test_alpha_palette_and_cmyk_become_rgb(form: str, mode: str, tolerance: int) -> None:
    found = decode(encode(quarters(), form, mode)).pixels
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - quarters()).mean() <= tolerance


@pytest.mark.parametrize(("form", "mode"), [("JPEG", "L"), ("PNG", "L"), ("PNG", "LA")])
def test_grey_becomes_rgb(form: str, mode: str) -> None:
    found = decode(encode(quarters(), form, mode)).pixels
    grey = cv2.cvtColor(quarters(), cv2.COLOR_RGB2GRAY)
    assert (found == found[:, :, :1]).all()
    assert np.abs(found[:, :, 0].astype(int) - grey).mean() < 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_become_the_upper_eight(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 2**16, (30, 20, channels), np.uint16)
    if channels in (2, 4):
        image[:, :, -1] = 2**16 - 1
    colours = image[:, :, : channels - 1 if channels in (2, 4) else channels]
    found = decode(png_of(image)).pixels
    assert difference(found, np.broadcast_to((colours >> 8).astype(np.uint8), found.shape)) <= 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_spread_to_the_whole_range(bits: int) -> None:
    values = np.arange(2**bits).repeat(8 // bits * 2)
    strings = "".join(f"{value:0{bits}b}" for value in values)
    row = int(strings, 2).to_bytes(len(strings) // 8, "big")
    found = decode(samples.png_file([row] * 5, len(values), bits, kind=0)).pixels
    np.testing.assert_array_equal(found[2, :, 0], values * 255 // (2**bits - 1))


def clear_photos() -> dict[str, tuple[bytes, int]]:
    """Photos of magenta whose upper half is transparent in all the ways there are."""
    image = np.full((40, 30, 4), 255, np.uint8)
    image[:, :, 1] = 0
    image[:20, :, 3] = 0
    grey = np.dstack([np.full((40, 30), 77, np.uint8), image[:, :, 3]])
    colours = np.where(image[:, :, 3:] > 0, image[:, :, :3], np.uint8(9))
    marks = (image[:, :, 3] > 0).astype(np.uint8)
    palette = chunk(b"PLTE", bytes([255, 0, 255, 255, 0, 255]))
    wide = {"RGBA": image, "LA": grey, "RGB": colours}
    sixteen = {name: value.astype(np.uint16) * 257 for name, value in wide.items()}
    level = np.where(marks > 0, 77, 9).astype(np.uint8)
    return {
        "rgba": (png_of(image), 0),
        "rgba16": (png_of(sixteen["RGBA"]), 0),
        "grey+alpha": (png_of(grey), 0),
        "grey+alpha16": (png_of(sixteen["LA"]), 0),
        "palette": (samples.png_file([row.tobytes() for row in marks], 30, 8, 3, palette + chunk(b"tRNS", b"\0")), 0),
        "rgb key": (png_of(colours, chunk(b"tRNS", struct.pack(">3H", 9, 9, 9))), 0),
        "rgb16 key": (png_of(sixteen["RGB"], chunk(b"tRNS", struct.pack(">3H", *[9 * 257] * 3))), 0),
        "grey key": (png_of(level, chunk(b"tRNS", struct.pack(">H", 9))), 0),
        "grey16 key": (png_of(level.astype(np.uint16) * 257, chunk(b"tRNS", struct.pack(">H", 9 * 257))), 0),
        "grey1 key": (
            samples.png_file(
                [np.packbits(row).tobytes() for row in marks], 30, 1, 0, chunk(b"tRNS", struct.pack(">H", 0))
            ),
            0,
        ),
        "webp lossless": (encode(image, "WEBP", lossless=True), 1),
        "webp lossless exact": (encode(image, "WEBP", lossless=True, exact=True), 1),
        "webp lossy": (encode(image, "WEBP", quality=90), 4),
    }


@pytest.mark.parametrize(("data", "tolerance"), clear_photos().values(), ids=clear_photos())
def test_transparent_parts_show_the_same_grey_ground_in_every_format(data: bytes, tolerance: int) -> None:
    found = decode(data).pixels
    assert difference(found[:19], np.full((19, 30, 3), GROUND)) <= tolerance
    assert difference(found[22:], np.full((18, 30, 3), GROUND)) > 40


def test_half_transparent_parts_are_mixed_with_the_ground() -> None:
    alpha = np.arange(256, dtype=np.uint8)
    image = np.dstack([np.full((1, 256), value, np.uint8) for value in (255, 0, 100)] + [alpha[None]])
    expected = image[:, :, :3] * (alpha / 255.0)[None, :, None] + GROUND * (1 - alpha / 255.0)[None, :, None]
    assert np.abs(decode(png_of(image)).pixels - expected).max() <= 0.51


def test_profiles_gamma_and_long_texts_of_a_png_change_nothing() -> None:
    texts = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 2_000_000))
    texts += chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3_000_000)) + chunk(b"tEXt", b"a\0b" * 10)
    texts += chunk(b"gAMA", struct.pack(">I", 100_000)) + chunk(b"iCCP", b"p\0\0broken") + chunk(b"sBIT", b"\5\5\5")
    np.testing.assert_array_equal(decode(png_of(noise(), texts, texts)).pixels, noise())


def test_an_interlaced_png_is_read() -> None:
    for height, width in ((80, 80), (3, 2), (1, 1), (17, 5)):
        image = noise(height, width)
        np.testing.assert_array_equal(decode(samples.interlaced_png(image)).pixels, image)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture_is_taken(form: str) -> None:
    more = [Image.fromarray(255 - quarters())]
    data = encode(quarters(), form, save_all=True, append_images=more, lossless=True)
    np.testing.assert_array_equal(decode(data).pixels, quarters())


def test_a_first_picture_that_is_smaller_than_its_animation_lies_on_the_ground() -> None:
    part = quarters(20, 10)
    still = encode(part, "WEBP", lossless=True)
    frame = (
        struct.pack("<I", 3)[:3] + struct.pack("<I", 5)[:3] + bytes([9, 0, 0, 19, 0, 0]) + b"\x64\0\0\0" + still[12:]
    )
    body = b"VP8X" + struct.pack("<I", 10) + b"\x12\0\0\0" + bytes([39, 0, 0, 59, 0, 0])
    body += b"ANIM" + struct.pack("<I", 6) + b"\0" * 6 + b"ANMF" + struct.pack("<I", len(frame)) + frame
    found = decode(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body).pixels
    expected = np.full((60, 40, 3), GROUND, np.uint8)
    expected[10:30, 6:16] = part
    np.testing.assert_array_equal(found, expected)


# --- HEIC


def test_a_heic_is_turned_once_as_its_file_demands() -> None:
    pytest.importorskip("pi_heif", exc_type=ImportError)
    photo = decode(samples.turned_heic())
    assert (photo.width, photo.height) == (60, 40)
    np.testing.assert_allclose(photo.pixels[5, 5], (10, 10, 250), atol=6)
    np.testing.assert_allclose(photo.pixels[5, -5], (250, 10, 10), atol=6)
    np.testing.assert_allclose(photo.pixels[-5, -5], (10, 250, 10), atol=6)


def test_transparent_parts_of_a_heic_show_the_ground() -> None:
    pytest.importorskip("pi_heif", exc_type=ImportError)
    found = decode(samples.clear_heic()).pixels
    assert (found[:28] == GROUND).all()
    np.testing.assert_allclose(found[-5, 5], (10, 10, 250), atol=6)


# --- Files


def test_content_decides_and_the_name_does_not(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(quarters(), "PNG"))
    (tmp_path / "b.HEIC").write_bytes(encode(quarters(), "JPEG"))
    np.testing.assert_array_equal(read(tmp_path / "a.jpg").pixels, quarters())
    assert read(tmp_path / "b.HEIC").width == 40


def test_a_pipe_a_folder_and_a_link_to_nothing_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to("nothing")
    for path, reason in [("pipe.jpg", "regular"), (".", "regular"), ("broken.jpg", "No such file")]:
        with pytest.raises(ImageError, match=reason):
            read_bytes(tmp_path / path)


def damaged(count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    whole = [*WHOLE.values(), encode(noise(), "PNG"), encode(noise(), "WEBP"), encode(noise(), "WEBP", "RGBA")]
    whole += [data for data, _ in clear_photos().values()]
    files = []
    for _ in range(count):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(min(len(data), rng.choice([40, 10**6])))] = rng.randrange(256)
        files.append(bytes(data[: rng.choice([len(data), rng.randrange(len(data))])]))
    return files


def test_damaged_bytes_never_raise_anything_else_and_reasons_are_one_line_without_addresses() -> None:
    reasons = []
    for data in damaged(600, 0):
        try:
            decode(data)
        except ImageError as error:
            reasons.append(str(error))
    assert len(reasons) > 100
    assert not [reason for reason in reasons if "0x" in reason or "\n" in reason]


def test_decoders_write_nothing_to_the_terminal(tmp_path: Path) -> None:
    files = [*damaged(150, 1), WHOLE["baseline"][:-500] + JPEG_END, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100]
    for index, data in enumerate(files):
        (tmp_path / f"{index}.jpg").write_bytes(data)
    script = """
import sys
from pathlib import Path
from selfie_localizer.photos.decode import read
for path in Path(sys.argv[1]).iterdir():
    try:
        read(path)
    except ValueError:
        pass
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- Resizing


@pytest.mark.parametrize("size", [8, 32, 100])
def test_resize_stretches_to_the_square(size: int) -> None:
    found = resize(quarters(), size)
    assert found.shape == (size, size, 3)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[size // 4, size // 4], quarters()[10, 10])
    np.testing.assert_allclose(found[-1, -1], quarters()[-1, -1])


def test_shrink_keeps_the_shape_and_never_enlarges() -> None:
    assert shrink(quarters(60, 40), 30).shape == (30, 20, 3)
    assert shrink(quarters(60, 40), 60).shape == (60, 40, 3)
    assert shrink(np.zeros((1000, 1), np.uint8), 10).shape == (10, 1)


def test_the_square_is_the_decoded_photo_stretched_with_its_full_size() -> None:
    data = encode(samples.scene(1400, 1300), exif=samples.exif(6))
    pixels, width, height = square(data, 128)
    assert (width, height) == (1400, 1300)
    np.testing.assert_array_equal(pixels, resize(decode(data).pixels, 128))


def test_a_network_larger_than_the_usual_reduced_size_gets_enough_pixels() -> None:
    data = encode(samples.scene(1400, 1300))
    pixels, _, _ = square(data, 700)
    np.testing.assert_array_equal(pixels, resize(decode(data, least_side=10**9).pixels, 700))
