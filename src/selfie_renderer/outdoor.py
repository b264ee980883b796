"""The outdoors: skies, trees, streets, the sea, mountains, and the lights of the night."""

import cv2
import numpy as np
from numpy.typing import ArrayLike

from selfie_renderer import brushes as b
from selfie_renderer.brushes import Floats


def sky(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Returns a sky over the whole picture: blue, pale, overcast or at sunset, with or without clouds."""
    kind = rng.choice(["blue", "pale", "grey", "sunset"], p=[0.36, 0.4, 0.14, 0.1])
    if kind == "blue":
        top = b.hsv(rng.uniform(0.54, 0.62), rng.uniform(0.3, 0.75), rng.uniform(0.55, 0.95))
        low = b.hsv(rng.uniform(0.5, 0.6), rng.uniform(0.05, 0.3), rng.uniform(0.85, 1.0))
    elif kind == "sunset":
        top = b.hsv(rng.uniform(0.6, 0.8), rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.7))
        low = b.hsv(rng.uniform(0.0, 0.12), rng.uniform(0.4, 0.85), rng.uniform(0.8, 1.0))
    else:
        value = rng.uniform(0.9, 1.1) if kind == "pale" else rng.uniform(0.55, 0.9)
        top = b.hsv(0.58, rng.uniform(0, 0.12), value)
        low = b.hsv(rng.uniform(0.08, 0.6), rng.uniform(0, 0.06), value + 0.07)
    picture = b.mix(top, low, b.ramp(width, height, rng.normal(0, 0.15)))
    if rng.random() < 0.6:
        size = max(width, height)
        cell = size * rng.uniform(0.15, 0.6)
        clouds = b.noise(rng, width, height, (cell * rng.uniform(1, 3), cell), 5) + rng.uniform(-0.5, 0.4)
        share = np.clip(clouds * rng.uniform(1.0, 3.0), 0, 1) * rng.uniform(0.4, 1.0)
        white = b.hsv(rng.uniform(0, 0.12), 0.4 if kind == "sunset" else 0.03, 0.97)
        picture = b.mix(picture, b.tint(white, 1.02 - 0.25 * np.clip(clouds, 0, 1)), share)
    return picture


def skyline(rng: np.random.Generator, width: int, level: float, swing: float, cell: float, steps: bool) -> Floats:
    """Returns a height in pixels for every column: hills and tree tops, or with `steps` the roofs of a town."""
    if steps:
        heights = rng.uniform(-1, 1, width // max(1, int(cell)) + 2).repeat(max(1, int(cell)))[:width]
        return (level + swing * heights).astype(np.float32)
    return level + np.float32(swing) * b.noise(rng, width, 2, (cell, 4), 5)[0]


def below(height: int, line: Floats) -> Floats:
    """Returns a mask (H, W) of what lies below a skyline, with smooth edges."""
    return np.clip(np.arange(height, dtype=np.float32)[:, None] - line[None, :] + 0.5, 0, 1)


def foliage(rng: np.random.Generator, width: int, height: int, leaf: float) -> Floats:
    """Returns leaves over the whole picture: dark depths, lit clumps, single leaves of a few pixels, light between."""
    hue, strong = rng.uniform(0.15, 0.34), rng.uniform(0.15, 0.65)
    if rng.random() < 0.12:
        hue, strong = rng.uniform(0.02, 0.13), rng.uniform(0.4, 0.8)  # Autumn.
    bright = rng.uniform(0.4, 0.95)
    clumps = b.noise(rng, width, height, leaf * rng.uniform(5, 12), 3)
    fine = b.noise(rng, width, height, leaf, 2)
    share = np.clip(0.45 + 0.5 * clumps + 0.55 * fine, 0, 1)
    picture = b.mix(b.hsv(hue, strong, bright * rng.uniform(0.12, 0.4)), b.hsv(hue, strong * 0.9, bright), share)
    count = int(min(350, width * height / (leaf * leaf) * 0.35))
    canvas = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    places = (rng.random((count, 2)) * (width, height)).astype(int)
    axes = np.maximum(1, leaf * rng.uniform(0.3, 0.8, (count, 2)) * (1, 0.5)).astype(int)
    turns, values = rng.uniform(0, 180, count), rng.uniform(0.5, 1.5, count)
    for (x, y), (across, down), turn, value in zip(places.tolist(), axes.tolist(), turns, values, strict=True):
        lit = bright * value * (0.75 + 0.5 * float(clumps[y, x]))
        colour = b.tone(b.hsv(hue + 0.02 * (value - 1), strong * 0.9, lit))
        cv2.ellipse(canvas, (x, y), (across, down), turn, 0, 360, colour, -1, cv2.LINE_AA)
    picture = np.asarray(canvas * np.float32(1 / 255), np.float32)
    if rng.random() < 0.35:
        gaps = np.clip((fine * 1.2 - clumps - rng.uniform(0.6, 1.1)) * 4, 0, 1) * 0.9
        picture = b.mix(picture, b.hsv(0.55, 0.1, rng.uniform(0.85, 1.0)), gaps)
    return picture


def ground(rng: np.random.Generator, width: int, height: int, horizon: float, colour: ArrayLike) -> Floats:
    """Returns ground of one colour, over the whole picture, whose grain grows from the horizon to the viewer."""
    rows = np.clip((np.arange(height, dtype=np.float32) - horizon) / max(height - horizon, 1), 0.02, 1)
    coarse = b.noise(rng, width, height, (width * 0.2, height * 0.06), 3)
    fine = b.noise(rng, width, height, (max(width, height) * 0.02, max(width, height) * 0.012), 2)
    shade = 1 + (0.25 * coarse + rng.uniform(0.1, 0.45) * fine) * (0.4 + 0.6 * rows[:, None])
    return b.tint(colour, shade)


def grass_colour(rng: np.random.Generator) -> Floats:
    """Returns a colour of grass or a dry meadow."""
    return b.hsv(rng.uniform(0.13, 0.3), rng.uniform(0.25, 0.7), rng.uniform(0.3, 0.75))


def trunk(rng: np.random.Generator, picture: Floats, x: float, thick: float) -> None:
    """Puts an upright tree trunk or post with bark into the picture."""
    height, width = picture.shape[:2]
    bark = b.hsv(rng.uniform(0.05, 0.12), rng.uniform(0.1, 0.4), rng.uniform(0.15, 0.5))
    left, right = max(0, int(x - thick)), min(width, int(x + thick) + 1)
    if left >= right:
        return
    grain = b.noise(rng, right - left, height, (max(3, thick * 0.3), thick * 2), 3)
    across = (np.arange(left, right, dtype=np.float32) - x) / thick
    shade = (1 + 0.6 * grain) * (1.1 - 0.5 * across**2)
    lean = rng.normal(0, 0.1) * thick
    corners = [(x - thick + lean, 0), (x + thick + lean, 0), (x + thick, height), (x - thick, height)]
    texture = picture.copy()
    texture[:, left:right] = b.tint(bark, shade)
    b.fill(picture, corners, texture)


def park(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A garden or wood: sky, a line of trees, grass, a path, trunks."""
    size = max(width, height)
    horizon = height * rng.uniform(0.3, 1.0)
    picture = sky(rng, width, height)
    tops = skyline(rng, width, height * rng.uniform(-0.2, 0.5), size * 0.12, size * 0.3, False)
    picture = b.mix(picture, foliage(rng, width, height, size * rng.uniform(0.008, 0.03)), below(height, tops))
    lawn = ground(rng, width, height, horizon, grass_colour(rng))
    if rng.random() < 0.4:
        path = b.hsv(rng.uniform(0.05, 0.12), rng.uniform(0.05, 0.25), rng.uniform(0.4, 0.85))
        end, x = width * rng.uniform(0, 1), width * rng.uniform(0.2, 0.8)
        b.fill(lawn, [(x, horizon), (x + 6, horizon), (end + size * 0.3, height), (end - size * 0.3, height)], path)
    edge = skyline(rng, width, horizon, size * 0.01, size * 0.1, False)
    picture = b.mix(picture, lawn, below(height, edge))
    for _ in range(rng.choice(4, p=[0.45, 0.3, 0.15, 0.1])):
        trunk(rng, picture, rng.uniform(0, 1) * width, size * rng.uniform(0.01, 0.09))
    return picture


def hedge(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Leaves near the camera all over the picture."""
    size = max(width, height)
    picture = foliage(rng, width, height, size * rng.uniform(0.012, 0.06))
    light = b.noise(rng, width, height, size * 0.5, 2)
    return b.tint(picture, 1.1 + 0.4 * light)


def coast(rng: np.random.Generator, width: int, height: int) -> Floats:
    """The sea or a lake, with sand, waves and at times a far shore."""
    size = max(width, height)
    horizon = height * rng.uniform(0.15, 0.75)
    picture = sky(rng, width, height)
    if rng.random() < 0.4:
        far = skyline(rng, width, horizon - size * 0.02, size * 0.03, size * 0.4, False)
        picture = b.mix(picture, b.hsv(rng.uniform(0.3, 0.62), 0.25, rng.uniform(0.3, 0.7)), below(height, far))
    water = b.hsv(rng.uniform(0.46, 0.6), rng.uniform(0.15, 0.7), rng.uniform(0.35, 0.85))
    waves = b.noise(rng, width, height, (size * 0.15, size * 0.012), 3)
    sea = b.tint(water, 1 + rng.uniform(0.1, 0.4) * waves)
    level = (
        np.full(width, horizon, np.float32) + np.linspace(-1, 1, width, dtype=np.float32) * rng.normal(0, 0.03) * size
    )
    picture = b.mix(picture, sea, below(height, level))
    if rng.random() < 0.6:
        sand = b.hsv(rng.uniform(0.08, 0.12), rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.95))
        shore = skyline(rng, width, horizon + height * rng.uniform(0.05, 0.4), size * 0.03, size * 0.5, False)
        foam = below(height, shore - size * 0.015) - below(height, shore)
        picture = b.mix(picture, ground(rng, width, height, horizon, sand), below(height, shore))
        picture = b.mix(picture, np.full(3, 0.95), np.clip(foam, 0, 1) * 0.7)
    return picture


def mountains(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Ridges that pale with distance, over a valley, a meadow or snow."""
    size = max(width, height)
    picture = sky(rng, width, height)
    haze = b.hsv(0.58, rng.uniform(0.05, 0.3), rng.uniform(0.7, 0.9))
    rock = b.hsv(rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.5), rng.uniform(0.2, 0.6))
    level, count = height * rng.uniform(0.15, 0.5), int(rng.integers(2, 5))
    for k in range(count):
        ridge = skyline(rng, width, level, size * 0.12, size * rng.uniform(0.3, 0.7), False)
        relief = 1 + 0.35 * b.noise(rng, width, height, size * 0.08, 4)
        near = (k + 1) / count
        colour = b.tint(haze + (rock - haze) * near, 1 + (relief - 1) * near)
        if rng.random() < 0.25:
            colour = b.mix(colour, np.full(3, 0.95), np.clip((relief - 1) * 4, 0, 1))
        picture = b.mix(picture, colour, below(height, ridge))
        level += height * rng.uniform(0.08, 0.3)
    meadow = b.hsv(0.6, 0.04, 0.93) if rng.random() < 0.15 else grass_colour(rng)
    edge = skyline(rng, width, level, size * 0.03, size * 0.3, False)
    return b.mix(picture, ground(rng, width, height, level, meadow), below(height, edge))


def town(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Roofs and towers with rows of windows against the sky."""
    size = max(width, height)
    picture = sky(rng, width, height)
    level = height * rng.uniform(0.3, 0.6)
    for _ in range(2):
        roofs = skyline(rng, width, level, size * 0.18, size * rng.uniform(0.06, 0.2), True)
        wall = b.paint_colour(rng) * rng.uniform(0.4, 0.95)
        step_x, step_y = (max(3, int(size * f)) for f in rng.uniform(0.015, 0.04, 2))
        columns = (np.arange(width) % step_x) / step_x < rng.uniform(0.4, 0.7)
        rows = (np.arange(height) % step_y) / step_y < rng.uniform(0.4, 0.7)
        panes = (rows[:, None] & columns[None, :]).astype(np.float32)
        panes *= 0.5 + 0.5 * b.noise(rng, width, height, (step_x, step_y), 1)
        blocks = b.tint(wall, np.repeat(1 + 0.5 * b.noise(rng, width, 2, (size * 0.1, 4), 1)[:1], height, 0))
        front = b.mix(blocks, b.hsv(0.58, 0.2, rng.uniform(0.1, 0.7)), panes)
        picture = b.mix(picture, front, below(height, roofs))
        level += height * rng.uniform(0.15, 0.4)
    street = b.hsv(0.1, 0.04, rng.uniform(0.3, 0.7))
    edge = np.full(width, level, np.float32)
    return b.mix(picture, ground(rng, width, height, level, street), below(height, edge))


def lights(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Lamps in the dark, out of focus as discs: a street at night, a party, a stage."""
    size = max(width, height)
    base = b.hsv(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.01, 0.15))
    glow = b.hsv(
        rng.random() if rng.random() < 0.3 else rng.normal(0.07, 0.03), rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.45)
    )
    share = np.clip(0.3 + 0.6 * b.noise(rng, width, height, size * 0.5, 3), 0, 1)
    picture = b.mix(base, glow, share)
    warm = rng.random() < 0.6
    for _ in range(int(rng.integers(8, 60))):
        hue = rng.normal(0.1, 0.04) if warm else rng.random()
        x, y, r = rng.uniform(0, width), rng.uniform(0, height * 0.8), size * rng.uniform(0.004, 0.02)
        b.fill(picture, b.oval(x, y, r, r), b.hsv(hue, rng.uniform(0, 0.7), 1) * rng.uniform(1, 4))
    return b.defocus(picture, size * rng.uniform(0.0, 0.04))


