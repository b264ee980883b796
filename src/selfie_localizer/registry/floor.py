"""The floor: a test IoU that a candidate must exceed, since nobody needs a model that is worse than none."""

import json
from dataclasses import dataclass
from pathlib import Path

from selfie_localizer import params
from selfie_localizer.errors import UserError
from selfie_localizer.evaluation.judge import figure
from selfie_localizer.progress import say
from selfie_localizer.registry.candidate import EVALUATION, Candidate

BASELINE = "baseline-"


@dataclass(frozen=True)
class Floor:
    """What a candidate is held against.

    Attributes:
        iou: The test IoU to exceed.
        baseline: Name of the baseline that has it, e.g. `baseline-first-model`; None where the floor is a number.
    """

    iou: float
    baseline: str | None

    @property
    def shown(self) -> str:
        """Returns what people read, e.g. `0.848 (first model)`."""
        name = "" if self.baseline is None else f" ({self.baseline.removeprefix(BASELINE).replace('-', ' ')})"
        return f"{self.iou:.3f}{name}"


def find_floor(rules: params.Promote, candidate: Candidate, root: Path) -> Floor:
    """Returns what `promote.floor` names; a baseline whose boxes are part of the judge is graded by itself and is none.

    Raises:
        UserError: Evaluate did not score the baseline, or by another judge than the candidate.
    """
    if not isinstance(rules.floor, str):
        return Floor(rules.floor, None)
    mean_box = f"{BASELINE}mean-box"
    if rules.floor == "best_baseline":
        # The mean box always is one, and never part of the judge.
        names = {path.stem for path in (root / EVALUATION).glob(f"{BASELINE}*.json")} | {mean_box}
        scored = {name: _scored(name, candidate, root) for name in sorted(names)}
        fair = [Floor(iou, name) for name, (iou, part) in scored.items() if not part]
        return max(fair, key=lambda floor: floor.iou)
    name = f"{BASELINE}{rules.floor.replace('_', '-')}"
    iou, part = _scored(name, candidate, root)
    if part:
        say(f"promote: {rules.floor} is part of the judge and cannot be the floor; the mean box is")
        return Floor(_scored(mean_box, candidate, root)[0], mean_box)
    return Floor(iou, name)


def _scored(name: str, candidate: Candidate, root: Path) -> tuple[float, bool]:
    """Returns a baseline's IoU, and whether its boxes are part of the judge."""
    path = root / EVALUATION / f"{name}.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        iou, part, digest = figure(report), bool(report["part_of_judge"]), report["judge"]["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: missing or damaged; run `dvc repro evaluate`, or give promote.floor another baseline or a number"
        ) from None
    if digest != candidate.test_split:
        raise UserError(f"{path}: by another judge than {candidate.backbone}; run `dvc repro evaluate`")
    return iou, part
