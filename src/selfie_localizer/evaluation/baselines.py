"""What there is without any training: boxes that `evaluate` holds beside those of the trained localizers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes, params
from selfie_localizer.annotators import cache, catalogue
from selfie_localizer.annotators.examine import annotator_question
from selfie_localizer.annotators.inquiry import File, Inquiry
from selfie_localizer.dataset.store import Store
from selfie_localizer.evaluation.judge import Judge
from selfie_localizer.labels import convention
from selfie_localizer.labels.contents import of_contents, read_contents, read_output
from selfie_localizer.labels.trusted import TableRules, read_trusted
from selfie_localizer.network import starter_network
from selfie_localizer.photos.limits import Limits
from selfie_localizer.progress import say

MEAN_BOX, HAAR, HAAR_MOVED = "baseline-mean-box", "baseline-haar", "baseline-haar-moved"
FIRST_MODEL, MTCNN = "baseline-first-model", "baseline-mtcnn"
NAMES = (MEAN_BOX, HAAR, HAAR_MOVED, FIRST_MODEL, MTCNN)

ANNOTATIONS, LABEL_REPORT, TRUSTED = Path("build/annotations.csv"), Path("reports/label.json"), Path("data/trusted.csv")

# Takes a table with `image` (relative to data/images) and `sha256`; returns boxes in pixels, shape (N, 4), NaN where
# nothing was seen.
Ask = Callable[[pd.DataFrame], boxes.Boxes]


@dataclass(frozen=True)
class Baseline:
    """Boxes on the judged images.

    Attributes:
        boxes: In pixels of the originals, shape (N, 4); NaN where nothing was seen.
        part_of_judge: Whether boxes of the same annotator are part of those that judge: then its figure says nothing.
    """

    boxes: boxes.Boxes
    part_of_judge: bool


def find_baselines(
    judge: Judge, fit: Store, settings: params.Params, workers: int = 0, root: Path = Path(".")
) -> dict[str, Baseline]:
    """Returns the baselines by their name in `NAMES`; one that cannot be had is left out.

    The mean box is that of the training labels. What Haar and the first model say is taken from
    `build/annotations.csv` where they are annotators there, else they are asked; MTCNN is a baseline only where it is
    an annotator. Each is moved as `label` moved it; where it is no annotator, to the convention of `data/trusted.csv`,
    if that is there. The first model's own convention is that of labels without trusted boxes.

    Args:
        judge: What judges.
        fit: The store with the training labels.
        settings: All parameters.
        workers: Processes that ask Haar; 0 means all cores.
        root: The project's folder.

    Raises:
        UserError: An input is missing, or the starter weights are damaged.
    """
    width, height = judge.table["width"], judge.table["height"]
    annotations, rules = read_output(root / ANNOTATIONS, "annotate"), TableRules.of(settings)
    annotators = set(annotations["annotator"])

    def opinion(name: str) -> tuple[Baseline, Baseline | None]:
        """Returns an annotator's baseline as drawn and, where that differs, moved to the labels' convention."""
        ask = _ask(name, settings, workers, root)
        drawn, shifts = _opinion(name, ask, annotations, judge, rules, root)
        moved = convention.apply(drawn, shifts, width, height) if np.any(shifts) else None
        part = name in judge.annotators
        return Baseline(drawn, part), None if moved is None else Baseline(moved, part)

    mean = fit.boxes[fit.indices("train")].astype(np.float64).mean(axis=0)
    found = {MEAN_BOX: Baseline(boxes.scale(np.tile(mean, (len(judge.table), 1)), width, height), False)}
    found[HAAR], moved = opinion("haar")
    if moved is not None:
        found[HAAR_MOVED] = moved
    if "starter" in annotators or (root / starter_network.NETWORK).exists():
        drawn, moved = opinion("starter")
        by_person = "starter" not in annotators or _label_report(root).get("convention") == str(TRUSTED)
        found[FIRST_MODEL] = moved if moved and by_person else drawn
    else:
        say("evaluate: the first model is no baseline: its weights are not here; `dvc pull -r sample starter.dvc`")
    if "mtcnn" in annotators:
        drawn, moved = opinion("mtcnn")
        found[MTCNN] = moved or drawn
    return found


def _opinion(
    name: str, ask: Ask, annotations: pd.DataFrame, judge: Judge, rules: TableRules, root: Path
) -> tuple[boxes.Boxes, NDArray[np.float64]]:
    """Returns an annotator's boxes on the judged images, as drawn, and the shifts to the labels' convention, (4,)."""
    said = annotations[annotations["annotator"] == name].drop_duplicates("sha256")
    if judge.table["sha256"].isin(said["sha256"]).all():
        return of_contents(said, judge.table["sha256"]), _shifts(name, root)
    contents = read_contents(root)
    trusted = contents.merge(read_trusted(TRUSTED, root, rules), on="sha256")
    # One call: what is asked may take seconds to load.
    drawn = ask(pd.concat([table[["image", "sha256"]] for table in (judge.table, trusted)], ignore_index=True))
    count = len(judge.table)
    return drawn[:count], convention.learn(drawn[count:], trusted[boxes.SIDES].to_numpy(np.float64))[0]


def _shifts(name: str, root: Path) -> NDArray[np.float64]:
    """Returns how `label` moved an annotator's boxes, relative to their size, shape (4,)."""
    sides = _label_report(root).get("annotators", {}).get(name, {}).get("shifts", {})
    return np.array([sides.get(side, 0.0) for side in boxes.SIDES], np.float64)


def _label_report(root: Path) -> dict[str, Any]:
    path = root / LABEL_REPORT
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _ask(annotator: str, settings: params.Params, workers: int, root: Path) -> Ask:
    """Returns a function that asks an annotator, through the cache, as `annotate` does."""

    def ask(contents: pd.DataFrame) -> boxes.Boxes:
        parameters = settings.annotate.annotators.get(annotator) or params.ANNOTATORS[annotator]()
        asked = catalogue.make({annotator: parameters}, root)
        photos = [
            File(image, root / "data/images" / image, 0, sha256, "")
            for image, sha256 in zip(contents["image"], contents["sha256"], strict=True)
        ]
        with cache.opened(root) as answers:
            inquiry = Inquiry(answers, asked, Limits(**settings.photos.model_dump()), workers, "evaluate")
            questions = [annotator_question(asked[0], 0)]
            inquiry.ask(photos, questions)
            said = [answer for _, _, (answer,) in inquiry.answers(photos, questions)]
        return np.array([answer[:4] if answer else [np.nan] * 4 for answer in said], np.float64).reshape(-1, 4)

    return ask
