"""Copies of an image hash alike, other images do not."""

import cv2
import numpy as np
import pytest

from selfie_localizer import images
from selfie_localizer.dataset.phash import perceptual_hash
from tests.faces import add_face, encode


def scene(seed: int) -> np.ndarray:
    """A face somewhere before a background of soft patches."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 255, (6, 6, 3), np.uint8), (240, 240), interpolation=cv2.INTER_CUBIC)
    add_face(image, tuple(rng.integers(80, 160, 2)), int(rng.integers(40, 70)))
    return image


def bits(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.mark.parametrize("seed", range(6))
def test_a_re_encoded_or_resized_copy_differs_in_few_bits(seed: int) -> None:
    image = scene(seed)
    expected = perceptual_hash(image)
    assert len(expected) == 16
    copies = [
        images.decode(encode(image, quality=40)),
        images.decode(encode(image, "WEBP", quality=50)),
        cv2.resize(image, (90, 90), interpolation=cv2.INTER_AREA),
        cv2.resize(image, (700, 700), interpolation=cv2.INTER_CUBIC),
        cv2.convertScaleAbs(image, alpha=0.9, beta=5),
    ]
    assert max(bits(expected, perceptual_hash(copy)) for copy in copies) <= 4


def test_other_images_differ_in_many_bits() -> None:
    hashes = [perceptual_hash(scene(seed)) for seed in range(12)]
    assert min(bits(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 8


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_flat_image_has_the_same_hash_at_every_size(value: int) -> None:
    found = {perceptual_hash(np.full((*size, 3), value, np.uint8)) for size in [(1, 1), (9, 70), (300, 200)]}
    assert len(found) == 1
