"""How cloth lies on a body: it stands off, spans hollows and hides what lies below."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from selfie_renderer import clothes, head

Floats = NDArray[np.float32]


def worn(garment: clothes.Garment, mesh: head.Mesh, vertices: Floats, normals: Floats) -> Floats:
    """Returns the vertices (V, 3) with the clothed ones pushed out by the cloth's thickness and smoothed."""
    low = mesh.vertices[:, 1] < 6.15
    rows = np.flatnonzero(low)
    share = np.clip(clothes.cover(garment, mesh.vertices[rows]) / (0.06 + 2.5 * garment.thick), 0, 1)
    result = vertices.copy()
    result[rows] += normals[rows] * (share * garment.thick)[:, None]
    # Cloth spans what the body has below it: along the normal only, because across it the cut would lose its shape.
    average, taut = _neighbours()[rows], 0.85 * share
    for _ in range(12 if garment.thick < 0.1 else 20):
        bend = average @ result - result[rows]
        result[rows] += (taut * np.einsum("vi,vi->v", bend, normals[rows]))[:, None] * normals[rows]
    chest, mean, loose = _chest()
    for _ in range(2):  # A sum in one fixed order, whatever the number of threads.
        result[chest] += loose[:, None] * (np.einsum("ij,jk->ik", mean, result[chest]) - result[chest])
    return result


@lru_cache(maxsize=1)
def _neighbours() -> csr_array:
    """Returns the matrix (V, V) that replaces each vertex by a mean over two rings of neighbours."""
    mesh = head.load()
    faces, count = mesh.faces["body"], len(mesh.vertices)
    both = np.concatenate([faces, faces[:, ::-1]])
    start, end = both[:, :2].ravel(), both[:, 1:].ravel()
    link = csr_array((np.ones(len(start), np.float32), (start, end)), (count, count))
    link.data[:] = 1  # An edge that two triangles share counts once.
    degree = np.diff(link.indptr)
    link.data /= np.repeat(np.maximum(degree, 1), degree)
    return csr_array(link @ link)


@lru_cache(maxsize=1)
def _chest() -> tuple[NDArray[np.intp], Floats, Floats]:
    """Returns the chest's vertices (C,), the matrix (C, C) that averages over 0.3 dm, and where it acts (C,), 0..1."""
    mesh = head.load()
    x, y, z = mesh.vertices.T
    inside = np.stack([(1.6 - np.abs(x)) / 0.4, (y - 2.0) / 0.6, (4.6 - y) / 0.5, (z - 0.1) / 0.5])
    loose = np.clip(inside.min(0), 0, 1) * (np.bincount(mesh.faces["body"].ravel(), minlength=len(x)) > 0)
    rows = np.flatnonzero(loose > 0)
    spot = mesh.vertices[rows]
    close = np.exp(-(((spot[:, None] - spot[None]) ** 2).sum(2)) / (2 * 0.3**2))
    # Vertices that lie close together share their weight.
    weight = close / close.sum(1)[None]
    return rows, (weight / weight.sum(1, keepdims=True)).astype(np.float32), loose[rows].astype(np.float32)
