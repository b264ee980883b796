"""What is worn on the head: caps, beanies, hats with a brim, hoods; fitted to the morphed skull."""

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import brushes, head, parts
from selfie_renderer.light import linear

Floats = NDArray[np.float32]

KINDS = ("cap", "cap backwards", "beanie", "brimmed", "hood")


def _skull(mesh: head.Mesh, vertices: Floats) -> tuple[Floats, Floats]:
    """Returns the middle of the skull at the height of the brows and its half-axes (x, up, z)."""
    rest = mesh.vertices
    body = np.zeros(len(rest), bool)
    body[mesh.faces["body"].ravel()] = True
    skull = vertices[body & (rest[:, 1] > 7.55) & (mesh.masks["ears"] < 0.1)]
    low, high = skull.min(0), skull.max(0)
    middle = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2], np.float32)
    return middle, ((high - low) / [2, 1, 2]).astype(np.float32)


def _dome(
    middle: Floats, half: Floats, rise: tuple[float, float], top: float, full: float, rows: int = 9, columns: int = 36
) -> Floats:
    """Returns a dome (rows, columns, 3) over the skull; `rise` is its rim's height in front and behind."""
    turn = np.arange(columns) * 2 * np.pi / columns
    front = 0.5 + 0.5 * np.cos(turn)
    rim = middle[1] + rise[1] + (rise[0] - rise[1]) * front
    up = np.linspace(0, 1, rows)[:, None] * np.pi / 2
    out = np.power(np.maximum(np.cos(up), 0), full)
    y = rim + (middle[1] + half[1] + top - rim) * np.sin(up)
    x = middle[0] + half[0] * np.sin(turn) * out
    z = middle[2] + half[2] * np.cos(turn) * out
    return np.stack([x, y + 0 * x, z], -1).astype(np.float32)


def _cloth(vertices: Floats, faces: NDArray[np.int32], colour: Floats, bone: int, pattern: float = 0.0) -> parts.Part:
    """Returns a part of cloth; `pattern` is the depth of ribs."""
    flat = vertices.reshape(-1, 3)
    extra = np.zeros((len(flat), 4), np.float32)
    extra[:, :3] = colour
    extra[:, 3] = pattern
    return parts.rigid(flat, faces, parts.Material.HAT, bone, ao=0.85, extra=extra)


def build(rng: np.random.Generator, mesh: head.Mesh, vertices: Floats, kind: str, cloth: Floats) -> list[parts.Part]:
    """Returns the parts of one of `KINDS`; a hood has the colour `cloth` (linear RGB) of the garment."""
    bone = mesh.bones.index("head")
    middle, half = _skull(mesh, vertices)
    colour = linear(brushes.cloth_colour(rng) if rng.random() < 0.6 else np.full(3, rng.choice([0.06, 0.12, 0.5, 0.9])))
    second = linear(brushes.cloth_colour(rng)) if rng.random() < 0.3 else colour * 0.9
    if kind == "hood":
        return [_hood(rng, mesh, middle, half, cloth)]
    if kind == "beanie":
        dome = _dome(middle, half + 0.15, (float(rng.uniform(0.08, 0.42)), -0.25), float(rng.uniform(0.12, 0.4)), 0.55)
        beanie = _cloth(dome, parts.grid_faces(9, 36, wrap=True), colour, bone, 1.0)
        if rng.random() < 0.6:  # A folded edge.
            beanie.extra[: 4 * 36, :3] = second
            beanie.vertices[: 3 * 36, [0, 2]] += (beanie.vertices[: 3 * 36, [0, 2]] - middle[[0, 2]]) * 0.05
        return [beanie]
    low = float(rng.uniform(0.14, 0.38))  # How far above the brows a brim sits.
    if kind == "brimmed":
        dome = _dome(
            middle, half + 0.14, (low, low - 0.3), float(rng.uniform(0.15, 0.6)), float(rng.uniform(0.25, 0.5))
        )
        wide, droop = float(rng.uniform(0.5, 1.2)), float(rng.uniform(-0.15, 0.3))
        away = dome[0] - middle
        away[:, 1] = 0
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        curl = float(rng.uniform(0, 0.35)) * np.abs(away[:, :1]) ** 2
        rows = [
            dome[0] + away * wide * s + np.array([0, 1, 0]) * (curl * s * s - droop * s * s) for s in (0, 0.35, 0.7, 1)
        ]
        crown = _cloth(dome, parts.grid_faces(9, 36, wrap=True), colour, bone)
        crown.extra[: 3 * 36, :3] = second * 0.6  # A ribbon around it.
        return [
            crown,
            _cloth(np.stack(rows), parts.grid_faces(4, 36, wrap=True), colour * 0.95, bone),
        ]
    backwards = kind == "cap backwards"
    rise = (low, low - 0.3) if not backwards else (0.26, 0.0)
    dome = _dome(middle, half + 0.1, rise, float(rng.uniform(0.08, 0.16)), 0.5)
    facing = -1.0 if backwards else 1.0
    turn = np.linspace(-1.15, 1.15, 17)
    reach = float(rng.uniform(0.6, 0.8))
    bend, drop = float(rng.uniform(0.0, 0.3)), float(rng.uniform(0.02, 0.3))
    start = middle + np.stack(
        [
            (half[0] + 0.1) * np.sin(turn),
            rise[0 if not backwards else 1] - 0.02 + 0 * turn,
            facing * (half[2] + 0.1) * np.cos(turn),
        ],
        1,
    )
    shape = np.power(np.maximum(np.cos(turn / 1.15 * np.pi / 2), 0), 0.6)
    rows = []
    for s in (0, 0.5, 1):
        row = start.copy()
        row[:, 2] += facing * reach * s * shape
        row[:, 1] -= drop * s * shape + bend * s * (np.sin(turn) ** 2)
        rows.append(row)
    return [
        _cloth(dome, parts.grid_faces(9, 36, wrap=True), colour, bone),
        _cloth(np.stack(rows), parts.grid_faces(3, 17), second, bone),
    ]


def _hood(rng: np.random.Generator, mesh: head.Mesh, middle: Floats, half: Floats, cloth: Floats) -> parts.Part:
    """Returns a hood: arches over the head from before the ears to the back, down to the shoulders."""
    loose = float(rng.uniform(0.16, 0.35))
    columns = 27
    turn = np.linspace(-np.pi * 0.78, np.pi * 0.78, columns)  # 0 is the top.
    front = float(rng.uniform(0.75, 1.15))
    rows = []
    for s in np.linspace(0, 1, 9):
        deep = front - s * (front + half[2] - 0.2 + loose)
        shrink = np.sqrt(max(1 - max(s - 0.3, 0) ** 2 / 0.5, 0.02)) * (0.94 + 0.06 * min(s / 0.15, 1))
        x = (half[0] + loose) * np.sin(turn) * shrink
        low = np.cos(turn) < 0
        y = np.where(low, np.cos(turn) * 2.35, np.cos(turn) * (half[1] + 0.75 + loose) * shrink)
        x = np.where(low, x * (1 + 0.25 * np.cos(turn)), x)
        rows.append(np.stack([x, middle[1] - 0.6 + y, deep + 0.12 * np.cos(turn) - 0.15 * low * np.cos(turn)], 1))
    part = _cloth(np.stack(rows), parts.grid_faces(9, columns), cloth, mesh.bones.index("head"))
    chest = np.clip((6.4 - part.vertices[:, 1]) / 1.0, 0, 1)
    part.bones[:, 1] = mesh.bones.index("spine_03")
    part.weights[:, 0], part.weights[:, 1] = 1 - chest, chest
    return part
