"""Lays the first images of a folder side by side: python tools/make_sheet.py data/images docs/sample.jpg."""

import sys
from pathlib import Path

import cv2
import numpy as np

from selfie_localizer.files import atomic_write
from selfie_localizer.photos.decode import read, resize

COLUMNS, ROWS, TILE = 12, 4, 112


def main() -> None:
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    tiles = []
    for path in sorted(folder.rglob("*.jpg"))[: COLUMNS * ROWS]:
        image = read(path).pixels
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 4, (image.shape[1] - side) // 2
        tiles.append(resize(image[top : top + side, left : left + side], TILE))
    sheet = np.vstack([np.hstack(tiles[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)])
    with atomic_write(target) as temporary:
        cv2.imwrite(str(temporary), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
