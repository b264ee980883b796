"""The phone that a mirror selfie shows."""

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import brushes, head, parts, pose
from selfie_renderer.light import linear

Floats = NDArray[np.float32]

_HALF = np.array([0.37, 0.76, 0.045], np.float32)  # Half of width, height and thickness, decimetres.


def _boxes(half: Floats) -> Floats:
    """Returns the corners of the triangles of a box, three after the other, float32 (36, 3)."""
    sides = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            out = sign * np.eye(3)[axis]
            square = [out + a * u + sign * b * v for a, b in ((-1, -1), (1, -1), (1, 1), (-1, -1), (1, 1), (-1, 1))]
            sides.append(np.stack(square))
    return (np.concatenate(sides) * half).astype(np.float32)


def build(
    rng: np.random.Generator, mesh: head.Mesh, vertices: Floats, posture: pose.Pose, side: str, facing: Floats
) -> parts.Part:
    """Returns a phone at the posed hand `side`, its back and lens to the direction `facing`; fixed to the chest."""
    names = mesh.bones
    rotations, moves = pose.bone_transforms(mesh, vertices, posture)
    hand = names.index(f"hand_{side}")
    knuckles = vertices[mesh.joints[names.index(f"middle_01_{side}")]].mean(0)
    grip = rotations[hand] @ knuckles + moves[hand]
    along = facing / np.linalg.norm(facing)
    turn = rng.normal(0, 0.12) + (np.pi / 2 if rng.random() < 0.15 else 0.0)
    up = np.array([np.sin(turn), np.cos(turn), 0.0])
    up -= along * (up @ along)
    up /= np.linalg.norm(up)
    frame = np.stack([np.cross(up, along), up, along])
    lens = _boxes(np.array([0.1, 0.14, 0.02], np.float32)) + np.array([0.2, 0.52, 0.06], np.float32)
    corners = np.concatenate([_boxes(_HALF), lens])
    placed = (grip + along * 0.22 + up * 0.45 + corners @ frame).astype(np.float32)
    extra = np.zeros((len(corners), 4), np.float32)
    extra[:, :3] = linear(brushes.cloth_colour(rng) if rng.random() < 0.4 else np.full(3, rng.choice([0.03, 0.1, 0.8])))
    extra[36:, :3] = 0.01
    index = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    chest = names.index("spine_03")
    return parts.rigid(placed, index, parts.Material.PLASTIC, chest, corners, 1.0, two_sided=False, extra=extra)
