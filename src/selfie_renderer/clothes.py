"""Clothes: cut as a function of where a point lies on the rest mesh, so that seams stay sharp; collars and scarves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import brushes, head, parts
from selfie_renderer.light import linear
from selfie_renderer.looks import EVERYDAY, Look

Floats = NDArray[np.float32]

SHOULDER = np.array([1.68, 5.25, 0.15], np.float32)
WRIST = np.array([4.31, 2.45, 1.76], np.float32)
ARM = float(np.linalg.norm(WRIST - SHOULDER))


@dataclass(frozen=True)
class Garment:
    """What is worn above the waist.

    Attributes:
        kind: `tee`, `tank`, `straps`, `bare shoulders`, `shirt`, `suit`, `sweater`, `turtleneck`, `hoodie` or `jacket`.
        deep: How far the neckline dips in front, decimetres.
        wide: Half the width of that dip.
        pointed: A V instead of a scoop.
        sleeve: Share of the arm that is covered.
        colours: The cloth's and a second colour, linear RGB (2, 3).
        inner: Colour of a shirt below a suit or jacket, linear RGB (3,).
        tie: Colour of a tie, linear RGB (3,), or None.
        pattern: `plain`, `stripes`, `checks`, `print` or `knit`.
        thick: How far cloth stands off the body, decimetres.
        scale: Size of the pattern.
        grain: Noise that the shader samples, float32 (64, 64).
    """

    kind: str
    deep: float
    wide: float
    pointed: bool
    sleeve: float
    colours: Floats
    inner: Floats
    tie: Floats | None
    pattern: str
    thick: float
    scale: float
    grain: Floats


_KINDS = ("tee", "tank", "straps", "bare shoulders", "shirt", "suit", "sweater", "turtleneck", "hoodie", "jacket")
_SLEEVELESS = ("tank", "straps", "bare shoulders")
_MEN = np.array([0.34, 0.05, 0, 0, 0.17, 0.15, 0.08, 0.02, 0.1, 0.09])
_WOMEN = np.array([0.24, 0.15, 0.13, 0.04, 0.09, 0.05, 0.12, 0.04, 0.07, 0.07])


def draw_garment(rng: np.random.Generator, person: head.Person, look: Look = EVERYDAY) -> Garment:
    """Draws what the person wears in a look."""
    male = person.male > 0.5
    odds = _MEN if male else _WOMEN
    if look.wrapped:
        odds = np.where(np.isin(_KINDS, _SLEEVELESS), 0, odds)
        odds = odds / odds.sum()
    kind = str(rng.choice(_KINDS, p=odds))
    deep = {"tee": rng.uniform(0, 0.35), "tank": rng.uniform(0.3, 0.7), "straps": rng.uniform(0.5, 0.9)}.get(kind, 0.1)
    if kind in ("suit", "jacket"):
        deep = float(rng.uniform(1.6, 2.4))
    if kind == "shirt":
        deep = float(rng.uniform(0.1, 0.6))
    if kind == "tee" and not male:
        deep += rng.uniform(0, 0.4)
    colour = brushes.cloth_colour(rng)
    if rng.random() < 0.4:
        colour = (rng.choice([0.04, 0.1, 0.35, 0.9, 0.95]) * rng.uniform(0.9, 1.05, 3)).astype(np.float32)
    if kind == "suit":
        colour = brushes.hsv(rng.choice([0.6, 0.08]), rng.uniform(0, 0.4), rng.uniform(0.05, 0.3))
    inner = brushes.hsv(rng.choice([0.58, 0.0]), rng.uniform(0, 0.25), rng.uniform(0.8, 1))
    if rng.random() < 0.3:
        inner = brushes.cloth_colour(rng)
    pattern = str(rng.choice(["plain", "stripes", "checks", "print"], p=[0.66, 0.13, 0.09, 0.12]))
    if kind in ("sweater", "turtleneck"):
        pattern = str(rng.choice(["knit", "plain", "stripes"], p=[0.5, 0.3, 0.2]))
    if kind in ("suit", "hoodie", "jacket"):
        pattern = "plain"
    sleeve = {"tank": 0.0, "straps": 0.0, "bare shoulders": 0.0, "tee": rng.uniform(0.22, 0.36)}.get(kind, 0.98)
    thick = {"suit": 0.16, "hoodie": 0.16, "jacket": 0.2, "sweater": 0.12, "turtleneck": 0.1}.get(kind, 0.06)
    colours = linear(np.stack([colour, brushes.cloth_colour(rng)]))
    tie = linear(brushes.cloth_colour(rng)) if kind == "suit" and male and rng.random() < 0.75 else None
    return Garment(
        kind, float(deep), float(rng.uniform(0.5, 0.75)), kind in ("suit", "shirt", "jacket") or rng.random() < 0.3,
        float(sleeve), colours, linear(inner), tie, pattern, thick, float(rng.uniform(0.7, 1.6)),
        rng.standard_normal((64, 64), dtype=np.float32),
    )  # fmt: skip


def _arm(rest: Floats) -> Floats:
    """Returns how far along an arm points (P, 3) lie, 0 at the shoulder and 1 at the wrist; below 0 on the torso."""
    mirrored = np.abs(rest[:, :1])
    p = np.concatenate([mirrored, rest[:, 1:]], 1) - SHOULDER
    along = p @ ((WRIST - SHOULDER) / ARM)
    beside = (p * p).sum(1) - along * along
    return np.where(beside < 0.95**2, along / ARM, -1).astype(np.float32)


def _ring(rest: Floats) -> Floats:
    """Returns the height of a ring around the neck, lower in front, at points (P, 3)."""
    x, _, z = rest.T
    return 5.62 - 0.24 * (z - 0.1) / np.sqrt(x * x + (z - 0.1) ** 2 + 0.02)


def _neckline(garment: Garment, rest: Floats) -> Floats:
    """Returns how far below the neckline points (P, 3) lie, decimetres (P,)."""
    x, y, z = rest.T
    half = garment.wide + 0.1 * (garment.kind in ("suit", "jacket"))
    reach = np.clip(1 - np.abs(x) / half, 0, 1)
    dip = reach if garment.pointed else np.sqrt(1 - (1 - reach) ** 2)
    beside = np.minimum(np.abs(x) - 0.7, 6.0 - y)
    # The shoulders beside the neck are covered whatever their height.
    return np.maximum(_ring(rest) - garment.deep * dip * (z > 0.1) - y, beside)


def cover(garment: Garment, rest: Floats) -> Floats:
    """Returns how far inside the garment points of the rest mesh (P, 3) lie, decimetres (P,); negative: bare."""
    x, y, _ = rest.T
    arm = _arm(rest)
    inside = _neckline(garment, rest)
    if garment.kind == "turtleneck":
        inside = np.maximum(inside, 0.25 + 5.7 - 0.15 * rest[:, 2] - y)
    if garment.kind == "bare shoulders":
        inside = 4.55 - y
    if garment.kind == "straps":
        strap = 0.09 - np.abs(np.abs(x) - 0.72)
        inside = np.maximum(np.minimum(4.85 - 0.3 * np.minimum(np.abs(x), 0.6) - y, inside), np.minimum(strap, 6.0 - y))
    if garment.kind in _SLEEVELESS:
        # An armhole: round the shoulder and below the armpit.
        hole = np.minimum(1.32 - np.abs(x) + np.clip(4.75 - y, 0, 0.4) * 0.9, 9)
        inside = np.minimum(inside, hole)
    else:
        inside = np.minimum(inside, (garment.sleeve - arm) * ARM)
    return inside.astype(np.float32)


def cloth_colour(garment: Garment, rest: Floats) -> Floats:
    """Returns the albedo of clothed points of the rest mesh (P, 3), linear RGB (P, 3)."""
    x, y, z = rest.T
    first, second = garment.colours
    share = np.zeros(len(rest), np.float32)
    s = garment.scale
    if garment.pattern == "stripes":
        share = (np.sin((y + 0.15 * np.abs(x)) * 16 / s) > 0.2).astype(np.float32)
    elif garment.pattern == "checks":
        share = 0.5 * (np.sin(x * 14 / s) > 0.1) + 0.5 * (np.sin(y * 14 / s) > 0.1)
    elif garment.pattern == "print":
        share = ((np.abs(x) < 0.6 * s) & (y < 4.3) & (y > 4.3 - 0.7 * s) & (z > 0)).astype(np.float32)
        share *= np.sin(x * 21 + np.sin(y * 17) * 2) > -0.2
    elif garment.pattern == "knit":
        share = 0.25 + 0.2 * np.sin(y * 60) * np.sin(x * 60)
        second = first * 0.55
    colour = first + (second - first) * share[:, None]
    front = z > 0
    if garment.kind in ("suit", "jacket", "shirt", "hoodie"):
        below = _neckline(garment, rest)
        if garment.kind in ("suit", "jacket"):
            lapel = (below < 0.42 - 0.12 * np.clip(5.2 - y, 0, 2)) & front & (np.abs(x) > 0.06)
            colour = np.where(lapel[:, None], colour * 0.82, colour)
            colour = np.where((np.abs(below - 0.4) < 0.02)[:, None] & front[:, None], colour * 0.5, colour)
        seam = (np.abs(x) < 0.025) & front
        button = (np.hypot(x, (y % 0.55) - 0.27) < 0.055) & front & (garment.kind in ("shirt", "suit"))
        colour = np.where(seam[:, None], colour * 0.55, colour)
        colour = np.where(button[:, None], 0.25 + 0.4 * colour, colour)
    return colour.astype(np.float32)


def inner_colour(garment: Garment, rest: Floats) -> tuple[Floats, Floats]:
    """Returns where a shirt shows in the opening of a suit or jacket (P,), 0 or 1, and its colour (P, 3)."""
    x, y, z = rest.T
    if garment.kind not in ("suit", "jacket"):
        return np.zeros(len(rest), np.float32), np.zeros((len(rest), 3), np.float32)
    opening = 0.0 if garment.tie is not None else 0.45
    dip = opening * np.clip(1 - np.abs(x) / 0.4, 0, 1) * (z > 0.1)
    shown = ((_ring(rest) + 0.12 - dip > y) & (_arm(rest) < 0.9)).astype(np.float32)
    colour = np.broadcast_to(garment.inner, rest.shape).copy()
    colour *= np.where((np.abs(x) < 0.02) & (garment.tie is None), 0.7, 1.0)[:, None]
    if garment.tie is not None:
        half = 0.1 + 0.045 * np.clip(5.1 - y, 0, 2)
        knot = (y > 5.0) & (np.abs(x) < 0.17 - 0.3 * np.clip(5.3 - y, 0, 0.25))
        tie = ((np.abs(x) < half) | knot) & (z > 0)
        stripe = 0.75 + 0.25 * (np.sin((x + y) * 22) > 0)
        colour = np.where(tie[:, None], garment.tie * stripe[:, None], colour)
    return shown, colour


def _band(
    heights: list[tuple[float, float, float]], opening: float, steps: int = 44
) -> tuple[Floats, NDArray[np.int32]]:
    """Returns a band around the neck, open by an angle in front; `heights` has rows of radius, height, front's drop."""
    turn = np.linspace(opening, 2 * np.pi - opening, steps)
    # Small triangles are sorted rightly against the neck's.
    at = np.linspace(0, len(heights) - 1, 4 * len(heights) - 3)
    rows = []
    for radius, height, drop in np.stack(
        [np.interp(at, range(len(heights)), h) for h in zip(*heights, strict=True)], 1
    ):
        x, z = radius * np.sin(turn), 0.1 + radius * 0.95 * np.cos(turn)
        rows.append(np.stack([x, height - drop * (0.5 + 0.5 * np.cos(turn)), z], 1))
    return np.concatenate(rows).astype(np.float32), parts.grid_faces(len(rows), steps)


