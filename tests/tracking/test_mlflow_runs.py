"""Runs are named, tagged and nested in one way, and a server that goes away loses nothing."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import mlflow
import pytest

from selfie_localizer.tracking import mlflow_runs, resilient_run


@pytest.fixture
def project(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(resilient_run, "RETRY_SECONDS", 0.0)
    (tmp_path / "state").mkdir()
    return tmp_path


def get_runs(uri: str) -> list:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def test_without_a_setting_runs_go_to_the_projects_own_database(project: Path) -> None:
    with mlflow_runs.open_run("train", "resnet18", project, project / "state") as run:
        run.params({"loss": "mse"})
        run.metrics({"iou": 0.5}, step=1)
        run.artifact(Path(__file__), "code")
    (logged,) = get_runs(f"sqlite:///{project}/mlflow.db")
    assert logged.info.run_name == "resnet18"
    assert logged.info.status == "FINISHED"
    assert (logged.data.tags["stage"], logged.data.tags["backbone"]) == ("train", "resnet18")
    assert logged.data.params == {"loss": "mse"}
    assert logged.data.metrics == {"iou": 0.5}
    assert list((project / "mlruns").rglob(Path(__file__).name))
    assert not list((project / ".state").rglob("*.jsonl"))


def test_trials_are_nested_in_their_study(project: Path) -> None:
    with mlflow_runs.open_run("tune", "vgg16", project, project / "state") as study:
        for number in range(2):
            with mlflow_runs.open_run("trial", "vgg16", project, project / "state", study.id, number):
                pass
    logged = {run.info.run_name: run.data.tags.get("mlflow.parentRunId") for run in get_runs(study.uri)}
    assert logged == {"vgg16 tuning": None, "vgg16 trial 0": study.id, "vgg16 trial 1": study.id}


def test_a_resumed_stage_goes_on_in_its_run_and_repeats_no_step(project: Path) -> None:
    with pytest.raises(RuntimeError), mlflow_runs.open_run("train", "resnet18", project, project / "state") as first:
        for step in (1, 2):
            first.epoch(step, {"val_iou": step / 10})
        raise RuntimeError
    with mlflow_runs.open_run("train", "resnet18", project, project / "state") as second:
        for step in (2, 3):
            second.epoch(step, {"val_iou": step / 10})
    (logged,) = get_runs(first.uri)
    assert logged.info.status == "FINISHED"
    history = mlflow.MlflowClient(first.uri).get_metric_history(first.id, "validation/iou")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_a_deleted_run_is_begun_anew(project: Path) -> None:
    with mlflow_runs.open_run("train", "resnet18", project, project / "state") as first:
        pass
    mlflow.MlflowClient(first.uri).delete_run(first.id)
    with mlflow_runs.open_run("train", "resnet18", project, project / "state") as second:
        pass
    assert second.id != first.id


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_run_says_how_it_ended(project: Path, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), mlflow_runs.open_run("train", "resnet18", project, project / "state") as run:
        raise error
    assert get_runs(run.uri)[0].info.status == status


def test_the_run_of_an_mlflow_project_becomes_the_parent(project: Path, run_python) -> None:
    script = """
import sys
from pathlib import Path
from selfie_localizer.tracking import mlflow_runs
with mlflow_runs.open_run("train", "resnet18", Path(sys.argv[1]), Path(sys.argv[1]) / "state") as run:
    run.params({"a": 1})
