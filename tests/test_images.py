"""From bytes to pixels: every usable image as it is displayed, every other refused with its reason."""

import io
import os
import random
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from selfie_localizer import images
from tests.faces import encode


@pytest.fixture
def picture() -> np.ndarray:
    """60 x 40 pixels with another colour in each quarter, so that any wrong turn shows."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :30], image[:20, 30:], image[20:, :30], image[20:, 30:] = (
        (250, 10, 10),
        (10, 250, 10),
        (10, 10, 250),
        240,
    )
    return image


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds hardly anything."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_the_header_knows(picture: np.ndarray, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(picture, form, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    found = images.decode(data)
    np.testing.assert_allclose(found, expected, atol=3)
    header = images.read_header(data)
    assert (header.height, header.width) == found.shape[:2]


@pytest.mark.parametrize(
    ("form", "mode", "tolerance"), [("PNG", "RGBA", 0), ("WEBP", "RGBA", 4), ("PNG", "P", 20), ("JPEG", "CMYK", 4)]
)
def test_alpha_palette_and_cmyk_become_rgb(picture: np.ndarray, form: str, mode: str, tolerance: int) -> None:
    found = images.decode(encode(picture, form, mode))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - picture).mean() <= tolerance


@pytest.mark.parametrize(("form", "mode"), [("JPEG", "L"), ("PNG", "L"), ("PNG", "LA")])
def test_grey_becomes_rgb(picture: np.ndarray, form: str, mode: str) -> None:
    found = images.decode(encode(picture, form, mode))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    assert (found == found[:, :, :1]).all()
    assert np.abs(found[:, :, 0].astype(int) - grey).mean() < 1


def test_sixteen_bits_become_eight(picture: np.ndarray) -> None:
    wide = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257
    np.testing.assert_array_equal(images.decode(cv2.imencode(".png", wide)[1].tobytes()), picture)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture_is_taken(picture: np.ndarray, form: str) -> None:
    more = [Image.fromarray(255 - picture)]
    found = images.decode(encode(picture, form, save_all=True, append_images=more, lossless=True))
    np.testing.assert_array_equal(found, picture)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_image_is_refused_at_any_length(form: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    data = encode(noise, form)
    with pytest.raises(images.ImageError):
        images.decode(data[: int(len(data) * share)])


def test_a_truncated_photo_is_refused_though_its_thumbnail_is_whole() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    thumbnail = b"Exif\0\0" + encode(noise[:20, :20])
    data = encode(noise)
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    assert images.decode(data).shape == (80, 80, 3)
    with pytest.raises(images.ImageError, match="truncated"):
        images.decode(data[:-500])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "not a JPEG, PNG or WebP"),
        (b"\xff\xd8\xff\xe0", "JPEG|damaged"),
        (png_header(20_000, 20_000), "more than the limit of 100,000,000 pixels"),
        (png_header(10_001, 10_000), "10,001 x 10,000 is more than the limit"),
        (png_header(2**31 - 1, 2**31 - 1), "more than the limit"),
        (png_header(3000, 3000), "decode"),
    ],
)
def test_what_is_no_usable_image_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(images.ImageError, match=reason):
        images.decode(data)


def test_a_gif_under_another_name_is_refused(picture: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(picture, "GIF"))
    with pytest.raises(images.ImageError, match="not a JPEG"):
        images.read(tmp_path / "a.jpg")


def test_a_png_under_the_name_of_a_jpeg_is_read(picture: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(picture, "PNG"))
    np.testing.assert_array_equal(images.read(tmp_path / "a.jpg"), picture)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as stream:
        stream.truncate(10 * images.MAX_BYTES)
    with pytest.raises(images.ImageError, match="more than the limit"):
        images.read_bytes(tmp_path / "large.jpg")


def test_a_pipe_a_folder_and_a_link_to_nothing_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to("nothing")
    for path, reason in [("pipe.jpg", "regular"), (".", "regular"), ("broken.jpg", "No such file")]:
        with pytest.raises(images.ImageError, match=reason):
            images.read_bytes(tmp_path / path)


def test_damaged_bytes_never_raise_anything_else_nor_a_reason_that_changes() -> None:
    rng = random.Random(0)
    photo = cv2.resize(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8), (90, 60))
    whole = [encode(photo), encode(photo, progressive=True), encode(photo, "PNG"), encode(photo, "WEBP")]
    reasons = []
    for _ in range(400):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(min(len(data), rng.choice([40, 10**6])))] = rng.randrange(256)
        try:
            images.decode(bytes(data))
        except images.ImageError as error:
            reasons.append(str(error))
    assert len(reasons) > 50
    assert not [reason for reason in reasons if "0x" in reason], "an address differs from run to run"


@pytest.mark.parametrize("size", [8, 32, 100])
def test_resize_stretches_to_the_square(picture: np.ndarray, size: int) -> None:
    found = images.resize(picture, size)
    assert found.shape == (size, size, 3)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[size // 4, size // 4], picture[10, 15])
    np.testing.assert_allclose(found[-1, -1], picture[-1, -1])
