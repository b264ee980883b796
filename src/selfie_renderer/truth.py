"""The true box of a rendered face, in the convention of the trusted boxes of real selfies.

There the box reaches from the middle of the forehead to the chin, and from one visible outline of the face to the
other, ears and hair outside. On the base mesh (decimetres; eyes at y = 7.28, mouth at 6.62) that is the patch of skin
well before the ears (z > 0.75, no ear), from the forehead at y = 7.99, just below the hairline, to the turn under the
chin. The box is the extent of that patch as projected, hidden or not, a little less below (`ABOVE`), cut to the frame.

Where the patch ends was found on a half of 1,270 real selfies. With an end at z = 0.55 and no `ABOVE`, what a localizer
learned was too low at the chin by 0.027 of the face's height, and too wide on the near side of a turned head by 0.03 to
0.05 of its width, while its upper edge and heads seen from the front were right within 0.01 (medians).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import head

FOREHEAD = 7.99  # Height (y) where the patch ends above.
CHIN = 6.08  # The jaw's lower edge in the middle (y); it takes in the skin that turns under the chin.
CHEEK = 0.75  # The patch ends this far in front of the ears (z), which is the outline seen from the front.
ABOVE = 0.015  # Detectors draw the lower edge above the patch's by this share of its height.


@lru_cache(maxsize=1)
def face_patch() -> NDArray[np.intp]:
    """Returns the indices of the body's vertices whose projection spans the box."""
    mesh = head.load()
    x, y, z = mesh.vertices.T
    body = np.zeros(len(x), bool)
    body[mesh.faces["body"].ravel()] = True
    # The jaw's lower edge rises from the chin to the ear; what lies below it is neck.
    jaw = CHIN + 0.30 * np.clip((1.35 - z) / 0.9, 0, 1)
    inside = mesh.masks["inside-mouth"] > 0.2
    nose = (np.abs(x) < 0.25) & (y > 6.7) & (y < 7.1)
    ears = mesh.masks["ears"] > 0.3
    return np.flatnonzero(body & (y < FOREHEAD) & (y > jaw) & (z > CHEEK) & ~inside & ~nose & ~ears)


def box(points: NDArray[np.floating], width: int, height: int) -> tuple[float, float, float, float]:
    """Returns x1, y1, x2, y2 of the face whose projected mesh is `points` (V, 2), in pixels, cut to the frame."""
    face = points[face_patch()]
    low, high = face.min(0), face.max(0)
    high[1] -= ABOVE * (high[1] - low[1])
    limit = np.array([width, height])
    x1, y1 = np.clip(low, 0, limit)
    x2, y2 = np.clip(high, 0, limit)
    return float(x1), float(y1), float(x2), float(y2)


def area(box: tuple[float, float, float, float]) -> float:
    """Returns a box's area in square pixels; one that was cut away to nothing has 0."""
    x1, y1, x2, y2 = box
    return max(x2 - x1, 0) * max(y2 - y1, 0)
