"""A network with all that is registered of it, and its place in the registry."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfie_localizer import files, params
from selfie_localizer.errors import UserError
from selfie_localizer.evaluation.judge import metric
from selfie_localizer.registry.versions import Registry, has_files
from selfie_localizer.state import locked_state
from selfie_localizer.tracking import mlflow_runs
from selfie_localizer.tracking.resilient_run import Run


@dataclass(frozen=True)
class Servable:
    """A network that can be registered.

    Attributes:
        backbone: Key of its backbone.
        meta: What is known of it, with at least `model_digest`, `image_size` and `settings`; kept with the version.
        serving: The form in which it is served, not `auto`, and whether it takes a second look.
        network: Its file in that form, which is registered as it is.
        trained_on: SHA-256, in hex, of the images that it was trained on; None where that is not known.
    """

    backbone: str
    meta: Mapping[str, Any]
    serving: params.Serving
    network: Path
    trained_on: Iterable[str] | None

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


def judged_tags(judge: Mapping[str, Any], iou: float, threshold: float | None) -> dict[str, Any]:
    """Returns the tags that say how good a version is; None removes one that a figure under another judge left.

    Args:
        judge: What judged, see `Judge.describe`.
        iou: Mean IoU on the judged images.
        threshold: The least score that evaluate recommends.
    """
    figures: dict[str, Any] = {"test_iou": None, "test_iou_labels": None}
    return figures | {
        metric("test_iou", judge["by"]): iou,
        "judge": judge["by"],
        "judge_images": judge["images"],
        "score_threshold": threshold,
        "test_split": judge["digest"],
    }


def register(
    servable: Servable, registry: Registry, root: Path, tags: Mapping[str, Any], log: Callable[[Run], None]
) -> tuple[Any, bool]:
    """Returns the version of this very model, and whether it was made now, since the registry did not have it yet.

    Args:
        servable: The model.
        registry: Where it goes.
        root: The project's folder.
        tags: Set on the version, also on one that is there; None removes one.
        log: Tells a new run what is known of the model, where no run in MLflow is the model's own.
    """
    version = registry.find(servable.identity)
    if version is not None:
        registry.tag(version, **tags)
        return version, False
    run_id, commit = _run(servable, root, log)
    model_id = _logged(servable, registry, run_id) or _log(servable, registry, run_id)
    fixed = servable.identity | {
        "backbone": servable.backbone,
        "git_commit": commit,
        "params_hash": files.digest(servable.meta["settings"]),
    }
    return registry.register(model_id, {**fixed, **tags}), True


def _run(servable: Servable, root: Path, log: Callable[[Run], None]) -> tuple[str, str]:
    """Returns the run that the model belongs to and the commit it was trained at.

    A run-cache hit skips training, and a database may be gone: then the model gets a run of its own.
    """
    for stage in ("train", "promote"):
        for run in mlflow_runs.find_runs(root, stage, servable.backbone, model_digest=servable.digest):
            return run.info.run_id, run.data.tags.get("mlflow.source.git.commit", "")
    with (
        locked_state("promote", servable.digest, root / ".state") as state,
        mlflow_runs.open_run("promote", servable.backbone, root, state) as run,
    ):
        log(run)
        run.tags({"model_digest": servable.digest})
    if run.id is None:
        raise UserError(f"MLflow at {run.uri} does not answer; start its server and run `dvc repro promote` again")
    return run.id, mlflow_runs.git_commit(root)


def _logged(servable: Servable, registry: Registry, run_id: str) -> str | None:
    """Returns the served model that a promotion killed before registering it had logged in the run."""
    experiment = registry.client.get_run(run_id).info.experiment_id
    query = f"source_run_id = '{run_id}' and name = '{servable.served_name}'"
    for model in registry.client.search_logged_models([experiment], query):
        if str(model.status) == "READY" and has_files(model.artifact_location):
            return str(model.model_id)
    return None


def _log(servable: Servable, registry: Registry, run_id: str) -> str:
    from selfie_localizer.serving import mlflow_model

    logged = mlflow_model.log_served(
        servable.network,
        servable.meta,
        run_id,
        servable.served_name,
        uri=registry.uri,
        serving=servable.serving,
        trained_on=servable.trained_on,
    )
    return str(logged.model_id)
