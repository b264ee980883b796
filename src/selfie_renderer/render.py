"""Renders selfies with exact boxes and scenes without anybody, each from a seed and an index."""

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import background, camera, layout, shot

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

LONG_SIDE = 306  # Pixels, as in the UCF Selfie dataset.
LAID_OUT = 0.06  # Share of the pictures that are collages, posters or screenshots.


def _generator(seed: int, index: int, scene: bool = False) -> np.random.Generator:
    return np.random.default_rng([seed, index, int(scene)])


def _size(rng: np.random.Generator, long_side: int) -> tuple[int, int]:
    """Draws width and height: squares, upright 3:4 and 2:3, seldom landscapes."""
    short = rng.choice([1.0, 0.75, 2 / 3, 0.5625], p=[0.5, 0.32, 0.12, 0.06])
    width, height = round(long_side * short), long_side
    return (height, width) if rng.random() < 0.12 else (width, height)


def render_image(seed: int, index: int, long_side: int = LONG_SIDE) -> tuple[Bytes, Box]:
    """Renders image `index` of a seed.

    Returns:
        uint8 (H, W, 3) RGB, and x1, y1, x2, y2 of the largest face in pixels, in the convention of `truth`.
    """
    image, box, _ = _render(seed, index, long_side)
    return image, box


def _render(seed: int, index: int, long_side: int) -> tuple[Bytes, Box, np.random.Generator]:
    rng = _generator(seed, index)
    width, height = _size(rng, long_side)
    laid = rng.random() < LAID_OUT
    picture, box = layout.draw(rng, width, height, _selfie) if laid else _selfie(rng, width, height)
    return camera.develop(rng, picture), box, rng


def _selfie(rng: np.random.Generator, width: int, height: int) -> tuple[Floats, Box]:
    """Returns a clean picture of a person, display-referred, and the box of the largest face."""
    kind = shot.choose(rng)
    place = str(rng.choice(["room", "bathroom", "wall"], p=[0.5, 0.35, 0.15])) if kind == "mirror" else None
    return shot.take(rng, background.draw(rng, width, height, place), kind)


def render_scene(seed: int, index: int, long_side: int = LONG_SIDE) -> Bytes:
    """Renders a picture without a person, uint8 (H, W, 3) RGB."""
    return _render_scene(seed, index, long_side)[0]


def _render_scene(seed: int, index: int, long_side: int) -> tuple[Bytes, np.random.Generator]:
    rng = _generator(seed, index, scene=True)
    width, height = _size(rng, long_side)
    return camera.develop(rng, background.draw(rng, width, height)), rng


def encode_image(seed: int, index: int) -> tuple[bytes, Box, int, int]:
    """Returns `render_image` as a photo app would save it: the JPEG, its box, width and height."""
    image, box, rng = _render(seed, index, LONG_SIDE)
    return camera.encode(rng, image), box, image.shape[1], image.shape[0]


def encode_scene(seed: int, index: int) -> bytes:
    """Returns `render_scene` as a JPEG."""
    scene, rng = _render_scene(seed, index, LONG_SIDE)
    return camera.encode(rng, scene)
