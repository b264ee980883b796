"""Where an image's split is decided: by its own content, so that new images move no old one, and by its group."""

import hashlib
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfie_localizer import params

# From the least to the most protected.
SPLITS = ("train", "validation", "test")


def split_of(sha256: str, validation: float, test: float) -> str:
    """Returns the split that a content has by itself.

    Args:
        sha256: Hex digest of the image file's bytes, or of its group's key.
        validation: Share of the validation split.
        test: Share of the test split.
    """
    position = int(sha256[:16], 16) / 2**64
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def assign_splits(
    contents: pd.DataFrame, pairs: pd.DataFrame, trusted: NDArray[np.bool_], settings: params.Label
) -> NDArray[np.str_]:
    """Returns the split of each content.

    A group of near duplicates is in the strictest split that one of its members has by itself, so that nothing that
    judges looks like something that taught. A group with a trusted box, which training may use, is never in test.

    Args:
        contents: Columns `image`, `sha256` and `taken` (EXIF date or missing), each content once; images without a
            face and images that nobody labelled are among them.
        pairs: Near duplicates by `sha256` and `other`.
        trusted: Which contents have a trusted box, shape (N,).
        settings: The section `label` of the parameters.

    Returns:
        `train`, `validation` or `test`, shape (N,).
    """
    own = np.array(
        [split_of(key, settings.validation, settings.test) for key in _keys(contents, settings.group)], "U10"
    )
    level = np.select([own == "test", own == "validation"], [2, 1], 0)
    group = _groups(contents["sha256"], pairs)
    strictest = pd.Series(level).groupby(group).transform("max").to_numpy()
    has_trusted = pd.Series(trusted).groupby(group).transform("max").to_numpy()
    # What the group would have without its test members.
    below_test = pd.Series(np.where(level == 2, 0, level)).groupby(group).transform("max").to_numpy()
    return np.array(SPLITS)[np.where(has_trusted, below_test, strictest)]


def _keys(contents: pd.DataFrame, group: str) -> list[str]:
    """Returns what is hashed: the content, or the group's key."""
    digests = contents["sha256"].tolist()
    if group == "none":
        return digests
    if group == "folder":
        keys = [str(PurePosixPath(name).parent) for name in contents["image"]]
        alone = {".", "../negatives"}
    else:
        keys = [str(taken)[:10] for taken in contents["taken"].fillna("")]
        alone = {""}
    return [
        digest if key in alone else hashlib.sha256(f"{group} {key}".encode()).hexdigest()
        for key, digest in zip(keys, digests, strict=True)
    ]


def _groups(digests: pd.Series, pairs: pd.DataFrame) -> NDArray[np.int32]:
    """Numbers the groups of contents that are near duplicates, also through others, shape (N,)."""
    position = pd.Series(np.arange(len(digests)), index=digests.to_numpy())
    linked = pairs[pairs["sha256"].isin(position.index) & pairs["other"].isin(position.index)]
    first, second = position[linked["sha256"]].to_numpy(), position[linked["other"]].to_numpy()
    graph = coo_array((np.ones(len(linked), np.int8), (first, second)), shape=(len(digests), len(digests)))
    group: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return group
