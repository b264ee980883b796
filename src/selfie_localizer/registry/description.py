"""What a person reads of a registered version in MLflow's page; all of it is in the version's tags and reports too."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from selfie_localizer.evaluation.baselines import FIRST_MODEL
from selfie_localizer.evaluation.judge import figure, shown
from selfie_localizer.intervals import paired_difference

FORMS = {"onnx": "in float32 by ONNX Runtime", "litert_int8": "with 8-bit weights by LiteRT"}


def describe(version: Any, name: str, report: Mapping[str, Any], evaluation: Path, seed: int = 0) -> str:
    """Returns a version's description, in Markdown; the same at any time.

    Args:
        version: As the registry gives it.
        name: Of its files in `reports/evaluation/`, a backbone or a baseline.
        report: What evaluate wrote of it.
        evaluation: The folder `reports/evaluation/`.
        seed: Of the bootstrap.
    """
    tags, judge = version.tags, report["judge"]
    form = FORMS.get(tags.get("form", ""), tags.get("form", ""))
    looks = "two looks at each photo" if tags.get("second_look") == "true" else "one look at each photo"
    low, high = figure(report, "iou_low"), figure(report, "iou_high")
    iou = shown(figure(report), judge["by"], judge["images"])
    lines = [
        f"Says where the face is on a selfie: {tags.get('backbone', name)}, served {form}, {looks}.",
        f"**{iou[0].upper()}{iou[1:]}**, 95 % interval {low:.3f} to {high:.3f}.",
    ]
    gain = None if name == FIRST_MODEL else _gain(name, evaluation, seed)
    if gain is not None:
        lines.append(
            f"Gain over the first model {gain['mean']:+.3f}, 95 % interval {gain['low']:+.3f} to {gain['high']:+.3f}."
        )
    made = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    lines.append(f"Data `{tags.get('data_hash', 'unknown')[:12]}`, registered {made:%Y-%m-%d}.")
    return "\n\n".join(lines)


def _gain(name: str, evaluation: Path, seed: int) -> dict[str, float] | None:
    """Returns how much better it is than the first model, with a paired bootstrap's interval; None without that."""
    first = evaluation / f"{FIRST_MODEL}.csv"
    if not first.exists():
        return None
    both = [pd.read_csv(path, usecols=["image", "iou"]) for path in (evaluation / f"{name}.csv", first)]
    joined = both[0].merge(both[1], on="image", suffixes=("", "_first"))
    # Of another evaluation than this one.
    if not len(joined) == len(both[0]) == len(both[1]):
        return None
    return paired_difference(joined["iou"].to_numpy(), joined["iou_first"].to_numpy(), seed)
