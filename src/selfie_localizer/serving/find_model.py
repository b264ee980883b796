"""Finds a model by what a user calls it: a folder, a run, a version or an alias of the registry."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfie_localizer.errors import UsageError, UserError
from selfie_localizer.tracking import local_registry, mlflow_runs
from selfie_localizer.tracking.resilient_run import mlflow_at

CHAMPION = "models:/selfie-localizer@champion"

# In models/BACKBONE/, or in what a training run logged.
_KERAS = ("model.keras", "data/model.keras")
_HINT = "run `dvc repro` first, or give another --model"


@dataclass(frozen=True)
class Trained:
    """A trained localizer.

    Attributes:
        model: The Keras model, in float32.
        image_size: Side of its square images in pixels.
    """

    model: Any
    image_size: int


@contextlib.contextmanager
def folder(name: str, root: Path = Path(".")) -> Iterator[Path]:
    """Gives the folder of a model, which is to be read only and may be gone afterwards.

    A version whose files lie on this machine is read where it is; of other URIs it is a temporary copy.

    Args:
        name: A folder, or a URI such as `models:/selfie-localizer/3`, `models:/selfie-localizer@champion` or `runs:/ID`
            of a training run.
        root: The project's folder.

    Raises:
        UserError: There is no such model.
    """
    with tempfile.TemporaryDirectory(prefix="selfie-localizer-") as holder:
        found = (_local(name, root) or _download(name, root, Path(holder))) if ":/" in name else Path(name)
        if not found.is_dir():
            raise UserError(
                f"{name}: no such folder; give one, or models:/NAME/VERSION, models:/NAME@ALIAS or runs:/ID"
            )
        yield found


def _local(name: str, root: Path) -> Path | None:
    """Returns the folder of a version where a local registry says that it is; None where only MLflow can tell."""
    uri = mlflow_runs.tracking_uri(root)
    try:
        found = local_registry.find(uri, name)
    except local_registry.UnfamiliarError:
        return None
    if found is None:
        _check_database(name, uri, root)
        raise UserError(f"{name}: not found in {uri}; {_HINT}")
    if not found.files.is_dir():
        raise UserError(
            f"{name}: its files are gone from {found.files}, where they were when it was registered; "
            "bring them back, or give another --model"
        )
    return found.files


def meta(served: Path) -> dict[str, Any]:
    """Returns what is known of a served model, see `mlflow_model.log_served`.

    Raises:
        UserError: It is missing or damaged.
    """
    return _json(served / "artifacts/meta.json")


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: missing or damaged ({first_line(error)})") from None
    return content


def least_score(name: str, root: Path = Path(".")) -> float | None:
    """Returns the least score that evaluate recommends for a model, or None where that is not known.

    Of a version of the registry it is a tag; of `models/<backbone>/` it is in the report of its evaluation, where that
    is of the model as it is now.

    Args:
        name: As in `folder`.
        root: The project's folder.
    """
    if name.startswith("models:/"):
        return _tagged_score(name, root)
    given = Path(name).resolve()
    if given.parent != (root / "models").resolve():
        return None
    try:
        report = _json(root / "reports/evaluation" / f"{given.name}.json")
        same = report.get("model_digest") == _json(given / "meta.json").get("model_digest")
    except UserError:
        return None
    score: float | None = report.get("score", {}).get("threshold") if same else None
    return score


def _tagged_score(name: str, root: Path) -> float | None:
    uri = mlflow_runs.tracking_uri(root)
    try:
        found = local_registry.find(uri, name)
        tags = found.tags if found is not None else {}
    except local_registry.UnfamiliarError:
        tags = _tags(name, uri)
    return float(tags["score_threshold"]) if "score_threshold" in tags else None


def _tags(name: str, uri: str) -> dict[str, str]:
    import mlflow
    from mlflow.exceptions import MlflowException

    model, alias = name.removeprefix("models:/"), ""
    if "@" in model:
        model, alias = model.rsplit("@", 1)
    else:
        model, _, number = model.rpartition("/")
    client = mlflow.MlflowClient(uri)
    try:
        version = client.get_model_version_by_alias(model, alias) if alias else client.get_model_version(model, number)
    except MlflowException:
        return {}
    return dict(version.tags)


def load_trained(name: str, found: Path, root: Path = Path(".")) -> Trained:
    """Loads the Keras model of a folder that `folder` gave.

    A served model has none in it; the one that it was made from is known by its digest, and is looked for in `models/`
    and in the training runs.

    Raises:
        UserError: There is none, or it cannot be loaded.
    """
    from selfie_localizer.network import inference

    with tempfile.TemporaryDirectory(prefix="selfie-localizer-") as holder:
        path = next((found / part for part in _KERAS if (found / part).exists()), None)
        if path is None and (found / "artifacts/meta.json").exists():
            path = _origin(name, meta(found), root, Path(holder))
        if path is None:
            raise UserError(f"{name}: holds neither a model.keras nor a served model of this project")
        model = inference.load(path)
        size = model.input_shape[1]
        if size is None:
            size = _json(path.with_name("meta.json"))["image_size"]
    return Trained(model, size)


def _origin(name: str, known: dict[str, Any], root: Path, holder: Path) -> Path:
    digest, backbone = known["model_digest"], known["backbone"]
    for candidate in sorted((root / "models").glob("*/meta.json")):
        if _json(candidate).get("model_digest") == digest:
            return candidate.with_name("model.keras")
    for run in mlflow_runs.find_runs(root, "train", backbone, model_digest=digest):
        # A run whose files are gone is as good as none.
        with contextlib.suppress(UserError):
            return _download(f"runs:/{run.info.run_id}", root, holder) / _KERAS[1]
    raise UserError(
        f"{name}: the Keras model that it was made from is neither in models/ nor in a training run; "
        "give the folder of one by --model"
    )


def _download(name: str, root: Path, holder: Path) -> Path:
    uri = mlflow_runs.tracking_uri(root)
    _check_database(name, uri, root)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow_runs.quiet()
    # A training run keeps its network under the name `model`.
    full = f"{name}/model" if name.startswith("runs:/") and name.count("/") == 1 else name
    try:
        with mlflow_at(uri):
            return Path(mlflow.artifacts.download_artifacts(full, dst_path=str(holder)))
    except (MlflowException, OSError) as error:
        raise UserError(f"{name}: not found in {uri} ({first_line(error)}); {_HINT}") from None


def _check_database(name: str, uri: str, root: Path) -> None:
    """Refuses a database that is missing; MLflow would make an empty one."""
    database = local_registry.database(uri)
    if database is not None and not database.exists():
        check_project(root)
        raise UserError(f"{name}: there is no {database} yet; {_HINT}")


def check_project(root: Path) -> None:
    """Refuses a folder that is no project's, when a model was not found there.

    Raises:
        UsageError: It holds no `dvc.yaml`.
    """
    if not (root / "dvc.yaml").exists():
        raise UsageError(
            f"{root.resolve()}: no model here; change to the project's folder, the one with dvc.yaml, "
            "or give a model's folder by --model"
        )


def first_line(error: Exception) -> str:
    """Returns what fits into a message of one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
