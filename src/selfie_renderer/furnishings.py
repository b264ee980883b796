"""What hangs on or stands against a wall: painted flat onto a surface, in metres, before perspective.

Each painter takes the generator, the surface (uint8, written in place), its pixels per metre, and the middle of the
thing's free place as x and the floor's y in pixels. Several are round and faintly face-like without being a face
(clocks, plates, round lamps, abstract portraits), so that a localizer meets such things where no face is.
"""

from collections.abc import Callable

import cv2
import numpy as np

from selfie_renderer import brushes as b
from selfie_renderer.brushes import Bytes

Painter = Callable[[np.random.Generator, Bytes, float, float, float], None]


def _box(image: Bytes, x1: float, y1: float, x2: float, y2: float, colour: b.ArrayLike, thick: int = -1) -> None:
    cv2.rectangle(image, (int(x1), int(y1)), (int(x2), int(y2)), b.tone(colour), thick)


def window(rng: np.random.Generator, image: Bytes, scale: float, x: float, floor: float) -> None:
    """A window with the bright outdoors behind it, and at times a blind or curtains."""
    w, h = scale * rng.uniform(0.7, 2.2), scale * rng.uniform(0.9, 1.7)
    top = floor - scale * rng.uniform(0.5, 1.0) - h
    sky = b.hsv(rng.uniform(0.5, 0.62), rng.uniform(0, 0.25), rng.uniform(0.85, 1.0))
    if rng.random() < 0.12:
        sky = b.hsv(0.62, 0.5, rng.uniform(0.02, 0.2))  # Night.
    frame = b.hsv(0.1, rng.uniform(0, 0.1), rng.uniform(0.7, 1.0)) if rng.random() < 0.7 else b.wood_colour(rng)
    _box(image, x - w / 2, top, x + w / 2, top + h, sky)
    if rng.random() < 0.4:
        green = b.hsv(rng.uniform(0.2, 0.35), rng.uniform(0.1, 0.5), rng.uniform(0.4, 0.8))
        for _ in range(12):
            cx, cy = x + w * rng.uniform(-0.4, 0.4), top + h * rng.uniform(0.6, 0.95)
            leaves = b.tone(green * rng.uniform(0.7, 1.2))
            cv2.ellipse(image, (int(cx), int(cy)), (int(w * 0.1), int(h * 0.08)), 0, 0, 360, leaves, -1)
    thick = max(1, int(scale * rng.uniform(0.03, 0.07)))
    for k in range(int(rng.integers(1, 4)) + 1):
        at = x - w / 2 + w * k / 2
        cv2.line(image, (int(at), int(top)), (int(at), int(top + h)), b.tone(frame), thick)
    _box(image, x - w / 2, top, x + w / 2, top + h, frame, thick)
    _box(image, x - w * 0.55, top + h, x + w * 0.55, top + h + thick, frame * 0.85)
    style = rng.random()
    if style < 0.2:
        drop = h * rng.uniform(0.3, 1.0)
        for y in np.arange(top, top + drop, max(3.0, scale * 0.045)):
            cv2.line(image, (int(x - w / 2), int(y)), (int(x + w / 2), int(y)), b.tone(frame * 0.8), 2)
    elif style < 0.55:
        colour = b.cloth_colour(rng)
        for side in (-1, 1):
            wide = w * rng.uniform(0.15, 0.4)
            for k in range(6):
                left = x + side * w * 0.58 - (wide if side > 0 else 0) + wide * k / 6
                _box(image, left, top - scale * 0.1, left + wide / 6, floor, colour * rng.uniform(0.7, 1.1))


def door(rng: np.random.Generator, image: Bytes, scale: float, x: float, floor: float) -> None:
    """A door with panels, closed, or open into a darker or lighter room."""
    w, h = scale * rng.uniform(0.75, 1.0), scale * 2.05
    colour = b.hsv(0.1, rng.uniform(0, 0.1), rng.uniform(0.7, 1)) if rng.random() < 0.6 else b.wood_colour(rng)
    _box(image, x - w * 0.6, floor - h * 1.04, x + w * 0.6, floor, colour * 0.92)
    if rng.random() < 0.3:
        colour = colour * rng.uniform(0.15, 0.6)
    _box(image, x - w / 2, floor - h, x + w / 2, floor, colour)
    for row in range(int(rng.integers(0, 4))):
        y = floor - h * (0.95 - 0.31 * row)
        _box(image, x - w * 0.36, y, x + w * 0.36, y + h * 0.24, colour * 0.85, max(1, int(scale * 0.02)))
    knob = (int(x + w * 0.42), int(floor - scale))
    cv2.circle(image, knob, max(1, int(scale * 0.03)), b.tone(b.hsv(0.12, 0.3, 0.6)), -1)


