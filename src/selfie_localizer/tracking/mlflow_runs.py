"""MLflow: the only place that knows how runs are named, tagged and nested.

One experiment, `selfie-localizer`. Each backbone has one training run, named as the backbone, and, where something
was searched, one study run `<backbone> tuning` with its trials nested in it. A model whose training run is not in the
store gets a run `<backbone> logged again` when it is promoted. Each baseline has a run of its own, named as the
baseline, so that it stands beside the backbones. Every run carries the tags `stage` (`train`, `tune`, `trial`,
`baseline` or `promote`) and `backbone`, by which the UI filters and later stages find it.

MLflow's page makes a section of what stands before the slash of a metric's name and sorts the sections: `test/...`
comes first, then `test_score/...`, `train/...` and `validation/...`.

The store is `MLFLOW_TRACKING_URI` where that is set, else `mlflow.db` in the project's folder.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from selfie_localizer.errors import UserError
from selfie_localizer.tracking.resilient_run import Run

EXPERIMENT = "selfie-localizer"

# `mlflow run` hands its own run to every subprocess, where two stages would write into it and collide. A stage's run
# becomes a child of it instead. MLflow reads these names when it is imported, so they must be gone before.
_PROJECT_RUN = os.environ.pop("MLFLOW_RUN_ID", None)
os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
# A server that is away must not stop training for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

Stage = Literal["train", "tune", "trial", "baseline", "promote"]

BEST_IOU, BEST_EPOCH = "validation/best_iou", "validation/best_epoch"
# What MLflow shows of `reports/evaluation/<backbone>.json`; the other figures stay there. `iou` sorts first.
TEST_FIGURES = ("iou", "iou_low", "iou_high", "over_0.5", "over_0.75", "over_0.9")
SCORE_FIGURES = ("rank_correlation", "auc", "threshold")


def tracking_uri(root: Path = Path(".")) -> str:
    """Returns where runs are logged: `MLFLOW_TRACKING_URI`, else the project's `mlflow.db`.

    `dvc exp run --temp` works in a copy of the project; its runs go to the real one, which DVC names in `DVC_ROOT`.
    """
    home = Path(os.environ.get("DVC_ROOT", root)).resolve()
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


def database(uri: str) -> Path | None:
    """Returns the file of a SQLite store, or None for a server."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


@contextmanager
def open_run(
    stage: Stage, backbone: str, root: Path, state: Path, parent: str | None = None, trial: int | None = None
) -> Iterator[Run]:
    """Gives a run that is logged to live, and closes it: finished, killed by Ctrl-C, or failed.

    The run's id is kept in the stage's state, so that the stage goes on in the same run after it was killed.

    Args:
        stage: What the run is of.
        backbone: Key of the backbone, or name of the baseline.
        root: The project's folder.
        state: Folder of the stage's unfinished work.
        parent: Id of the run in which this one is nested.
        trial: Number of the trial, for stage `trial`.
    """
    quiet()
    name = {
        "train": backbone,
        "tune": f"{backbone} tuning",
        "trial": f"{backbone} trial {trial}",
        "baseline": backbone.replace("-", " "),
        "promote": f"{backbone} logged again",
    }[stage]
    journals = root / ".state/tracking"
    for journal in sorted(journals.glob("*.jsonl")):
        Run.replay(journal)
    memory = state / (f"run-{trial}" if stage == "trial" else "run")
    known = memory.read_text().split("\n") if memory.exists() else []
    uri = tracking_uri(root)
    run = Run(uri, journals / f"{stage}-{backbone}{'' if trial is None else f'-{trial}'}.jsonl", memory=memory)
    if len(known) == 2 and known[0] == uri:
        run.id = known[1]
    if run.id is None or not run.reopen():
        run.id = None
        run.create(EXPERIMENT, name, _tags(stage, backbone, root, parent or _PROJECT_RUN))
    try:
        yield run
    except KeyboardInterrupt:
        run.end("KILLED")
        raise
    except BaseException:
        run.end("FAILED")
        raise
    run.end()


@contextmanager
def system_metrics(run: Run) -> Iterator[None]:
    """Logs the use of processor, memory and disk while the block runs, where MLflow's own variable
    `MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=true` asks for it.
    """
    from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    if run.id is None or not MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
        yield
        return
    monitor = SystemMetricsMonitor(run.id, resume_logging=True, tracking_uri=run.uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turns nested mappings into dotted names, e.g. `{"train": {"loss": "mse"}}` into `{"train.loss": "mse"}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def evaluation_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """Returns the figures of a `reports/evaluation/<name>.json` by MLflow's names, e.g. `test/iou`."""
    figures = {
        f"test/{name}": value for name, value in report["test"].items() if name.removesuffix("_labels") in TEST_FIGURES
    }
    figures |= {f"test_score/{name}": report.get("score", {}).get(name) for name in SCORE_FIGURES}
    return {name: value for name, value in figures.items() if value is not None}


def evaluation_tags(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `judge`, what judged the figures of an evaluation, `judge_images`, on how many images, and, of a model,
    what was judged: its `form`, and whether with a `second_look`.
    """
    judged = {"judge": report["judge"]["by"], "judge_images": report["judge"]["images"]}
    return judged | {key: str(report[key]).lower() for key in ("form", "second_look") if key in report}


def data_version(root: Path = Path(".")) -> str:
    """Returns the digest by which DVC knows `data/`, or `untracked` where it was not added."""
    from ruamel.yaml import YAML

    try:
        content = YAML(typ="safe", pure=True).load((root / "data.dvc").read_text(encoding="utf-8"))
        return str(content["outs"][0]["md5"])
    except (OSError, KeyError, IndexError, TypeError):
        return "untracked"


def _tags(stage: Stage, backbone: str, root: Path, parent: str | None) -> dict[str, str]:
    tags = {"stage": stage, "backbone": backbone, "mlflow.source.name": f"selfie-localizer {stage}"}
    tags["mlflow.source.type"] = "PROJECT"
    if parent:
        tags["mlflow.parentRunId"] = parent
    commit = git_commit(root)
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["git_dirty"] = str(bool(_git(root, "status", "--porcelain", "--untracked-files=no"))).lower()
    if "DVC_EXP_NAME" in os.environ:
        tags["dvc_exp"] = os.environ["DVC_EXP_NAME"]
    return tags


def git_commit(root: Path = Path(".")) -> str:
    """Returns the commit that is checked out, or nothing outside a repository."""
    return _git(root, "rev-parse", "HEAD")


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def quiet() -> None:
    """Keeps the database's set-up and other chatter out of the user's sight; errors still show."""
    import logging

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def find_runs(root: Path, stage: Stage, backbone: str | None = None, **tags: str) -> list[Any]:
    """Returns the experiment's runs with these tags, newest first.

    Raises:
        UserError: The store does not answer.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient(tracking_uri(root))
    wanted = {"stage": stage, **({"backbone": backbone} if backbone else {}), **tags}
    query = " and ".join(f"tags.{key} = '{value}'" for key, value in wanted.items())
    try:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        return list(client.search_runs([experiment.experiment_id], query)) if experiment else []
    except MlflowException as error:
        raise UserError(f"MLflow at {tracking_uri(root)} does not answer: {error}") from None
