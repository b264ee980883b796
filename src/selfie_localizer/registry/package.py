"""Builds the served model from a trained one and logs it to MLflow.

The network is logged as a SavedModel in place of the `.keras` file: it is as fast as Keras' `predict_on_batch`, and
loads without KerasHub and the network's own code. Weights frozen into constants were 5 % faster and took 570 MB more
memory for ResNet18, so they stay variables.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import selfie_localizer
from selfie_localizer import files
from selfie_localizer.errors import UserError
from selfie_localizer.registry.locator import load_network

REQUIREMENTS = ("mlflow", "tensorflow", "numpy", "pandas", "opencv-python-headless", "pillow")
CODE = ("__init__.py", "images.py", "boxes.py", "registry/__init__.py", "registry/locator.py")
TOLERANCE = 0.5
PARITY_SIDE = 306


def log_served(
    model_keras: Path,
    meta: Mapping[str, Any],
    run_id: str | None,
    name: str = "served",
    *,
    uri: str,
    registered_name: str | None = None,
) -> Any:
    """Logs the served model.

    Args:
        model_keras: The trained `.keras` file.
        meta: What is known of it, at least `image_size`; kept with the model and shown as its metadata.
        run_id: The run that it belongs to; None logs it without a run.
        name: Name of the logged model in the run.
        uri: The tracking store.
        registered_name: Registers it as the next version of this registered model as well.

    Returns:
        MLflow's `ModelInfo`, with `model_uri`, `model_id` and `registered_model_version`.

    Raises:
        UserError: The file cannot be read, or the exported network gives other boxes than the trained one.
    """
    import mlflow

    from selfie_localizer import tracking

    mlflow.set_tracking_uri(uri)
    with _built(model_keras, meta) as parts:
        if run_id is None:
            mlflow.set_experiment(tracking.EXPERIMENT)
            return mlflow.pyfunc.log_model(name=name, registered_model_name=registered_name, **parts)
        with mlflow.start_run(run_id=run_id):
            return mlflow.pyfunc.log_model(name=name, registered_model_name=registered_name, **parts)


def save_served(model_keras: Path, meta: Mapping[str, Any], folder: Path) -> None:
    """Writes the served model as a local MLflow model folder; the rest is as in `log_served`."""
    import mlflow

    with _built(model_keras, meta) as parts:
        mlflow.pyfunc.save_model(path=folder, **parts)


def export(model_keras: Path, image_size: int, folder: Path) -> None:
    """Writes a trained model as a SavedModel: uint8 (B, S, S, 3) to float32 (B, 5).

    Raises:
        UserError: The file cannot be read, or the boxes differ by more than 0.5 px on an image of side 306.
    """
    import keras

    from selfie_localizer.network import localizer  # noqa: F401  (its layers must be known to Keras)

    try:
        model = keras.models.load_model(model_keras, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{model_keras}: cannot be loaded ({str(error).splitlines()[0]}); train it again") from None

    model.export(str(folder), format="tf_saved_model", verbose=False)
    _check_parity(model.predict_on_batch, load_network(folder), image_size, model_keras)


def _check_parity(trained: Any, served: Any, image_size: int, shown: Path) -> None:
    pixels = _test_images(image_size)
    difference = np.abs(np.asarray(trained(pixels), np.float64) - served(pixels)).max() * PARITY_SIDE
    # Also false for NaN.
    if not difference <= TOLERANCE:
        raise UserError(
            f"{shown}: the exported network is {difference:.2f} px off the trained one, more than {TOLERANCE}; "
            "train it again, with train.precision: float32 if that does not help"
        )


def _test_images(image_size: int) -> NDArray[np.uint8]:
    """Returns 8 blurry, coloured images, since on plain noise every network says the same."""
    import cv2

    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (image_size, image_size), interpolation=cv2.INTER_CUBIC) for image in coarse])


@contextmanager
def _built(model_keras: Path, meta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
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
        export(model_keras, int(meta["image_size"]), work / "network")
        files.write_json(work / "meta.json", dict(meta))
        for part in CODE:
            target = work / "selfie_localizer" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package / part, target)
        yield {
            "python_model": str(package / "registry/served.py"),
            "artifacts": {"network": str(work / "network"), "meta": str(work / "meta.json")},
            "code_paths": [str(work / "selfie_localizer")],
            "signature": ModelSignature(Schema([ColSpec("string", "image")]), Schema(numbers)),
            "pip_requirements": [f"{name}=={version(name)}" for name in REQUIREMENTS],
            "metadata": dict(meta),
        }
