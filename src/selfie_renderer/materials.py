"""Shading of what is not skin: hair, cloth, plastic, lenses, teeth."""

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import clothes
from selfie_renderer.clothes import Garment
from selfie_renderer.eyewear import Glasses
from selfie_renderer.light import Light, sample_texture
from selfie_renderer.parts import AO, EXTRA, NORMAL, POSITION, REST
from selfie_renderer.skin import dot, matte, smoothstep, specular, unit, view_vectors

Floats = NDArray[np.float32]


def noise_at(grain: Floats, x: Floats, y: Floats) -> Floats:
    """Samples a square of noise (N, N) that repeats, at positions in cells; returns float32 (P,)."""
    side = grain.shape[0]
    ringed = np.pad(grain, (0, 1), mode="wrap")
    return sample_texture(ringed[..., None], np.mod(x, side).astype(np.float32), np.mod(y, side).astype(np.float32))[
        :, 0
    ]


def shade_hair(
    a: Floats, tangent: Floats, albedo: Floats, lit: Floats, light: Light, camera: Floats, gloss: float
) -> Floats:
    """Returns the linear RGB (P, 3) of hair by Kajiya and Kay's model (1989), shaded by the head's roundness.

    Args:
        tangent: Direction of the hair at each pixel, (P, 3).
        albedo: Linear RGB (P, 3).
        gloss: Strength of the highlights, 0..1.
    """
    normal, ao = a[:, NORMAL], a[:, AO : AO + 1]
    t = unit(tangent)
    round_off = np.clip((normal @ light.key)[:, None] * 0.7 + 0.3, 0, 1)
    along = (t @ light.key)[:, None]
    key = np.sqrt(np.maximum(1 - along**2, 0)) * round_off * lit[:, None]
    fill = np.clip((normal @ light.fill)[:, None] * 0.6 + 0.4, 0, 1)
    colour = albedo * (light.key_colour * key * 0.9 + light.fill_colour * fill * ao + light.ambient(normal) * ao)
    view = view_vectors(a[:, POSITION], camera)
    spread = np.sqrt(np.maximum(1 - dot(t + 0.12 * normal, unit(view + light.key)) ** 2, 0))
    shine = np.power(spread, 40) * round_off * lit[:, None]
    return colour + gloss * shine * light.key_colour * (0.12 * albedo + 0.02 + 0.25 * albedo)


def lock_albedo(a: Floats, hair: Floats, grain: Floats) -> Floats:
    """Returns the albedo (P, 3) of locks: strands, darker roots and depths, each lock its own."""
    rest, extra = a[:, REST], a[:, EXTRA]
    strand = noise_at(grain, rest[:, 0] * 7 + rest[:, 1] * 2.6, rest[:, 2] * 2.2 + rest[:, 0])
    shade = np.exp(0.2 * strand + 0.16 * extra[:, 3]) * (0.72 + 0.35 * rest[:, 2])
    edge = 1 - 0.3 * np.abs(rest[:, 1]) ** 3
    return hair * np.clip(shade * edge, 0.25, 2.2)[:, None]


def shade_cloth(a: Floats, lit: Floats, light: Light, garment: Garment) -> Floats:
    """Returns the linear RGB (P, 3) of clothed points of the body."""
    rest = a[:, REST]
    albedo = clothes.cloth_colour(garment, rest)
    shown, below = clothes.inner_colour(garment, rest)
    outer = clothes.cover(garment, rest)
    inner = ((outer < 0) & (shown > 0))[:, None]
    albedo = np.where(inner, below * (1 - 0.35 * smoothstep(-0.12, 0.0, outer))[:, None], albedo)
    return matte(folded(a, garment.grain, 0.1 + 1.1 * garment.thick), albedo, lit, light)


def folded(a: Floats, grain: Floats, depth: float) -> Floats:
    """Returns attributes with normals bent by folds and weave."""
    rest = a[:, REST]
    x, y = rest[:, 0] * 2.1 + rest[:, 2], rest[:, 1] * 1.2
    fold = noise_at(grain, x + 0.8 * y, y - 0.4 * x)
    other = noise_at(grain, y * 0.9 + 31, x * 1.2 + 17)
    weave = noise_at(grain, rest[:, 0] * 40, rest[:, 1] * 40)
    bent = a.copy()
    bent[:, 0] += depth * fold + 0.04 * weave
    bent[:, 1] += depth * other
    bent[:, NORMAL] = unit(bent[:, NORMAL])
    return bent


