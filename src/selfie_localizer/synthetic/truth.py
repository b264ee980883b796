"""The true box of a rendered face, in the convention of the trusted boxes of real selfies.

On real photographs two detectors put the eyes at 0.38 and the mouth at 0.77 of the box's height, and the chin at its
lower edge; left and right are the face's visible outline, ears and hair outside. On the base mesh (decimetres; eyes at
y = 7.28, mouth at 6.62) that is the patch of skin in front of the ears between the forehead at y = 7.93, a finger below
the hairline, and the chin. The box is the extent of that patch as projected, hidden or not, cut to the frame.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from selfie_localizer.synthetic import head

FOREHEAD = 7.93
CHEEK = 0.42  # The patch ends this far in front of the ears' axis (z), which is the outline seen from the front.


@lru_cache(maxsize=1)
def face_patch() -> NDArray[np.intp]:
    """Returns the indices of the body's vertices whose projection spans the box."""
    mesh = head.load()
    x, y, z = mesh.vertices.T
    body = np.zeros(len(x), bool)
    body[mesh.faces["body"].ravel()] = True
    # The jaw's lower edge rises from the chin to the ear; what lies below it is neck.
    jaw = 6.19 + 0.30 * np.clip((1.35 - z) / 0.9, 0, 1)
    inside = mesh.masks["inside-mouth"] > 0.2
    nose = (np.abs(x) < 0.25) & (y > 6.7) & (y < 7.1)
    return np.flatnonzero(body & (y < FOREHEAD) & (y > jaw) & (z > CHEEK) & ~inside & ~nose)


def box(points: NDArray[np.floating], width: int, height: int) -> tuple[float, float, float, float]:
    """Returns x1, y1, x2, y2 of the face whose projected mesh is `points` (V, 2), in pixels, cut to the frame."""
    face = points[face_patch()]
    low, high = face.min(0), face.max(0)
    limit = np.array([width, height])
    x1, y1 = np.clip(low, 0, limit)
    x2, y2 = np.clip(high, 0, limit)
    return float(x1), float(y1), float(x2), float(y2)
