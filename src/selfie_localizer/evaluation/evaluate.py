"""The evaluate stage: scores every backbone, as served, and the baselines on the same untouched test split."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes, files, params
from selfie_localizer.dataset.store import FIT, TEST, Store, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.evaluation import pictures
from selfie_localizer.evaluation.baselines import ANNOTATIONS, FIRST_MODEL, find_baselines
from selfie_localizer.evaluation.choice import by_validation, read_meta
from selfie_localizer.evaluation.judge import Judge, explain, figure, find_judge, metric, shown
from selfie_localizer.evaluation.scores import score_boxes, summarise, summarise_score
from selfie_localizer.intervals import paired_difference
from selfie_localizer.labels.contents import read_output
from selfie_localizer.labels.trusted import TableRules
from selfie_localizer.network import second_look
from selfie_localizer.network.onnx_file import Network, core_count
from selfie_localizer.photos.decode import Pixels, decode_for, read_bytes
from selfie_localizer.photos.limits import ImageError, Limits
from selfie_localizer.progress import say, track
from selfie_localizer.serving import served_network
from selfie_localizer.serving.locator import Locator
from selfie_localizer.state import locked_state
from selfie_localizer.tracking import comparison, mlflow_runs
from selfie_localizer.tracking.resilient_run import Run

REPORTS, METRICS = Path("reports/evaluation"), Path("reports/metrics.json")
BATCH = 32
# Photos by which the time of an answer is measured.
TIMED = 30

Report = dict[str, Any]


def evaluate(settings: params.Params, workers: int = 0, root: Path = Path(".")) -> None:
    """Writes `reports/evaluation/`: a JSON and a CSV for each backbone and baseline, a comparison and pictures.

    What is scored is what would be served: the networks in `build/served/`, which it makes in the form of
    `serving.form`, and with a second look where `serving.second_look` says so. The JSON says what judged and on how
    many images; figures against labels have names that end in `_labels`. The CSV has a row for each judged image.
    `reports/metrics.json` has what DVC compares. The validation split says which backbone is the best; the test split
    only reports.

    Args:
        settings: All parameters.
        workers: Processes of the Haar baseline; 0 means all cores.
        root: The project's folder.

    Raises:
        UserError: A store, a model or a photo is missing, nobody can judge the test split, or the form moves boxes by
            more than `serving.max_shift_px`.
    """
    fit, test = open_store(root / FIT), open_store(root / TEST)
    judge = find_judge(test, root, TableRules.of(settings), read_output(root / ANNOTATIONS, "annotate"))
    ranked = by_validation(settings.backbones, root)
    brightness = np.array([cv2.cvtColor(test.images[row], cv2.COLOR_RGB2GRAY).mean() for row in judge.rows])
    scored: dict[str, pd.DataFrame] = {}
    reports: dict[str, Report] = {}
    rows = np.concatenate([judge.rows, test.negatives("test")])
    digests = {backbone: read_meta(backbone, root)["model_digest"] for backbone in settings.backbones}
    served = served_network.write_all(digests, settings.serving, fit, root)
    networks = {backbone: network.load() for backbone, network in served.items()}
    answers = _answers(settings, networks, test, rows, root)
    for backbone, output in answers.items():
        faces, without_face = output[: len(judge.rows)], output[len(judge.rows) :, 4]
        predicted = boxes.scale(faces[:, :4], judge.table["width"], judge.table["height"])
        scored[backbone] = score_boxes(predicted, judge.table, brightness).assign(score=faces[:, 4])
        reports[backbone] = _report(judge, scored[backbone], settings.seed)
        reports[backbone] |= summarise_score(scored[backbone], without_face)
        network = served[backbone]
        reports[backbone] |= {"form": network.form, "second_look": settings.serving.second_look}
        reports[backbone] |= {"shift_px": network.shift_px, "model_digest": network.model_digest}
        reports[backbone]["milliseconds"] = _milliseconds(networks[backbone], settings, judge, test.size, root)
    for name, baseline in find_baselines(judge, fit, settings, workers, root).items():
        scored[name] = score_boxes(baseline.boxes, judge.table, brightness)
        reports[name] = _report(judge, scored[name], settings.seed) | {"part_of_judge": baseline.part_of_judge}
    if FIRST_MODEL in scored and not reports[FIRST_MODEL]["part_of_judge"]:
        first = scored[FIRST_MODEL]["iou"].to_numpy()
        for backbone in settings.backbones:
            gain = paired_difference(scored[backbone]["iou"].to_numpy(), first, settings.seed)
            reports[backbone]["gain_over_first_model"] = gain

    with files.atomic_write(root / REPORTS) as folder:
        folder.mkdir()
        for name, frame in scored.items():
            files.write_json(folder / f"{name}.json", reports[name])
            frame.to_csv(folder / f"{name}.csv", index=False, float_format="%.5g", lineterminator="\n")
        files.write_json(folder / "comparison.json", _comparison(ranked, judge, scored, reports, settings.seed))
        curves = pd.concat([_curve(backbone, root) for backbone in settings.backbones])
        curves.to_csv(folder / "comparison.csv", index=False, lineterminator="\n")
        for backbone in settings.backbones:
            pictures.draw(backbone, scored[backbone], judge, root / "data/images", folder)
        pictures.compare(scored, judge, folder / "comparison.png")
    metrics = _metrics(judge, {name: reports[name] for name in settings.backbones})
    files.write_json(root / METRICS, metrics)
    for name, report in reports.items():
        if name in settings.backbones:
            _log(name, report, root)
        else:
            _log_baseline(name, report, judge, root)
    best, val_iou = ranked[0]
    iou = shown(figure(reports[best]), judge.kind, len(judge.table))
    say(f"evaluate: best by validation is {best} (IoU {val_iou:.3f} there), {iou}; see {REPORTS}/")
    say(f"evaluate: {explain(judge.describe())}")


def _answers(
    settings: params.Params, networks: Mapping[str, Network], test: Store, rows: NDArray[np.int64], root: Path
) -> dict[str, NDArray[np.float64]]:
    """Returns of each backbone relative boxes and scores, shape (N, 5), of the test images at `rows`."""
    answers: dict[str, NDArray[np.float64]] = {}
    for backbone, network in networks.items():
        parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        answers[backbone] = np.concatenate([network(test.images[part]) for part in parts]).astype(np.float64)
    if not settings.serving.second_look:
        return answers
    paths = [root / "data/images" / str(name) for name in test.table["image"].iloc[rows]]
    return _second_answers(networks, answers, paths, Limits(**settings.photos.model_dump()), test.size)


def _second_answers(
    networks: Mapping[str, Network],
    answers: Mapping[str, NDArray[np.float64]],
    paths: Sequence[Path],
    limits: Limits,
    size: int,
) -> dict[str, NDArray[np.float64]]:
    """Returns what the networks say at a second look; each photo is decoded once for all of them."""

    def read(path: Path) -> Pixels:
        try:
            return second_look.copy_for(decode_for(size, read_bytes(path, limits), limits).pixels)
        except ImageError as error:
            raise UserError(f"{path}: {error}; `dvc checkout data.dvc` brings data/ back, or run `dvc repro`") from None

    found: dict[str, list[NDArray[np.float64]]] = {backbone: [] for backbone in networks}
    with ThreadPoolExecutor(core_count()) as pool:
        starts = range(0, len(paths), BATCH)
        for start in track(starts, len(starts), "evaluate: second look"):
            part = slice(start, start + BATCH)
            copies = list(pool.map(read, paths[part]))
            for backbone, network in networks.items():
                found[backbone].append(second_look.look_again(network, answers[backbone][part], copies, size))
    return {backbone: np.concatenate(parts) for backbone, parts in found.items()}


def _milliseconds(network: Network, settings: params.Params, judge: Judge, size: int, root: Path) -> float:
    """Returns the median time of an answer, from the bytes of a photo to its box, on one photo at a time."""
    limits = Limits(**settings.photos.model_dump())
    locator = Locator(network, size, limits, settings.serving.second_look)
    photos = [read_bytes(root / "data/images" / str(name), limits) for name in judge.table["image"].iloc[:TIMED]]
    took = []
    # The first answer takes longer, as in a service that has just been started.
    for photo in [photos[0], *photos]:
        begin = time.perf_counter()
        locator.locate([photo], lambda content: content)
        took.append(1000 * (time.perf_counter() - begin))
    return round(float(np.median(took[1:])), 1)


def _report(judge: Judge, scored: pd.DataFrame, seed: int) -> Report:
    return {"judge": judge.describe(), **summarise(scored, judge.kind, seed)}


def _curve(backbone: str, root: Path) -> pd.DataFrame:
    """Returns the IoU on the validation split: columns `backbone`, `epoch` and `val_iou`; no rows where it is gone."""
    path, columns = root / "reports/training" / f"{backbone}.csv", ["epoch", "val_iou"]
    curve = pd.read_csv(path, usecols=columns, dtype=str) if path.exists() else pd.DataFrame(columns=columns)
    return curve[columns].assign(backbone=backbone)[["backbone", *columns]]


def _comparison(
    ranked: list[tuple[str, float]],
    judge: Judge,
    scored: Mapping[str, pd.DataFrame],
    reports: Mapping[str, Report],
    seed: int,
) -> Report:
    keys = [metric(name, judge.kind) for name in ("iou", "iou_low", "iou_high", "over_0.5", "over_0.75")]
    models: dict[str, Report] = {}
    validation = dict(ranked)
    for name, report in reports.items():
        models[name] = {key: report["test"][key] for key in keys}
        if name in validation:
            models[name]["val_iou"] = validation[name]
        else:
            models[name]["part_of_judge"] = report["part_of_judge"]
    result: Report = {"judge": judge.describe(), "models": models, "best": ranked[0][0], "chosen_by": "validation"}
    if len(ranked) > 1:
        first, second = (scored[name]["iou"].to_numpy() for name, _ in ranked[:2])
        result["best_minus_second"] = paired_difference(first, second, seed) | {"second": ranked[1][0]}
    return result


def _metrics(judge: Judge, reports: Mapping[str, Report]) -> Report:
    """Returns what DVC shows: few figures, so that its table fits a screen."""
    iou = metric("iou", judge.kind)
    judged = {key: value for key, value in judge.describe().items() if key in ("by", "images")}
    return {"judge": judged, "test": {iou: {name: report["test"][iou] for name, report in reports.items()}}}


def _log(backbone: str, report: Report, root: Path) -> None:
    """Adds the scores to the training run of this very model; after a run-cache hit there may be none."""
    runs = mlflow_runs.find_runs(root, "train", backbone, model_digest=report["model_digest"])
    if not runs:
        say(f"evaluate: MLflow has no training run of {backbone}'s model, so its scores are in reports/ only")
        return
    run = Run(mlflow_runs.tracking_uri(root), root / f".state/tracking/evaluate-{backbone}.jsonl", runs[0].info.run_id)
    run.metrics(mlflow_runs.evaluation_metrics(report))
    run.tags(mlflow_runs.evaluation_tags(report))
    for path in sorted((root / REPORTS).glob(f"{backbone}*.png")):
        run.artifact(path, "evaluation")
    run.artifact(root / REPORTS / "comparison.png", "evaluation")


def _log_baseline(name: str, report: Report, judge: Judge, root: Path) -> None:
    """Logs a baseline as a run, so that it stands beside the backbones; with the same figures once."""
    short, digest = name.removeprefix("baseline-"), files.digest(report)
    logged = mlflow_runs.find_runs(root, "baseline", short, figures_digest=digest)
    if any(run.info.status == "FINISHED" for run in logged):
        return
    with (
        locked_state(name, digest, root / ".state") as state,
        mlflow_runs.open_run("baseline", short, root, state) as run,
    ):
        run.experiment_tags(comparison.saved_view(f"test/{metric('iou', judge.kind)}"))
        run.metrics(mlflow_runs.evaluation_metrics(report))
        run.tags(mlflow_runs.evaluation_tags(report) | {"figures_digest": digest})