"""
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    parent = client.create_run(client.create_experiment("other"))
    done = run_python(
        script,
        str(project),
        MLFLOW_RUN_ID=parent.info.run_id,
        MLFLOW_EXPERIMENT_ID=parent.info.experiment_id,
        MLFLOW_TRACKING_URI=f"sqlite:///{project}/mlflow.db",
    )
    assert done.returncode == 0, done.stderr
    (logged,) = get_runs(f"sqlite:///{project}/mlflow.db")
    assert logged.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert client.get_run(parent.info.run_id).data.params == {}


def test_the_commit_and_unsaved_changes_are_recorded(project: Path) -> None:
    git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (project / "file").write_text("1")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (project / "file").write_text("2")
    with mlflow_runs.open_run("train", "resnet18", project, project / "state") as run:
        pass
    tags = get_runs(run.uri)[0].data.tags
    assert tags["mlflow.source.git.commit"] == commit
    assert tags["git_dirty"] == "true"


def test_a_server_that_goes_away_costs_no_record(
    project: Path, mlflow_server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    report = project / "report.txt"
    report.write_text("kept")
    with mlflow_runs.open_run("train", "resnet18", project, project / "state") as run:
        run.epoch(1, {"val_iou": 0.1})
        mlflow_server.stop()
        run.epoch(2, {"val_iou": 0.2})
        run.artifact(report)
    said = capsys.readouterr().err
    assert said.count("does not answer; going on") == 1
    assert "the next run sends them" in said
    (journal,) = (project / ".state/tracking").iterdir()
    assert [json.loads(line).get("do") for line in journal.read_text().splitlines()][1:] == [
        "metrics",
        "artifact",
        "end",
    ]

    mlflow_server.start()
    with mlflow_runs.open_run("train", "vgg16", project, project / "state"):
        pass
    assert "has the records that waited" in capsys.readouterr().err
    client = mlflow.MlflowClient(mlflow_server.uri)
    assert [point.value for point in client.get_metric_history(run.id, "validation/iou")] == [0.1, 0.2]
    assert [item.path for item in client.list_artifacts(run.id)] == ["report.txt"]
    assert client.get_run(run.id).info.status == "FINISHED"
    assert not list((project / ".state/tracking").iterdir())


def test_a_server_that_is_away_from_the_start_costs_no_record(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with mlflow_runs.open_run("train", "resnet18", project, project / "state") as run:
        run.epoch(1, {"val_iou": 0.1})
    assert run.id is None
    (journal,) = (project / ".state/tracking").iterdir()
    kinds = [json.loads(line).get("do") for line in journal.read_text().splitlines()][1:]
    assert kinds == ["create", "metrics", "end"]


def test_a_run_that_the_server_took_late_is_the_one_that_the_stage_goes_on_in(
    project: Path, mlflow_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    mlflow_server.stop()
    with pytest.raises(RuntimeError), mlflow_runs.open_run("train", "resnet18", project, project / "state") as first:
        first.epoch(1, {"val_iou": 0.1})
        raise RuntimeError
    assert first.id is None
    mlflow_server.start()
    with mlflow_runs.open_run("train", "resnet18", project, project / "state") as second:
        second.epoch(1, {"val_iou": 0.1})
        second.epoch(2, {"val_iou": 0.2})
    (logged,) = get_runs(mlflow_server.uri)
    assert (logged.info.run_id, logged.info.status) == (second.id, "FINISHED")
    history = mlflow.MlflowClient(mlflow_server.uri).get_metric_history(second.id, "validation/iou")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2)]


def test_a_refused_record_is_said_and_does_not_hold_up_the_others(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mlflow_runs.open_run("train", "resnet18", project, project / "state") as run:
        run.params({"loss": "mse"})
        run.params({"loss": "ciou"})
        run.metrics({"iou": 1.0})
    assert "MLflow refused params" in capsys.readouterr().err
    logged = get_runs(run.uri)[0]
    assert logged.data.params == {"loss": "mse"}
    assert logged.data.metrics == {"iou": 1.0}


def test_nested_parameters_become_dotted_names() -> None:
    assert mlflow_runs.flat({"train": {"loss": "mse"}, "seed": 0}) == {"train.loss": "mse", "seed": 0}


def test_ctrl_c_while_a_record_is_written_takes_effect_after_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send, begun = resilient_run.Run._send_metrics, []

    def interrupted(run: resilient_run.Run, content: resilient_run.Operation) -> None:
        begun.append(content["step"])
        os.kill(os.getpid(), signal.SIGINT)
        send(run, content)
        begun.append("written")

    with pytest.raises(KeyboardInterrupt), mlflow_runs.open_run("train", "tiny", project, project / ".state") as run:
        monkeypatch.setattr(resilient_run.Run, "_send_metrics", interrupted)
        run.epoch(1, {"val_iou": 0.5})
    assert begun == [1, "written"]
    (found,) = mlflow_runs.find_runs(project, "train", "tiny")
    assert (found.info.status, found.data.metrics) == ("KILLED", {"validation/iou": 0.5})
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_end_of_a_run_stays_when_something_is_logged_later(project: Path) -> None:
    with mlflow_runs.open_run("train", "tiny", project, project / "state") as run:
        pass
    client = mlflow.MlflowClient(run.uri)
    client.set_terminated(run.id, end_time=12_345)
    with resilient_run.mlflow_at(run.uri), resilient_run.active(run.id):
        mlflow.log_metric("late", 1.0)
    logged = client.get_run(run.id)
    assert (logged.info.end_time, logged.info.status) == (12_345, "FINISHED")
    assert logged.data.metrics == {"late": 1.0}


@pytest.mark.parametrize("asked", [True, False])
def test_the_use_of_the_machine_is_logged_only_where_asked(
    project: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", str(asked).lower())
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1")
    with mlflow_runs.open_run("train", "tiny", project, project / "state") as run, mlflow_runs.system_metrics(run):
        time.sleep(0.5)
    (logged,) = get_runs(run.uri)
    assert any(name.startswith("system/") for name in logged.data.metrics) is asked
