"""What is painted on a face: brows, stubble and beard, hairline, freckles, flush, make-up.

Paint lies on a sheet unrolled around the head: across `parts.cylinder_u` (about x on the front of the face), down the
rest mesh's height; so it follows every morph.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_renderer import head

Floats = NDArray[np.float32]

SCALE = 112  # Pixels for each decimetre.
LEFT, TOP = -2.0, 8.75  # Sheet's corner in (u, y).
WIDTH, HEIGHT = int(4.0 * SCALE), int(3.05 * SCALE)
HAIRLINE = np.array([(0.0, 8.02), (0.3, 8.01), (0.55, 7.92), (0.72, 7.72), (0.86, 7.52), (1.0, 7.42), (1.12, 7.2)])

SKIN_TONES = np.array(
    [[246, 219, 204], [238, 203, 182], [226, 184, 156], [205, 156, 124],
     [176, 126, 94], [140, 95, 68], [104, 68, 48], [72, 47, 36]],
    np.float32,
) / 255  # fmt: skip
HAIR_COLOURS = {
    "black": (0.055, 0.048, 0.045),
    "dark brown": (0.15, 0.095, 0.065),
    "brown": (0.27, 0.17, 0.11),
    "light brown": (0.42, 0.29, 0.18),
    "blonde": (0.68, 0.52, 0.32),
    "platinum": (0.84, 0.74, 0.58),
    "red": (0.45, 0.19, 0.085),
    "grey": (0.5, 0.49, 0.48),
    "white": (0.78, 0.77, 0.75),
    "pink": (0.8, 0.32, 0.5),
    "blue": (0.15, 0.28, 0.55),
}


@dataclass(frozen=True)
class Looks:
    """Colours and paint of one face, display-referred RGB in 0..1.

    Attributes:
        skin, hair, brow, iris, lips: Colours (3,).
        tone: 0 (lightest skin) to 1 (darkest).
        make_up: 0 to 1.
        beard: `none`, `stubble`, `moustache`, `goatee` or `full`.
        oily: How strongly skin shines, about 0..1.
        rough: How uneven the skin is, about 0..1.
    """

    skin: Floats
    hair: Floats
    brow: Floats
    iris: Floats
    lips: Floats
    tone: float
    make_up: float
    beard: str
    oily: float
    rough: float


def draw_looks(rng: np.random.Generator, person: head.Person) -> Looks:
    """Draws colours that go with the person's origin, age and sex."""
    african, asian, caucasian = person.race
    tone = float(np.clip(african * 0.85 + asian * 0.36 + caucasian * 0.26 + rng.normal(0, 0.13), 0, 1))
    position = tone * (len(SKIN_TONES) - 1)
    k = min(int(position), len(SKIN_TONES) - 2)
    skin = SKIN_TONES[k] * (k + 1 - position) + SKIN_TONES[k + 1] * (position - k)
    skin = np.clip(skin * (1 + rng.normal(0, 0.035, 3)), 0, 1)
    dark = african + asian > 0.55 or tone > 0.5
    names = list(HAIR_COLOURS)
    odds = [55, 30, 6, 1, 1, 0.5, 1, 0, 0, 1, 1] if dark else [10, 24, 24, 14, 13, 4, 7, 0, 0, 1, 1]
    grey = float(np.clip((person.age - 38) / 35, 0, 0.95))
    if rng.random() < grey:
        name = str(rng.choice(["grey", "white"], p=[0.7, 0.3]))
    else:
        name = str(rng.choice(names, p=np.array(odds) / sum(odds)))
    hair = np.clip(np.array(HAIR_COLOURS[name]) * rng.uniform(0.8, 1.2), 0, 1)
    natural = np.array(HAIR_COLOURS["dark brown" if dark or name in ("pink", "blue") else name])
    brow = np.clip(natural * rng.uniform(0.5, 0.9) * (0.75 if natural.mean() > 0.3 else 1.0), 0, 1)
    irises = [(0.16, 0.09, 0.05), (0.27, 0.17, 0.09), (0.36, 0.31, 0.16), (0.35, 0.45, 0.52), (0.3, 0.4, 0.32)]
    iris = np.array(irises[rng.choice(5, p=[0.8, 0.2, 0, 0, 0] if dark else [0.25, 0.2, 0.15, 0.28, 0.12])])
    female = person.male < 0.5
    make_up = float(rng.beta(1.2, 1.3)) if female and rng.random() < 0.75 else 0.0
    lips = skin * [0.92, 0.72, 0.70] * (1 - 0.1 * tone)
    if make_up > 0.35 and rng.random() < 0.6:
        stick = np.array(
            [(0.72, 0.12, 0.16), (0.62, 0.1, 0.25), (0.8, 0.36, 0.36), (0.5, 0.1, 0.12), (0.85, 0.35, 0.5)]
        )
        lips = lips * 0.25 + 0.75 * stick[rng.integers(5)] * (1 - 0.25 * tone)
    beard = "none"
    if person.male > 0.6:
        beard = str(rng.choice(["none", "stubble", "moustache", "goatee", "full"], p=[0.38, 0.26, 0.06, 0.1, 0.2]))
    rough = float(np.clip(rng.beta(1.6, 3.5) + 0.004 * (person.age - 25) - 0.25 * make_up, 0, 1))
    f32 = np.float32
    return Looks(
        skin.astype(f32),
        hair.astype(f32),
        brow.astype(f32),
        iris.astype(f32),
        lips.astype(f32),
        tone,
        make_up,
        beard,
        float(rng.beta(2, 3)),
        rough,
    )


