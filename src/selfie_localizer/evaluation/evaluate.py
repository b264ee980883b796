"""The evaluate stage: scores every backbone and the baselines on the same untouched test split."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes, files, images, parallel, params
from selfie_localizer.dataset.prepare import read_opinions
from selfie_localizer.dataset.store import REVIEW, STORE, Store, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.evaluation import pictures
from selfie_localizer.evaluation.scores import judge, paired_difference, summarise, summarise_score
from selfie_localizer.progress import say
from selfie_localizer.tracking import mlflow_runs
from selfie_localizer.tracking.resilient_run import Run

MEAN_BOX, HAAR, FIRST_MODEL = "baseline-mean-box", "baseline-haar", "baseline-first-model"


def evaluate(settings: params.Params, workers: int = 0, root: Path = Path(".")) -> None:
    """Writes `reports/evaluation/`: a JSON and a CSV for each backbone and baseline, a comparison and pictures.

    `reports/metrics.json` has the test IoU of each, which is what DVC compares.

    Baselines are the training split's mean box, OpenCV's Haar cascade, and the first model, where it was asked about
    the labels: what there would be without any training.

    Args:
        settings: All parameters.
        workers: Processes of the Haar baseline; 0 means all cores.
        root: The project's folder.

    Raises:
        UserError: The store or a model is missing, or the test split is empty.
    """
    store = open_store(root / STORE)
    test = store.indices("test", labelled=False)
    if len(test) == 0:
        raise UserError("the test split is empty; add images or raise prepare.test in params.yaml")
    table = store.table.iloc[test].reset_index(drop=True)
    brightness = np.array([cv2.cvtColor(store.images[row], cv2.COLOR_RGB2GRAY).mean() for row in test])
    negatives = store.negatives("test")
    judged: dict[str, pd.DataFrame] = {}
    scores_without_face: dict[str, NDArray[np.float64]] = {}
    for backbone in settings.backbones:
        output = _answers(root / "models" / backbone / "model.keras", store, np.concatenate([test, negatives]))
        faces, scores_without_face[backbone] = output[: len(test)], output[len(test) :, 4]
        predicted = boxes.scale(faces[:, :4], table["width"], table["height"])
        judged[backbone] = judge(predicted, table, brightness).assign(score=faces[:, 4])
    judged[MEAN_BOX] = judge(_mean_box(store, table), table, brightness)
    judged[HAAR] = judge(_haar(settings.annotate, table, workers, root), table, brightness)

    opinions = table[["sha256"]].merge(read_opinions(root, settings.review), on="sha256", how="left")[REVIEW].to_numpy()
    if np.isfinite(opinions).all():
        judged[FIRST_MODEL] = judge(opinions, table, brightness)

    summaries = {name: summarise(frame, settings.seed) for name, frame in judged.items()}
    for backbone, others in scores_without_face.items():
        summaries[backbone] |= summarise_score(judged[backbone], others)
    with files.atomic_write(root / "reports/evaluation") as folder:
        folder.mkdir()
        for name, frame in judged.items():
            files.write_json(folder / f"{name}.json", summaries[name])
            frame.to_csv(folder / f"{name}.csv", index=False, float_format="%.5g", lineterminator="\n")
        files.write_json(folder / "comparison.json", _comparison(settings, judged, summaries))
        for backbone in settings.backbones:
            pictures.draw(backbone, judged[backbone], table, root / "data/images", folder)
        pictures.compare({name: judged[name] for name in judged}, folder / "comparison.png")
    test_iou = {name.removeprefix("baseline-"): summary["test_iou"] for name, summary in summaries.items()}
    files.write_json(root / "reports/metrics.json", {"test_iou": test_iou})
    for backbone in settings.backbones:
        _log(backbone, summaries[backbone], root)
    best = max(settings.backbones, key=lambda name: summaries[name]["test_iou"])
    say(f"evaluate: best is {best} with a test IoU of {summaries[best]['test_iou']:.3f}; see reports/evaluation/")


def _answers(path: Path, store: Store, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns relative boxes and scores, shape (N, 5), of the images at `rows`."""
    from selfie_localizer.network import inference

    if not path.exists():
        raise UserError(f"{path}: missing; run `dvc repro train@{path.parent.name}` first")
    model = inference.load(path)
    batches = [model.predict_on_batch(store.images[rows[start : start + 32]]) for start in range(0, len(rows), 32)]
    return np.concatenate(batches).astype(np.float64)


def _mean_box(store: Store, table: pd.DataFrame) -> NDArray[np.float64]:
    """Returns the training split's mean box, which any network should beat, on every image."""
    mean = store.boxes[store.indices("train")].astype(np.float64).mean(axis=0)
    return boxes.scale(np.tile(mean, (len(table), 1)), table["width"], table["height"])


def _haar(settings: params.Annotate, table: pd.DataFrame, workers: int, root: Path) -> NDArray[np.float64]:
    """Returns what OpenCV's detector, as the annotate stage uses it, finds on each image; NaN for a miss."""
    import functools

    work = functools.partial(_haar_chunk, settings, root / "data/images")
    names = table["image"].tolist()
    chunks = [names[start : start + 32] for start in range(0, len(names), 32)]
    return np.concatenate(list(parallel.map_in_order(work, chunks, workers)))


def _haar_chunk(settings: params.Annotate, folder: Path, names: list[str]) -> NDArray[np.float64]:
    from selfie_localizer.annotators.haar import detect

    found = np.full((len(names), 4), np.nan)
    for row, name in enumerate(names):
        detection = detect(images.read(folder / name), settings)
        if detection is not None:
            found[row] = detection[0]
    return found


def _comparison(
    settings: params.Params, judged: dict[str, pd.DataFrame], summaries: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    order = sorted(settings.backbones, key=lambda name: -summaries[name]["test_iou"])
    keys = ("test_iou", "test_iou_low", "test_iou_high", "share_over_0.5", "share_over_0.75")
    result: dict[str, Any] = {name: {key: summary[key] for key in keys} for name, summary in summaries.items()}
    result["best"] = order[0]
    if len(order) > 1:
        first, second = (judged[name]["iou"].to_numpy() for name in order[:2])
        result["best_minus_second"] = paired_difference(first, second, settings.seed) | {"second": order[1]}
    return result


def _log(backbone: str, summary: dict[str, Any], root: Path) -> None:
    """Adds the scores to the training run of this very model; after a run-cache hit there may be none."""
    meta = json.loads((root / "models" / backbone / "meta.json").read_text())
    runs = mlflow_runs.find_runs(root, "train", backbone, model_digest=meta["model_digest"])
    if not runs:
        say(f"evaluate: MLflow has no training run of {backbone}'s model, so its scores are in reports/ only")
        return
    run = Run(mlflow_runs.tracking_uri(root), root / f".state/tracking/evaluate-{backbone}.jsonl", runs[0].info.run_id)
    run.metrics({key: value for key, value in summary.items() if isinstance(value, float)})
    for path in sorted((root / "reports/evaluation").glob(f"{backbone}*.png")):
        run.artifact(path, "evaluation")
    run.artifact(root / "reports/evaluation/comparison.png", "evaluation")
