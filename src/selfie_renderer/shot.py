"""Taking the picture: where camera, head and hands are, how the face is framed, and the person before a background."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_renderer import figure, head, light, parts, phone, pose, raster, truth
from selfie_renderer.figure import Figure, Posed
from selfie_renderer.looks import EVERYDAY, Look
from selfie_renderer.materials import shade_lens
from selfie_renderer.skin import unit

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

FINE = 1.4  # The person is rendered this much finer than the picture and scaled down, which smooths edges.
# What cuts through what: hair and things worn each against the body.
LAYERS = np.array(
    [{"HAIR": 1}.get(m.name, 2 * (m.name in ("CLOTH", "HAT", "PLASTIC"))) for m in parts.Material], np.uint8
)
WAIST = 0.35  # The mesh ends here (rest height); a picture never shows it, but where there are legs.
CLEARLY = 0.8  # Others' faces have at most this share of the area of the largest, which is the wanted one.


@dataclass(frozen=True)
class View:
    """How a person's points come to the picture: pixels = middle + focal * (x, -y) / distance, origin top left.

    A wide-angle lens then moves them outwards from the picture's centre: where its corners are, by the share `stretch`.
    """

    focal: float
    middle: Floats
    distance: float
    centre: Floats = field(default_factory=lambda: np.zeros(2, np.float32))
    stretch: float = 0.0

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Returns pixels (P, 2) and distances from the camera (P,) of points in camera space (P, 3)."""
        depth = self.distance - points[:, 2]
        safe = np.maximum(depth, 0.05)[:, None]
        at = self.middle + self.focal * points[:, :2] * [1, -1] / safe
        if self.stretch:
            out = at - self.centre
            at = at + self.stretch * np.minimum((out**2).sum(1) / (self.centre**2).sum(), 2)[:, None] * out
        return at.astype(np.float32), depth.astype(np.float32)


def _posture(
    rng: np.random.Generator, kind: str, camera: Floats, face: Floats, turning: float
) -> tuple[pose.Pose, str | None]:
    """Draws head and arms; returns them and the side of the hand that holds a phone in sight, if any.

    Args:
        kind: `arm` (held at arm's length), `mirror` or `portrait`.
        camera: Where the camera is from the face, in the body's frame.
        face: Middle of the face in the body's frame.
        turning: How widely heads turn, nod and tilt, against everyday's 1.
    """
    yaw = float(np.arctan2(camera[0], camera[2]))
    lift = float(np.arctan2(camera[1], np.hypot(camera[0], camera[2])))
    spread = 0.5 if rng.random() < 0.15 else 0.17
    turn = 0.75 * yaw + rng.normal(0, spread * turning)
    nod = -0.6 * lift + rng.normal(0.02, 0.12 * turning)
    tilt = rng.normal(0, (0.4 if rng.random() < 0.08 else 0.14) * turning)
    turned = pose.rotation(float(np.clip(turn, -1.1, 1.1)), float(np.clip(nod, -0.5, 0.5)), tilt)
    hands = {s: np.array([k * 2.3, 0.6, 0.6]) + rng.normal(0, 0.15, 3) for s, k in (("l", 1.0), ("r", -1.0))}
    grip = {"l": 0.5, "r": 0.5}
    held = None
    side = str(rng.choice(["l", "r"]))
    outward = 1.0 if side == "l" else -1.0
    if kind == "arm":
        # The hand holds the phone at its edge: beside and below the lens.
        hands[side] = face + camera + np.array([outward * rng.uniform(0.6, 1.5), -rng.uniform(0.8, 1.7), -0.6])
        grip[side] = 1.0
    elif kind == "mirror":
        hands[side] = np.array([outward * rng.uniform(0.3, 1.8), rng.uniform(3.9, 6.3), rng.uniform(2.6, 3.6)])
        grip[side] = 0.7
        held = side
    other = "r" if side == "l" else "l"
    near = rng.random()
    if near < 0.06:  # A hand at the cheek or the hair.
        hands[other] = face + np.array([-outward * rng.uniform(0.7, 1.1), rng.uniform(-1.2, -0.5), rng.normal(0, 0.1)])
    elif near < 0.1:  # At the chin or before the mouth.
        hands[other] = face + np.array(
            [-outward * rng.uniform(0.2, 0.7), rng.uniform(-2.2, -1.5), rng.uniform(0.2, 0.6)]
        )
    elif near < 0.15:  # A sign with two fingers beside the face.
        hands[other] = face + np.array(
            [-outward * rng.uniform(0.9, 1.7), rng.uniform(-1.6, -0.4), rng.uniform(0.1, 0.7)]
        )
        grip[f"ring_{other}"] = grip[f"pinky_{other}"] = 1.2
        grip[other] = 0.0
    return pose.Pose(turned, hands, grip), held