def picture(rng: np.random.Generator, image: Bytes, scale: float, x: float, floor: float) -> None:
    """A framed picture: abstract shapes, a landscape, or a round pale shape on dark as in an old portrait."""
    w, h = scale * rng.uniform(0.25, 1.1), scale * rng.uniform(0.25, 0.9)
    top = floor - scale * rng.uniform(1.25, 1.7) - h / 2
    _box(image, x - w / 2, top, x + w / 2, top + h, b.wood_colour(rng) * rng.uniform(0.2, 1.6))
    rim = scale * rng.uniform(0.015, 0.06)
    _box(image, x - w / 2 + rim, top + rim, x + w / 2 - rim, top + h - rim, b.paint_colour(rng))
    rim *= rng.uniform(1, 3)
    y1, y2 = max(int(top + rim), 0), int(top + h - rim)
    x1, x2 = max(int(x - w / 2 + rim), 0), int(x + w / 2 - rim)
    part = image[y1 : max(y2, y1), x1 : max(x2, x1)]
    if part.size == 0:
        return
    part[...] = b.tone(b.cloth_colour(rng))
    if rng.random() < 0.25:
        ph, pw = part.shape[:2]
        skin = b.tone(b.hsv(rng.uniform(0.02, 0.1), rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.95)))
        cv2.ellipse(part, (pw // 2, int(ph * 1.1)), (int(pw * 0.4), int(ph * 0.45)), 0, 0, 360, (40, 40, 50), -1)
        cv2.ellipse(part, (pw // 2, int(ph * 0.45)), (int(pw * 0.2), int(ph * 0.24)), 0, 0, 360, skin, -1)
    else:
        b.squiggles(rng, part, int(rng.integers(2, 10)))


def shelf(rng: np.random.Generator, image: Bytes, scale: float, x: float, floor: float) -> None:
    """A bookcase, or a shop's rack of goods: rows of narrow bright boxes with gaps."""
    w, h = scale * rng.uniform(0.7, 2.0), scale * rng.uniform(1.0, 2.3)
    wood = b.wood_colour(rng) if rng.random() < 0.6 else b.hsv(0.1, 0.05, rng.uniform(0.6, 0.95))
    _box(image, x - w / 2, floor - h, x + w / 2, floor, wood * 0.45)
    row, board = scale * rng.uniform(0.24, 0.4), max(2.0, scale * 0.025)
    thin = scale * rng.uniform(0.03, 0.1)
    palette = [(c, c * 0.4, c * rng.uniform(0.5, 1.8)) for c in (b.cloth_colour(rng) for _ in range(14))]
    tones = [[b.tone(c) for c in shades] for shades in palette]
    for y in np.arange(floor, floor - h + row * 0.5, -row):
        at = x - w / 2 + board
        while at < x + w / 2 - board:
            wide = max(1.0, thin * rng.uniform(0.5, 1.6))
            if rng.random() < 0.9:
                back, edge, label = tones[int(rng.integers(len(tones)))]
                high = row * rng.uniform(0.55, 0.88)
                right = min(at + wide, x + w / 2 - board)
                left, right, top, bottom = int(at), int(right), int(y - high), int(y)
                cv2.rectangle(image, (left, top), (right, bottom), back, -1)
                cv2.line(image, (right, top), (right, bottom), edge, 1)
                cv2.rectangle(image, (left, top + int(high * 0.25)), (right, top + int(high * 0.35)), label, -1)
            else:
                wide *= 3
            at += wide
        _box(image, x - w / 2, y, x + w / 2, y + board, wood)
    _box(image, x - w / 2, floor - h, x + w / 2, floor, wood, max(1, int(board)))


def cupboard(rng: np.random.Generator, image: Bytes, scale: float, x: float, floor: float) -> None:
    """Kitchen units below and above, with handles, a worktop and a dark oven or fridge; or a wardrobe."""
    unit = scale * rng.uniform(0.4, 0.6)
    colour = b.wood_colour(rng) if rng.random() < 0.5 else b.paint_colour(rng)
    handle = b.hsv(0.1, 0.05, rng.uniform(0.1, 0.8))
    tall = rng.random() < 0.4
    rows = [(2.1, 0.0)] if tall else [(0.9, 0.0), (2.15, 1.4)]
    for k in range(int(rng.integers(2, 6))):
        left = x + (k - 2) * unit
        for top, bottom in rows:
            shade = colour * (0.12 if rng.random() < 0.12 else 1)
            _box(image, left, floor - top * scale, left + unit, floor - bottom * scale, shade)
            _box(image, left, floor - top * scale, left + unit, floor - bottom * scale, colour * 0.6, 1)
            y = floor - (bottom + (0.75 if bottom == 0 else 0.1)) * scale
            cv2.line(image, (int(left + unit * 0.85), int(y)), (int(left + unit * 0.85), int(y - 0.1 * scale)),
                     b.tone(handle), max(1, int(scale * 0.015)))  # fmt: skip
        if not tall:
            _box(image, left, floor - 0.94 * scale, left + unit, floor - 0.9 * scale, handle)


def clock(rng: np.random.Generator, image: Bytes, scale: float, x: float, floor: float) -> None:
    """A round clock, plate or porthole mirror."""
    centre = (int(x), int(floor - scale * rng.uniform(1.4, 2.0)))
    radius = max(2, int(scale * rng.uniform(0.1, 0.25)))
    cv2.circle(image, centre, radius, b.tone(b.cloth_colour(rng)), -1, cv2.LINE_AA)
    cv2.circle(image, centre, int(radius * 0.85), b.tone(b.paint_colour(rng)), -1, cv2.LINE_AA)
    for angle, length in zip(rng.uniform(0, 2 * np.pi, 2), (0.45, 0.7), strict=True):
        end = (int(centre[0] + radius * length * np.cos(angle)), int(centre[1] + radius * length * np.sin(angle)))
        cv2.line(image, centre, end, (30, 30, 30), max(1, radius // 12), cv2.LINE_AA)


def mirror(rng: np.random.Generator, image: Bytes, scale: float, x: float, floor: float) -> None:
    """A mirror or a dark screen: a smooth diagonal gradient in a frame."""
    w, h = scale * rng.uniform(0.5, 1.4), scale * rng.uniform(0.5, 1.0)
    top = floor - scale * 1.5 - h / 2
    base = b.hsv(rng.random(), 0.1, rng.choice([0.05, 0.1, 0.6, 0.8]))
    _box(image, x - w / 2 - 3, top - 3, x + w / 2 + 3, top + h + 3, b.wood_colour(rng) * rng.uniform(0.3, 1.3))
    steps = 8
    for k in range(steps):
        _box(image, x - w / 2 + w * k / steps, top, x - w / 2 + w * (k + 1) / steps, top + h, base * (1 + 0.05 * k))


def sockets(rng: np.random.Generator, image: Bytes, scale: float, x: float, floor: float) -> None:
    """Small things: a switch, pinned notes, or a chain of lights."""
    kind = rng.integers(3)
    if kind == 0:
        y, r = floor - scale * 1.1, scale * 0.05
        _box(image, x - r, y - r, x + r, y + r, b.hsv(0.1, 0.04, 0.95))
        _box(image, x - r, y - r, x + r, y + r, b.hsv(0.1, 0.04, 0.6), 1)
    elif kind == 1:
        for dx, dy in rng.uniform(-0.5, 0.5, (int(rng.integers(4, 14)), 2)):
            cx, cy, r = x + dx * scale, floor - (1.5 + dy) * scale, scale * rng.uniform(0.04, 0.09)
            _box(image, cx - r, cy - r, cx + r, cy + r * 1.3, b.cloth_colour(rng))
    else:
        for k in range(14):
            cx, cy = x + (k - 7) * scale * 0.12, floor - scale * (1.9 + 0.1 * np.cos(k * 0.9))
            cv2.circle(image, (int(cx), int(cy)), max(1, int(scale * 0.02)), (255, 235, 190), -1, cv2.LINE_AA)


THINGS: tuple[tuple[float, Painter], ...] = (
    (0.2, window),
    (0.14, door),
    (0.24, picture),
    (0.15, shelf),
    (0.08, cupboard),
    (0.07, clock),
    (0.06, mirror),
    (0.06, sockets),
)


def furnish(rng: np.random.Generator, image: Bytes, scale: float, count: int, floor: float | None = None) -> None:
    """Paints `count` random things side by side onto a surface, in place; `floor` is its y, else the lower edge."""
    places = (rng.permutation(count) + rng.uniform(0.25, 0.75, count)) / max(count, 1) * image.shape[1]
    for x in places:
        painter = THINGS[rng.choice(len(THINGS), p=[w for w, _ in THINGS])][1]
        painter(rng, image, scale, float(x), float(image.shape[0] if floor is None else floor))
