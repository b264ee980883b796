"""What is behind the person: rooms, cars, gardens, streets, plain walls, lights in the dark; already out of focus.

Nothing here is a face, but some things are round, skin-coloured or framed like one.
"""

from collections.abc import Callable

import cv2
import numpy as np

from selfie_renderer import brushes as b
from selfie_renderer import indoor, outdoor, surfaces
from selfie_renderer.brushes import Floats

Painter = Callable[[np.random.Generator, int, int], Floats]


def wall(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A wall right behind, a little askew, with uneven light and at times a shadow."""
    size = max(width, height)
    texture = surfaces.wall(rng, rng.uniform(90, 220)).astype(np.float32) / 255
    zoom = size / surfaces.SIDE * rng.uniform(1.3, 1.8)
    turn = rng.normal(0, 0.06)
    corners = b.turned(b.rectangle(0, 0, surfaces.SIDE, surfaces.SIDE) - surfaces.SIDE / 2, turn, 0, 0) * zoom
    corners *= 1 + rng.normal(0, 0.08, (4, 1))
    corners += (width / 2, height / 2)
    source = b.rectangle(0, 0, surfaces.SIDE, surfaces.SIDE).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    picture = cv2.warpPerspective(texture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    return uneven(rng, np.asarray(picture, np.float32))


def studio(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A photographer's backdrop: black, white, grey or a colour, brighter in the middle or to one side."""
    size = max(width, height)
    kind = rng.choice(["dark", "white", "grey", "colour"], p=[0.25, 0.4, 0.22, 0.13])
    value = {"dark": rng.uniform(0, 0.15), "white": rng.uniform(0.9, 1.1)}.get(kind, rng.uniform(0.2, 0.8))
    strong = rng.uniform(0.15, 0.65) if kind == "colour" else rng.uniform(0, 0.15)
    colour = b.hsv(rng.random(), strong, value)
    x, y = rng.uniform(0, 1) * width, rng.uniform(0, 1) * height
    light = rng.uniform(0.4, 1.0) + rng.uniform(0.1, 0.6) * b.spot(width, height, x, y, size * rng.uniform(0.3, 0.8))
    mottled = 1 + rng.uniform(0, 0.15) * b.noise(rng, width, height, size * 0.25, 4)
    if kind == "white":
        light = np.maximum(light, 0.9)
    return b.tint(colour, light * mottled)


def uneven(rng: np.random.Generator, picture: Floats) -> Floats:
    """Returns a picture with light that falls off to one side, and at times a soft shadow's edge."""
    height, width = picture.shape[:2]
    size = max(width, height)
    low = rng.uniform(0.5, 1.05)
    light = low + (rng.uniform(0.95, 1.2) - low) * b.ramp(width, height, rng.uniform(0, 2 * np.pi))
    x, y = rng.uniform(0, 1) * width, rng.uniform(0, 1) * height
    light += rng.uniform(0, 0.25) * b.spot(width, height, x, y, size * rng.uniform(0.2, 0.6))
    if rng.random() < 0.25:
        edge = b.ramp(width, height, rng.uniform(0, 2 * np.pi)) - rng.uniform(0.25, 0.75)
        light *= 1 - rng.uniform(0.1, 0.5) * np.clip(edge * rng.uniform(4, 60) + 0.5, 0, 1)
    return b.tint(picture, light)


def street(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A street or yard between house fronts, with sky above and trees or cars before them."""
    size, scale = max(width, height), float(rng.uniform(14, 40))
    view = indoor.View(
        left=rng.uniform(2, 14), right=rng.uniform(2, 14), floor=1.5, ceiling=1e3, far=rng.uniform(6, 40),
        yaw=rng.normal(0, 0.5), pitch=rng.normal(-0.05, 0.15), roll=rng.normal(0, 0.08), focal=rng.uniform(0.7, 1.1),
    )  # fmt: skip
    hits = indoor.cast(view, width, height)
    near, beyond = surfaces.facade(rng, scale), surfaces.facade(rng, scale)
    fronts = [beyond, near, beyond] if rng.random() < 0.5 else [near, near, beyond]
    asphalt = surfaces.grassy(rng, scale) if rng.random() < 0.25 else surfaces.concrete(rng, scale * 3)
    picture = indoor.look_up(hits, [*fronts, asphalt, asphalt], scale, view)
    picture = b.tint(picture, rng.uniform(0.55, 1.25, 5).astype(np.float32)[hits.plane])
    roofs = rng.uniform(3, 14, 5)
    roofs[indoor.FLOOR] = 1e6
    open_sky = (hits.plane == indoor.CEILING) | (-hits.v > roofs[hits.plane])
    picture = b.mix(picture, outdoor.sky(rng, width, height), open_sky.astype(np.float32))
    if rng.random() < 0.4:
        tree = outdoor.foliage(rng, width, height, size * rng.uniform(0.01, 0.025))
        x = rng.uniform(0, 1) * width
        crown = b.oval(x, height * rng.uniform(0.1, 0.4), size * 0.25, size * 0.25)
        b.fill(picture, crown + rng.normal(0, size * 0.03, crown.shape), tree, soft=1)
    for _ in range(rng.choice(4, p=[0.5, 0.25, 0.15, 0.1])):
        _car_outside(rng, picture, hits)
    return picture


def _car_outside(rng: np.random.Generator, picture: Floats, hits: indoor.Hits) -> None:
    height, width = picture.shape[:2]
    floor = np.argwhere(hits.plane == indoor.FLOOR)
    if len(floor) == 0:
        return
    y, x = floor[rng.integers(len(floor))]
    # A car is about 1.45 m high; the camera looks from 1.5 m, so its height says how many pixels a metre takes.
    metre = max(width, height) * 0.9 / max(float(hits.distance[y, x]), 2.5)
    colour = b.hsv(rng.random(), rng.beta(0.5, 2), rng.uniform(0.05, 0.9))
    w, h = metre * rng.uniform(1.8, 4.2), metre * 1.4
    b.fill(picture, b.oval(x, y - h * 0.72, w * 0.33, h * 0.3, 0, 4), np.full(3, 0.15))
    b.fill(picture, b.oval(x, y - h * 0.35, w * 0.5, h * 0.3, 0, 5), colour, soft=metre * 0.03)
    for side in (-0.32, 0.32):
        b.fill(picture, b.oval(x + side * w, y - h * 0.12, h * 0.2, h * 0.2), np.full(3, 0.06))


# Share of each kind, its painter, and how far out of focus it is at most on a phone, as a share of the longer side.
KINDS: dict[str, tuple[float, Painter, float]] = {
    "room": (0.27, indoor.room, 0.008),
    "bathroom": (0.04, indoor.bathroom, 0.006),
    "bed": (0.05, indoor.bed, 0.006),
    "car": (0.06, indoor.car, 0.006),
    "wall": (0.12, wall, 0.004),
    "studio": (0.08, studio, 0.0),
    "park": (0.11, outdoor.park, 0.012),
    "hedge": (0.04, outdoor.hedge, 0.012),
    "street": (0.1, street, 0.01),
    "town": (0.02, outdoor.town, 0.008),
    "coast": (0.03, outdoor.coast, 0.006),
    "mountains": (0.02, outdoor.mountains, 0.004),
    "sky": (0.01, outdoor.sky, 0.004),
    "lights": (0.03, outdoor.lights, 0.004),
    "crowd": (0.02, outdoor.crowd, 0.006),
}


def choose(rng: np.random.Generator) -> str:
    """Returns a random kind of background, one of `KINDS`."""
    names = list(KINDS)
    return names[rng.choice(len(names), p=[KINDS[n][0] for n in names])]


def dusk(rng: np.random.Generator, picture: Floats, strength: float) -> Floats:
    """Returns a background after sunset: blue above and the sun's last light below, with a lamp or two.

    Args:
        strength: 0 (as it is) to 1.
    """
    height, width = picture.shape[:2]
    size = max(width, height)
    above, below = b.hsv(rng.uniform(0.6, 0.75), 0.4, 0.55), b.hsv(rng.uniform(0.03, 0.09), 0.4, 1.0)
    filtered = picture * b.mix(above, below, b.ramp(width, height, rng.normal(0, 0.5)))
    for _ in range(int(rng.integers(1, 4))):
        x, y, reach = rng.uniform(0, width), rng.uniform(0, 0.6) * height, size * rng.uniform(0.1, 0.4)
        lamp = b.hsv(rng.normal(0.09, 0.02), rng.uniform(0.4, 0.8), rng.uniform(0.1, 0.45))
        filtered = filtered + b.tint(lamp, b.spot(width, height, x, y, reach)) * (0.3 + filtered)
    return np.clip(picture + (filtered - picture) * strength, 0, 1).astype(np.float32)


def draw(rng: np.random.Generator, width: int, height: int, kind: str | None = None) -> Floats:
    """Paints a background.

    Args:
        rng: Source of all choices; the same state gives the same picture.
        width: Columns.
        height: Rows.
        kind: One of `KINDS`, else a random one.

    Returns:
        float32 (height, width, 3) RGB, display-referred, 0..1: mildly out of focus as behind a phone's small lens,
        at times strongly as in a portrait mode.
    """
    _, painter, blur = KINDS[choose(rng) if kind is None else kind]
    size = max(width, height)
    picture = np.maximum(painter(rng, width, height), 0)
    if rng.random() < 0.3:  # Exposed for a face that is darker than what is behind it.
        # Not so far that a pale scene is lost altogether.
        picture *= np.float32(min(rng.uniform(1.2, 2.2), max(1.0, 0.85 / max(float(picture.mean()), 0.01))))
    strong = rng.random() < 0.17 and blur > 0
    radius = size * (rng.uniform(0.012, 0.04) if strong else rng.random() ** 2 * blur)
    picture = b.defocus(picture, radius)
    if radius < 2:  # Nothing painted is sharper than a lens.
        picture = cv2.GaussianBlur(picture, (0, 0), max(0.4 * size / 306, 0.3), borderType=cv2.BORDER_REFLECT)
    return np.clip(picture, 0, 1).astype(np.float32)
