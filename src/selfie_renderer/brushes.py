"""What the painters of backgrounds share: colours, noise, shapes with soft edges, folds and blur.

Pictures are float32 RGB (H, W, 3) in 0..1, display-referred. Lengths are in pixels. Every function draws all its
randomness from the generator it is given.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_BITS = 4  # Sub-pixel bits of a shape's corners.


def hsv(hue: float, saturation: float, value: float) -> Floats:
    """Returns the RGB colour, float32 (3,), of a hue in turns (0 is red, wraps), a saturation and a value in 0..1."""
    # Plain arithmetic: painters ask for hundreds of colours, and an array operation costs more than all of this.
    s, v = min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
    turns = ((n + hue % 1 * 6) % 6 for n in (5.0, 3.0, 1.0))
    return np.array([v - v * s * min(max(min(k, 4 - k), 0.0), 1.0) for k in turns], np.float32)


def paint_colour(rng: np.random.Generator) -> Floats:
    """Returns a colour that people paint walls with: mostly pale and grey, seldom strong."""
    if rng.random() < 0.78:
        return hsv(rng.normal(0.09, 0.035), rng.beta(1.1, 8), rng.uniform(0.6, 1.0))
    return hsv(rng.random(), rng.beta(1.5, 3.5), rng.uniform(0.2, 0.95))


def cloth_colour(rng: np.random.Generator) -> Floats:
    """Returns a colour of fabric, books or packaging: anything, the strong ones not too often."""
    return hsv(rng.random(), rng.beta(1.1, 2.2), rng.beta(1.5, 1.2))


def wood_colour(rng: np.random.Generator) -> Floats:
    """Returns a colour of wood, from pale birch to dark walnut."""
    return hsv(rng.normal(0.075, 0.012), rng.uniform(0.25, 0.65), rng.uniform(0.2, 0.75))


def tone(colour: ArrayLike) -> tuple[int, int, int]:
    """Returns a colour in 0..1 as the three bytes that OpenCV draws with."""
    r, g, b = (min(max(int(c * 255), 0), 255) for c in np.asarray(colour).tolist())
    return r, g, b


def noise(
    rng: np.random.Generator, width: int, height: int, cell: float | tuple[float, float], octaves: int = 3
) -> Floats:
    """Returns value noise, float32 (H, W), with mean near 0 and nearly all values in -1..1.

    Args:
        rng: Source of the values.
        width: Columns.
        height: Rows.
        cell: Size of the largest blobs, one number or across and down; each further octave halves it.
        octaves: Layers, each half as strong as the one before.
    """
    across, down = cell if isinstance(cell, tuple) else (cell, cell)
    total = np.zeros((height, width), np.float32)
    strength = 1.0
    for _ in range(octaves):
        rows, columns = int(height / max(down, 1)) + 2, int(width / max(across, 1)) + 2
        grid = (rng.random((rows, columns), dtype=np.float32) - 0.5) * (2 * strength)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        strength, across, down = strength / 2, across / 2, down / 2
    return total


def _rows(paint: ArrayLike, width: int) -> Floats:
    """Returns a colour (3,) or picture (H, W, 3) as rows of W * 3 numbers.

    NumPy's innermost loop is then a whole row instead of three channels, which is several times faster.
    """
    p = np.asarray(paint, np.float32)
    return np.tile(p, width) if p.ndim == 1 else p.reshape(p.shape[0], -1)


def _weights(share: ArrayLike) -> Floats:
    one = np.ascontiguousarray(share, np.float32)
    return np.asarray(cv2.merge((one, one, one)), np.float32).reshape(one.shape[0], -1)


def tint(paint: ArrayLike, shade: ArrayLike) -> Floats:
    """Returns a colour (3,) or picture (H, W, 3) times a brightness (H, W), float32 (H, W, 3)."""
    height, width = np.shape(shade)
    return (_weights(shade) * _rows(paint, width)).reshape(height, width, 3)


def mix(first: ArrayLike, second: ArrayLike, share: ArrayLike) -> Floats:
    """Returns what lies between two colours (3,) or pictures (H, W, 3), by a share of the second in 0..1, (H, W)."""
    height, width = np.shape(share)
    a, b = _rows(first, width), _rows(second, width)
    result = _weights(share) * (b - a)
    result += a
    return result.reshape(height, width, 3)


def ramp(width: int, height: int, angle: float = 0.0) -> Floats:
    """Returns a plane over the picture, float32 (H, W), 0..1 from top to bottom, turned by an angle in radians."""
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32) * np.float32(np.sin(angle))
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32) * np.float32(np.cos(angle))
    return np.clip(y[:, None] + x[None, :] + 0.5, 0, 1)


def spot(width: int, height: int, x: float, y: float, radius: float) -> Floats:
    """Returns a soft round spot, float32 (H, W), 1 in its middle (x, y)."""
    across = np.exp(-(((np.arange(width, dtype=np.float32) - x) / radius) ** 2))
    down = np.exp(-(((np.arange(height, dtype=np.float32) - y) / radius) ** 2))
    return down[:, None] * across[None, :]


def fill(image: Floats | Bytes, points: ArrayLike, paint: ArrayLike, opacity: float = 1.0, soft: float = 0.0) -> None:
    """Fills a polygon in place, with smooth edges; only the pixels around it are touched.

    Args:
        image: float32 or uint8 (H, W, 3), written in place; the paint is in the same units.
        points: Corners (N, 2) as x, y; may lie outside.
        paint: One colour (3,), or a picture (H, W, 3) that shows through.
        opacity: 0..1.
        soft: Width of a blurred edge.
    """
    corners = np.clip(np.asarray(points, np.float64), -8000, 8000)
    height, width = image.shape[:2]
    margin = int(2 * soft) + 2
    x1, y1 = np.maximum(np.floor(corners.min(0)).astype(int) - margin, 0)
    x2, y2 = np.minimum(np.ceil(corners.max(0)).astype(int) + margin, (width, height))
    if x1 >= x2 or y1 >= y2:
        return
    mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
    shifted = np.round((corners - (x1, y1)) * (1 << _BITS)).astype(np.int32)
    cv2.fillPoly(mask, [shifted], 255, cv2.LINE_AA, _BITS)
    if soft > 0.3:
        mask = cv2.GaussianBlur(mask, (0, 0), soft)
    share = mask.astype(np.float32) * (opacity / 255)
    colour = np.asarray(paint, np.float32)
    part = image[y1:y2, x1:x2]
    part[...] = mix(part, colour[y1:y2, x1:x2] if colour.ndim == 3 else colour, share)


def oval(x: float, y: float, across: float, down: float, turn: float = 0.0, power: float = 2.0) -> NDArray[np.float64]:
    """Returns the outline (32, 2) of an ellipse by its half axes; a power over 2 squares it off (superellipse)."""
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    px = across * np.sign(c) * np.abs(c) ** (2 / power)
    py = down * np.sign(s) * np.abs(s) ** (2 / power)
    return np.stack([x + px * np.cos(turn) - py * np.sin(turn), y + px * np.sin(turn) + py * np.cos(turn)], 1)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> NDArray[np.float64]:
    """Returns the corners (4, 2) of an upright rectangle."""
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float64)


def turned(points: ArrayLike, angle: float, x: float, y: float) -> NDArray[np.float64]:
    """Returns points (N, 2) turned by an angle in radians about (x, y)."""
    c, s = np.cos(angle), np.sin(angle)
    return (np.asarray(points, np.float64) - (x, y)) @ np.array([[c, s], [-s, c]]) + (x, y)


def folds(rng: np.random.Generator, width: int, height: int, cell: float, depth: float) -> Floats:
    """Returns the light on crumpled cloth, float32 (H, W) about 1, from the slopes of ridged noise."""
    stretch = float(np.exp(rng.normal(0, 0.25)))
    relief = noise(rng, width, height, (cell * stretch, cell / stretch), 3)
    relief = np.sqrt(relief * relief + 0.02)  # Ridges with a rounded edge.
    turn = rng.uniform(0, 2 * np.pi)
    slope = cv2.Sobel(relief, cv2.CV_32F, 1, 0) * np.cos(turn) + cv2.Sobel(relief, cv2.CV_32F, 0, 1) * np.sin(turn)
    creases = np.tanh(slope * np.float32(cell / 40)) * np.float32(0.16 * depth)
    broad = noise(rng, width, height, cell * 1.5, 1) * np.float32(0.12 * depth)
    light: Floats = np.asarray(1 + creases + broad, np.float32)
    return light


def cloth(rng: np.random.Generator, width: int, height: int, cell: float) -> Floats:
    """Returns a picture of cloth with folds: plain, striped, checked or dotted."""
    base = cloth_colour(rng)
    if rng.random() < 0.6:
        base = hsv(rng.random(), rng.uniform(0, 0.12), rng.uniform(0.75, 1.0))
    second = cloth_colour(rng) if rng.random() < 0.4 else base * np.float32(rng.uniform(0.5, 1.2))
    image = np.broadcast_to(base, (height, width, 3)).astype(np.float32)
    pattern = rng.choice(["plain", "stripes", "checks", "dots"], p=[0.7, 0.14, 0.1, 0.06])
    if pattern != "plain":
        bend = noise(rng, width, height, cell, 1) * cell * 0.08
        across, down = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        turn, step = rng.uniform(0, np.pi), cell * rng.uniform(0.12, 0.4)
        u = (across * np.cos(turn) + down * np.sin(turn) + bend) * (2 * np.pi / step)
        v = (down * np.cos(turn) - across * np.sin(turn) + bend) * (2 * np.pi / step)
        wave = np.sin(u) if pattern == "stripes" else (np.sin(u) + np.sin(v)) / 2
        if pattern == "dots":
            wave = wave * 2 - 1.2
        image = mix(image, second, np.clip(wave * 3 + 0.5, 0, 1).astype(np.float32) * 0.8)
    return tint(image, folds(rng, width, height, cell, rng.uniform(0.4, 1.0)))


def defocus(image: Floats, radius: float) -> Floats:
    """Blurs with a disc, as a lens out of focus does; lights stay bright because light adds up before the tone curve.

    The tone curve is taken as a square root. A radius under half a pixel returns the picture itself.
    """
    if radius < 0.5:
        return image
    height, width = image.shape[:2]
    shrink = max(1.0, radius / 4)
    small = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    light = cv2.resize(image * image, small, interpolation=cv2.INTER_AREA) if shrink > 1 else image * image
    r = radius / shrink
    reach = int(np.ceil(r))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    disc = np.clip(r + 0.5 - np.hypot(x, y), 0, 1)
    light = cv2.filter2D(light, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT)
    if shrink > 1:
        light = cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.sqrt(np.maximum(light, 0))


def squiggles(rng: np.random.Generator, image: Bytes, count: int) -> None:
    """Covers a picture in place with `count` random blobs, bars and strokes: posters, art, goods, graffiti."""
    height, width = image.shape[:2]
    size = max(2, min(width, height))
    for _ in range(count):
        colour = tone(cloth_colour(rng))
        x, y = int(rng.integers(width)), int(rng.integers(height))
        a, b = (int(size * f) + 1 for f in rng.uniform(0.04, 0.4, 2))
        shape = rng.integers(4)
        if shape == 0:
            cv2.ellipse(image, (x, y), (a, b), float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        elif shape == 1:
            cv2.rectangle(image, (x, y), (x + a, y + b), colour, -1)
        elif shape == 2:
            cv2.line(image, (x, y), (x + a - b, y + b), colour, 1 + size // 40, cv2.LINE_AA)
        else:
            for row in range(int(rng.integers(1, 5))):  # Lines of print.
                cv2.line(image, (x, y + 3 * row), (x + int(a * rng.uniform(0.5, 1)), y + 3 * row), colour, 1)


def stack(parts: Sequence[Bytes]) -> Bytes:
    """Returns square pictures of one size as one tall picture, the first on top."""
    return np.concatenate(list(parts), 0)
