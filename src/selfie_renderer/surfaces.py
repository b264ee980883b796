"""Flat surfaces seen straight on: walls, floors and house fronts, before a room or a street puts them in perspective.

A surface is a uint8 picture (T, T, 3) of `SIDE` pixels; `scale` says how many of its pixels make a metre.
"""

from collections.abc import Callable

import cv2
import numpy as np

from selfie_renderer import brushes as b
from selfie_renderer.brushes import Bytes, Floats

SIDE = 288


def flat(rng: np.random.Generator, colour: Floats, roughness: float = 0.02, cell: float = 90.0) -> Bytes:
    """Returns a surface of one colour with large faint stains and a fine grain."""
    stains = b.noise(rng, SIDE, SIDE, cell, 2) * np.float32(roughness)
    grain = (rng.random((SIDE, SIDE), dtype=np.float32) - 0.5) * np.float32(roughness)
    return _tinted(colour, 1 + stains + grain)


def painted(rng: np.random.Generator, scale: float) -> Bytes:
    """Returns a painted wall, at times with a rail and another colour below it."""
    wall = flat(rng, b.paint_colour(rng), rng.uniform(0.01, 0.06))
    if rng.random() < 0.15:
        at = int(SIDE * rng.uniform(0.4, 0.7))
        wall[at:] = flat(rng, b.paint_colour(rng))[at:]
        cv2.rectangle(wall, (0, at), (SIDE, at + int(scale * 0.06)), b.tone(b.paint_colour(rng)), -1)
    return wall


