"""Labels against truth: how good the boxes are that training will see. Truth changes no label."""

from typing import Any

import numpy as np

from selfie_localizer import boxes

CUTS = (0.5, 0.75)


def compare(label: boxes.Boxes, truth: boxes.Boxes) -> dict[str, Any]:
    """Sums up labels against truth.

    Args:
        label: Boxes in pixels, shape (N, 4); NaN where an image has none.
        truth: Trusted boxes of the same images, shape (N, 4); NaN where there is none.

    Returns:
        `images` with truth; nothing more without any. `labels`: how many of them have a label; and of these the mean
        and median `iou`, the share on the `right_face` and the shares over 0.5 and 0.75.
    """
    known = boxes.is_box(truth)
    report: dict[str, Any] = {"images": int(known.sum())}
    both = known & boxes.is_box(label)
    if not known.any():
        return report
    report["labels"] = int(both.sum())
    if both.any():
        overlap = boxes.iou(label[both], truth[both])
        report |= {"mean_iou": round(float(overlap.mean()), 4), "median_iou": round(float(np.median(overlap)), 4)}
        report["right_face"] = round(float((overlap > boxes.SAME_FACE).mean()), 4)
        report |= {f"share_over_{cut}": round(float((overlap > cut).mean()), 4) for cut in CUTS}
    return report
