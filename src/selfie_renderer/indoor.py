"""Rooms, cars and beds: a box of textured surfaces in perspective, with furniture painted in front of it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_renderer import brushes as b
from selfie_renderer import furnishings, outdoor, surfaces
from selfie_renderer.brushes import Bytes, Floats
from selfie_renderer.surfaces import SIDE

FAR, LEFT, RIGHT, FLOOR, CEILING = range(5)


@dataclass(frozen=True)
class View:
    """A box around the camera, in metres, and how the camera is turned in it, in radians.

    Attributes:
        left, right, floor, ceiling, far: Distances of the five planes from the camera; there is none behind it.
        yaw, pitch, roll: Turn to the right, down, and clockwise.
        focal: Focal length over the longer side of the picture.
    """

    left: float
    right: float
    floor: float
    ceiling: float
    far: float
    yaw: float
    pitch: float
    roll: float
    focal: float


@dataclass(frozen=True)
class Hits:
    """What each pixel of a box sees: its plane, the place on it in metres, how far it is and how near to a corner."""

    plane: NDArray[np.uint8]
    u: Floats
    v: Floats
    distance: Floats
    corner: Floats


def cast(view: View, width: int, height: int) -> Hits:
    """Follows every pixel's ray to the first plane of the box (pinhole camera, y down); all results are (H, W).

    `u` is x on the far wall, floor and ceiling, depth on the side walls; `v` is y on walls, depth on floor and ceiling.
    """
    focal = view.focal * max(width, height)
    x = (np.arange(width, dtype=np.float32) - width / 2) / np.float32(focal)
    y = ((np.arange(height, dtype=np.float32) - height / 2) / np.float32(focal))[:, None]
    c, s = np.float32(np.cos(view.roll)), np.float32(np.sin(view.roll))
    x, y = c * x - s * y, s * x + c * y
    c, s = np.float32(np.cos(view.pitch)), np.float32(np.sin(view.pitch))
    y, z = c * y + s, c - s * y
    c, s = np.float32(np.cos(view.yaw)), np.float32(np.sin(view.yaw))
    x, z = c * x + s * z, c * z - s * x
    # One over the distance to each plane along the ray: the nearest plane is the largest, and nothing divides by 0.
    side = np.maximum(x * np.float32(1 / view.right), x * np.float32(-1 / view.left))
    level = np.maximum(y * np.float32(1 / view.floor), y * np.float32(-1 / view.ceiling))
    # A ray that leaves backwards through the open side of the box meets a wall far behind instead.
    front = np.maximum(z * np.float32(1 / view.far), z * np.float32(-1e-4))
    nearest = np.maximum(np.maximum(side, level), front)
    second = side + level + front - nearest - np.minimum(np.minimum(side, level), front)
    on_side, on_level = side == nearest, level == nearest
    plane = on_side * np.uint8(LEFT) + (on_side & (x > 0))
    plane = np.where(on_level & ~on_side, np.uint8(CEILING) - (y > 0), plane).astype(np.uint8)
    distance = 1 / nearest
    u = np.where(on_side, z, x) * distance
    v = np.where(on_level, z, y) * distance
    return Hits(plane, u, v, distance, nearest / np.maximum(second, np.float32(1e-6)) - 1)


def look_up(hits: Hits, textures: list[Bytes], scale: float, view: View) -> Floats:
    """Returns the picture (H, W, 3) of a box whose five planes carry square textures, `scale` pixels to a metre.

    Walls stand on the lower edge of their textures; a texture is mirrored where it ends.
    """
    walls = hits.plane <= RIGHT
    u = _mirrored(hits.u * np.float32(scale) + np.float32(SIDE / 2))
    down = hits.v * np.float32(scale)
    v = _mirrored(np.where(walls, down + np.float32(SIDE - 1 - view.floor * scale), down))
    atlas = b.stack(textures)
    # Neighbouring textures must not bleed in, hence no row past the last whole one.
    row = np.minimum(v, np.float32(SIDE - 1.01)) + hits.plane.astype(np.float32) * np.float32(SIDE)
    picture = cv2.remap(atlas, u, row, cv2.INTER_LINEAR)
    return picture.astype(np.float32) * np.float32(1 / 255)


def _mirrored(x: Floats) -> Floats:
    """Folds coordinates into 0..SIDE - 1, there and back again."""
    period = np.float32(2 * SIDE - 2)
    folded: Floats = np.abs(x - period * np.floor(x / period + np.float32(0.5)))
    return folded


def room_view(rng: np.random.Generator) -> View:
    """Returns a room as arm's-length pictures show it: the far wall 1 to 5 m behind, the camera tilted a little."""
    far = float(np.exp(rng.uniform(np.log(0.9), np.log(4.5))))
    return View(
        left=rng.uniform(0.6, 3.0),
        right=rng.uniform(0.6, 3.0),
        floor=rng.uniform(1.3, 1.8),
        ceiling=rng.uniform(0.7, 1.4),
        far=far,
        yaw=rng.normal(0, 0.45),
        pitch=rng.normal(0.0, 0.22),
        roll=rng.normal(0, 0.1),
        focal=rng.uniform(0.7, 1.1),
    )