def papered(rng: np.random.Generator, scale: float) -> Bytes:
    """Returns wallpaper with stripes or a repeated ornament."""
    base, second = b.paint_colour(rng), b.paint_colour(rng) * rng.uniform(0.6, 1.0)
    step = max(4, int(scale * rng.uniform(0.08, 0.35)))
    tile = np.broadcast_to(base, (step, step, 3)).copy()
    if rng.random() < 0.4:
        tile[:, : step // 2] = second
    else:
        for _ in range(int(rng.integers(1, 5))):
            x, y = rng.uniform(0.2, 0.8, 2) * step
            across, down = rng.uniform(0.06, 0.3, 2) * step
            b.fill(tile, b.oval(x, y, across, down, rng.uniform(0, np.pi)), second)
        tile = np.concatenate([tile, tile[:, ::-1]], 1)
    count = (SIDE // tile.shape[0] + 1, SIDE // tile.shape[1] + 1, 1)
    return _bytes(np.tile(tile, count)[:SIDE, :SIDE])


def bricks(rng: np.random.Generator, scale: float) -> Bytes:
    """Returns brickwork or, where the bricks are square and glossy, tiles."""
    brick = rng.random() < 0.6
    if brick:
        base = b.hsv(rng.normal(0.04, 0.02), rng.uniform(0.15, 0.65), rng.uniform(0.3, 0.8))
        long, high, spread = scale * rng.uniform(0.2, 0.3), scale * rng.uniform(0.07, 0.1), 0.12
        joint = b.hsv(0.1, 0.08, rng.uniform(0.45, 0.85))
    else:
        base = b.hsv(rng.uniform(0, 1), rng.beta(1, 4), rng.uniform(0.45, 0.95))
        long = scale * rng.uniform(0.07, 0.35)
        high, spread = long * rng.choice([0.5, 1.0]), 0.03
        joint = base * 0.8 if rng.random() < 0.5 else base + (1 - base) * 0.5
    long, high = max(long, 5), max(high, 4)
    rows, columns = int(SIDE / high) + 2, int(SIDE / long) + 2
    colours = (base * (1 + rng.normal(0, spread, (rows, columns, 1)))).astype(np.float32)
    y, x = np.arange(SIDE) / high, np.arange(SIDE) / long
    row = y.astype(int)
    shifted = x[None, :] + (0.5 * (row % 2)[:, None] if brick else 0)
    column = shifted.astype(int)
    wall = colours[np.minimum(row, rows - 1)[:, None], np.minimum(column, columns - 1)]
    gap = max(1.3, scale * 0.012)
    joints = ((y - row) * high < gap)[:, None] | ((shifted - column) * long < gap)
    wall[joints] = joint
    return _bytes(b.tint(wall, 1 + 0.08 * b.noise(rng, SIDE, SIDE, 40, 3)))


def planks(rng: np.random.Generator, scale: float) -> Bytes:
    """Returns boards with grain: a fence, a panelled wall, parquet, or white siding."""
    wood = rng.random() < 0.6
    base = b.wood_colour(rng) if wood else b.paint_colour(rng)
    width = max(5.0, scale * rng.uniform(0.09, 0.2))
    count = int(SIDE / width) + 2
    board = (np.arange(SIDE) / width).astype(int)
    shade = (1 + rng.normal(0, 0.12 if wood else 0.015, count))[board]
    offset = np.arange(SIDE) / width - board
    shade *= np.where(offset < max(0.08, 1.2 / width), rng.uniform(0.4, 0.85), 1 - 0.12 * offset)
    grain = b.noise(rng, SIDE, SIDE, (3, 60), 2) * (0.22 if wood else 0.03)
    light = shade[None, :] * (1 + grain)
    return _tinted(base, light.T if rng.random() < 0.5 else light)


def concrete(rng: np.random.Generator, scale: float) -> Bytes:
    """Returns concrete, plaster or asphalt with stains and cracks."""
    wall = flat(rng, b.hsv(rng.uniform(0, 0.2), rng.uniform(0, 0.15), rng.uniform(0.25, 0.85)), 0.18, 70)
    for _ in range(int(rng.integers(0, 4))):
        path = np.cumsum(rng.normal(0, scale * 0.08, (12, 2)), 0) + rng.uniform(0, SIDE, 2)
        cv2.polylines(wall, [path.astype(np.int32)], False, b.tone(b.hsv(0, 0, rng.uniform(0.15, 0.5))), 1, cv2.LINE_AA)
    if rng.random() < 0.15:
        b.squiggles(rng, wall, int(rng.integers(4, 16)))  # Graffiti.
    return wall


def curtain(rng: np.random.Generator, scale: float) -> Bytes:
    """Returns hanging cloth with long folds over the whole wall."""
    colour = b.cloth_colour(rng) if rng.random() < 0.5 else b.paint_colour(rng)
    wave = b.noise(rng, SIDE, SIDE, (scale * rng.uniform(0.1, 0.3), SIDE * 2), 3)
    return _tinted(colour, 0.8 + rng.uniform(0.2, 0.5) * wave)


def tiled_floor(rng: np.random.Generator, scale: float) -> Bytes:
    """Returns a floor: boards, tiles, a carpet or stone."""
    return (planks, bricks, concrete, papered)[rng.choice(4, p=[0.45, 0.2, 0.25, 0.1])](rng, scale)


def grassy(rng: np.random.Generator, scale: float) -> Bytes:
    """Returns a lawn or a dry meadow."""
    colour = b.hsv(rng.uniform(0.14, 0.31), rng.uniform(0.35, 0.75), rng.uniform(0.35, 0.75))
    shade = 0.25 * b.noise(rng, SIDE, SIDE, 60, 2) + 0.5 * (rng.random((SIDE, SIDE), dtype=np.float32) - 0.5)
    return _tinted(colour, 1 + shade)


WALLS: tuple[tuple[float, Callable[[np.random.Generator, float], Bytes]], ...] = (
    (0.58, painted),
    (0.08, papered),
    (0.1, bricks),
    (0.1, planks),
    (0.07, concrete),
    (0.07, curtain),
)


def wall(rng: np.random.Generator, scale: float) -> Bytes:
    """Returns a random wall of a room."""
    return WALLS[rng.choice(len(WALLS), p=[w for w, _ in WALLS])][1](rng, scale)


def facade(rng: np.random.Generator, scale: float) -> Bytes:
    """Returns a house front: rows of windows over a ground floor with doors or shops; the street is its lower edge."""
    makers = (bricks, painted, concrete, planks)
    front = makers[rng.choice(4, p=[0.3, 0.4, 0.2, 0.1])](rng, scale * 2)
    storey = scale * rng.uniform(2.8, 3.6)
    across = scale * rng.uniform(1.8, 4.0)
    wide, high = across * rng.uniform(0.35, 0.8), storey * rng.uniform(0.4, 0.7)
    frame, glass = b.tone(b.paint_colour(rng)), b.hsv(0.58, rng.uniform(0.0, 0.4), rng.uniform(0.1, 0.6))
    arched, panes, start = rng.random() < 0.15, rng.random() < 0.6, rng.uniform(0, across)
    thick = max(1, int(scale * 0.12))
    y = SIDE - storey * 1.1
    while y > -storey:
        for x in np.arange(start - across, SIDE, across):
            colour = b.tone(glass * rng.uniform(0.6, 1.5))
            x1, y1, x2, y2 = (int(v) for v in (x, y - high, x + wide, y))
            cv2.rectangle(front, (x1 - thick, y1 - thick), (x2 + thick, y2 + thick), frame, -1)
            cv2.rectangle(front, (x1, y1), (x2, y2), colour, -1)
            if arched:
                cv2.ellipse(front, ((x1 + x2) // 2, y1), ((x2 - x1) // 2, (x2 - x1) // 3), 0, 180, 360, colour, -1)
            if panes:
                cv2.line(front, ((x1 + x2) // 2, y1), ((x1 + x2) // 2, y2), frame, max(1, thick // 2))
                cv2.line(front, (x1, (y1 + y2) // 2), (x2, (y1 + y2) // 2), frame, max(1, thick // 2))
        cv2.line(front, (0, int(y + storey * 0.2)), (SIDE, int(y + storey * 0.2)), frame, thick)
        y -= storey
    x = 0.0
    ground = SIDE - int(storey * 0.95)
    while x < SIDE and rng.random() < 0.85:  # Shops: a sign, an awning, a lit or dark window.
        w = scale * rng.uniform(2, 6)
        inside = b.hsv(rng.normal(0.09, 0.03), rng.uniform(0, 0.35), rng.beta(1.2, 2))
        cv2.rectangle(front, (int(x), ground), (int(x + w * 0.9), SIDE), b.tone(inside), -1)
        sign = (int(x), ground), (int(x + w * 0.9), ground + int(storey * 0.22))
        cv2.rectangle(front, *sign, b.tone(b.cloth_colour(rng)), -1)
        part = front[ground + int(storey * 0.3) :, int(x) + 2 : int(x + w * 0.9)]
        if part.size and rng.random() < 0.7:
            b.squiggles(rng, part, 5)
        x += w
    return front


def _bytes(picture: Floats) -> Bytes:
    # OpenCV rounds and saturates in one pass; it takes absolute values, and nothing here is far below zero.
    return np.asarray(cv2.convertScaleAbs(np.ascontiguousarray(picture, np.float32), alpha=255), np.uint8)


def _tinted(colour: Floats, shade: Floats) -> Bytes:
    one = np.ascontiguousarray(shade, np.float32)
    return np.asarray(cv2.merge([cv2.convertScaleAbs(one, alpha=255 * c) for c in colour.tolist()]), np.uint8)
