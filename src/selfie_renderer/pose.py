"""The skeleton: turning the head, letting arms hang, reaching to the camera or holding a phone."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import head

Floats = NDArray[np.float32]


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Returns the matrix that turns by yaw (to the person's left), pitch (down) and roll, in radians."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def between(start: NDArray[np.floating], end: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the smallest rotation that takes the direction `start` to `end` (Rodrigues' formula)."""
    a, b = start / np.linalg.norm(start), end / np.linalg.norm(end)
    v, c = np.cross(a, b), float(a @ b)
    if c < -0.999:
        return np.diag([-1.0, 1.0, -1.0])
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + k + k @ k / (1 + c)


@dataclass
class Pose:
    """Angles in radians, positions in decimetres in the body's frame.

    Attributes:
        head: Rotation of the head against the chest.
        hands: Where the wrists are, keyed `l` and `r`.
        grip: How far the fingers of a hand are bent, keyed `l` and `r`, 0..1; of one finger, keyed as in `ring_l`.
    """

    head: NDArray[np.float64]
    hands: dict[str, NDArray[np.float64]]
    grip: dict[str, float] = field(default_factory=dict)


def _arm(
    joints: NDArray[np.float64], names: tuple[str, ...], side: str, target: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Solves the two bones of an arm for the wrist's position; returns the bones' world rotations."""
    shoulder, elbow, wrist = (joints[names.index(f"{b}_{side}")] for b in ("upperarm", "lowerarm", "hand"))
    upper, lower = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
    reach = target - shoulder
    distance = float(np.clip(np.linalg.norm(reach), 0.3, 0.995 * float(upper + lower)))
    axis = reach / np.linalg.norm(reach)
    outward = 1.0 if side == "l" else -1.0
    # The elbow hangs down, out and a little back.
    pole = np.array([0.45 * outward, -1.0, -0.35])
    pole -= axis * (pole @ axis)
    pole /= np.linalg.norm(pole)
    along = (upper**2 - lower**2 + distance**2) / (2 * distance)
    across = float(np.sqrt(max(float(upper**2 - along**2), 0.0)))
    new_elbow = shoulder + axis * along + pole * across
    new_wrist = shoulder + axis * distance
    first = between(elbow - shoulder, new_elbow - shoulder)
    second = between(first @ (wrist - elbow), new_wrist - new_elbow) @ first
    return {f"upperarm_{side}": first, f"lowerarm_{side}": second, f"hand_{side}": second}


def bone_transforms(mesh: head.Mesh, vertices: Floats, pose: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns each bone's rotation (B, 3, 3) and translation (B, 3) for the morphed vertices."""
    names = mesh.bones
    joints = vertices[mesh.joints].mean(1).astype(np.float64)
    world: dict[str, NDArray[np.float64]] = {"head": pose.head}
    # The neck takes half of the turn: the mean of a rotation and none, made a rotation again.
    u, _, v = np.linalg.svd(pose.head + np.eye(3))
    world["neck_01"] = u @ v
    for side, target in pose.hands.items():
        world |= _arm(joints, names, side, target)
    rotations, moves = np.zeros((len(names), 3, 3)), np.zeros((len(names), 3))
    order = sorted(range(len(names)), key=lambda b: _depth(mesh.parents, b))
    for b in order:
        parent, name = mesh.parents[b], names[b]
        above = rotations[parent] if parent >= 0 else np.eye(3)
        place = above @ joints[b] + (moves[parent] if parent >= 0 else 0)
        if name in world:
            rotations[b] = world[name]
        elif name[:-5] in ("index", "middle", "ring", "pinky") and (
            bend := pose.grip.get(name[:-5] + name[-2:], pose.grip.get(name[-1]))
        ):
            hand = joints[names.index(f"hand_{name[-1]}")]
            knuckles = joints[names.index(f"index_01_{name[-1]}")] - joints[names.index(f"pinky_01_{name[-1]}")]
            along = joints[b] - hand
            axis = knuckles / np.linalg.norm(knuckles)
            sign = 1.0 if name[-1] == "l" else -1.0
            rotations[b] = above @ _about(axis, sign * bend * 0.9) if along.any() else above
        else:
            rotations[b] = above
        moves[b] = place - rotations[b] @ joints[b]
    return rotations, moves


def _depth(parents: NDArray[np.int32], bone: int) -> int:
    return 0 if parents[bone] < 0 else 1 + _depth(parents, int(parents[bone]))


def _about(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def skin(
    vertices: Floats,
    bones: NDArray[np.int32],
    weights: Floats,
    transforms: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Floats:
    """Moves vertices (V, 3) with up to four bones each (linear blend skinning)."""
    rotations, moves = (t.astype(np.float32) for t in transforms)
    matrices = np.concatenate([rotations.reshape(-1, 9), moves], 1)
    blended = np.einsum("vk,vkm->vm", weights, matrices[bones])
    return np.einsum("vij,vj->vi", blended[:, :9].reshape(-1, 3, 3), vertices) + blended[:, 9:]
