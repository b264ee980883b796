"""Shading of what a person is made of: skin, eyes, teeth, lashes."""

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import paint
from selfie_renderer.light import Light, linear, sample_texture
from selfie_renderer.paint import Looks, Paint
from selfie_renderer.parts import AO, EXTRA, NORMAL, POSITION, REST, U

Floats = NDArray[np.float32]


def smoothstep(low: float, high: float, x: Floats) -> Floats:
    """Returns 0 below `low`, 1 above `high` and a smooth rise between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def dot(a: NDArray[np.floating], b: NDArray[np.floating]) -> Floats:
    """Returns the scalar products of the rows of (P, 3) arrays, (P, 1); faster than a sum over a short axis."""
    return np.asarray(a[:, 0:1] * b[:, 0:1] + a[:, 1:2] * b[:, 1:2] + a[:, 2:3] * b[:, 2:3], np.float32)


def unit(v: NDArray[np.floating]) -> Floats:
    """Returns the rows of (P, 3) scaled to length 1."""
    return np.asarray(v / np.sqrt(np.maximum(dot(v, v), 1e-12)), np.float32)


def specular(normal: Floats, view: Floats, to_light: Floats, power: float) -> Floats:
    """Returns Blinn and Phong's highlight (P, 1), normalised to keep its energy over `power`."""
    facing = np.maximum(dot(normal, unit(to_light + view)), 0)
    strength = (power + 8) / 25 * np.power(facing, power) * (normal @ to_light > 0)[:, None]
    return np.asarray(strength, np.float32)


def view_vectors(position: Floats, camera: Floats) -> Floats:
    """Returns unit vectors from positions (P, 3) to the camera."""
    return unit(camera - position)


def matte(a: Floats, albedo: Floats, lit: Floats, light: Light, wrap: float = 0.1) -> Floats:
    """Returns the diffuse light of cloth and the like, linear RGB (P, 3)."""
    normal, ao = a[:, NORMAL], a[:, AO : AO + 1]
    key = np.maximum((normal @ light.key)[:, None] + wrap, 0) / (1 + wrap) * lit[:, None]
    fill = np.maximum((normal @ light.fill)[:, None] + 0.3, 0) / 1.3
    return albedo * (light.key_colour * key + light.fill_colour * fill * ao + light.ambient(normal) * ao)


def shade_skin(
    a: Floats, lit: Floats, light: Light, camera: Floats, looks: Looks, painted: Paint, bald: float
) -> Floats:
    """Returns the linear RGB (P, 3) of skin with all that is painted on it.

    Args:
        a: Attributes (P, 15) as in `parts.Scene`; extra is lips, eyelids, ears, inside of the mouth.
        lit: Share of the key light that arrives, (P,).
        bald: 1 leaves the scalp bare, 0 covers it in the hair's colour.
    """
    normal, ao = a[:, NORMAL], a[:, AO : AO + 1]
    rest, u = a[:, REST], a[:, U]
    x, y = (u - paint.LEFT) * paint.SCALE, (paint.TOP - rest[:, 1]) * paint.SCALE
    sheets = np.dstack([painted.colour, painted.cover, painted.scalp])
    sheet = sample_texture(sheets, x, y)
    head = rest[:, 1] > 5.95
    behind = (np.abs(u) > 1.9) & (rest[:, 1] > 6.75)
    lips, ears, mouth = (a[:, EXTRA][:, k : k + 1] for k in (0, 2, 3))
    albedo = linear(looks.skin) * np.where(head[:, None], sheet[:, :3], 1.0)
    lip = smoothstep(0.35, 0.65, lips)
    albedo = albedo * (1 - lip) + lip * linear(looks.lips)
    albedo *= 1 - 0.2 * ears * np.array([0, 1, 1], np.float32)
    inner = smoothstep(0.3, 0.8, mouth) * (1 - lip)
    albedo = albedo * (1 - inner) + inner * np.array([0.12, 0.03, 0.03], np.float32)
    hairy = np.clip(sheet[:, 3:4], 0, 1) * head[:, None]
    albedo = albedo * (1 - hairy) + hairy * linear(looks.brow)
    scalp = np.where(behind, 1.0, smoothstep(0.1, 0.7, sheet[:, 4]) * head)[:, None] * (1 - ears) * (1 - bald)
    albedo = albedo * (1 - scalp) + scalp * linear(looks.hair) * 0.55

    # Light that enters skin leaves it redder and farther on: each channel wraps around by its own amount.
    wrap = np.array([0.42, 0.22, 0.16], np.float32) * (1 - hairy) + 0.05
    cosine = (normal @ light.key)[:, None]
    key = np.power(np.maximum((cosine + wrap) / (1 + wrap), 0), 1.25) * np.power(
        lit[:, None], np.array([0.8, 1.0, 1.1], np.float32)
    )
    fill = np.maximum((normal @ light.fill)[:, None] + 0.35, 0) / 1.35
    shadow = np.power(ao, np.array([0.8, 1.05, 1.15], np.float32))
    colour = albedo * (light.key_colour * key + (light.fill_colour * fill + light.ambient(normal)) * shadow)

    view = view_vectors(a[:, POSITION], camera)
    grain = sheet[:, 1:2] if head.any() else 1.0
    zone = np.exp(-((rest[:, 0:1] / 0.35) ** 2)) * 0.7 + 0.5
    shine = (0.02 + 0.06 * looks.oily) * zone * (1 - 0.85 * np.maximum(hairy, scalp)) * (1 + 1.4 * lip) * grain
    gloss = specular(normal, view, light.key, 14.0) + 0.8 * specular(normal, view, light.key, 45.0)
    rim = np.power(1 - np.clip(dot(normal, view), 0, 1), 4)
    colour += shine * light.key_colour * gloss * lit[:, None]
    colour += shine * light.fill_colour * specular(normal, view, light.fill, 14.0) * ao
    return colour + 0.16 * rim * light.ambient(normal) * ao * (1 - hairy)


