"""A face drawn from ellipses that OpenCV's cascades and eye detectors accept, so that tests need no photo."""

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def draw_face(
    size: int = 240, centre: tuple[float, float] = (110, 130), radius: float = 60, seed: int = 0
) -> NDArray[np.uint8]:
    """Returns a square RGB image with one face; `seed` changes the background only."""
    image = np.full((size, size, 3), np.random.default_rng(seed).integers(80, 130, 3), np.uint8)
    add_face(image, centre, radius)
    return image


def add_face(image: NDArray[np.uint8], centre: tuple[float, float], radius: float) -> None:
    def ellipse(dx: float, dy: float, width: float, height: float, colour: tuple[int, int, int]) -> None:
        middle = (round(centre[0] + dx * radius), round(centre[1] + dy * radius))
        axes = (max(1, round(width * radius)), max(1, round(height * radius)))
        cv2.ellipse(image, middle, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    ellipse(0, -0.15, 1.0, 1.35, (50, 35, 30))
    ellipse(0, 0, 0.85, 1.15, (225, 180, 150))
    for side in (-1, 1):
        ellipse(side * 0.36, -0.22, 0.24, 0.16, (160, 110, 90))
        ellipse(side * 0.36, -0.40, 0.25, 0.05, (60, 40, 30))
        ellipse(side * 0.36, -0.18, 0.17, 0.09, (240, 240, 240))
        ellipse(side * 0.36, -0.18, 0.085, 0.09, (30, 20, 15))
    ellipse(0, 0.02, 0.10, 0.3, (240, 200, 170))
    ellipse(0, 0.25, 0.16, 0.06, (170, 110, 90))
    ellipse(0, 0.55, 0.32, 0.09, (150, 60, 60))
    image[:] = cv2.GaussianBlur(image, (0, 0), radius / 40)


def encode(image: NDArray[np.uint8], form: str = "JPEG", mode: str | None = None, **options: object) -> bytes:
    """Encodes an image by Pillow, in another mode such as `L`, `RGBA` or `CMYK` where one is given."""
    picture = Image.fromarray(image)
    stream = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(stream, form, **options)
    return stream.getvalue()


def with_orientation(image: NDArray[np.uint8], orientation: int, form: str = "JPEG") -> bytes:
    """Encodes an image turned so that a viewer that obeys the EXIF orientation shows it upright."""
    turns = {1: lambda a: a, 3: lambda a: a[::-1, ::-1], 6: np.rot90, 8: lambda a: np.rot90(a, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(np.ascontiguousarray(turns[orientation](image)), form, exif=exif)


def write_image(root: Path, name: str, data: bytes) -> None:
    """Writes a file into a project's `data/images`."""
    path = root / "data/images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def make_faces(root: Path, count: int, first: int = 0) -> None:
    """Writes `count` small images with a face each; all of them differ."""
    for index in range(first, first + count):
        write_image(root, f"{index:04d}.png", encode(draw_face(120, (58 + index % 5, 64), 30, index), "PNG"))
