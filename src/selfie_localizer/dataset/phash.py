"""A perceptual hash: a re-encoded or resized copy of an image has nearly the same one."""

import cv2
import numpy as np

from selfie_localizer.images import Pixels

_SIDE = 32
_LOW = 8


def perceptual_hash(image: Pixels) -> str:
    """Returns the 64-bit pHash of an image: which of its low frequencies are above their median.

    The recipe is that of C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), in
    the form of the Python library ImageHash: grey, 32 x 32, DCT, the 8 x 8 lowest frequencies, median.

    Args:
        image: RGB, uint8, shape (height, width, 3).

    Returns:
        16 hex digits, row by row from the lowest frequency on; copies differ in few bits.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    # Averaging first keeps a fine pattern from turning into coarse ones.
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    # Whole numbers: in a flat image the frequencies are 0 but for rounding, which must not decide about a bit.
    low = np.round(cv2.dct(small)[:_LOW, :_LOW])
    return np.packbits(low > np.median(low)).tobytes().hex()
