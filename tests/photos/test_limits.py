"""Limits are checked from the header: nothing large is decoded, and messages name the setting."""

import time
import tracemalloc
from pathlib import Path

import pytest

from selfie_localizer.photos.decode import decode, read_bytes
from selfie_localizer.photos.header import ImageError, read_header
from selfie_localizer.photos.limits import DEFAULT_LIMITS, Limits, why
from tests.photos import samples


@pytest.mark.parametrize(
    ("data", "limits", "setting"),
    [
        (samples.encode(samples.noise()), Limits(max_bytes=100), "photos.max_bytes"),
        (samples.empty_png(8_945, 8_944), DEFAULT_LIMITS, "photos.max_pixels"),
        (samples.empty_png(2**31 - 1, 2**31 - 1), DEFAULT_LIMITS, "photos.max_pixels"),
        (samples.encode(samples.noise(60, 80), "WEBP"), Limits(max_pixels=4_799), "photos.max_pixels"),
        (samples.encode(samples.noise(60, 80), progressive=True), Limits(max_pixels=4_799), "photos.max_pixels"),
        (samples.encode(samples.noise(60, 80)), Limits(max_pixels=4_799), "photos.max_pixels"),
        (samples.huge_jpeg(16_000, 16_000), DEFAULT_LIMITS, "photos.max_jpeg_pixels"),
        (samples.scan_bomb(30), DEFAULT_LIMITS, "photos.max_scans"),
    ],
)
def test_what_is_over_a_limit_is_refused_by_the_header_and_the_message_names_the_setting(
    data: bytes, limits: Limits, setting: str
) -> None:
    for refuses in (read_header, decode):
        with pytest.raises(ImageError, match=setting):
            refuses(data, limits)


def test_what_is_just_within_a_limit_is_taken() -> None:
    data = samples.encode(samples.noise(60, 80), progressive=True)
    assert decode(data, Limits(max_bytes=len(data), max_pixels=4_800, max_scans=10)).pixels.shape == (60, 80, 3)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_animation_of_too_many_pictures_is_refused(form: str) -> None:
    more = [samples.Image.fromarray(samples.noise(seed=seed)) for seed in range(1, 4)]
    data = samples.encode(samples.noise(), form, save_all=True, append_images=more)
    assert read_header(data, Limits(max_frames=4)).width == 80
    with pytest.raises(ImageError, match=r"photos\.max_frames"):
        read_header(data, Limits(max_frames=3))


def test_a_png_of_177_megapixels_is_refused_at_once_and_in_flat_memory() -> None:
    data = samples.flat_png(13_300, 13_300)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(ImageError, match=r"13,300 x 13,300 pixels, more than photos\.max_pixels"):
        decode(data)
    assert time.perf_counter() - start < 0.1
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_jpeg_of_108_megapixels_is_taken_at_reduced_size() -> None:
    photo = decode(samples.huge_jpeg(12_000, 9_000))
    assert (photo.width, photo.height) == (12_000, 9_000)
    assert photo.pixels.shape == (1_125, 1_500, 3)


def test_a_jpeg_of_108_megapixels_at_full_size_is_over_the_limit() -> None:
    with pytest.raises(ImageError, match=r"photos\.max_pixels"):
        decode(samples.huge_jpeg(12_000, 9_000), least_side=10**9)


def test_a_bomb_of_scans_is_refused_at_once() -> None:
    data = samples.scan_bomb(400, 400)
    start = time.perf_counter()
    with pytest.raises(ImageError, match=r"photos\.max_scans"):
        decode(data)
    assert time.perf_counter() - start < 0.2


@pytest.mark.parametrize("filling", [b"\xff\xfe\0\2", b"\xff"], ids=["comments", "padding"])
def test_millions_of_segments_cost_no_time(filling: bytes) -> None:
    data = samples.encode(samples.noise())
    start = time.perf_counter()
    with pytest.raises(ImageError):
        read_header(data[:2] + filling * (10**7 // len(filling)))
    assert time.perf_counter() - start < 1


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as stream:
        stream.truncate(10 * DEFAULT_LIMITS.max_bytes)
    with pytest.raises(ImageError, match=r"524,288,000 bytes, more than photos\.max_bytes allows"):
        read_bytes(tmp_path / "large.jpg")


def test_a_reason_is_one_line_without_an_address() -> None:
    assert why(ValueError("first\nsecond")) == "first"
    assert why(ValueError("<BytesIO object at 0x7f00>")) == "ValueError"
    assert why(KeyError()) == "KeyError"
