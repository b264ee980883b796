"""Collages of two photos, posters and screenshots: a selfie beside something else on one page."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_renderer import background, brushes, truth
from selfie_renderer.shot import CLEARLY

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]


def draw(
    rng: np.random.Generator,
    width: int,
    height: int,
    take: Callable[[np.random.Generator, int, int], tuple[Floats, Box]],
) -> tuple[Floats, Box]:
    """Draws a page of two fields: a selfie, and another smaller one, a scene or lines of writing.

    Args:
        take: Makes a selfie of a width and height, and its box, from the generator.

    Returns:
        float32 (H, W, 3), display-referred, and x1, y1, x2, y2 of the largest face on the page in pixels.
    """
    paper = rng.choice(np.stack([np.ones(3), np.zeros(3), brushes.cloth_colour(rng)]), p=[0.6, 0.2, 0.2])
    page = np.empty((height, width, 3), np.float32)
    page[:] = paper
    gap = round(max(width, height) * rng.choice([0.0, 0.01, 0.03]))
    upright = rng.random() < (0.7 if height > width else 0.25)  # One above the other.
    long = height if upright else width
    cut = round(long * rng.uniform(0.45, 0.75))
    first = rng.random() < 0.5  # Whether the selfie is on the left or above.
    spans = [(0, cut - gap), (cut, long)] if first else [(long - cut + gap, long), (0, long - cut)]
    size = [(width, b - a) if upright else (b - a, height) for a, b in spans]
    corner = [(0, a) if upright else (a, 0) for a, _ in spans]

    def put(picture: Floats, x: int, y: int) -> None:
        page[y : y + picture.shape[0], x : x + picture.shape[1]] = picture

    picture, (x1, y1, x2, y2) = take(rng, *size[0])
    x, y = corner[0]
    put(picture, x, y)
    box = (x1 + x, y1 + y, x2 + x, y2 + y)
    kind = rng.choice(["selfie", "scene", "writing"], p=[0.5, 0.2, 0.3])
    (x, y), (w, h) = corner[1], size[1]
    if kind == "scene":
        put(background.draw(rng, w, h), x, y)
    elif kind == "selfie":
        other, face = take(rng, w, h)
        # A face as large as the wanted one is made smaller, and the photo with it.
        shrink = min(1.0, rng.uniform(0.7, 1) * np.sqrt(CLEARLY * truth.area(box) / max(truth.area(face), 1)))
        w, h = max(round(w * shrink), 1), max(round(h * shrink), 1)
        put(np.asarray(cv2.resize(other, (w, h), interpolation=cv2.INTER_AREA), np.float32), x, y)
    else:
        ink = np.abs(paper - rng.uniform(0.7, 1)).tolist()
        line = max(round(max(width, height) * rng.uniform(0.03, 0.09)), 4)
        for top in range(y + line, y + h - line // 2, round(1.6 * line)):
            text = "".join(rng.choice(list("abcdefghijklmnoprstuvwyz    "), 40))
            field = np.ascontiguousarray(page[:, x : x + w])
            cv2.putText(
                field,
                text,
                (line // 2, top),
                int(rng.choice([0, 2, 3])),
                line / 30,
                ink,
                max(line // 12, 1),
                cv2.LINE_AA,
            )
            page[:, x : x + w] = field
            if rng.random() < 0.3:
                break
    return page, box
