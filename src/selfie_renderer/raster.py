"""Triangles to pixels: which triangle is seen where, and what its corners say there.

OpenCV fills convex polygons with a triangle's number from far to near (painter's algorithm on a dense mesh); what is
shaded afterwards is each visible pixel once (deferred shading), all of them at a time in NumPy.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_BITS = 4  # Sub-pixel bits of the polygon's corners.
_NEAR = 0.6  # Triangles nearer to the camera than this (decimetres) are dropped.


def vertex_normals(vertices: Floats, faces: NDArray[np.int32]) -> Floats:
    """Returns area-weighted unit normals, float32 (V, 3)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    rows = faces.T.ravel()
    total = np.stack([np.bincount(rows, np.tile(normal[:, k], 3), len(vertices)) for k in range(3)], 1)
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def paint(
    buffer: NDArray[np.int32],
    points: Floats,
    depth: Floats,
    faces: NDArray[np.int32],
    values: NDArray[np.int32],
) -> None:
    """Fills `buffer` with one value for each triangle, far ones first.

    Args:
        buffer: Image (H, W), written in place.
        points: Vertices in pixels, float32 (V, 2).
        depth: Distance of the vertices from the camera, float32 (V,).
        faces: Triangles to paint, (F, 3).
        values: What to fill each with.
    """
    near = depth[faces]
    order = np.argsort(-(near[:, 0] + near[:, 1] + near[:, 2]), kind="stable")
    corners = np.round(np.clip(points, -8000, 8000) * (1 << _BITS)).astype(np.int32)[faces[order]]
    fill = cv2.fillConvexPoly
    for corner, value in zip(list(corners), values[order].tolist(), strict=True):
        fill(buffer, corner, value, 8, _BITS)


def visible(
    points: Floats, depth: Floats, faces: NDArray[np.int32], two_sided: NDArray[np.bool_], width: int, height: int
) -> NDArray[np.int32]:
    """Returns the indices of triangles that face the camera, are before it and touch the frame.

    `two_sided` (F,) marks triangles that are seen from behind as well, such as hair.
    """
    p = points[faces]
    area = (p[:, 1, 0] - p[:, 0, 0]) * (p[:, 2, 1] - p[:, 0, 1]) - (p[:, 1, 1] - p[:, 0, 1]) * (p[:, 2, 0] - p[:, 0, 0])
    # Comparing corners is much faster than reducing a short axis.
    low = np.minimum(np.minimum(p[:, 0], p[:, 1]), p[:, 2])
    high = np.maximum(np.maximum(p[:, 0], p[:, 1]), p[:, 2])
    far = depth[faces]
    near = np.minimum(np.minimum(far[:, 0], far[:, 1]), far[:, 2])
    # Neighbours cover triangles of a tenth of a pixel, because filling includes the outline.
    area = np.where(np.abs(area) < 0.1, 0, area)
    inside = (area != 0) & (high[:, 0] >= 0) & (high[:, 1] >= 0) & (low[:, 0] < width) & (low[:, 1] < height)
    return np.flatnonzero(inside & (near > _NEAR) & ((area < 0) | two_sided)).astype(np.int32)


def rasterize(
    points: Floats,
    depth: Floats,
    faces: NDArray[np.int32],
    two_sided: NDArray[np.bool_],
    width: int,
    height: int,
    layers: NDArray[np.uint8] | None = None,
) -> NDArray[np.int32]:
    """Returns the triangle seen at each pixel, int32 (H, W); -1 where there is none.

    Within a layer triangles are sorted as wholes; between layers (F,) each pixel compares depths, so that surfaces that
    cut through each other, such as a collar and a neck, meet in a clean line.
    """
    seen = visible(points, depth, faces, two_sided, width, height)
    result = np.full((height, width), -1, np.int32)
    for layer in np.unique(layers[seen]) if layers is not None else [None]:
        part = seen if layer is None or layers is None else seen[layers[seen] == layer]
        ids = np.full((height, width), -1, np.int32)
        paint(ids, points, depth, faces[part], part)
        take = ids >= 0
        both = np.flatnonzero(take & (result >= 0))
        if len(both):
            nearness = [_nearness(i.ravel()[both], both, width, points, depth, faces) for i in (ids, result)]
            take.ravel()[both] = nearness[0] > nearness[1]
        result[take] = ids[take]
    return result


def _weights(
    triangles: NDArray[np.int32],
    at: NDArray[np.intp],
    width: int,
    points: Floats,
    depth: Floats,
    faces: NDArray[np.int32],
) -> tuple[NDArray[np.int32], Floats]:
    """Returns the corners (P, 3) of triangles seen at pixels (P,), and their weights there over their depth (P, 3)."""
    p = points[faces]
    a, e1, e2 = p[:, 0], p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    det = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    inverse = np.where(np.abs(det) > 1e-6, 1 / np.where(np.abs(det) > 1e-6, det, 1), 0)
    # One gather for each triangle's linear form is cheaper than gathering its corners.
    form = np.stack(
        [e2[:, 1] * inverse, -e2[:, 0] * inverse, -e1[:, 1] * inverse, e1[:, 0] * inverse, a[:, 0], a[:, 1]], 1
    ).astype(np.float32)[triangles]
    dx = (at % width).astype(np.float32) - form[:, 4]
    dy = (at // width).astype(np.float32) - form[:, 5]
    w1 = np.clip(form[:, 0] * dx + form[:, 1] * dy, 0, 1)
    w2 = np.clip(form[:, 2] * dx + form[:, 3] * dy, 0, 1 - w1)
    corners = faces[triangles]
    near = (1 / np.maximum(depth, 1e-3)).astype(np.float32)[corners]
    return corners, np.stack([1 - w1 - w2, w1, w2], 1) * near


def _nearness(
    triangles: NDArray[np.int32],
    at: NDArray[np.intp],
    width: int,
    points: Floats,
    depth: Floats,
    faces: NDArray[np.int32],
) -> Floats:
    """Returns one over the depth of triangles seen at pixels, (P,)."""
    used, index = np.unique(triangles, return_inverse=True)
    _, weights = _weights(index.astype(np.int32), at, width, points, depth, faces[used])
    return weights[:, 0] + weights[:, 1] + weights[:, 2]


def interpolate(
    ids: NDArray[np.int32], points: Floats, depth: Floats, faces: NDArray[np.int32], attributes: Floats
) -> tuple[NDArray[np.intp], NDArray[np.int32], Floats]:
    """Interpolates the corners' attributes at the covered pixels, with perspective.

    Args:
        ids: Result of `rasterize`.
        attributes: float32 (V, A).

    Returns:
        Flat indices of the P covered pixels, their triangles (P,), and attributes float32 (P, A).
    """
    flat = ids.ravel()
    at = np.flatnonzero(flat >= 0)
    triangles = flat[at]
    corners, weights = _weights(triangles, at, ids.shape[1], points, depth, faces)
    weights /= (weights[:, 0] + weights[:, 1] + weights[:, 2])[:, None]
    result = attributes[corners[:, 0]] * weights[:, 0:1]
    result += attributes[corners[:, 1]] * weights[:, 1:2]
    result += attributes[corners[:, 2]] * weights[:, 2:3]
    return at, triangles, result
