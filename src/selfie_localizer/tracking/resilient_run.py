"""An MLflow run that outlives its server: what a server did not take is kept in a journal and sent later."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from selfie_localizer import files
from selfie_localizer.progress import say

RETRY_SECONDS = 30.0
# Name of the logged model in its run.
MODEL = "model"
# What a row of a training's history is called in MLflow; its page makes a section of what stands before the slash.
CURVES = {
    "loss": "train/loss",
    "iou": "train/iou",
    "learning_rate": "train/learning_rate",
    "images_per_second": "train/images_per_second",
    "val_loss": "validation/loss",
    "val_iou": "validation/iou",
}

Operation = dict[str, Any]


@contextmanager
def held_interrupt() -> Iterator[None]:
    """Holds Ctrl-C back until the block is over: an interrupted transaction leaves SQLite locked for the process."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[Any] = []
    signal.signal(signal.SIGINT, lambda *arguments: caught.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        before(*caught[0])


class Run:
    """One MLflow run. No method raises because the server is away: the record waits in the journal.

    Args:
        uri: The tracking store.
        journal: File for the records that the server did not take; absent when there are none.
        run_id: An existing run to write into.
        memory: File to which the store and the run's id are written as soon as the run is there.

    Attributes:
        id: The run's id, or None while no server has taken it.
    """

    def __init__(self, uri: str, journal: Path, run_id: str | None = None, memory: Path | None = None) -> None:
        import mlflow

        self._client = mlflow.MlflowClient(uri)
        self.uri, self.id = uri, run_id
        self._journal, self._memory = journal, memory
        self._queue: list[Operation] = []
        self._retry_at = 0.0
        self._logged_step = -1
        self._ended: int | None = None

    def create(self, experiment: str, name: str, tags: Mapping[str, str]) -> None:
        """Creates the run in an experiment, which is created as well where it is missing."""
        self._do("create", experiment=experiment, name=name, tags=dict(tags))

    def reopen(self) -> bool:
        """Goes on in the run of an earlier process: epochs that it had logged are not logged again, and where it had
        finished, the run ends when it did then.

        Returns:
            Whether the server still has the run; True also while it does not answer.
        """
        from mlflow.exceptions import MlflowException

        run_id = self._known_id()
        try:
            before = self._client.get_run(run_id).info
            if before.lifecycle_stage != "active":
                return False
            self._client.update_run(run_id, status="RUNNING")
            history = self._client.get_metric_history(run_id, CURVES["val_iou"])
        except MlflowException as error:
            if _is_final(error):
                return False
            self._lost(error)
        else:
            self._ended = before.end_time if before.status == "FINISHED" else None
            self._logged_step = max((metric.step for metric in history), default=-1)
        return True

    def params(self, values: Mapping[str, Any]) -> None:
        """Logs parameters."""
        self._do("params", values={key: str(value) for key, value in values.items()})

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Logs metrics: points of curves with a step, which a resumed run skips where it has them, or final values."""
        if step is None or step > self._logged_step:
            self._do("metrics", values={key: float(value) for key, value in values.items()}, step=step or 0)

    def epoch(self, number: int, row: Mapping[str, float]) -> None:
        """Logs an epoch's row of a history as points of curves, by the names in `CURVES`."""
        self.metrics({name: row[key] for key, name in CURVES.items() if key in row}, step=number)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Sets tags."""
        self._do("tags", values={key: str(value) for key, value in values.items()})

    def artifact(self, path: Path, folder: str = "") -> None:
        """Logs a file or a folder, which must stay in its place while the server is away."""
        self._do("artifact", path=str(path.resolve()), folder=folder)

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Logs what the run reads: MLflow shows its name, its digest and how it was used."""
        self._do("dataset", name=name, digest=digest[:36], source=source, context=context)

    def model(self, path: Path, requirements: list[str]) -> None:
        """Logs a `.keras` file as the run's model, with a signature; `requirements` is what loading it needs."""
        self._do("model", path=str(path.resolve()), requirements=requirements)

    def experiment_tags(self, values: Mapping[str, str]) -> None:
        """Sets tags of the experiment that the run belongs to."""
        self._do("experiment_tags", values=dict(values))

    def end(self, status: str = "FINISHED") -> None:
        """Closes the run as `FINISHED`, `FAILED` or `KILLED`, after one more try to send what is waiting."""
        self._retry_at = 0.0
        self._do("end", status=status, **({"time": self._ended} if self._ended else {}))
        if self._queue:
            say(f"{len(self._queue)} records for MLflow wait in {self._journal}; the next run sends them")

    def _do(self, kind: str, **content: Any) -> None:
        self._queue.append({"do": kind, "time": time.time_ns() // 1_000_000, **content})
        self.flush()

    def flush(self) -> None:
        """Sends what is waiting, unless the server was found away a moment ago."""
        from mlflow.exceptions import MlflowException

        if time.monotonic() < self._retry_at:
            self._save()
            return
        waiting = self._journal.exists()
        # A server that is slow to answer may be interrupted.
        whole = held_interrupt if self.uri.startswith("sqlite:") else nullcontext
        while self._queue:
            operation = self._queue[0]
            with whole():
                try:
                    getattr(self, f"_send_{operation['do']}")(operation)
                except FileNotFoundError as error:
                    say(f"MLflow: {error.filename} is gone and was not logged")
                except (MlflowException, OSError) as error:
                    if not _is_final(error):
                        self._lost(error)
                        return
                    say(f"MLflow refused {operation['do']} of run {self.id}: {_first_line(error)}")
                self._queue.pop(0)
        if waiting:
            self._journal.unlink(missing_ok=True)
            say("MLflow answers again and has the records that waited")

    @classmethod
    def replay(cls, journal: Path) -> None:
        """Sends what a journal holds, as far as its server takes it."""
        header, *queue = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
        memory = Path(header["memory"]) if header.get("memory") else None
        run = cls(header["uri"], journal, header["run_id"], memory)
        run._queue = queue
        run.flush()

    def _lost(self, error: Exception) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if not self._journal.exists():
            say(f"MLflow at {self.uri} does not answer; going on and keeping the records ({_first_line(error)})")
        self._save()

    def _save(self) -> None:
        memory = str(self._memory.resolve()) if self._memory else None
        lines = [{"uri": self.uri, "run_id": self.id, "memory": memory}, *self._queue]
        with files.atomic_write(self._journal) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def _send_create(self, content: Operation) -> None:
        known = self._client.get_experiment_by_name(content["experiment"])
        experiment = known.experiment_id if known else self._create_experiment(content["experiment"])
        run = self._client.create_run(experiment, content["time"], content["tags"], content["name"])
        self.id = run.info.run_id
        # The folder is gone where other parameters have replaced an unfinished stage.
        if self._memory and self._memory.parent.exists():
            with files.atomic_write(self._memory) as temporary:
                temporary.write_text(f"{self.uri}\n{self.id}")

    def _create_experiment(self, name: str) -> str:
        location = None
        if self.uri.startswith("sqlite:"):
            # Beside the database, wherever the command was started.
            location = Path(self.uri.removeprefix("sqlite:///")).with_name("mlruns").as_uri()
        return self._client.create_experiment(name, artifact_location=location)

    def _send_params(self, content: Operation) -> None:
        from mlflow.entities import Param

        self._client.log_batch(self._known_id(), params=[Param(*item) for item in content["values"].items()])

    def _send_metrics(self, content: Operation) -> None:
        from mlflow.entities import Metric

        at, step = content["time"], content["step"]
        metrics = [Metric(key, value, at, step) for key, value in content["values"].items()]
        self._client.log_batch(self._known_id(), metrics=metrics)

    def _send_tags(self, content: Operation) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(self._known_id(), tags=[RunTag(*item) for item in content["values"].items()])

    def _send_experiment_tags(self, content: Operation) -> None:
        experiment = self._client.get_run(self._known_id()).info.experiment_id
        for key, value in content["values"].items():
            self._client.set_experiment_tag(experiment, key, value)

    def _send_artifact(self, content: Operation) -> None:
        path = Path(content["path"])
        send = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        send(self._known_id(), str(path), content["folder"] or None)

    def _send_dataset(self, content: Operation) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": content["source"]})
        dataset = Dataset(content["name"], content["digest"], source_type="local", source=source)
        context = [InputTag("mlflow.data.context", content["context"])]
        self._client.log_inputs(self._known_id(), [DatasetInput(dataset, context)])

    def _send_model(self, content: Operation) -> None:
        import keras
        import mlflow
        import numpy as np
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        from selfie_localizer.network import localizer  # noqa: F401  (its layers must be known to Keras)

        if self._has_model():
            return
        model = keras.models.load_model(content["path"], compile=False)
        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, *model.input_shape[1:]), "image")]),
            outputs=Schema([TensorSpec(np.dtype("float32"), (-1, *model.output_shape[1:]), "box_and_score")]),
        )
        with mlflow_at(self.uri), active(self._known_id()):
            mlflow.keras.log_model(model, name=MODEL, signature=signature, pip_requirements=content["requirements"])

    def _has_model(self) -> bool:
        """Tells whether an earlier process logged the model; half a one that it left is deleted."""
        from mlflow.entities import LoggedModelStatus

        experiment = self._client.get_run(self._known_id()).info.experiment_id
        query = f"source_run_id = '{self.id}' AND name = '{MODEL}'"
        found = self._client.search_logged_models([experiment], filter_string=query)
        for model in found:
            if model.status != LoggedModelStatus.READY:
                self._client.delete_logged_model(model.model_id)
        return any(model.status == LoggedModelStatus.READY for model in found)

    def _send_end(self, content: Operation) -> None:
        self._client.set_terminated(self._known_id(), content["status"], content["time"])

    def _known_id(self) -> str:
        if self.id is None:
            raise RuntimeError("the run was not created")
        return self.id


@contextmanager
def mlflow_at(uri: str) -> Iterator[None]:
    """Points MLflow's own calls at a store; they know one at a time, and tell it to the process's environment."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        # Else the runs of another project in this process would come here.
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None forgets it, whatever the signature says.


@contextmanager
def active(run_id: str) -> Iterator[None]:
    """Makes a run the one that MLflow's own calls write into. A run that had ended has ended when it did before."""
    import mlflow

    client = mlflow.MlflowClient()
    ended = client.get_run(run_id).info.end_time
    try:
        with mlflow.start_run(run_id=run_id):
            yield
    finally:
        if ended:
            client.set_terminated(run_id, end_time=ended)


def _is_final(error: Exception) -> bool:
    """Tells a refusal, which repeating would not change, from a server that does not answer."""
    refusals = (
        "INVALID_PARAMETER_VALUE",
        "RESOURCE_DOES_NOT_EXIST",
        "RESOURCE_ALREADY_EXISTS",
        "BAD_REQUEST",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "INVALID_STATE",
    )
    return getattr(error, "error_code", None) in refusals


def _first_line(error: Exception) -> str:
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return line if len(line) <= 160 else line[:157] + "..."
