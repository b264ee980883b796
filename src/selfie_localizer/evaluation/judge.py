"""What judges the test images: truth where there is enough of it, else the labels of the test split.

Truth is what a person or a better instrument says; it never reaches a store, and so nothing that trains or chooses.
Labels are what annotators say: a figure against them is agreement with the annotators, and is called so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes, files
from selfie_localizer.dataset.store import Store
from selfie_localizer.errors import UserError
from selfie_localizer.labels.contents import of_contents
from selfie_localizer.labels.trusted import DEFAULT_RULES, TableRules, read_trusted

Kind = Literal["truth", "labels"]

TRUTH = Path("data/truth.csv")
# With fewer images a mean IoU is off by more than what one model gains on another.
LEAST_IMAGES = 30
# What every figure against labels ends in, so that it is never compared with one against truth.
LABELS_SUFFIX = "_labels"


@dataclass(frozen=True)
class Judge:
    """The boxes that predictions are compared with.

    Attributes:
        kind: `truth` or `labels`.
        table: One row for each judged image, in the order of the store: `image`, `sha256`, `width`, `height`, and the
            judging box as `x1` to `y2`, in pixels of the original and inside the image.
        rows: Positions of these images in the test store, int64, shape (N,).
        labels: Their labels, whichever judges, in pixels, shape (N, 4); NaN where there is none.
        unjudged: How many images of the test split with a face nobody can judge.
        annotators: Names of those whose boxes are part of the judging ones; none where truth judges.
        store: Digest of the test store.
        digest: Names the judged images and their judging boxes: equal digests mean comparable figures.
    """

    kind: Kind
    table: pd.DataFrame
    rows: NDArray[np.int64]
    labels: boxes.Boxes
    unjudged: int
    annotators: frozenset[str]
    store: str
    digest: str

    def describe(self) -> dict[str, Any]:
        """Returns what stands beside every figure: `by`, `images`, `unjudged`, `annotators`, `store` and `digest`."""
        return {
            "by": self.kind,
            "images": len(self.table),
            "unjudged": self.unjudged,
            "annotators": sorted(self.annotators),
            "store": self.store,
            "digest": self.digest,
        }


def find_judge(
    store: Store, root: Path, rules: TableRules = DEFAULT_RULES, annotations: pd.DataFrame | None = None
) -> Judge:
    """Finds what judges the images of the test store.

    Truth is known by content: a copy of an image under another name has the same. Where at least `LEAST_IMAGES` test
    images have truth, these images alone judge. Else the labels do; where there is not a single label either, the few
    images with truth.

    Args:
        store: The test store.
        root: The project's folder, with `data/truth.csv` where there is truth.
        rules: How truth is meant.
        annotations: What annotators say, to hold truth against, as `read_trusted` does; None does not.

    Raises:
        UserError: No test image has truth or a label, or a table cannot be read or is wrong as a whole.
    """
    rows = store.indices("test", labelled=False)
    if len(rows) == 0:
        raise UserError("the test split is empty; add images or raise its share in params.yaml")
    table = store.table.iloc[rows].reset_index(drop=True)
    labels = _inside(table[boxes.SIDES].to_numpy(np.float64), table)
    truth = _inside(of_contents(read_trusted(TRUTH, root, rules, annotations), table["sha256"]), table)
    has_label, has_truth = boxes.is_box(labels), boxes.is_box(truth)
    if not has_label.any() and not has_truth.any():
        raise UserError(
            "nobody can judge the test split: none of its images has a box in data/truth.csv, or a label by an "
            "annotator that no model descends from; add boxes to data/truth.csv, images, or an annotator such as haar"
        )
    by_truth = has_truth.sum() >= LEAST_IMAGES or not has_label.any()
    kind: Kind = "truth" if by_truth else "labels"
    judged = has_truth if by_truth else has_label
    chosen = table.loc[judged, ["image", "sha256", "width", "height"]].reset_index(drop=True)
    chosen[boxes.SIDES] = (truth if by_truth else labels)[judged]
    names = set() if by_truth else set().union(*map(annotators_of, table.loc[judged, "annotators"]))
    return Judge(
        kind=kind,
        table=chosen,
        rows=rows[judged],
        labels=labels[judged],
        unjudged=int((~judged).sum()),
        annotators=frozenset(names),
        store=store.digest,
        digest=files.digest(store.digest, kind, chosen[["sha256", *boxes.SIDES]].to_csv(index=False)),
    )


def annotators_of(text: object) -> list[str]:
    """Returns the names in a cell of the store's column `annotators`; none of an empty one."""
    return text.split("+") if isinstance(text, str) and text else []


def metric(name: str, by: str) -> str:
    """Returns what a figure is called: `iou` where truth judges, `iou_labels` where labels do."""
    return name if by == "truth" else name + LABELS_SUFFIX


def figure(report: Mapping[str, Any], name: str = "iou") -> float:
    """Returns a figure of a report in `reports/evaluation/`, whatever the judge."""
    return float(report["test"][metric(name, report["judge"]["by"])])


def title(by: str) -> str:
    """Returns what people read in place of `metric("iou", by)`."""
    return "test IoU" if by == "truth" else "agreement"


def shown(iou: float, by: str, images: int) -> str:
    """Returns a mean IoU as people should read it, e.g. `agreement 0.812 with the annotators' labels of 85 images`."""
    against = "against the truth" if by == "truth" else "with the annotators' labels"
    return f"{title(by)} {iou:.3f} {against} of {images:,} images{remark(images)}"


def remark(images: int) -> str:
    """Returns a clause that says how little a figure of so few images means; nothing where they are enough."""
    return "" if images >= LEAST_IMAGES else " (so few that it says little: look at the interval)"


def explain(judge: Mapping[str, Any]) -> str:
    """Says in one line what judged; `judge` is what `Judge.describe` returned."""
    count = f"{judge['images']:,} test images"
    if judge["by"] == "truth":
        line = f"judged by the truth of {count}"
    else:
        names = f" ({', '.join(judge['annotators'])})" if judge["annotators"] else ""
        line = f"judged by the annotators' labels of {count}{names}, so this is agreement with them"
    line += f"; nobody could judge {judge['unjudged']:,} more" if judge["unjudged"] else "; none was left unjudged"
    return line + remark(judge["images"])


def _inside(sides: boxes.Boxes, table: pd.DataFrame) -> boxes.Boxes:
    """Returns boxes cut to their images; NaN where nothing is left."""
    cut = boxes.clip(sides, table["width"], table["height"])
    return np.where(boxes.is_box(cut)[:, None], cut, np.nan)
