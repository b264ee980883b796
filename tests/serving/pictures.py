"""Pictures for tests: blurry and coloured, so that a network says something else of each."""

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image


def picture(seed: int, width: int = 306, height: int = 230) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(seed: int) -> bytes:
    return encoded(Image.fromarray(picture(seed)), "JPEG", quality=90)
