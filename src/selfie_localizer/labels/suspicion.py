"""Which labels a person should look at first, and why."""

import numpy as np
import pandas as pd

from selfie_localizer import boxes
from selfie_localizer.labels import fusion

# An order, not a probability: first what has no label though somebody saw a face, then what nobody confirms.
ORDER = {fusion.LEFT_OUT: 1.0, fusion.UNSURE: 0.8, fusion.UNSEEN: 0.6, fusion.ALONE: 0.5}
# Boxes that lie so far apart, relative to their size, are as suspicious as a label that nobody confirms.
WIDE_SPREAD = 0.5
# Near duplicates show one scene: relative to the image their boxes should lie on each other.
TWINS = 0.5

# Short enough to stand below a small picture.
REASONS = {
    fusion.LEFT_OUT: "annotators disagree",
    fusion.UNSURE: "only a doubtful face was seen",
    fusion.UNSEEN: "nobody saw a face",
    fusion.ALONE: "only one annotator saw it",
}


def rank(labels: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Sorts labels by suspicion.

    Args:
        labels: The table of the `label` stage.
        pairs: Near duplicates by `sha256` and `other`.

    Returns:
        The columns of `labels` that name an image and its box, `suspicion` (0..1, an order, no probability) and
        `reason`, the most suspicious first; labels of a person and images that nobody has to label are not among them.
    """
    table = labels[labels["verdict"].isin([*REASONS, fusion.JOINED])].copy()
    spread = table["spread"].to_numpy(np.float64)
    joined = (table["verdict"] == fusion.JOINED).to_numpy()
    table["suspicion"] = np.where(
        joined, np.minimum(spread / WIDE_SPREAD * 0.5, 0.9), table["verdict"].map(ORDER).fillna(0)
    )
    table["reason"] = table["verdict"].map(REASONS).where(~joined, "boxes lie far apart")
    twins = table["sha256"].isin(_contradicting(table, pairs))
    table.loc[twins, "suspicion"] = table.loc[twins, "suspicion"].clip(lower=0.9)
    table.loc[twins, "reason"] = "a near duplicate differs"
    columns = ["image", "split", "suspicion", "reason", *boxes.SIDES, "annotators", "spread", "verdict"]
    ranked = table.sort_values(["suspicion", "image"], ascending=[False, True], kind="stable")[columns]
    return ranked.round({"suspicion": 3}).reset_index(drop=True)


def _contradicting(table: pd.DataFrame, pairs: pd.DataFrame) -> set[str]:
    """Returns the contents whose label lies elsewhere than that of a near duplicate."""
    size = table[["width", "height", "width", "height"]].to_numpy(np.float64)
    relative = pd.DataFrame(table[boxes.SIDES].to_numpy(np.float64) / size, index=table["sha256"])
    linked = pairs[pairs["sha256"].isin(relative.index) & pairs["other"].isin(relative.index)]
    overlap = boxes.iou(relative.loc[linked["sha256"]].to_numpy(), relative.loc[linked["other"]].to_numpy())
    apart = linked[overlap < TWINS]
    return {*apart["sha256"], *apart["other"]}
