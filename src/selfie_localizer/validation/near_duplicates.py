"""Near duplicates by perceptual hash: the same selfie encoded or resized once more."""

from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer.errors import UserError

BITS = 64
COLUMNS = ["image", "other", "bits"]


def near_duplicates(listing: pd.DataFrame, bits: int) -> pd.DataFrame:
    """Finds the pairs of readable images whose perceptual hashes differ in at most `bits` bits.

    Images of equal hash are all linked to the first of them, and only that one is compared with other hashes:
    thousands of flat images with one hash cost thousands of pairs, not millions. Whoever follows the pairs from image
    to image reaches the same images as with all pairs. Equal bytes have equal hashes, so exact duplicates are pairs
    of 0 bits.

    Args:
        listing: Columns `image`, `phash` (16 hex digits) and `error` (missing where the image is readable).
        bits: Greatest Hamming distance, 0 to 62.

    Returns:
        Columns `image` (the earlier one in `listing`), `other` and `bits`, in the order of `listing`.

    Raises:
        UserError: A hash is not a hexadecimal number of 64 bits.
    """
    readable = listing[listing["error"].isna()]
    names = readable["image"].to_numpy()
    hashes, first, group = np.unique(_parse(readable), return_index=True, return_inverse=True)
    same = np.flatnonzero(first[group] != np.arange(len(names)))
    earlier, later = [first[group[same]]], [same]
    one, two = close_pairs(hashes, bits)
    earlier.append(np.minimum(first[one], first[two]))
    later.append(np.maximum(first[one], first[two]))
    distance = np.concatenate([np.zeros(len(same), np.uint8), np.bitwise_count(hashes[one] ^ hashes[two])])
    image, other = np.concatenate(earlier), np.concatenate(later)
    order = np.lexsort((other, image))
    return pd.DataFrame({"image": names[image[order]], "other": names[other[order]], "bits": distance[order]})


def close_pairs(hashes: NDArray[np.uint64], bits: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Finds the pairs of different hashes at a Hamming distance of at most `bits`, in less than quadratic time.

    The 64 bits are cut into `bits` + 2 bands. Hashes that differ in at most `bits` bits differ in at most as many
    bands, so they agree in two bands or more; only hashes that agree in two bands are compared.

    Args:
        hashes: uint64, shape (N,), all different.
        bits: Greatest distance, 0 to 62.

    Returns:
        Two index arrays, shape (M,): the positions of the two hashes of each pair, each pair once, in any order.
    """
    if len(hashes) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    edges = np.linspace(0, BITS, bits + 3).round().astype(int).tolist()
    bands = [np.uint64((1 << end) - (1 << start)) for start, end in pairwise(edges)]
    found = [np.empty(0, np.int64)]
    for one, two in combinations(bands, 2):
        key = hashes & (one | two)
        order = np.argsort(key)
        found.append(_close_neighbours(hashes[order], key[order], order, bits))
    pairs = np.unique(np.concatenate(found))
    return pairs // len(hashes), pairs % len(hashes)


def _close_neighbours(
    hashes: NDArray[np.uint64], key: NDArray[np.uint64], order: NDArray[np.intp], bits: int
) -> NDArray[np.int64]:
    """Compares sorted neighbours of equal key, then those two apart, and so on; memory stays at a few times N."""
    found = [np.empty(0, np.int64)]
    left = np.arange(len(key))
    step = 0
    while len(left):
        step += 1
        left = left[left + step < len(key)]
        left = left[key[left] == key[left + step]]
        near = left[np.bitwise_count(hashes[left] ^ hashes[left + step]) <= bits]
        one, two = order[near], order[near + step]
        found.append(np.minimum(one, two).astype(np.int64) * len(key) + np.maximum(one, two))
    return np.concatenate(found)


def _parse(readable: pd.DataFrame) -> NDArray[np.uint64]:
    values = np.empty(len(readable), np.uint64)
    for position, (image, text) in enumerate(zip(readable["image"], readable["phash"], strict=True)):
        try:
            values[position] = int(text, 16)
        except (TypeError, ValueError, OverflowError):
            raise UserError(
                f"build/images.csv: {image} has no usable perceptual hash ({text}); run `dvc repro -f annotate`"
            ) from None
    return values
