"""A perceptual hash: a re-encoded or resized copy of a photo has nearly the same one."""

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_localizer.photos.decode import DECODED_SIDE, Pixels

_SIDE = 32
_LOW = 8


def perceptual_hash(image: Pixels) -> str:
    """Returns the 64-bit pHash of an image: which of its low frequencies are above their median.

    The recipe is that of C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), in
    the form of the Python library ImageHash: grey, 32 x 32, DCT, the 8 x 8 lowest frequencies, median.

    Args:
        image: RGB, uint8, shape (height, width, 3), as `decode` returns it.

    Returns:
        16 hex digits, row by row from the lowest frequency on; copies differ in few bits.
    """
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    # Averaging first keeps a fine pattern from turning into coarse ones.
    small = cv2.resize(_halved(grey), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    # Whole numbers: in a flat image the frequencies are 0 but for rounding, which must not decide about a bit.
    low = np.round(cv2.dct(small)[:_LOW, :_LOW])
    return np.packbits(low > np.median(low)).tobytes().hex()


def _halved(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halves a large image while that is exact; averaging two by two is some ten times faster than any other way."""
    while min(grey.shape) >= 2 * DECODED_SIDE and not any(side % 2 for side in grey.shape):
        height, width = (side // 2 for side in grey.shape)
        grey = np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return grey
