"""What a picture is put together from: surfaces with what the shader needs to know at each vertex."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import raster

Floats = NDArray[np.float32]


class Material(IntEnum):
    """Which rule shades a surface."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3
    LASHES = 4
    CLOTH = 5
    HAIR = 6
    PLASTIC = 7
    LENS = 8
    HAT = 9


@dataclass
class Part:
    """A surface of one material.

    Attributes:
        vertices: float32 (V, 3), decimetres.
        faces: int32 (F, 3).
        material: How to shade it.
        rest: Where a vertex lies on the unmorphed mesh, or texture coordinates, float32 (V, 3).
        extra: Four more numbers for each vertex, of which the material knows the meaning, float32 (V, 4).
        ao: Share of the sky that a vertex sees, float32 (V,).
        bones, weights: Linear blend skinning, (V, 4) each.
        normals: Given where the surface should look smoother or rounder than it is, float32 (V, 3).
        two_sided: Seen from behind as well.
    """

    vertices: Floats
    faces: NDArray[np.int32]
    material: Material
    rest: Floats
    extra: Floats
    ao: Floats
    bones: NDArray[np.int32]
    weights: Floats
    normals: Floats | None = None
    two_sided: bool = False


def rigid(
    vertices: Floats,
    faces: NDArray[np.int32],
    material: Material,
    bone: int,
    rest: Floats | None = None,
    ao: float = 0.9,
    two_sided: bool = True,
    extra: Floats | None = None,
) -> Part:
    """Returns a surface that moves with one bone."""
    count = len(vertices)
    bones = np.zeros((count, 4), np.int32)
    bones[:, 0] = bone
    weights = np.zeros((count, 4), np.float32)
    weights[:, 0] = 1
    vertices = vertices.astype(np.float32)
    return Part(
        vertices,
        faces.astype(np.int32),
        material,
        vertices.copy() if rest is None else rest.astype(np.float32),
        np.zeros((count, 4), np.float32) if extra is None else extra.astype(np.float32),
        np.full(count, ao, np.float32),
        bones,
        weights,
        two_sided=two_sided,
    )


def grid_faces(rows: int, columns: int, wrap: bool = False) -> NDArray[np.int32]:
    """Returns the triangles of a grid of vertices (rows x columns); `wrap` joins the last column to the first."""
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(columns if wrap else columns - 1), indexing="ij")
    n = (c + 1) % columns
    a, b, d, e = r * columns + c, r * columns + n, (r + 1) * columns + c, (r + 1) * columns + n
    return np.concatenate([np.stack([a, b, e], -1).reshape(-1, 3), np.stack([a, e, d], -1).reshape(-1, 3)]).astype(
        np.int32
    )


def tube(
    path: Floats, radius: Floats | float, sides: int = 6, closed: bool = False
) -> tuple[Floats, NDArray[np.int32]]:
    """Sweeps a circle along a path (N, 3); returns vertices and triangles."""
    path = np.asarray(path, np.float32)
    if closed:
        ahead, behind = np.roll(path, -1, 0), np.roll(path, 1, 0)
    else:
        ahead = np.concatenate([path[1:], path[-1:]])
        behind = np.concatenate([path[:1], path[:-1]])
    tangent = ahead - behind
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    up = np.where(np.abs(tangent[:, 1:2]) > 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    side = np.cross(tangent, up)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    other = np.cross(side, tangent)
    turn = np.arange(sides) * 2 * np.pi / sides
    ring = np.cos(turn)[None, :, None] * side[:, None] + np.sin(turn)[None, :, None] * other[:, None]
    size = np.broadcast_to(np.asarray(radius, np.float32), (len(path),))[:, None, None]
    vertices = path[:, None] + ring * size
    if closed:
        vertices = np.concatenate([vertices, vertices[:1]])
    return vertices.reshape(-1, 3).astype(np.float32), grid_faces(len(vertices), sides, wrap=True)


@dataclass
class Scene:
    """All surfaces as one, in camera space (x right, y up, z to the camera).

    Attributes:
        vertices, faces: float32 (V, 3), int32 (F, 3).
        material: Material of each triangle, uint8 (F,).
        two_sided: bool (F,).
        attributes: float32 (V, 15): normal 0:3, position 3:6, rest 6:9, extra 9:13, ao 13, u 14.
    """

    vertices: Floats
    faces: NDArray[np.int32]
    material: NDArray[np.uint8]
    two_sided: NDArray[np.bool_]
    attributes: Floats


NORMAL, POSITION, REST, EXTRA, AO, U = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 13), 13, 14


def cylinder_u(rest: Floats) -> Floats:
    """Returns the angle around the head's axis, scaled so that it is about x on the front of the face."""
    return (1.1 * np.arctan2(rest[:, 0], rest[:, 2] - 0.1)).astype(np.float32)


def join(parts: list[Part], positions: list[Floats]) -> Scene:
    """Joins parts whose vertices were moved to `positions` into one scene."""
    start = np.cumsum([0] + [len(p) for p in positions])
    columns = []
    for part, position in zip(parts, positions, strict=True):
        normals = raster.vertex_normals(position, part.faces) if part.normals is None else part.normals
        u = cylinder_u(part.rest)[:, None]
        columns.append(np.concatenate([normals, position, part.rest, part.extra, part.ao[:, None], u], 1))
    return Scene(
        np.concatenate(positions).astype(np.float32),
        np.concatenate([p.faces + s for p, s in zip(parts, start[:-1], strict=True)]).astype(np.int32),
        np.concatenate([np.full(len(p.faces), int(p.material), np.uint8) for p in parts]),
        np.concatenate([np.full(len(p.faces), p.two_sided) for p in parts]),
        np.concatenate(columns).astype(np.float32),
    )
