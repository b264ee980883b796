"""One box of several annotators' boxes: on one face their mistakes have little to do with each other.

So a mean that weighs each by how exact it is lies nearer to the truth than any one of them, and nearer than the median
of three (`benchmarks/labels.py`). Where they see different faces the larger party is believed; without one the label is
left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfie_localizer import boxes, params

# What became of an image: several annotators agree, one stands alone, they see different faces, the only one that saw
# something is not sure, nobody saw a face, nobody was asked who may say it here.
JOINED, ALONE, LEFT_OUT, UNSURE, UNSEEN, UNASKED = "joined", "alone", "left out", "unsure", "unseen", "unasked"


@dataclass(frozen=True)
class Joined:
    """What `join` made, for each of N images.

    Attributes:
        boxes: In pixels, float64, shape (N, 4); NaN where there is no label.
        members: Whose boxes are in it, shape (N, A).
        spread: How far the joined boxes lie apart: the mean over the four sides of greatest less least, relative to the
            box's width or height, shape (N,); NaN where fewer than two were joined.
        verdict: One of the words above, shape (N,).
    """

    boxes: NDArray[np.float64]
    members: NDArray[np.bool_]
    spread: NDArray[np.float64]
    verdict: NDArray[np.str_]


def join(
    drawn: NDArray[np.float64],
    score: NDArray[np.float64],
    asked: NDArray[np.bool_],
    weights: NDArray[np.float64],
    settings: params.Label,
) -> Joined:
    """Joins the boxes of A annotators on N images.

    The face that most sure annotators see is taken; of faces with as many, none, or by `label.disagreement` that of the
    greatest weight. An unsure box joins a face that a sure one sees.

    Args:
        drawn: Boxes in pixels, in one convention, shape (N, A, 4); NaN where an annotator saw nothing.
        score: In 0..1, shape (N, A); NaN where an annotator has none, and is sure.
        asked: Whether an annotator was asked and may say something here, shape (N, A).
        weights: Of the annotators, shape (A,).
        settings: The section `label` of the parameters.
    """
    count, annotators = drawn.shape[:2]
    saw = boxes.is_box(drawn) & asked
    sure = saw & ~(score < settings.min_score)
    overlap = boxes.iou(drawn[:, :, None], drawn[:, None, :])
    same = np.greater(overlap, settings.same_face) | np.eye(annotators, dtype=bool)
    agrees = same & saw[:, :, None] & saw[:, None, :]

    anybody = np.asarray(sure.any(axis=1))

    # Of each annotator's box: how many sure ones, and how much weight, are on its face.
    votes = np.where(sure, (agrees & sure[:, None, :]).sum(axis=2), 0)
    mass = np.where(sure, (agrees * weights).sum(axis=2), 0.0)
    anchor = np.lexsort((np.arange(annotators) * np.ones((count, 1)), -mass, -votes), axis=-1)[:, 0]
    members = np.take_along_axis(agrees, anchor[:, None, None], axis=1)[:, 0] & anybody[:, None]
    # The best that sure annotators outside of that face come to.
    rival = np.where(members, 0, votes).max(axis=1, initial=0)
    best = np.take_along_axis(votes, anchor[:, None], axis=1)[:, 0]
    contested = (rival > 0) & (rival >= best)
    taken = anybody & (~contested | (settings.disagreement == "heaviest"))
    members = members & taken[:, None]

    size = members.sum(axis=1)
    inside = np.where(members[:, :, None], drawn, np.nan)
    share = np.where(members, weights, 0.0)
    share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
    found = np.where((size > 0)[:, None], np.nansum(inside * share[:, :, None], axis=1), np.nan)

    spread = np.full(count, np.nan)
    joined = size >= 2
    reach = np.nanmax(inside[joined], axis=1) - np.nanmin(inside[joined], axis=1)
    sides = np.tile(found[joined, 2:] - found[joined, :2], 2)
    spread[joined] = (reach / sides).mean(axis=1)

    verdict = np.select(
        [joined, size == 1, contested & anybody, saw.any(axis=1), asked.any(axis=1)],
        [JOINED, ALONE, LEFT_OUT, UNSURE, UNSEEN],
        UNASKED,
    )
    return Joined(found, members, spread, verdict)
