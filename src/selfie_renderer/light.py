"""Light: a key light with soft shadows, a fill light, and light from all around."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def linear(srgb: NDArray[np.floating] | list[float]) -> Floats:
    """Returns display-referred sRGB (0..1) as linear light (IEC 61966-2-1, by its 2.2 approximation)."""
    return np.power(np.clip(np.asarray(srgb, np.float32), 0, None), 2.2)


@dataclass
class Light:
    """Light in camera space (x right, y up, z to the camera).

    Attributes:
        key: Unit vector to the key light; `key_colour` its linear RGB.
        fill: Unit vector to a second light without shadows; `fill_colour` its linear RGB.
        sky, ground, front, left, right: Linear RGB of what comes from there.
        softness: 0 (bare sun) to 1 (overcast), for the width of shadows.
    """

    key: Floats
    key_colour: Floats
    fill: Floats
    fill_colour: Floats
    sky: Floats
    ground: Floats
    front: Floats
    left: Floats
    right: Floats
    softness: float

    def ambient(self, normal: Floats) -> Floats:
        """Returns the light from all around on surfaces with unit normals (P, 3), linear RGB (P, 3)."""
        x, y, z = normal[:, 0:1], normal[:, 1:2], normal[:, 2:3]
        up = 0.5 + 0.5 * y
        total = self.ground + (self.sky - self.ground) * up
        total = total + self.front * (0.5 + 0.5 * z) + self.right * np.maximum(x, 0) + self.left * np.maximum(-x, 0)
        return total.astype(np.float32)


def _unit(vector: list[float] | NDArray[np.floating]) -> Floats:
    v = np.asarray(vector, np.float32)
    return v / np.linalg.norm(v)


def _warmth(rng: np.random.Generator, spread: float, mean: float = 0.0) -> Floats:
    """Returns a light's colour, from candle-warm to sky-blue, with mean 1."""
    w = float(rng.normal(mean, spread))
    colour = np.array([1 + 0.5 * w, 1 + 0.05 * w, 1 - 0.6 * w], np.float32)
    return np.clip(colour, 0.3, 2) / np.clip(colour, 0.3, 2).mean()