def crowd(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Many people far out of focus: dark and coloured blobs, no features."""
    size = max(width, height)
    picture = lights(rng, width, height) if rng.random() < 0.5 else town(rng, width, height)
    for y in np.sort(rng.uniform(0.35, 1.05, int(rng.integers(8, 26)))) * height:
        x, r = rng.uniform(0, 1) * width, size * 0.01 + (y / height) * size * rng.uniform(0.03, 0.07)
        b.fill(picture, b.oval(x, y + 3.2 * r, 1.7 * r, 2.6 * r, 0, 3), b.cloth_colour(rng) * 0.7, soft=r * 0.1)
        skin = b.hsv(rng.uniform(0.02, 0.09), rng.uniform(0.3, 0.65), rng.uniform(0.2, 0.8))
        b.fill(picture, b.oval(x, y, 0.75 * r, r), skin * rng.uniform(0.3, 0.9), soft=r * 0.15)
        b.fill(
            picture, b.oval(x, y - 0.45 * r, 0.8 * r, 0.7 * r), b.hsv(0.07, 0.4, rng.uniform(0.02, 0.3)), soft=r * 0.15
        )
    return b.defocus(picture, size * rng.uniform(0.02, 0.04))


def scenery(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Any of the open-air scenes that need no perspective."""
    return (park, hedge, coast, mountains, town, sky)[rng.choice(6, p=[0.4, 0.15, 0.1, 0.05, 0.2, 0.1])](
        rng, width, height
    )
