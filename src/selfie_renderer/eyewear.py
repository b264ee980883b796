"""Glasses and sunglasses, fitted to the morphed eyes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import brushes, head, parts
from selfie_renderer.light import linear
from selfie_renderer.parts import Floats


@dataclass(frozen=True)
class Glasses:
    """A pair of glasses; lengths in decimetres.

    Attributes:
        dark: Opacity of the lenses, about 0.05 for clear ones to 1.
        tint: Colour of the lenses at the top and bottom, linear RGB (2, 3).
        mirror: How strongly lenses reflect, 0..1.
        rim: Radius of the frame's rim; 0 for rimless.
        frame: Colour of the frame, linear RGB (3,).
        wide, high: Half-axes of a lens.
        square: Exponent of the lens' outline: 2 is round, 5 nearly a rectangle.
        droop: How much lower the lens' inner edge is than its outer one, as aviators do.
    """

    dark: float
    tint: Floats
    mirror: float
    rim: float
    frame: Floats
    wide: float
    high: float
    square: float
    droop: float


def draw_glasses(rng: np.random.Generator, sun: bool) -> Glasses:
    """Draws a pair of clear glasses or sunglasses."""
    frame = np.full(3, rng.uniform(0.02, 0.12)) if rng.random() < 0.65 else brushes.cloth_colour(rng)
    if rng.random() < 0.2:
        frame = np.array([0.75, 0.6, 0.35]) * rng.uniform(0.6, 1)
    if not sun:
        rim, square = rng.choice([0.01, 0.016, 0.026]), rng.uniform(2, 4.5)
        wide, high, mirror = rng.uniform(0.23, 0.28), rng.uniform(0.15, 0.22), rng.uniform(0, 0.5)
        clear = np.full((2, 3), 0.6, np.float32)
        return Glasses(
            0.06, clear, float(mirror), float(rim), linear(frame), float(wide), float(high), float(square), 0.0
        )
    base = np.full(3, rng.uniform(0.02, 0.15))
    coloured = rng.random() < 0.4
    if coloured:
        base = brushes.hsv(rng.random(), rng.uniform(0.5, 0.9), rng.uniform(0.2, 0.8))
    tint = linear(np.stack([base, np.clip(base * rng.uniform(1, 2.5), 0, 0.8)]))
    rim, square, mirror = rng.choice([0.01, 0.02, 0.034]), rng.uniform(2, 4.5), rng.choice([0.3, 0.6, 1.0])
    wide = rng.uniform(0.26, 0.38)
    high, droop = wide * rng.uniform(0.65, 0.95), rng.choice([0.0, rng.uniform(0.02, 0.07)])
    return Glasses(
        float(rng.uniform(0.8, 1)), tint, float(mirror), float(rim), linear(frame), float(wide), float(high),
        float(square), float(droop),
    )  # fmt: skip


def build(
    rng: np.random.Generator, mesh: head.Mesh, vertices: Floats, glasses: Glasses
) -> tuple[list[parts.Part], parts.Part]:
    """Returns the frame's parts and the lenses."""
    bone = mesh.bones.index("head")
    eyes = np.stack([vertices[e].mean(0) for e in mesh.eyes])
    rest = mesh.vertices
    nose = vertices[(np.abs(rest[:, 0]) < 0.1) & (np.abs(rest[:, 1] - 7.22) < 0.1) & (rest[:, 2] > 1.2)]
    brow = vertices[(np.abs(rest[:, 0]) < 0.55) & (np.abs(rest[:, 1] - 7.45) < 0.12) & (rest[:, 2] > 1.2)]
    front = max(float(nose[:, 2].max()) + 0.03, float(brow[:, 2].max()) - 0.02)
    ears = vertices[mesh.masks["ears"] > 0.5]
    level = float(eyes[:, 1].mean()) + rng.normal(-0.01, 0.02)
    apart = max(float(np.abs(eyes[:, 0]).mean()), glasses.wide + 0.055)

    def bent(x: NDArray[np.floating], y: NDArray[np.floating]) -> Floats:
        return np.stack([x, y, front - 0.2 * x * x], -1).astype(np.float32)

    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    power = 2 / glasses.square
    cx = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power * glasses.wide
    cy = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power * glasses.high
    cy = np.where(cy < 0, cy - glasses.droop * (1 - cx / glasses.wide), cy)
    pieces: list[tuple[Floats, NDArray[np.int32]]] = []
    lenses, lens_faces, lens_rest = [], [], []
    for k, side in enumerate((1.0, -1.0)):
        outline = bent(side * (apart + cx), level + cy)
        if glasses.rim:
            pieces.append(parts.tube(outline, glasses.rim, 6, closed=True))
        rings = [outline[0] * 0 + outline.mean(0) + (outline - outline.mean(0)) * s for s in (0.02, 0.5, 1.0)]
        lenses.append(np.concatenate(rings))
        lens_faces.append(parts.grid_faces(3, 28, wrap=True) + 84 * k)
        lens_rest.append(
            np.stack(
                [np.tile(cx, 3), np.concatenate([cy * s / glasses.high for s in (0.02, 0.5, 1)]), np.full(84, side)], 1
            )
        )
        hinge = bent(np.array(side * (apart + glasses.wide)), np.array(level + 0.5 * glasses.high))
        ear = np.array([side * (np.abs(ears[:, 0]).min() + 0.06), ears[:, 1].max() - 0.06, ears[:, 2].mean() - 0.1])
        aside = np.array([side * 0.03, 0.02, 0])
        corner = hinge + np.array([side * 0.05, 0, -0.06])
        temple = np.stack([hinge, corner, (corner + ear) / 2 + aside, ear]).astype(np.float32)
        pieces.append(parts.tube(temple, max(glasses.rim, 0.016), 5))
    inner = apart - glasses.wide
    x = np.linspace(-inner, inner, 7)
    bridge = bent(x, level + 0.35 * glasses.high + 0.03 * np.cos(x / inner * 1.5))
    bridge[:, 2] += 0.02
    pieces.append(parts.tube(bridge, max(glasses.rim, 0.016), 5))
    made = []
    for points, faces in pieces:
        extra = np.zeros((len(points), 4), np.float32)
        extra[:, :3] = glasses.frame
        made.append(parts.rigid(points, faces, parts.Material.PLASTIC, bone, ao=1.0, extra=extra))
    lens = parts.rigid(
        np.concatenate(lenses), np.concatenate(lens_faces), parts.Material.LENS, bone, np.concatenate(lens_rest), 1.0
    )
    return made, lens