def shade_eye(
    a: Floats, lit: Floats, light: Light, camera: Floats, looks: Looks, gaze: Floats, centres: Floats, radius: float
) -> Floats:
    """Returns the linear RGB (P, 3) of eyeballs: white, iris, pupil, highlight, shadow of the lid.

    Args:
        gaze: Unit vectors that the left and the right eye look along, camera space (2, 3).
        centres: Centres of the eyeballs, camera space (2, 3).
        radius: Radius of an eyeball in decimetres.
    """
    position = a[:, POSITION]
    side = np.linalg.norm(position - centres[0], axis=1) > np.linalg.norm(position - centres[1], axis=1)
    which = side.astype(int)
    normal = (position - centres[which]) / radius
    normal = unit(normal)
    axis = gaze[which]
    angle = np.arccos(np.clip((normal * axis).sum(1), -1, 1))[:, None]
    iris, pupil = 0.47, 0.19
    white = np.array([0.5, 0.45, 0.43], np.float32)
    ring = 1 - 0.55 * smoothstep(0.36, iris, angle)
    spoke = 0.85 + 0.5 * smoothstep(0.16, 0.36, angle)
    inside = linear(looks.iris) * ring * spoke * 1.25
    inside = inside * smoothstep(pupil - 0.03, pupil + 0.04, angle) + 0.003
    edge = smoothstep(iris - 0.045, iris + 0.045, angle)
    albedo = inside * (1 - edge) + edge * white * (
        1 - 0.25 * smoothstep(0.6, 1.2, angle) * np.array([0.2, 1, 1], np.float32)
    )
    up = normal[:, 1:2]
    lid = 1 - 0.6 * smoothstep(0.08, 0.5, up)
    key = np.maximum((normal @ light.key)[:, None] + 0.4, 0) / 1.4 * lit[:, None]
    colour = albedo * (light.key_colour * key + 0.8 * light.ambient(normal) + 0.5 * light.fill_colour) * lid
    view = view_vectors(position, camera)
    spot = smoothstep(0.965, 0.985, dot(normal, _half(view, light.key))) * (lit[:, None] > 0.3)
    window = smoothstep(0.95, 0.97, dot(normal, _half(view, np.array([-0.25, 0.55, 0.8], np.float32))))
    return colour + spot * light.key_colour * 0.8 + 0.25 * window * light.sky


def _half(view: Floats, to_light: Floats) -> Floats:
    return unit(view + to_light / np.linalg.norm(to_light))