def draw_light(rng: np.random.Generator, surroundings: Floats, dusk: float = 0.0) -> Light:
    """Draws the light of a place.

    Args:
        surroundings: Mean display-referred colour of the background (3,), which tints what comes from around.
        dusk: Above 0, the key light is a lamp or the low sun at the side, the warmer the nearer to 1.
    """
    tint = linear(surroundings) + 0.05
    tint = 0.6 + 0.4 * tint / tint.mean()
    kind = rng.choice(["window", "sun", "overcast", "flash", "lamp", "back"], p=[0.29, 0.16, 0.2, 0.12, 0.15, 0.08])
    azimuth, height = rng.uniform(-1.3, 1.3), rng.uniform(0.0, 0.9)
    strength, ambient, softness, warm = 1.0, 0.35, 0.5, 0.12
    if dusk:
        strength, ambient, softness = 1.0, 0.35 - 0.1 * dusk, 0.5
        azimuth, height = rng.choice([-1, 1]) * rng.uniform(0.1, 0.6 + 0.4 * dusk), rng.uniform(0, 0.6)
    elif kind == "sun":
        strength, ambient, softness, height = 1.5, 0.3, 0.05, rng.uniform(0.35, 1.2)
    elif kind == "overcast":
        strength, ambient, softness, height = 0.45, 0.65, 0.9, rng.uniform(0.6, 1.2)
    elif kind == "flash":
        strength, ambient, softness, azimuth, height = 1.3, 0.12, 0.3, rng.normal(0, 0.12), rng.uniform(0, 0.25)
    elif kind == "lamp":
        strength, ambient, softness, height, warm = 0.9, 0.22, 0.35, rng.uniform(0.5, 1.25), 0.3
    elif kind == "back":
        strength, ambient, softness, azimuth = 1.2, 0.45, 0.4, rng.choice([-1, 1]) * rng.uniform(1.7, 2.4)
    key = _unit([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    side = -np.sign(key[0]) if rng.random() < 0.7 else np.sign(key[0])
    fill = _unit([side * rng.uniform(0.4, 1), rng.uniform(-0.2, 0.6), rng.uniform(-0.3, 0.9)])
    level = ambient * rng.uniform(0.75, 1.25)
    shares = rng.dirichlet([2.5, 0.8, 2.0, 0.8, 0.8])
    sky, ground, front, left, right = ((level * 2.2 * s * tint).astype(np.float32) for s in shares)
    return Light(
        key,
        (strength * _warmth(rng, warm, 0.55 * dusk)).astype(np.float32),
        fill,
        (rng.uniform(0, 0.35) * strength * _warmth(rng, 0.35)).astype(np.float32),
        sky * _warmth(rng, 0.08),
        ground,
        front,
        left,
        right,
        softness,
    )


class ShadowMap:
    """Soft shadows of the key light by a variance shadow map (Donnelly and Lauritzen, 2006).

    Args:
        vertices, faces: What casts shadows, in camera space.
        light: Its key light.
        size: Side of the map in pixels.
    """

    def __init__(self, vertices: Floats, faces: NDArray[np.int32], light: Light, size: int = 120) -> None:
        side = _unit(np.cross([0.1, 1.0, 0.05], light.key))
        self.frame = np.stack([side, np.cross(light.key, side), light.key]).astype(np.float32)
        local = vertices @ self.frame.T
        used = local[np.unique(faces)]
        self.low, high = used[:, :2].min(0), used[:, :2].max(0)
        self.scale = np.float32((size - 1) / (high - self.low).max())
        # Points are dense enough on the meshes that spreading each over its neighbours leaves no hole.
        middles = (local[faces[:, 0]] + local[faces[:, 1]] + local[faces[:, 2]]) / 3
        spots = np.concatenate([used, middles])
        spots = spots[np.argsort(spots[:, 2], kind="stable")]
        at = np.round((spots[:, :2] - self.low) * self.scale).astype(np.intp)
        depth = np.full((size, size), used[:, 2].min() - 0.5, np.float32)
        depth[at[:, 1], at[:, 0]] = spots[:, 2]
        depth = np.asarray(cv2.dilate(depth, np.ones((3, 3), np.uint8)), np.float32)
        width = (0.05 + 0.35 * light.softness) * float(self.scale)
        moments = cv2.GaussianBlur(np.dstack([depth, depth * depth]), (0, 0), max(width, 0.8))
        self.moments = np.asarray(moments, np.float32)

    def lit(self, positions: Floats) -> Floats:
        """Returns how much of the key light reaches positions (P, 3), 0..1."""
        local = positions @ self.frame.T
        at = (local[:, :2] - self.low) * self.scale
        mean, square = np.ascontiguousarray(sample_texture(self.moments, at[:, 0], at[:, 1]).T)
        behind = np.maximum(mean - local[:, 2] - 0.05, 0)
        variance = np.maximum(square - mean * mean, 0.004)
        chance = variance / (variance + behind * behind)
        # Cutting the lowest chances off removes light that leaks through thin casters.
        return np.clip((chance - 0.25) / 0.75, 0, 1).astype(np.float32)


def sample_texture(image: Floats, x: Floats, y: Floats, border: int = cv2.BORDER_REPLICATE) -> Floats:
    """Samples a texture (H, W, C) at P pixel positions; returns float32 (P, C).

    OpenCV's remap takes at most 32767 columns, so the positions come in rows.
    """
    count = len(x)
    rows = max(-(-count // 4096), 1)
    padded = np.zeros((2, rows * 4096), np.float32)
    padded[0, :count], padded[1, :count] = x, y
    maps = padded.reshape(2, rows, 4096)
    sampled = cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(sampled, np.float32).reshape(rows * 4096, -1)[:count]
