"""Format by content, size as displayed, orientation by the browsers' rule, and the time."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfie_localizer.photos import heic
from selfie_localizer.photos.exif import read_exif
from selfie_localizer.photos.header import Header, ImageError, image_format, read_header
from tests.photos import samples

QUARTERS = samples.quarters()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_header_tells_format_size_orientation_and_time(form: str, orientation: int) -> None:
    block = samples.exif(orientation, taken="2024:05:06 07:08:09")
    header = read_header(samples.encode(QUARTERS, form, exif=block))
    size = (60, 40) if orientation >= 5 else (40, 60)
    assert header == Header(form, *size, orientation, "2024-05-06T07:08:09")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_without_exif_a_photo_is_upright_and_has_no_time(form: str) -> None:
    assert read_header(samples.encode(QUARTERS, form)) == Header(form, 40, 60, 1, "")


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_read_in_both_orders_of_bytes_and_with_a_thumbnail(order: str) -> None:
    block = samples.exif(8, order, "1999:12:31 23:59:59", thumbnail=samples.encode(samples.quarters(20, 10)))
    assert read_exif(block) == (8, "1999-12-31T23:59:59")
    assert read_header(samples.with_segment(samples.encode(QUARTERS), 0xE1, block)).width == 60


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_the_exif_chunk_of_a_webp_may_begin_with_the_prefix_of_a_jpeg(prefix: bytes) -> None:
    block = prefix + samples.exif(6).removeprefix(b"Exif\0\0")
    assert read_header(samples.webp_with_exif(QUARTERS, block)) == Header("WEBP", 60, 40, 6, "")


def test_orientation_in_xmp_alone_is_ignored() -> None:
    assert read_header(samples.with_segment(samples.encode(QUARTERS), 0xE1, samples.XMP)).orientation == 1


def test_the_first_of_two_exif_segments_counts_and_xmp_before_it_does_no_harm() -> None:
    data = samples.encode(QUARTERS)
    for block in (samples.exif(3), samples.exif(6), samples.XMP):
        data = samples.with_segment(data, 0xE1, block)
    assert read_header(data).orientation == 6


@pytest.mark.parametrize(
    "block",
    [
        samples.exif(0),
        samples.exif(9),
        samples.exif(6, kind=4),
        samples.exif(6)[:14],
        samples.exif(6)[:20],
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0XX*\0" + b"\0" * 20,
        b"Exif\0\0II*\0" + struct.pack("<I", 8) + b"\xff\xff" + b"\xff" * 30,
    ],
)
def test_a_broken_exif_block_is_ignored(block: bytes) -> None:
    assert read_header(samples.with_segment(samples.encode(QUARTERS), 0xE1, block)) == Header("JPEG", 40, 60, 1, "")


@pytest.mark.parametrize("taken", ["0000:00:00 00:00:00", "    :  :     :  :  ", "2024-05-06", "2024:13:01 00:00:00"])
def test_a_time_that_is_none_is_empty(taken: str) -> None:
    assert read_exif(samples.exif(1, taken=taken)) == (1, "")


@given(st.binary(max_size=200), st.integers(0, 60), st.sampled_from("<>"))
@settings(max_examples=300)
def test_no_exif_block_raises(noise: bytes, kept: int, order: str) -> None:
    orientation, taken = read_exif(samples.exif(6, order, "2024:05:06 07:08:09")[:kept] + noise)
    assert 1 <= orientation <= 8
    assert len(taken) in (0, 19)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>not found</html>", "not a JPEG, PNG, WebP or HEIC image"),
        (b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + b"\0" * 100, "not a JPEG, PNG, WebP or HEIC image"),
        (samples.encode(QUARTERS, "GIF"), "not a JPEG, PNG, WebP or HEIC image"),
        (b"\xff\xd8\xff\xe0", "truncated"),
        (samples.encode(QUARTERS)[:200], "truncated"),
        (samples.encode(QUARTERS, "PNG")[:30], "truncated"),
        (samples.encode(QUARTERS, "PNG")[:50], "truncated"),
        (samples.encode(QUARTERS, "WEBP")[:40], "truncated"),
        (samples.empty_png(0, 10), "damaged header"),
        (samples.empty_png(10, 10, bits=3), "damaged header"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + b"\0" * 50, "AVIF image, which is not supported: save it as JPEG"),
    ],
)
def test_what_is_no_photo_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_header(data)


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic", b"heix\0\0\0\0mif1miaf"])
def test_without_its_decoder_a_heic_is_named_with_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch, brands: bytes
) -> None:
    monkeypatch.setattr(heic, "_library", lambda: None)
    data = b"\0\0\0\x18ftyp" + brands + b"\0" * 100
    assert image_format(data) == "HEIC"
    with pytest.raises(ImageError, match=r"HEIC image: .*`pip install 'selfie-localizer\[heic\]'`"):
        read_header(data)


def test_a_damaged_heic_is_refused_in_one_line() -> None:
    pytest.importorskip("pi_heif", exc_type=ImportError)
    with pytest.raises(ImageError, match="HEIC") as caught:
        read_header(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100)
    assert "\n" not in str(caught.value)


def test_the_size_of_a_turned_heic_is_that_of_the_displayed_image() -> None:
    pytest.importorskip("pi_heif", exc_type=ImportError)
    assert read_header(samples.turned_heic()) == Header("HEIC", 60, 40, 1, "2024-05-06T07:08:09")


@pytest.mark.parametrize(
    "start", [b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", b"RIFF\0\0\0\0WAVEfmt ", b"GIF89a", b"", b"\xff\xd8", b"BM"]
)
def test_videos_sounds_and_other_images_have_no_format(start: bytes) -> None:
    assert image_format(start) == ""
