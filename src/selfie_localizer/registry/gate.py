"""The gates between a candidate and the champion's place."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import params
from selfie_localizer.dataset.store import TEST, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.evaluation.judge import Judge, Kind, find_judge, remark, shown, title
from selfie_localizer.evaluation.scores import SLICES, score_boxes
from selfie_localizer.intervals import paired_difference
from selfie_localizer.labels.trusted import TableRules
from selfie_localizer.registry.floor import Floor
from selfie_localizer.registry.rescore import Answers

ASKED = 32
# A reloaded model may round otherwise than evaluate did; another model differs by more than this.
SAME_IOU = 0.01


@dataclass(frozen=True)
class JudgedImages:
    """The images that both sides are judged on.

    Attributes:
        judge: What judges; its table has a row for each of them.
        candidate: What evaluate wrote of the candidate, image by image, in the same order.
        paths: The image files.
    """

    judge: Judge
    candidate: pd.DataFrame
    paths: list[Path]

    def iou(self, answers: Answers, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Returns the IoU of a version's answers on all images or on these rows; 0 where it found nothing."""
        rows = np.arange(len(self.paths)) if rows is None else rows
        brightness = self.candidate["brightness"].to_numpy()[rows]
        scored = score_boxes(answers.boxes, self.judge.table.iloc[rows].reset_index(drop=True), brightness)
        return scored["iou"].to_numpy(dtype=np.float64)

    def sample(self) -> NDArray[np.int64]:
        """Returns rows of at most `ASKED` images, spread over all of them."""
        return np.unique(np.linspace(0, len(self.paths) - 1, min(ASKED, len(self.paths))).round().astype(np.int64))


def read_judged(evaluated: Path, test_split: str, rules: TableRules, root: Path) -> JudgedImages:
    """Reads what judges and the candidate's scores by it.

    Args:
        evaluated: The candidate's `reports/evaluation/<backbone>.csv`.
        test_split: Digest of the judge that evaluate had.
        rules: How truth is meant.
        root: The project's folder.

    Raises:
        UserError: Something is missing, or the scores are of other images or by another judge.
    """
    judge = find_judge(open_store(root / TEST), root, rules)
    if judge.digest != test_split:
        raise UserError("the truth or the labels of the test split changed after evaluate; run `dvc repro evaluate`")
    candidate = read_scores(evaluated, judge)
    paths = [root / "data/images" / name for name in judge.table["image"]]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(
            f"{missing[0]}: missing, with {len(missing) - 1} more; `dvc checkout data.dvc` brings data/ back"
        )
    return JudgedImages(judge, candidate, paths)


def read_scores(evaluated: Path, judge: Judge) -> pd.DataFrame:
    """Reads what evaluate wrote of a model or a baseline, image by image, in the order of `judge.table`.

    Raises:
        UserError: It is missing, or of other images.
    """
    try:
        scores = pd.read_csv(evaluated, dtype={"image": str}, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise UserError(f"{evaluated}: cannot be read ({error}); run `dvc repro evaluate`") from None
    if list(scores["image"]) != list(judge.table["image"]):
        raise UserError(f"{evaluated}: holds other images than the test split; run `dvc repro evaluate`")
    return scores


Gate = dict[str, Any]


def over_floor(judged: JudgedImages, floor: Floor, evaluation: Path, seed: int) -> Gate:
    """Asks for more than what needs no training; beside a baseline, on the same images, by how much and how surely.

    Args:
        judged: The images, with the candidate's scores.
        floor: What `promote.floor` names.
        evaluation: `reports/evaluation/`.
        seed: Of the bootstrap.
    """
    ours = judged.candidate["iou"].to_numpy()
    iou, text = float(ours.mean()), shown(float(ours.mean()), judged.judge.kind, len(ours))
    found: Gate = {"iou": round(iou, 4), "floor": round(floor.iou, 4), "baseline": floor.baseline}
    text += f", the floor is {floor.shown}"
    if floor.baseline is None:
        return found | {"passed": iou > floor.iou, "says": text}
    theirs = read_scores(evaluation / f"{floor.baseline}.csv", judged.judge)["iou"].to_numpy()
    gain = paired_difference(ours, theirs, seed)
    text += f"; on the same images {gain['mean']:+.3f}, 95 % interval {gain['low']:+.3f} to {gain['high']:+.3f}"
    return found | {"passed": bool(iou > theirs.mean()), "says": text, "gain": gain}


def better(
    candidate: NDArray[np.float64], champion: NDArray[np.float64], settings: params.Promote, seed: int, by: Kind
) -> Gate:
    """Asks for a gain over the champion, on the same images and by the same judge, that is not chance."""
    gain = paired_difference(candidate, champion, seed)
    text = (
        f"{gain['mean']:+.3f} {title(by)} against the champion's {champion.mean():.3f} on the same {len(champion):,} "
        f"images{remark(len(champion))}, 95 % interval {gain['low']:+.3f} to {gain['high']:+.3f}, which must lie above "
        f"{settings.margin:+.3f}"
    )
    scores = {"iou": round(float(candidate.mean()), 4), "champion_iou": round(float(champion.mean()), 4)}
    return {"passed": bool(gain["low"] > settings.margin), "says": text, **scores, "gain": gain}


def no_slice_worse(candidate: pd.DataFrame, champion: NDArray[np.float64], settings: params.Promote) -> Gate:
    """Asks that no kind of image pays for the gain of the others."""
    worst: tuple[float, str] | None = None
    drops: dict[str, float] = {}
    for column, parts in SLICES.items():
        for name, low, high in parts:
            inside = (candidate[column].ge(low) & candidate[column].lt(high)).to_numpy()
            if inside.sum() >= settings.slice_images:
                drop = float(champion[inside].mean() - candidate["iou"].to_numpy()[inside].mean())
                drops[f"{column}_{name}"] = round(drop, 4)
                worst = max(worst or (drop, ""), (drop, f"{column} {name}"))
    if worst is None:
        return {"passed": True, "says": f"no slice has {settings.slice_images} images", "drops": drops}
    text = f"worst slice is {worst[1]}: {-worst[0]:+.3f} against the champion; {-settings.slice_drop:+.3f} is allowed"
    return {"passed": worst[0] <= settings.slice_drop, "says": text, "drops": drops}


def answering(judged: JudgedImages, answers: Answers) -> Gate:
    """Asks that the reloaded model answers a real request, and as evaluate says."""
    rows = judged.sample()
    failed = int((~np.isfinite(answers.boxes).all(axis=1)).sum())
    if failed:
        return {"passed": False, "says": f"the reloaded model could not use {failed} of {len(rows)} images"}
    difference = abs(float(judged.iou(answers, rows).mean() - judged.candidate["iou"].to_numpy()[rows].mean()))
    text = f"the reloaded model answered {len(rows)} images; their IoU is {difference:.4f} off what evaluate wrote"
    return {"passed": difference <= SAME_IOU, "says": text}


def quick(answers: Answers, cap: float) -> Gate:
    """Asks for an answer in time."""
    took = answers.latency_ms if answers.latency_ms is not None else float("inf")
    return {"passed": took <= cap, "says": f"one image takes {took:.1f} ms, the cap is {cap:.1f} ms"}


def reason(gates: Mapping[str, Gate]) -> str:
    """Returns why a candidate is rejected; nothing where it is not."""
    return "; ".join(gate["says"] for gate in gates.values() if not gate["passed"])
