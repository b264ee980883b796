"""The candidate: the best model of this run by the validation split, and its place in the registry."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfie_localizer import files, params
from selfie_localizer.dataset.store import FIT, TEST, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.evaluation.choice import by_validation, read_meta
from selfie_localizer.evaluation.judge import figure, metric, shown
from selfie_localizer.network.network_file import FORMS
from selfie_localizer.progress import say
from selfie_localizer.registry.description import describe
from selfie_localizer.registry.versions import Registry, has_files, number
from selfie_localizer.state import locked_state
from selfie_localizer.tracking import mlflow_runs

EVALUATION = Path("reports/evaluation")


@dataclass(frozen=True)
class Candidate:
    """A model that may become champion.

    Attributes:
        backbone: Key of its backbone.
        meta: Content of its `meta.json`.
        report: What evaluate wrote of it, `reports/evaluation/<backbone>.json`.
        serving: The form in which it is served, and whether it takes a second look.
    """

    backbone: str
    meta: dict[str, Any]
    report: dict[str, Any]
    serving: params.Serving

    @property
    def digest(self) -> str:
        """Names the weights."""
        return str(self.meta["model_digest"])

    @property
    def identity(self) -> dict[str, str]:
        """The tags that say which model this is: its weights, its form, and whether it takes a second look."""
        looks = str(self.serving.second_look).lower()
        return {"model_digest": self.digest, "form": self.serving.form, "second_look": looks}

    @property
    def served_name(self) -> str:
        """Name of the logged model in its run, which may hold the same weights in several forms."""
        return f"served-{self.serving.form}{'-second-look' if self.serving.second_look else ''}"

    @property
    def iou(self) -> float:
        """Mean IoU on the judged test images."""
        return figure(self.report)

    @property
    def judge(self) -> dict[str, Any]:
        """What judged, see `Judge.describe`."""
        return dict(self.report["judge"])

    @property
    def test_split(self) -> str:
        """Names the judged images and their judging boxes: figures of one split may be compared."""
        return str(self.report["judge"]["digest"])


def best(settings: params.Params, root: Path) -> Candidate:
    """Returns the model with the highest IoU on the validation split; of equals, the one whose backbone comes first.

    Raises:
        UserError: There are no backbones, one was not trained, or the best was not evaluated as it is now.
    """
    backbone = by_validation(settings.backbones, root)[0][0]
    meta = read_meta(backbone, root)
    report = _read(root / EVALUATION / f"{backbone}.json", "evaluate")
    store = _read(root / TEST / "store.json", "prepare")["digest"]
    if (report.get("model_digest"), report.get("judge", {}).get("store")) != (meta["model_digest"], store):
        raise UserError(f"{EVALUATION}/{backbone}.json: of another model or test split; run `dvc repro evaluate` first")
    wanted = settings.serving
    if report.get("second_look") != wanted.second_look or report.get("form") not in _forms(wanted):
        raise UserError(
            f"{EVALUATION}/{backbone}.json: not in the form and with the look that `serving` names; "
            "run `dvc repro evaluate` first"
        )
    return Candidate(backbone, meta, report, wanted.model_copy(update={"form": report["form"]}))


def _forms(serving: params.Serving) -> set[str]:
    return set(FORMS) if serving.form == "auto" else {serving.form}


def evaluated_tags(candidate: Candidate) -> dict[str, Any]:
    """Returns the tags that say what evaluate found; None removes one that a figure under another judge left."""
    by = candidate.judge["by"]
    figures: dict[str, Any] = {"test_iou": None, "test_iou_labels": None}
    return figures | {
        metric("test_iou", by): candidate.iou,
        "judge": by,
        "judge_images": candidate.judge["images"],
        "score_threshold": candidate.report["score"]["threshold"],
        "test_split": candidate.test_split,
    }


def register(candidate: Candidate, registry: Registry, root: Path) -> Any:
    """Returns the candidate's version, which is made where the registry does not have this model yet."""
    data = mlflow_runs.data_version(root)
    # Data that nobody versions is known by the store that was made of it.
    current = evaluated_tags(candidate) | {"data_hash": candidate.judge["store"] if data == "untracked" else data}
    version = registry.find(candidate.identity)
    if version is not None:
        registry.tag(version, **current)
        _describe(candidate, version, registry, root)
        return version
    run_id, commit = _run(candidate, root)
    model_id = _logged(candidate, registry, run_id) or _log(candidate, registry, run_id, root)
    fixed = candidate.identity | {
        "backbone": candidate.backbone,
        "git_commit": commit,
        "params_hash": files.digest(candidate.meta["settings"]),
    }
    version = registry.register(model_id, fixed | current)
    _describe(candidate, version, registry, root)
    iou = shown(candidate.iou, candidate.judge["by"], candidate.judge["images"])
    say(f"promote: {candidate.backbone} is version {number(version)}, {iou}")
    return version


def _describe(candidate: Candidate, version: Any, registry: Registry, root: Path) -> None:
    registry.describe(version, describe(version, candidate.backbone, candidate.report, root / EVALUATION))


def _run(candidate: Candidate, root: Path) -> tuple[str, str]:
    """Returns the run that the model belongs to and the commit it was trained at.

    A run-cache hit skips training, and a database may be gone: then the model gets a run of its own.
    """
    for stage in ("train", "promote"):
        for run in mlflow_runs.find_runs(root, stage, candidate.backbone, model_digest=candidate.digest):
            return run.info.run_id, run.data.tags.get("mlflow.source.git.commit", "")
    say(f"promote: MLflow has no training run of {candidate.backbone}'s model, so it gets a run of its own")
    with (
        locked_state("promote", candidate.digest, root / ".state") as state,
        mlflow_runs.open_run("promote", candidate.backbone, root, state) as run,
    ):
        run.params(mlflow_runs.flat(candidate.meta["settings"]))
        run.metrics(
            {mlflow_runs.BEST_IOU: candidate.meta["val_iou"], **mlflow_runs.evaluation_metrics(candidate.report)}
        )
        run.tags({"model_digest": candidate.digest, **mlflow_runs.evaluation_tags(candidate.report)})
    if run.id is None:
        raise UserError(f"MLflow at {run.uri} does not answer; start its server and run `dvc repro promote` again")
    return run.id, mlflow_runs.git_commit(root)


def _logged(candidate: Candidate, registry: Registry, run_id: str) -> str | None:
    """Returns the served model that a promotion killed before registering it had logged in the run."""
    experiment = registry.client.get_run(run_id).info.experiment_id
    query = f"source_run_id = '{run_id}' and name = '{candidate.served_name}'"
    for model in registry.client.search_logged_models([experiment], query):
        if str(model.status) == "READY" and has_files(model.artifact_location):
            return str(model.model_id)
    return None


def _log(candidate: Candidate, registry: Registry, run_id: str, root: Path) -> str:
    from selfie_localizer.serving import mlflow_model, network_formats

    path = root / "models" / candidate.backbone / "model.keras"
    photos = network_formats.validation_photos(open_store(root / FIT))
    logged = mlflow_model.log_served(
        path,
        candidate.meta,
        run_id,
        candidate.served_name,
        uri=registry.uri,
        serving=candidate.serving,
        photos=photos,
    )
    return str(logged.model_id)


def _read(path: Path, stage: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path}: missing or damaged; run `dvc repro {stage}` first") from None