def shade_fabric(a: Floats, lit: Floats, light: Light, grain: Floats) -> Floats:
    """Returns the linear RGB (P, 3) of hats, hoods, collars and scarves, whose extra is albedo and depth of ribs."""
    albedo, ribs = a[:, EXTRA][:, :3], a[:, EXTRA][:, 3:4]
    rest = a[:, REST]
    rib = np.sin(np.arctan2(rest[:, 0], rest[:, 2] - 0.4) * 55)[:, None]
    return matte(folded(a, grain, 0.1), albedo * (1 - 0.25 * ribs * (0.5 + 0.5 * rib)), lit, light)


def shade_plastic(a: Floats, lit: Floats, light: Light, camera: Floats) -> Floats:
    """Returns the linear RGB (P, 3) of frames and phones, whose extra is albedo."""
    colour = matte(a, a[:, EXTRA][:, :3], lit, light)
    view = view_vectors(a[:, POSITION], camera)
    shine = specular(a[:, NORMAL], view, light.key, 50.0) * lit[:, None]
    return colour + 0.05 * shine * light.key_colour + 0.04 * light.ambient(a[:, NORMAL])


def shade_teeth(a: Floats, lit: Floats, light: Light, camera: Floats) -> Floats:
    """Returns the linear RGB (P, 3) of teeth, which the lips shade towards the mouth's corners."""
    rest = a[:, REST]
    enamel = np.array([0.66, 0.6, 0.5], np.float32)
    gap = 1 - 0.25 * np.exp(-(((np.mod(rest[:, 0:1] + 0.05, 0.1) - 0.05) / 0.008) ** 2))
    corner = np.clip(1.15 - 2.6 * np.abs(rest[:, 0:1]), 0.1, 1)
    view = view_vectors(a[:, POSITION], camera)
    # Teeth are seen through the open lips, so what they get is the light from the front.
    a = a.copy()
    a[:, NORMAL] = unit(a[:, NORMAL] + 1.5 * view)
    a[:, AO] = 0.6
    colour = matte(a, (enamel * gap * corner).astype(np.float32), 0.4 + 0.6 * lit, light, 0.4)
    shine = specular(a[:, NORMAL], view, light.key, 40.0) * lit[:, None]
    return np.asarray(colour + 0.05 * corner * light.key_colour * shine, np.float32)


def shade_lens(a: Floats, under: Floats, light: Light, camera: Floats, glasses: Glasses, outdoors: Floats) -> Floats:
    """Returns the linear RGB (P, 3) of lenses over what lies `under` them (P, 3).

    Args:
        outdoors: What the lenses reflect, seen around the camera: linear RGB texture (H, W, 3).
    """
    normal, position, rest = a[:, NORMAL], a[:, POSITION], a[:, REST]
    view = view_vectors(position, camera)
    facing = dot(normal, view)
    normal = np.where(facing < 0, -normal, normal)
    facing = np.abs(facing)
    mirrored = 2 * facing * normal - view
    height, width = outdoors.shape[:2]
    # A curved lens shows half of the room.
    x = (0.5 + 0.5 * mirrored[:, 0] + 0.35 * rest[:, 0]) * (width - 1)
    y = (0.5 - 0.5 * mirrored[:, 1] - 0.25 * rest[:, 1]) * (height - 1)
    seen = sample_texture(outdoors, x.astype(np.float32), y.astype(np.float32))
    share = 0.04 + glasses.mirror * (0.1 + 0.5 * np.power(1 - facing, 3)) * (0.35 + 0.65 * glasses.dark)
    fade = np.clip(0.5 - 0.5 * rest[:, 1:2], 0, 1)
    tint = glasses.tint[0] + (glasses.tint[1] - glasses.tint[0]) * fade
    body = under * (1 - glasses.dark) + glasses.dark * tint * (0.35 + 0.4 * light.ambient(normal))
    shine = specular(normal, view, light.key, 300.0) * (0.2 + glasses.mirror)
    return body + share * seen + 0.02 * shine * light.key_colour
