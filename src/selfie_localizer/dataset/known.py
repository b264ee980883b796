"""Images that `annotate` has seen, as the network takes them; that they are still the same is checked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from selfie_localizer import files, images
from selfie_localizer.errors import UserError


def read_known(folder: Path, name: str, sha256: str, size: int) -> images.Pixels:
    """Reads an image whose content is known and resizes it.

    Args:
        folder: The folder `data/images`.
        name: Path relative to it.
        sha256: Hex digest of the bytes that `annotate` saw.
        size: Side of the square in pixels.

    Returns:
        RGB, uint8, shape (size, size, 3).

    Raises:
        UserError: The image has changed or cannot be read any more.
    """
    try:
        data = images.read_bytes(folder / name)
        if files.sha256(data) != sha256:
            raise UserError(f"data/images/{name}: changed since it was annotated; run `dvc repro` again")
        return images.resize(images.decode(data), size)
    except images.ImageError as error:
        raise UserError(f"data/images/{name}: {error}; run `dvc repro` again, which leaves it out") from None


def read_batch(folder: Path, size: int, batch: int, known: Sequence[tuple[str, str]]) -> images.Pixels:
    """Reads at most `batch` images, pairs of name and digest, as `read_known` does.

    Returns:
        Always `batch` images, uint8, shape (batch, size, size, 3), the last ones black where there are fewer: a network
        is then traced once and sums in the same order.
    """
    found = np.zeros((batch, size, size, 3), np.uint8)
    for row, (name, sha256) in enumerate(known):
        found[row] = read_known(folder, name, sha256, size)
    return found