def _shows_hand(posed: Posed, view: View, width: int, height: int) -> bool:
    """Returns whether a hand or forearm close to the camera is in the frame."""
    points, depth = view.project(posed.body)
    mesh = head.load()
    arm = ("lowerarm", "hand", "thumb", "index", "pinky")
    fingers = [k for k, name in enumerate(mesh.bones) if name.startswith(arm)]
    hand = np.isin(mesh.skin_bones[:, 0], fingers) & (depth < 0.6 * view.distance)
    inside = (points > -0.02 * width).all(1) & (points[:, 0] < 1.02 * width) & (points[:, 1] < 1.02 * height)
    return bool((hand & inside).any())


def _camera(rng: np.random.Generator, kind: str, look: Look) -> tuple[Floats, float]:
    """Draws where the camera is from the face (decimetres, in the body's frame) and its roll."""
    distance = {"arm": rng.uniform(*look.arm), "mirror": rng.uniform(9, 16), "portrait": rng.uniform(9, 20)}[kind]
    azimuth = rng.normal(0, 0.3)
    lift = {"arm": rng.normal(look.lift, 0.2), "mirror": rng.normal(-0.05, 0.1), "portrait": rng.normal(0.03, 0.09)}[
        kind
    ]
    roll = rng.normal(0, 0.12 if kind == "arm" else 0.04)
    direction = [np.sin(azimuth) * np.cos(lift), np.sin(lift), np.cos(azimuth) * np.cos(lift)]
    return np.array(direction, np.float32) * np.float32(distance), float(roll)


def _frame(
    rng: np.random.Generator,
    posed: Posed,
    width: int,
    height: int,
    wanted: float,
    at: NDArray[np.floating] | None,
    look: Look = EVERYDAY,
) -> View:
    """Chooses focal length and middle so that the face gets a size and a place.

    Args:
        wanted: Side of the square as large as the face's box, as a share of the picture's side (root of the areas).
        at: Where the box's middle goes, as shares of width and height; drawn if None.
        look: Whose lens it is, and how high in the picture a place that is drawn lies.
    """
    distance = float(posed.camera[2])
    unit = View(1.0, np.zeros(2, np.float32), distance)
    points, _ = unit.project(posed.body)
    patch = points[truth.face_patch()]
    low, high = patch.min(0), patch.max(0)
    w, h = high - low
    focal = wanted * np.sqrt(width * height / (w * h))
    # A face fills more than the picture's width and height only where that is wanted.
    most = max(wanted, 0.9)
    focal = min(focal, most * width / w, 1.02 * most * height / h)
    if at is None:
        share = h * focal / height
        at = np.array([rng.normal(0.5, 0.075), rng.normal(0.26 + 0.4 * share - look.higher, 0.07)], np.float32)
        if rng.random() < 0.06:  # Cut by the frame.
            at = (at + rng.normal(0, 0.16, 2)).astype(np.float32)
    size = np.array([width, height])
    half = np.array([w, h]) * focal / 2 / size
    # At least about two thirds of a face stay inside.
    at = np.clip(at, half * 0.45, 1 - half * 0.45).astype(np.float32)
    mesh = head.load()
    bottom = points[(mesh.vertices[:, 1] < WAIST) & (np.abs(mesh.vertices[:, 0]) < 1.6), 1].min()
    centre = (low + high) / 2
    # The mesh's lower end stays outside.
    need = (1.02 * height - at[1] * height) / max(bottom - centre[1], 1e-6)
    if not posed.figure.whole:
        focal = max(focal, min(need, 0.9 * width / w))
    middle = (at * size - centre * focal).astype(np.float32)
    return View(float(focal), middle, distance, (size / 2).astype(np.float32), look.stretch)


