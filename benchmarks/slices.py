"""Kinds of photos: by the size and the place of the face, and by how bright and of what tone its skin is.

Skin tone is the individual typology angle of A. Chardon et al., "Skin colour typology and suntanning pathways"
(International Journal of Cosmetic Science, 1991). It is meant for skin under a known light: of photos, whose light and
white balance nobody knows, it is rough, and a class is some photos more or less like it.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfie_localizer import boxes
from selfie_localizer.photos.decode import Pixels

# The classes of each respect, with the upper end of all but the last.
CLASSES: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    # Square root of the box's share of the image's area.
    "size of the face": (("under 0.25", "0.25 to 0.45", "over 0.45"), (0.25, 0.45)),
    # From its centre to that of the image, in shares of the image's width and height.
    "distance from the middle": (("under 0.1", "0.1 to 0.2", "over 0.2"), (0.1, 0.2)),
    # Median L* of its pixels; the ends are the thirds of the real photos that this was made on.
    "brightness of the face": (("dark", "middle", "bright"), (53.0, 66.0)),
    # In degrees.
    "skin tone": (
        ("dark", "brown", "tan", "intermediate", "light", "very light"),
        (-30.0, 10.0, 28.0, 41.0, 55.0),
    ),
}


def slices_of(image: Pixels, box: ArrayLike) -> dict[str, str]:
    """Returns the class of a photo in each respect.

    Args:
        image: RGB, uint8, shape (height, width, 3).
        box: Of the face, in pixels, shape (4,).
    """
    height, width = image.shape[:2]
    colour = face_colour(image, box)
    values = (
        np.sqrt(boxes.area(box) / (width * height)),
        np.linalg.norm(boxes.centre(box) / [width, height] - 0.5),
        colour[0],
        typology_angle(colour),
    )
    return {
        respect: names[int(np.searchsorted(ends, value))]
        for (respect, (names, ends)), value in zip(CLASSES.items(), values, strict=True)
    }


def face_colour(image: Pixels, box: ArrayLike) -> NDArray[np.float64]:
    """Returns the median CIE L*, a*, b* of the box's central half in each direction, shape (3,); L* is in 0..100."""
    b = np.asarray(box, np.float64)
    inner = boxes.clip(b + np.tile(b[2:] - b[:2], 2) * [0.25, 0.25, -0.25, -0.25], image.shape[1], image.shape[0])
    x1, y1 = np.floor(inner[:2]).astype(int)
    x2, y2 = np.ceil(inner[2:]).astype(int)
    lab = cv2.cvtColor(image[y1:y2, x1:x2].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(np.median(lab.reshape(-1, 3), axis=0), np.float64)


def typology_angle(colour: ArrayLike) -> float:
    """Returns the individual typology angle of a colour in CIE L*, a*, b*, in degrees: atan2(L* - 50, b*)."""
    lightness, _, blue_yellow = np.asarray(colour, np.float64)
    return float(np.degrees(np.arctan2(lightness - 50, blue_yellow)))
