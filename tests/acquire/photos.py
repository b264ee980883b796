"""A small project with photos: nested, in other alphabets, and one that EXIF turns."""

from pathlib import Path

import numpy as np
from PIL import Image

# Name to size as displayed and EXIF orientation.
PHOTOS = {
    "a.jpg": (64, 48, 1),
    "b.png": (40, 80, 1),
    "sub/Ünï côde 写真.jpg": (100, 60, 1),
    "sub/deep/a&b #1 100%.webp": (33, 47, 1),
    "turned.jpg": (30, 50, 6),
}


def make(root: Path) -> Path:
    """Writes `PHOTOS` below `root/data/images` and returns `root`."""
    for name, (width, height, orientation) in PHOTOS.items():
        path = root / "data/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = (height, width) if orientation >= 5 else (width, height)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.zeros((stored[1], stored[0], 3), np.uint8)).save(path, exif=exif)
    return root