def light_box(rng: np.random.Generator, hits: Hits, picture: Floats) -> Floats:
    """Returns a box lit by a lamp or window: planes of unlike brightness, dark corners, a soft pool of light."""
    height, width = picture.shape[:2]
    planes = rng.uniform(0.7, 1.1, 5).astype(np.float32)
    planes[CEILING] *= 1.05
    light = planes[hits.plane] * (1 - 0.3 * np.exp(-6 * np.maximum(hits.corner, 0)))
    size = max(width, height)
    x, y = rng.uniform(-0.3, 1.3) * width, rng.uniform(-0.4, 0.9) * height
    light *= rng.uniform(0.6, 1.15) + rng.uniform(0.1, 0.8) * b.spot(width, height, x, y, size * rng.uniform(0.3, 1.0))
    tint = np.array([1, rng.uniform(0.88, 1.0), rng.uniform(0.7, 1.05)], np.float32)
    return b.tint(picture, light) * np.tile(tint, (width, 1))


def room(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A living room, bedroom, office or corridor."""
    view, scale = room_view(rng), 85.0
    paper = surfaces.wall(rng, scale)
    walls = [paper.copy() if rng.random() < 0.75 else surfaces.wall(rng, scale) for _ in range(3)]
    for texture in walls:
        furnishings.furnish(rng, texture, scale, int(rng.integers(1, 5)))
    skirting = b.tone(b.paint_colour(rng))
    for texture in walls:
        cv2.rectangle(texture, (0, SIDE - int(scale * 0.09)), (SIDE, SIDE), skirting, -1)
    ceiling = surfaces.flat(rng, b.hsv(0.1, rng.uniform(0, 0.1), rng.uniform(0.75, 1)))
    if rng.random() < 0.3:  # Lamps let into the ceiling.
        for x, y in rng.uniform(0.1, 0.9, (4, 2)) * SIDE:
            cv2.circle(ceiling, (int(x), int(y)), int(scale * 0.12), (255, 255, 245), -1, cv2.LINE_AA)
    hits = cast(view, width, height)
    picture = look_up(hits, [*walls, surfaces.tiled_floor(rng, scale), ceiling], scale, view)
    picture = light_box(rng, hits, picture)
    for _ in range(rng.choice(4, p=[0.4, 0.35, 0.2, 0.05])):
        (sofa, lamp, plant, plush)[rng.choice(4, p=[0.4, 0.25, 0.2, 0.15])](rng, picture)
    return picture


def bathroom(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Tiles all round, with mirrors, doors and towels."""
    view, scale = room_view(rng), 100.0
    tiles = surfaces.bricks(rng, scale)
    walls = [tiles.copy() for _ in range(3)]
    for texture in walls:
        if rng.random() < 0.6:
            painter = (furnishings.mirror, furnishings.door, furnishings.sockets)[rng.integers(3)]
            painter(rng, texture, scale, SIDE * rng.uniform(0.2, 0.8), SIDE)
        if rng.random() < 0.4:
            x, y = (rng.uniform(0.1, 0.8, 2) * SIDE).astype(int)
            towel = b.tone(b.cloth_colour(rng))
            cv2.rectangle(texture, (x, y), (x + int(scale * 0.4), y + int(scale * 0.7)), towel, -1)
    ceiling = surfaces.flat(rng, b.hsv(0.1, 0.03, 0.95))
    hits = cast(view, width, height)
    return light_box(rng, hits, look_up(hits, [*walls, surfaces.bricks(rng, scale), ceiling], scale, view))


def bed(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Lying down: sheets and pillows fill the picture."""
    size = max(width, height)
    picture = b.cloth(rng, width, height, size * rng.uniform(0.25, 0.7))
    if rng.random() < 0.5:  # A headboard or wall at the top.
        edge = height * rng.uniform(0.1, 0.45)
        corners = b.turned(b.rectangle(-size, -size, 2 * size, edge), rng.normal(0, 0.2), width / 2, edge)
        wall = surfaces.wall(rng, 120)
        b.fill(picture, corners, cv2.resize(wall, (width, height)).astype(np.float32) / 255)
    for _ in range(int(rng.integers(0, 3))):
        cushion(rng, picture, rng.uniform(0, 1) * width, rng.uniform(0.1, 0.9) * height, size * rng.uniform(0.2, 0.5))
    x, y = rng.uniform(0, 1, 2) * (width, height)
    return b.tint(picture, 0.75 + 0.4 * b.spot(width, height, x, y, size * 0.8))


def car(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A car's seat: dark lining, windows with the glare of the outdoors, a headrest."""
    size = max(width, height)
    picture = outdoor.scenery(rng, width, height)
    picture = b.defocus(picture, size * rng.uniform(0.005, 0.03))
    picture = np.clip(picture * rng.uniform(1.0, 2.0) + 0.05, 0, 1)
    lining = b.hsv(rng.uniform(0, 0.15), rng.uniform(0, 0.25), rng.uniform(0.05, 0.65))
    dark = lining * rng.uniform(0.2, 0.6)
    turn = rng.normal(0, 0.15)
    side = rng.choice([-1.0, 1.0])

    def part(points: list[tuple[float, float]], colour: Floats, soft: float = 0.004) -> None:
        corners = np.array(points) * (side * size, size) + (width / 2, height / 2)
        b.fill(picture, b.turned(corners, turn, width / 2, height / 2), colour, soft=soft * size)

    roof, sill = rng.uniform(-0.45, -0.2), rng.uniform(0.05, 0.35)
    pillar, lean = rng.uniform(-0.2, 0.35), rng.uniform(0.05, 0.3)
    part([(-2, -2), (2, -2), (2, roof - 0.05), (0, roof), (-2, roof + 0.1)], lining)
    part([(-2, sill), (2, sill + 0.1), (2, 2), (-2, 2)], dark)
    part([(pillar, roof - 0.1), (pillar + 0.1, roof - 0.1), (pillar + lean + 0.1, sill), (pillar + lean, sill)], dark)
    if rng.random() < 0.6:
        part([(-2, -2), (rng.uniform(-0.5, -0.1), -2), (rng.uniform(-0.6, -0.2), 2), (-2, 2)], lining * 0.7)
    seat, x = lining * rng.uniform(0.4, 1.2), rng.uniform(-0.35, 0.35)
    for cx, cy, across, down in ((x, 0.75, 0.33, 0.65), (x, -0.05, 0.2, 0.16)):
        outline = b.oval(cx, cy, across, down, 0, 4)
        part([tuple(p) for p in outline], seat * 0.6, 0.008)
        part([tuple(p) for p in b.oval(cx - 0.01, cy - 0.01, across * 0.92, down * 0.95, 0, 4)], seat, 0.02)
    if rng.random() < 0.5:  # The belt.
        part([(x - 0.25, roof), (x - 0.18, roof), (x + 0.25, 0.9), (x + 0.15, 0.9)], dark * 0.8)
    return b.tint(picture, 1 + 0.06 * b.noise(rng, width, height, size * 0.1, 4))


def cushion(rng: np.random.Generator, picture: Floats, x: float, y: float, size: float) -> None:
    """Puts a pillow with folds and a shadow into the picture."""
    height, width = picture.shape[:2]
    turn = rng.uniform(-0.6, 0.6)
    across, down = size * rng.uniform(0.7, 1.2), size * rng.uniform(0.5, 0.8)
    b.fill(picture, b.oval(x, y + size * 0.06, across, down, turn, 3.5), np.zeros(3), 0.35, size * 0.06)
    b.fill(picture, b.oval(x, y, across, down, turn, 3.5), b.cloth(rng, width, height, size), soft=1.0)


def sofa(rng: np.random.Generator, picture: Floats) -> None:
    """Puts a sofa's or chair's back along the lower edge."""
    height, width = picture.shape[:2]
    size = max(width, height)
    colour = b.cloth_colour(rng) * rng.uniform(0.6, 1.0) + 0.06
    top, x = height * rng.uniform(0.45, 0.85), width * rng.uniform(0, 1)
    for k in range(int(rng.integers(1, 4))):
        middle = x + (k - 1) * size * 0.42
        shade = colour * rng.uniform(0.8, 1.1)
        b.fill(picture, b.oval(middle, top + size * 0.5, size * 0.22, size * 0.5, 0, 6), shade * 0.55, soft=size * 0.01)
        inner = b.oval(middle, top + size * 0.51, size * 0.2, size * 0.49, 0, 5)
        b.fill(picture, inner, shade, soft=size * 0.02)
    if rng.random() < 0.5:
        cushion(rng, picture, x, top + size * 0.15, size * 0.13)


def lamp(rng: np.random.Generator, picture: Floats) -> None:
    """Puts a lit lamp with its glow into the picture: a ball or a shade."""
    height, width = picture.shape[:2]
    size = max(width, height)
    x, y, r = rng.uniform(0, 1) * width, rng.uniform(0, 0.5) * height, size * rng.uniform(0.03, 0.1)
    warm = np.array([1.0, rng.uniform(0.8, 0.97), rng.uniform(0.5, 0.9)], np.float32)
    picture += b.tint(warm, b.spot(width, height, x, y, r * rng.uniform(2, 5)) * rng.uniform(0.1, 0.4))
    if rng.random() < 0.4:
        b.fill(picture, b.oval(x, y, r, r), warm, soft=1)
        return
    shade = [(x - r * 0.6, y - r), (x + r * 0.6, y - r), (x + r, y + r), (x - r, y + r)]
    b.fill(picture, b.rectangle(x - r * 0.07, y, x + r * 0.07, height), warm * 0.2)
    b.fill(picture, shade, warm * rng.uniform(0.7, 1.0), soft=1)


def plant(rng: np.random.Generator, picture: Floats) -> None:
    """Puts a house plant at one side."""
    height, width = picture.shape[:2]
    size = max(width, height)
    x, y = rng.choice([0.05, 0.2, 0.8, 0.95]) * width, rng.uniform(0.4, 0.9) * height
    for _ in range(int(rng.integers(8, 22))):
        turn, long = rng.uniform(-np.pi, 0), size * rng.uniform(0.08, 0.28)
        middle = (x + np.cos(turn) * long * 0.6, y + np.sin(turn) * long * 0.6)
        leaf = b.oval(*middle, long / 2, long * rng.uniform(0.06, 0.16), turn)
        green = b.hsv(rng.uniform(0.22, 0.38), rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.6))
        b.fill(picture, leaf, green)


def plush(rng: np.random.Generator, picture: Floats) -> None:
    """Puts a ball, a stuffed toy or a skin-coloured blob into the picture: round, soft, with at most two buttons."""
    height, width = picture.shape[:2]
    size = max(width, height)
    x, y, r = rng.uniform(0, 1) * width, rng.uniform(0.3, 1) * height, size * rng.uniform(0.04, 0.13)
    colour = b.hsv(rng.uniform(0.01, 0.12), rng.uniform(0.2, 0.65), rng.uniform(0.25, 0.95))
    if rng.random() < 0.5:
        for side in (-0.75, 0.75):
            b.fill(picture, b.oval(x + side * r, y - 0.75 * r, r * 0.4, r * 0.4), colour * 0.8, soft=1)
    b.fill(picture, b.oval(x, y, r, r * rng.uniform(0.8, 1.3), power=2.3), colour * 0.75, soft=r * 0.05)
    b.fill(picture, b.oval(x - r * 0.15, y - r * 0.15, r * 0.7, r * 0.7), colour, soft=r * 0.2)
    if rng.random() < 0.4:
        for side in (-0.3, 0.3):
            b.fill(picture, b.oval(x + side * r, y - 0.1 * r, r * 0.08, r * 0.08), np.zeros(3))