def _paint_person(posed: Posed, view: View, picture: Floats, glow: light.Light) -> Floats:
    """Returns the picture with the person before it, display-referred float32 (H, W, 3)."""
    height, width = picture.shape[:2]
    rows, columns = round(height * FINE), round(width * FINE)
    scale = np.array([columns / width, rows / height], np.float32)
    scene = posed.scene
    at, depth = view.project(scene.vertices)
    at = at * scale - 0.5
    layers = LAYERS[scene.material]
    ids = raster.rasterize(at, depth, scene.faces, scene.two_sided, columns, rows, layers)
    where, triangles, a = raster.interpolate(ids, at, depth, scene.faces, scene.attributes)
    if not len(where):
        return picture
    shadows = light.ShadowMap(scene.vertices, scene.faces, glow)
    colour = figure.shade(posed, triangles, a, shadows.lit(a[:, parts.POSITION]), glow)
    skin = scene.material[triangles] == parts.Material.SKIN
    exposure = _exposure(posed, colour[skin & (a[:, parts.REST][:, 1] > 6.3)])
    # A phone takes out part of the light's colour.
    arriving = glow.key_colour + glow.ambient(np.array([[0, 0, 1]], np.float32))[0]
    exposure = exposure * np.power(arriving.mean() / arriving, np.float32(0.65))
    canvas = np.zeros((rows * columns, 4), np.float32)
    canvas[where, :3], canvas[where, 3] = colour * exposure, 1
    if posed.lens is not None and posed.figure.glasses is not None:
        lens = posed.lens
        spot, far = view.project(lens.vertices)
        spot = spot * scale - 0.5
        lenses = raster.rasterize(spot, far, lens.faces, lens.two_sided, columns, rows)
        flat, _, b = raster.interpolate(lenses, spot, far, lens.faces, lens.attributes)
        front = np.full(rows * columns, -1e9, np.float32)
        front[where] = a[:, parts.POSITION][:, 2]
        open_ = b[:, parts.POSITION][:, 2] > front[flat] - 0.02
        flat, b = flat[open_], b[open_]
        if len(flat):
            b[:, parts.NORMAL] = unit(b[:, parts.NORMAL])
            around = light.linear(
                np.asarray(cv2.resize(picture[:, ::-1], (48, 32), interpolation=cv2.INTER_AREA), np.float32)
            )
            under = canvas[flat, :3] / exposure
            glasses = posed.figure.glasses
            canvas[flat, :3] = exposure * shade_lens(b, under, glow, posed.camera, glasses, around / exposure)
            canvas[flat, 3] = np.maximum(canvas[flat, 3], glasses.dark)
    seen = np.flatnonzero(canvas[:, 3])
    canvas[seen, :3] = _displayed(canvas[seen, :3]) * canvas[seen, 3:]
    small = cv2.resize(canvas.reshape(rows, columns, 4), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(picture * (1 - small[..., 3:]) + small[..., :3], np.float32)


def _exposure(posed: Posed, skin: Floats) -> np.float32:
    """Returns what to multiply linear light with so that the face is about as bright as its colour says."""
    if not len(skin):
        return np.float32(1)
    wanted = float(light.linear(posed.figure.looks.skin) @ [0.2126, 0.7152, 0.0722])
    found = float(np.percentile(skin @ np.array([0.2126, 0.7152, 0.0722], np.float32), 60))
    return np.float32(np.clip((0.66 * wanted + 0.045) / max(found, 1e-3), 0.2, 8))


def _displayed(linear: Floats) -> Floats:
    """Returns linear light as display-referred values, with a shoulder instead of a hard end."""
    value = np.power(np.maximum(linear, 0), 1 / 2.2)
    return np.where(value > 0.8, 0.8 + 0.2 * (1 - np.exp((0.8 - value) / 0.2)), value).astype(np.float32)


def _stand(
    rng: np.random.Generator, who: Figure, kind: str, camera: Floats, roll: float, turning: float = 1.0
) -> Posed:
    """Poses a figure for a camera."""
    mesh = head.load()
    face = who.morphed[truth.face_patch()].mean(0)
    posture, held = _posture(rng, kind, camera, face, turning)
    things = []
    if held is not None:
        things.append(phone.build(rng, mesh, who.morphed, posture, held, camera))
    return figure.place(who, things, posture, camera, roll)


def choose(rng: np.random.Generator, look: Look = EVERYDAY) -> str:
    """Returns a random kind of shot, one of the look's."""
    return str(rng.choice(list(look.kinds), p=list(look.kinds.values())))


def take(rng: np.random.Generator, picture: Floats, kind: str, look: Look = EVERYDAY) -> tuple[Floats, Box]:
    """Puts one person, or a group of up to five, before a background.

    Args:
        kind: One of the look's.
        picture: float32 (H, W, 3), display-referred.

    Returns:
        The picture, and x1, y1, x2, y2 of the clearly largest face in pixels.
    """
    height, width = picture.shape[:2]
    glow = light.draw_light(rng, picture.mean((0, 1)), look.dusk)
    camera, roll = _camera(rng, kind, look)
    wanted = float(np.clip(np.exp(rng.normal(np.log(look.face), 0.26)), 0.13, 0.8))
    at = None
    others = int(rng.choice([1, 2, 3, 4], p=[0.5, 0.25, 0.15, 0.1])) if rng.random() < look.groups else 0
    whole = kind != "arm" and rng.random() < look.whole
    if whole:  # From head to foot, or half of that.
        wanted = float(rng.uniform(0.07, 0.22))
        at = np.array([rng.normal(0.5, 0.13), rng.uniform(0.14, 0.45)])
    elif others:
        wanted = float(rng.uniform(0.2, 0.42))
        at = np.array([rng.normal(0.5, 0.16), rng.normal(0.43, 0.07)])
    elif kind == "portrait" and rng.random() < 0.12:
        wanted = float(rng.uniform(0.12, 0.28))
    elif rng.random() < look.closeups:  # So close that the frame cuts forehead, chin or cheeks.
        wanted = float(rng.uniform(0.75, 1.15))
        at = rng.normal(0.5, 0.07, 2)
    posed = _stand(rng, figure.draw_figure(rng, whole, look), kind, camera, roll, look.turning)
    view = _frame(rng, posed, width, height, wanted, at, look)
    if kind == "arm" and _shows_hand(posed, view, width, height):
        posed = _stand(rng, posed.figure, "portrait", camera, roll, look.turning)
        view = _frame(rng, posed, width, height, wanted, at, look)
    box = truth.box(view.project(posed.body)[0], width, height)
    friends = _friends(rng, others, box, width, height, look)
    for friend, further, _ in (f for f in friends if not f[2]):
        picture = _paint_person(friend, further, picture, glow)
    picture = _paint_person(posed, view, picture, glow)
    for friend, further, _ in (f for f in friends if f[2]):
        picture = _paint_person(friend, further, picture, glow)
    return picture, box


def _friends(
    rng: np.random.Generator, count: int, box: Box, width: int, height: int, look: Look
) -> list[tuple[Posed, View, bool]]:
    """Places others beside, behind and before the one whose face is `box`, from cheek to cheek to far behind.

    Returns:
        Up to `count` of them, the farthest first, each with whether it stands before the person: those whose face would
        not be clearly smaller than `box` stay away.
    """
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    side = rng.choice([-1, 1])
    placed = []
    for k in range(count):
        far = rng.random() < 0.2
        share = np.sqrt(rng.uniform(0.04, 0.3) if far else rng.uniform(0.4, CLEARLY))  # Of the face's width and height.
        camera, roll = _camera(rng, "portrait", look)
        friend = _stand(rng, figure.draw_figure(rng, far, look), "portrait", camera, roll + rng.normal(0, 0.12))
        # Two faces touch where their middles are half their widths apart.
        apart = (1 + share) / 2 * rng.uniform(0.95, 1.8) + (k // 2) * rng.uniform(0.8, 1.2)
        spot = [(x1 + x2) / 2 + side * apart * w, (y1 + y2) / 2 + h * rng.normal(-0.1, 0.3)]
        side = -side
        view = _frame(
            rng,
            friend,
            width,
            height,
            float(share * np.sqrt(w * h / (width * height))),
            spot / np.array([width, height]),
        )
        other = truth.box(view.project(friend.body)[0], width, height)
        if truth.area(other) > CLEARLY * truth.area(box):
            continue
        # Who stands before the person leaves the face free, hair and all.
        free = other[0] - 0.3 * w > x2 or other[2] + 0.3 * w < x1 or other[1] - 0.5 * h > y2
        placed.append((friend, view, bool(free and rng.random() < 0.4)))
    return sorted(placed, key=lambda one: one[1].focal / one[1].distance)