def collars(
    rng: np.random.Generator, garment: Garment, mesh: head.Mesh, vertices: Floats, look: Look = EVERYDAY
) -> list[parts.Part]:
    """Returns the parts that stand off the body: a shirt's collar, a lowered hood, a scarf."""
    chest, neck = mesh.bones.index("spine_03"), mesh.joints[mesh.bones.index("neck_01")]
    shift = vertices[neck].mean(0) - mesh.vertices[neck].mean(0)
    made = []

    def add(points: Floats, faces: NDArray[np.int32], colour: Floats, open_: bool = True) -> None:
        extra = np.zeros((len(points), 4), np.float32)
        extra[:, :3] = colour
        made.append(
            parts.rigid(points + shift, faces, parts.Material.CLOTH, chest, ao=0.8, two_sided=open_, extra=extra)
        )

    if garment.kind == "shirt" or (garment.kind == "suit"):
        colour = garment.colours[0] if garment.kind == "shirt" else garment.inner
        opening = 0.12 if garment.tie is not None else float(rng.uniform(0.25, 0.5))
        rows = [(0.56, 5.78, 0.42), (0.62, 6.0, 0.5), (0.68, 5.98, 0.55), (0.82, 5.72, 0.72)]
        add(*_band(rows, opening), colour)
    elif garment.kind == "hoodie":
        rows = [(0.62, 5.7, 0.5), (0.75, 6.05, 0.75), (0.98, 6.0, 0.85), (1.05, 5.6, 0.6)]
        add(*_band(rows, 0.3), garment.colours[0])
    elif garment.kind == "jacket" and rng.random() < 0.7:
        rows = [(0.66, 5.6, 0.4), (0.74, 6.05, 0.6), (0.86, 6.0, 0.62), (0.95, 5.6, 0.6)]
        add(*_band(rows, float(rng.uniform(0.3, 0.6))), garment.colours[0] * 0.9)
    if garment.kind != "hoodie" and rng.random() < look.scarves:
        # Wrapped up, it lies higher all around, most in front, and so far forward that it covers the chin.
        rise, droop, reach = 0.4 * look.wrapped, 0.3 - 0.6 * look.wrapped, 0.76 + 0.5 * look.wrapped
        turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        for k in range(3 if look.wrapped else 2):
            path = np.stack(
                [
                    0.74 * np.sin(turn),
                    5.86 + rise - 0.26 * k - droop * np.cos(turn) + 0.03 * np.sin(5 * turn),
                    0.14 + reach * np.cos(turn),
                ],
                1,
            )
            points, faces = parts.tube(path.astype(np.float32), 0.25, 9, closed=True)
            add(points, faces[:, ::-1], garment.colours[1], open_=False)
    return made


