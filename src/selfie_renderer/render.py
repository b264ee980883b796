"""Renders selfies with exact boxes and scenes without anybody, each from a seed and an index."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import background, camera, layout, shot
from selfie_renderer.looks import LOOKS, Look

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

LONG_SIDE = 306  # Pixels, as in the UCF Selfie dataset.


def _generator(seed: int, index: int, scene: bool = False) -> np.random.Generator:
    return np.random.default_rng([seed, index, int(scene)])


def _size(rng: np.random.Generator, long_side: int, look: Look) -> tuple[int, int]:
    """Draws width and height."""
    short = rng.choice(list(look.shapes), p=list(look.shapes.values()))
    width, height = round(long_side * short), long_side
    return (height, width) if rng.random() < look.landscape else (width, height)


def render_image(seed: int, index: int, long_side: int = LONG_SIDE, look: str = "everyday") -> tuple[Bytes, Box]:
    """Renders image `index` of a seed.

    Args:
        seed, index: The same give the same bytes.
        long_side: Of the picture, in pixels.
        look: One of `looks.LOOKS`.

    Returns:
        uint8 (H, W, 3) RGB, and x1, y1, x2, y2 of the largest face in pixels, in the convention of `truth`.
    """
    image, box, _ = _render(seed, index, long_side, LOOKS[look])
    return image, box


def _render(seed: int, index: int, long_side: int, look: Look) -> tuple[Bytes, Box, np.random.Generator]:
    rng = _generator(seed, index)
    width, height = _size(rng, long_side, look)
    page = rng.random() < look.pages
    selfie = partial(_selfie, look=look)
    picture, box = layout.draw(rng, width, height, selfie) if page else selfie(rng, width, height)
    return camera.develop(rng, picture, look.dusk), box, rng


def _selfie(rng: np.random.Generator, width: int, height: int, look: Look) -> tuple[Floats, Box]:
    """Returns a clean picture of a person, display-referred, and the box of the largest face."""
    kind = shot.choose(rng, look)
    place = str(rng.choice(["room", "bathroom", "wall"], p=[0.5, 0.35, 0.15])) if kind == "mirror" else None
    return shot.take(rng, _background(rng, width, height, look, place), kind, look)


def _background(rng: np.random.Generator, width: int, height: int, look: Look, place: str | None = None) -> Floats:
    if place is None and look.places:
        place = str(rng.choice(list(look.places), p=list(look.places.values())))
    picture = background.draw(rng, width, height, place)
    return background.dusk(rng, picture, look.dusk) if look.dusk else picture


def render_scene(seed: int, index: int, long_side: int = LONG_SIDE, look: str = "everyday") -> Bytes:
    """Renders a picture without a person, uint8 (H, W, 3) RGB."""
    return _render_scene(seed, index, long_side, LOOKS[look])[0]


def _render_scene(seed: int, index: int, long_side: int, look: Look) -> tuple[Bytes, np.random.Generator]:
    rng = _generator(seed, index, scene=True)
    width, height = _size(rng, long_side, look)
    return camera.develop(rng, _background(rng, width, height, look), look.dusk), rng


def encode_image(seed: int, index: int, look: str = "everyday") -> tuple[bytes, Box, int, int]:
    """Returns `render_image` as a photo app would save it: the JPEG, its box, width and height."""
    image, box, rng = _render(seed, index, LONG_SIDE, LOOKS[look])
    return camera.encode(rng, image), box, image.shape[1], image.shape[0]


def encode_scene(seed: int, index: int, look: str = "everyday") -> bytes:
    """Returns `render_scene` as a JPEG."""
    scene, rng = _render_scene(seed, index, LONG_SIDE, LOOKS[look])
    return camera.encode(rng, scene)