def _pixels(points: NDArray[np.floating]) -> NDArray[np.int32]:
    """Returns (u, y) points as sheet pixels with 4 fractional bits."""
    at = np.stack([(points[..., 0] - LEFT) * SCALE, (TOP - points[..., 1]) * SCALE], -1)
    return np.round(at * 16).astype(np.int32)


def _area(points: NDArray[np.floating] | list[tuple[float, float]], blur: float, mirror: bool = True) -> Floats:
    """Returns a filled polygon with a soft edge, float32 (H, W), and its mirror image."""
    # A soft shape needs few pixels.
    less = 4 if blur * SCALE > 7 else 2 if blur * SCALE > 3 else 1
    sheet = np.zeros((HEIGHT // less, WIDTH // less), np.uint8)
    outline = np.asarray(points, np.float64)
    for side in (1, -1) if mirror else (1,):
        cv2.fillPoly(sheet, [_pixels(outline * [side, 1]) // less], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(sheet, (0, 0), blur * SCALE / less).astype(np.float32) / np.float32(255)
    return np.asarray(cv2.resize(soft, (WIDTH, HEIGHT)), np.float32)


def _strokes(
    rng: np.random.Generator,
    sheet: NDArray[np.uint8],
    roots: NDArray[np.floating],
    tips: NDArray[np.floating],
    low: int = 120,
    high: int = 256,
) -> None:
    """Draws short hairs from roots to tips, each with an opacity of its own."""
    a, b = _pixels(roots), _pixels(tips)
    values = rng.integers(low, high, len(a)).tolist()
    for p, q, v in zip(a.tolist(), b.tolist(), values, strict=True):
        cv2.line(sheet, p, q, v, 1, cv2.LINE_AA, 4)


def _brows(rng: np.random.Generator, sheet: NDArray[np.uint8], male: float, make_up: float) -> None:
    lift, arch, thick = rng.normal(0, 0.012), rng.uniform(0.01, 0.06), rng.uniform(0.02, 0.04) * (0.75 + 0.45 * male)
    inner, outer = rng.uniform(0.1, 0.16), rng.uniform(0.52, 0.6)
    count = 150
    for side in (-1, 1):
        t = rng.uniform(0, 1, count)
        x = inner + (outer - inner) * t
        y = 7.475 + lift + arch * np.sin(np.pi * np.clip(t * 0.95, 0, 1)) + 0.03 * t - 0.05 * np.maximum(t - 0.7, 0)
        width = thick * np.clip(1.35 - 0.95 * t, 0.25, 1) * np.clip(t * 5 + 0.5, 0, 1)
        y = y + rng.uniform(-1, 1, count) * width
        slope = 1.2 - 1.3 * t + rng.normal(0, 0.15, count)
        length = rng.uniform(0.04, 0.075, count)
        roots = np.stack([x, y], 1)
        tips = roots + np.stack([np.cos(slope), np.sin(slope)], 1) * length[:, None]
        _strokes(rng, sheet, roots * [side, 1], tips * [side, 1], 70 if make_up < 0.4 else 120, 210)


_FULL = [(0, 6.05), (0.5, 6.12), (0.85, 6.38), (1.08, 6.75), (1.1, 7.2), (0.98, 7.2), (0.93, 6.86), (0.62, 6.66),
         (0.36, 6.7), (0.2, 6.78), (0.0, 6.77)]  # fmt: skip
_GOATEE = [(0, 6.05), (0.25, 6.12), (0.32, 6.3), (0.31, 6.6), (0.27, 6.72), (0.14, 6.78), (0, 6.77)]
_MOUSTACHE = [(0, 6.77), (0.14, 6.785), (0.27, 6.72), (0.36, 6.58), (0.3, 6.6), (0.2, 6.68), (0, 6.7)]


def _beard(rng: np.random.Generator, kind: str) -> tuple[Floats, Floats]:
    """Returns how densely and how thickly a beard grows, float32 (H, W) each, 0..1."""
    outline = {"moustache": _MOUSTACHE, "goatee": _GOATEE}.get(kind, _FULL)
    area = _area(outline, 0.035 if kind != "stubble" else 0.07)
    # No hair grows right below the lower lip's corners.
    area = area * (1 - 0.8 * _area([(0.12, 6.5), (0.3, 6.56), (0.26, 6.44), (0.14, 6.42)], 0.03))
    noise = cv2.resize(rng.random((HEIGHT // 3, WIDTH // 3), np.float32), (WIDTH, HEIGHT))
    if kind == "stubble":
        return area * (0.25 + 0.3 * noise) * np.float32(rng.uniform(0.6, 1.3)), area * 0
    sheet = np.zeros((HEIGHT, WIDTH), np.uint8)
    count = 1500 if kind == "full" else 600
    roots = np.stack([rng.uniform(-1.15, 1.15, 4 * count), rng.uniform(6.0, 7.2, 4 * count)], 1)
    at = (_pixels(roots) // 16).clip(0, [WIDTH - 1, HEIGHT - 1])
    roots = roots[area[at[:, 1], at[:, 0]] > rng.uniform(0.25, 0.7, len(roots))][:count]
    fall = np.stack([0.35 * np.sign(roots[:, 0]) + rng.normal(0, 0.5, len(roots)), -1 + 0 * roots[:, 0]], 1)
    _strokes(rng, sheet, roots, roots + fall * rng.uniform(0.04, 0.1, (len(roots), 1)), 90, 255)
    fine = sheet.astype(np.float32) / 255
    return np.clip(area * (0.55 + 0.25 * noise) + 0.45 * fine, 0, 0.97), area


@dataclass(frozen=True)
class Paint:
    """Sheets float32 (H, W): `cover` (hair, brows, beard: 0..1), `scalp`, `beard` (thickness), `colour` (H, W, 3).

    `colour` multiplies the skin's linear colour.
    """

    cover: Floats
    scalp: Floats
    beard: Floats
    colour: Floats


def hairline_outline(drop: float, recede: float) -> NDArray[np.float64]:
    """Returns the outline (u, y) of the scalp's left half on the sheet; `recede` lifts the temples."""
    line = HAIRLINE.copy()
    line[:, 1] += drop + recede * 0.3 * np.exp(-(((line[:, 0] - 0.45) / 0.25) ** 2))
    return np.concatenate([line, [(1.16, 7.15), (1.28, 7.3), (1.7, 7.5), (2.0, 7.2), (2.1, 8.8), (0, 8.8)]])


def draw_paint(rng: np.random.Generator, person: head.Person, looks: Looks, recede: float) -> Paint:
    """Paints a face."""
    brows = np.zeros((HEIGHT, WIDTH), np.uint8)
    _brows(rng, brows, person.male, looks.make_up)
    cover = cv2.GaussianBlur(brows, (0, 0), 0.8).astype(np.float32) / 255
    density = thickness = np.zeros((HEIGHT, WIDTH), np.float32)
    if looks.beard != "none":
        density, thickness = _beard(rng, looks.beard)
    scalp = _area(hairline_outline(float(rng.normal(0, 0.02)), recede), 0.028)
    rough = rng.random((HEIGHT, WIDTH), np.float32)
    scalp = np.clip(scalp * 1.6 - 0.6 * cv2.GaussianBlur(rough, (0, 0), 1.2) * (scalp < 0.98), 0, 1)

    colour = np.ones((HEIGHT, WIDTH, 3), np.float32)
    flush = np.float32(rng.uniform(0.2, 1.0) * (1 - 0.5 * looks.tone))
    red = 0.5 * _area([(0.3, 6.9), (0.55, 7.05), (0.75, 6.95), (0.6, 6.75), (0.4, 6.75)], 0.11)
    red += 0.6 * _area([(-0.13, 6.9), (0.13, 6.9), (0.1, 6.78), (-0.1, 6.78)], 0.06, mirror=False)
    red += 0.25 * _area([(-0.15, 6.3), (0.15, 6.3), (0.1, 6.2), (-0.1, 6.2)], 0.08, mirror=False)
    blotch = cv2.resize(rng.random((14, 18), np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) - 0.5
    red = flush * red + 0.25 * looks.rough * blotch
    colour *= 1 - red[..., None] * np.array([0.08, 0.38, 0.36], np.float32)
    tired = np.float32(rng.uniform(0.05, 0.5) * (1 - 0.6 * looks.make_up))
    under = _area([(0.16, 7.17), (0.3, 7.12), (0.46, 7.17), (0.42, 7.06), (0.26, 7.03)], 0.04)
    colour *= 1 - tired * under[..., None] * np.array([0.45, 0.5, 0.38], np.float32)
    lid = _area([(0.14, 7.27), (0.2, 7.38), (0.34, 7.43), (0.5, 7.39), (0.52, 7.29), (0.34, 7.33)], 0.035)
    shade = np.array([0.45, 0.5, 0.45], np.float32) * np.float32(0.35 + 1.1 * looks.make_up * rng.uniform(0.2, 1))
    colour *= 1 - np.clip(lid[..., None] * shade, 0, 0.9)
    if looks.make_up > 0.2:
        blush = _area([(0.45, 6.85), (0.8, 7.1), (0.9, 7.0), (0.6, 6.8)], 0.1)
        colour *= 1 - np.float32(0.5 * looks.make_up) * blush[..., None] * np.array([0.0, 0.45, 0.35], np.float32)
        liner = _area([(0.16, 7.265), (0.3, 7.345), (0.46, 7.31), (0.56, 7.31), (0.46, 7.275), (0.31, 7.315)], 0.012)
        colour *= 1 - np.float32(looks.make_up) * np.clip(liner * 1.1, 0, 0.9)[..., None]
    spots = np.zeros((HEIGHT, WIDTH), np.uint8)
    aa = cv2.LINE_AA
    freckles = int(rng.choice([0, 0, 0, 120, 260])) if looks.tone < 0.4 else 0
    at = np.stack([rng.normal(0, 0.42, freckles), rng.normal(6.98, 0.13, freckles)], 1)
    for p, r in zip(_pixels(at).tolist(), rng.random(freckles), strict=True):
        cv2.circle(spots, p, int(16 * (0.6 + 0.8 * r)), int(40 + 60 * r), -1, aa, 4)
    marks = int(rng.poisson(1 + 7 * looks.rough))
    at = np.stack([rng.uniform(-1.1, 1.1, marks), rng.uniform(6.1, 7.9, marks)], 1)
    for p, r in zip(_pixels(at).tolist(), rng.random(marks), strict=True):
        cv2.circle(spots, p, int(16 * (0.7 + 1.2 * r)), int(90 + 120 * r), -1, aa, 4)
    dots = cv2.GaussianBlur(spots, (0, 0), 0.8).astype(np.float32)[..., None] / 255
    colour *= 1 - dots * np.array([0.45, 0.65, 0.7], np.float32)
    # Pores and fine unevenness.
    coarse = cv2.resize(
        rng.random((HEIGHT // 6, WIDTH // 6), np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    fine = cv2.GaussianBlur(rough - 0.5, (0, 0), 0.8) * 2 + 0.7 * (coarse - 0.5)
    colour *= 1 + np.float32(0.05 + 0.12 * looks.rough) * fine[..., None]
    return Paint(np.maximum(cover, density), scalp, thickness, colour)
