"""Boxes of a registered version on images of today, computed by the code that was logged beside it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_localizer import files
from selfie_localizer.errors import UserError
from selfie_localizer.progress import Progress
from selfie_localizer.registry import answer_script
from selfie_localizer.registry.versions import NAME, Registry
from selfie_localizer.tracking.resilient_run import mlflow_at


class CannotAnswerError(Exception):
    """The version's files are gone, or its code fails; the message says which."""


@dataclass(frozen=True)
class Answers:
    """What a version answered.

    Attributes:
        boxes: In pixels of the images, float64, shape (N, 4); NaN where the version could not use an image.
        latency_ms: Median time to answer one image, or None where it was not measured.
    """

    boxes: NDArray[np.float64]
    latency_ms: float | None


def answers(registry: Registry, version: str, images: Sequence[Path], label: str, timed: int = 0) -> Answers:
    """Loads a version from the registry in a process of its own and asks it for the boxes of image files.

    Args:
        registry: Where the version is.
        version: Its number.
        images: The files.
        label: What the progress shows.
        timed: How many images are asked for again, one by one, to measure the latency.

    Raises:
        CannotAnswerError: The version cannot be loaded or fails.
        UserError: The process was killed from outside, which says nothing of the version.
    """
    with tempfile.TemporaryDirectory(prefix="selfie-localizer-") as holder:
        work = Path(holder)
        model = _download(registry, version, work)
        files.write_json(work / "request.json", {"images": [str(path.resolve()) for path in images], "timed": timed})
        # -P: the script's own folder must not be searched for modules.
        command = [
            sys.executable,
            "-P",
            answer_script.__file__,
            str(model),
            str(work / "request.json"),
            str(work / "answer.json"),
        ]
        environment = os.environ | {"MLFLOW_TRACKING_URI": registry.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment |= {"TF_CPP_MIN_LOG_LEVEL": "2"}
        with (
            Progress(label, len(images)) as progress,
            (work / "log").open("w") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    # The model's own code may print too.
                    if line.strip().isdigit():
                        progress.update(min(int(line), len(images)) - progress.done)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise UserError(
                f"{label}: its process ended with status {process.returncode} before it had answered "
                f"({_last_line(work / 'log')}); the champion is as it was, run `dvc repro promote` again"
            )
        answer = json.loads((work / "answer.json").read_text(encoding="utf-8"))
    if "error" in answer:
        raise CannotAnswerError(answer["error"])
    boxes = [box if box is not None else [np.nan] * 4 for box in answer["boxes"]]
    return Answers(np.array(boxes, np.float64).reshape(-1, 4), answer["latency_ms"])


def _download(registry: Registry, version: str, work: Path) -> Path:
    import mlflow
    from mlflow.exceptions import MlflowException

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    target = work / "model"
    target.mkdir()
    try:
        with mlflow_at(registry.uri):
            return Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/{version}", dst_path=str(target)))
    except (MlflowException, OSError) as error:
        # A server that is away says nothing of the version: asking again shows which of the two it is.
        registry.client.get_model_version(NAME, version)
        line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CannotAnswerError(f"its files are gone ({line})") from None


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
