"""Which backbone is the best: the validation split chooses, so that the test split stays untouched and may report."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfie_localizer.errors import UserError


def read_meta(backbone: str, root: Path) -> dict[str, Any]:
    """Reads what `train` wrote of a model.

    Raises:
        UserError: It is missing or damaged.
    """
    path = root / "models" / backbone / "meta.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path}: missing or damaged; run `dvc repro train@{backbone}` first") from None
    return content


def by_validation(backbones: Iterable[str], root: Path) -> list[tuple[str, float]]:
    """Returns the backbones with their IoU on the validation split, best first; equals stay in their order.

    Raises:
        UserError: There are none, or one was not trained.
    """
    backbones = list(backbones)
    if not backbones:
        raise UserError(
            "params.yaml lists no backbone, so there is nothing to evaluate or promote; add one to `backbones`"
        )
    reached = [(backbone, float(read_meta(backbone, root)["val_iou"])) for backbone in backbones]
    return sorted(reached, key=lambda pair: -pair[1])
