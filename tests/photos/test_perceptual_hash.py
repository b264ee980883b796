"""Copies of a photo hash alike, other photos do not."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfie_localizer.photos.decode import decode, read_bytes
from selfie_localizer.photos.header import ImageError
from selfie_localizer.photos.perceptual_hash import perceptual_hash
from tests.photos.samples import Pixels, encode, scene


def bits(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.mark.parametrize("seed", range(6))
def test_a_re_encoded_or_resized_copy_differs_in_few_bits(seed: int) -> None:
    image = scene(240, 240, seed)
    expected = perceptual_hash(image)
    assert len(expected) == 16
    copies = [
        decode(encode(image, quality=40)).pixels,
        decode(encode(image, "WEBP", quality=50)).pixels,
        cv2.resize(image, (90, 90), interpolation=cv2.INTER_AREA),
        cv2.resize(image, (700, 700), interpolation=cv2.INTER_CUBIC),
        cv2.convertScaleAbs(image, alpha=0.9, beta=5),
    ]
    assert max(bits(expected, perceptual_hash(copy)) for copy in copies) <= 4


@pytest.mark.parametrize("size", [(1281, 1700), (2561, 3999), (4000, 2999)])
def test_a_photo_hashes_alike_at_full_and_at_reduced_size(size: tuple[int, int]) -> None:
    data = encode(scene(*size))
    small, whole = decode(data).pixels, decode(data, least_side=10**9).pixels
    assert small.shape != whole.shape
    assert bits(perceptual_hash(small), perceptual_hash(whole)) <= 3


def test_other_images_differ_in_many_bits() -> None:
    hashes = [perceptual_hash(scene(240, 240, seed)) for seed in range(12)]
    assert min(bits(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 8


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_flat_image_has_the_same_hash_at_every_size(value: int) -> None:
    sizes = [(1, 1), (9, 70), (300, 200), (3001, 1999)]
    assert len({perceptual_hash(np.full((*size, 3), value, np.uint8)) for size in sizes}) == 1


def test_a_large_photo_costs_little_more_than_a_small_one() -> None:
    image = np.zeros((4000, 3000, 3), np.uint8)
    perceptual_hash(image)
    start = time.perf_counter()
    perceptual_hash(image)
    assert time.perf_counter() - start < 0.1


@pytest.mark.long
def test_enlarged_and_re_encoded_copies_of_real_photos_differ_in_few_bits(real_selfies: Path) -> None:
    far = [], []
    for path in sorted((real_selfies / "images").iterdir())[::10]:
        try:
            image = decode(read_bytes(path)).pixels
        except ImageError:
            continue
        for index, copy in enumerate(copies_of(image)):
            far[index].append(bits(perceptual_hash(image), perceptual_hash(decode(copy).pixels)))
    for distances in far:
        assert len(distances) > 200
        assert np.mean(np.array(distances) <= 4) > 0.97


def copies_of(image: Pixels) -> tuple[bytes, bytes]:
    """An enlargement that is decoded at reduced size, and a smaller copy of low quality."""
    height, width = image.shape[:2]
    factor = 1400 / min(height, width)
    large = cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(image, (round(width * 0.6), round(height * 0.6)), interpolation=cv2.INTER_AREA)
    return encode(large, quality=90), encode(small, quality=60)
