"""The candidate: the best model of this run by the validation split, and its place in the registry."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfie_localizer import params
from selfie_localizer.dataset.store import TEST, TRAINED_ON
from selfie_localizer.errors import UserError
from selfie_localizer.evaluation.choice import by_validation, read_meta
from selfie_localizer.evaluation.judge import figure, shown
from selfie_localizer.network.network_file import FORMS
from selfie_localizer.progress import say
from selfie_localizer.registry.description import describe
from selfie_localizer.registry.servable import Servable, judged_tags
from selfie_localizer.registry.servable import register as register_servable
from selfie_localizer.registry.versions import Registry, number
from selfie_localizer.serving import served_network
from selfie_localizer.tracking import mlflow_runs
from selfie_localizer.tracking.resilient_run import Run

EVALUATION = Path("reports/evaluation")


@dataclass(frozen=True)
class Candidate(Servable):
    """A model that may become champion.

    Attributes:
        report: What evaluate wrote of it, `reports/evaluation/<backbone>.json`.
    """

    report: dict[str, Any]

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
    served = served_network.read(backbone, meta["model_digest"], root)
    evaluated = served.form, wanted.second_look
    if (report.get("form"), report.get("second_look")) != evaluated or served.form not in _forms(wanted):
        raise UserError(
            f"{EVALUATION}/{backbone}.json: not in the form and with the look that `serving` names; "
            "run `dvc repro evaluate` first"
        )
    listed = root / "models" / backbone / TRAINED_ON
    return Candidate(
        backbone=backbone,
        meta=meta,
        serving=wanted.model_copy(update={"form": served.form}),
        network=served.path,
        trained_on=listed.read_text(encoding="utf-8").split() if listed.exists() else None,
        report=report,
    )


def _forms(serving: params.Serving) -> set[str]:
    return set(FORMS) if serving.form == "auto" else {serving.form}


def register(candidate: Candidate, registry: Registry, root: Path) -> Any:
    """Returns the candidate's version, which is made where the registry does not have this model yet."""
    data = mlflow_runs.data_version(root)
    # Data that nobody versions is known by the store that was made of it.
    tags = judged_tags(candidate.judge, candidate.iou, candidate.report["score"]["threshold"])
    tags |= {"data_hash": candidate.judge["store"] if data == "untracked" else data}

    def log(run: Run) -> None:
        say(f"promote: MLflow has no training run of {candidate.backbone}'s model, so it gets a run of its own")
        run.params(mlflow_runs.flat(candidate.meta["settings"]))
        run.metrics(
            {mlflow_runs.BEST_IOU: candidate.meta["val_iou"], **mlflow_runs.evaluation_metrics(candidate.report)}
        )
        run.tags(mlflow_runs.evaluation_tags(candidate.report))

    version, made = register_servable(candidate, registry, root, tags, log)
    registry.describe(version, describe(version, candidate.backbone, candidate.report, root / EVALUATION))
    if made:
        iou = shown(candidate.iou, candidate.judge["by"], candidate.judge["images"])
        say(f"promote: {candidate.backbone} is version {number(version)}, {iou}")
    return version


def _read(path: Path, stage: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path}: missing or damaged; run `dvc repro {stage}` first") from None
