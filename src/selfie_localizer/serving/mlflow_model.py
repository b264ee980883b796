"""Packages a network as the served model and logs it to MLflow.

The network is logged in the form in which it was evaluated in place of the `.keras` file: it needs less time than Keras
or a SavedModel does, and a server without TensorFlow starts sooner and is smaller. As ONNX its boxes are the same to a
thousandth of a pixel; LiteRT with weights of 8 bits takes a third of the time, see `benchmarks/latency.py`.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import selfie_localizer
from selfie_localizer import files, params
from selfie_localizer.dataset.store import TRAINED_ON
from selfie_localizer.dependencies import SOURCE, closure
from selfie_localizer.network.network_file import FORMS
from selfie_localizer.tracking.resilient_run import active, mlflow_at

# Beside the runtime of the network's form.
REQUIREMENTS = ("mlflow", "numpy", "pandas", "opencv-python-headless", "pillow")
# Name of what is known of the model among its artifacts.
META = "meta.json"
DEFAULT_SERVING = params.Serving(form="onnx", second_look=False)


def log_served(
    network: Path,
    meta: Mapping[str, Any],
    run_id: str | None,
    name: str = "served",
    *,
    uri: str,
    serving: params.Serving = DEFAULT_SERVING,
    trained_on: Iterable[str] | None = None,
    registered_name: str | None = None,
) -> Any:
    """Logs the served model.

    Args:
        network: The network's file, which is taken as it is.
        meta: What is known of it, at least `image_size`; kept with the model and shown as its metadata.
        run_id: The run that it belongs to; None logs it without a run.
        name: Name of the logged model in the run.
        uri: The tracking store.
        serving: The file's form, not `auto`, and whether it takes a second look; kept with the model too.
        trained_on: SHA-256, in hex, of the images that it was trained on; None does not tell.
        registered_name: Registers it as the next version of this registered model as well.

    Returns:
        MLflow's `ModelInfo`, with `model_uri`, `model_id` and `registered_model_version`.
    """
    import mlflow

    from selfie_localizer.tracking import mlflow_runs

    with mlflow_at(uri), _built(network, meta, serving, trained_on) as parts:
        if run_id is None:
            mlflow.set_experiment(mlflow_runs.EXPERIMENT)
            return mlflow.pyfunc.log_model(name=name, registered_model_name=registered_name, **parts)
        with active(run_id):
            return mlflow.pyfunc.log_model(name=name, registered_model_name=registered_name, **parts)


def save_served(
    network: Path,
    meta: Mapping[str, Any],
    folder: Path,
    serving: params.Serving = DEFAULT_SERVING,
    trained_on: Iterable[str] | None = None,
) -> None:
    """Writes the served model as a local MLflow model folder; the rest is as in `log_served`."""
    import mlflow

    with _built(network, meta, serving, trained_on) as parts:
        mlflow.pyfunc.save_model(path=folder, **parts)


def served_code() -> list[Path]:
    """Returns what `pyfunc_model` needs of this project, relative to the folder that holds the package."""
    return closure("selfie_localizer.serving.pyfunc_model", excluded=())


@contextmanager
def _built(
    network: Path, meta: Mapping[str, Any], serving: params.Serving, trained_on: Iterable[str] | None
) -> Iterator[dict[str, Any]]:
    """Gives MLflow's arguments for the model; the files that they name are gone afterwards."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    numbers: list[ColSpec | TensorSpec] = [ColSpec("double", name, required=False) for name in ("x1", "y1", "x2", "y2")]
    numbers += [ColSpec("long", name, required=False) for name in ("width", "height")]
    numbers += [ColSpec("double", "score", required=False), ColSpec("string", "error", required=False)]
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    package = Path(selfie_localizer.__file__).parent
    with tempfile.TemporaryDirectory(prefix="selfie-localizer-") as holder, warnings.catch_warnings():
        # MLflow wants an input example, which would load the model once more and keep a copy of it.
        warnings.simplefilter("ignore", UserWarning)
        work = Path(holder)
        form = FORMS[serving.form]
        # Readers know the file by this name.
        shutil.copy(network, work / form.name)
        known = dict(meta) | {"form": serving.form, "second_look": serving.second_look}
        files.write_json(work / META, known)
        artifacts = {"network": str(work / form.name), "meta": str(work / META)}
        if trained_on is not None:
            (work / TRAINED_ON).write_text("".join(f"{digest}\n" for digest in trained_on), encoding="utf-8")
            artifacts["trained_on"] = str(work / TRAINED_ON)
        for part in served_code():
            (work / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / part, work / part)
        yield {
            "python_model": str(package / "serving/pyfunc_model.py"),
            "artifacts": artifacts,
            "code_paths": [str(work / "selfie_localizer")],
            "signature": ModelSignature(Schema([ColSpec("string", "image")]), Schema(numbers)),
            "pip_requirements": [f"{name}=={version(name)}" for name in (*REQUIREMENTS, form.package)],
            "metadata": known,
        }