def legs(rng: np.random.Generator, mesh: head.Mesh, garment: Garment, bare: Floats) -> list[parts.Part]:
    """Returns legs from the hips to the shoes, in trousers or bare below shorts or a skirt.

    They are as plain as a small figure allows.

    Args:
        bare: The skin's colour, linear RGB (3,).
    """
    colour = garment.colours[0] if rng.random() < 0.3 else linear(brushes.cloth_colour(rng)) * 0.7
    hem = float(rng.choice([-7.5, -3.0], p=[0.65, 0.35]))
    skirt = hem > -5 and rng.random() < 0.6
    step = rng.uniform(-0.5, 0.5, 2)
    made = []
    for side, ahead in zip((1.0, -1.0), step, strict=True):
        height = np.concatenate([np.linspace(0.6, -7.6, 15), [-7.85, -7.95]])
        down = np.clip(-height / 7.6, 0, 1)
        path = np.stack([side * (0.8 - 0.15 * down), height, 0.1 + ahead * down + np.where(height < -7.7, 0.4, 0)], 1)
        path[-1, 2] += 0.7
        radius = np.interp(-height, [-0.6, 0.5, 4, 7.6, 7.85, 7.95], [0.85, 0.98, 0.6, 0.36, 0.34, 0.25])
        shade = np.where((height > hem)[:, None], colour, np.where((height > -7.6)[:, None], bare, 0.03))
        made.append((path, radius + 0.08 * (height > hem), shade))
    if skirt:
        height = np.linspace(0.7, hem, 8)
        path = np.stack([0 * height, height, 0.1 + step.mean() * np.clip(-height / 7.6, 0, 1)], 1)
        made.append((path, np.linspace(1.5, rng.uniform(1.5, 2.3), 8), np.broadcast_to(colour, (8, 3))))
    result = []
    for path, radius, shade in made:
        points, faces = parts.tube(path, radius, 10)
        extra = np.zeros((len(points), 4), np.float32)
        extra[:, :3] = np.repeat(shade, 10, 0)
        result.append(parts.rigid(points, faces, parts.Material.CLOTH, mesh.bones.index("spine_03"), extra=extra))
    return result
