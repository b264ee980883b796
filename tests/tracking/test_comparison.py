"""MLflow's page opens on the comparison: the view is one that MLflow's page would have saved, and the link names it."""

import json
import shutil
from pathlib import Path

import mlflow
import pytest

from selfie_localizer.tracking import comparison, mlflow_runs


@pytest.fixture
def project(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def save(project: Path) -> str:
    """Logs a baseline as `evaluate` does, and returns the experiment's id."""
    (project / "state").mkdir(exist_ok=True)
    with mlflow_runs.open_run("baseline", "mean-box", project, project / "state") as run:
        run.experiment_tags(comparison.saved_view("test/iou"))
    client = mlflow.MlflowClient(run.uri)
    return str(client.get_run(run.id).info.experiment_id)


def test_the_view_shows_the_test_iou_of_all_that_has_one_best_first(project: Path) -> None:
    experiment = mlflow.MlflowClient(mlflow_runs.tracking_uri(project)).get_experiment(save(project))
    view = json.loads(experiment.tags[comparison.TAG])
    state = json.loads(view["state"])
    assert view["name"] == "Backbones by test IoU"
    assert state["searchFilter"] == "metrics.`test/iou` >= 0"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test/iou`", False)
    assert state["selectedColumns"][:3] == ["metrics.`test/iou`", "metrics.`test/iou_low`", "metrics.`test/iou_high`"]


def test_figures_against_labels_have_columns_of_their_own() -> None:
    state = json.loads(json.loads(comparison.saved_view("test/iou_labels")[comparison.TAG])["state"])
    assert state["selectedColumns"][:2] == ["metrics.`test/iou_labels`", "metrics.`test/iou_low_labels`"]


def test_the_link_opens_the_view_as_charts_in_the_half_of_the_page_that_has_runs(project: Path) -> None:
    experiment = save(project)
    assert comparison.link(project) == (
        "mlflow ui",
        f"http://127.0.0.1:5000/#/experiments/{experiment}/runs"
        "?workflowType=machine_learning&viewStateShareKey=comparison&compareRunsMode=CHART",
    )


def test_where_nothing_was_evaluated_there_is_no_link(project: Path) -> None:
    assert comparison.link(project) is None
    (project / "mlflow.db").unlink()
    assert comparison.link(project) is None
    assert not (project / "mlflow.db").exists()


def test_a_database_elsewhere_is_named_when_the_page_is_started(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlflow.db'}")
    found = comparison.link(Path("/nowhere"))
    assert found is not None
    assert found[0] == 'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI"'


def test_a_server_shows_its_own_page_and_no_password(
    project: Path, mlflow_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = mlflow_server.uri.replace("http://", "http://someone:secret@")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    save(project)
    found = comparison.link(project)
    assert found is not None
    assert found[0] == ""
    assert found[1].startswith(f"{mlflow_server.uri}/#/experiments/")
    mlflow_server.stop()
    assert comparison.link(project) is None


def test_the_link_of_a_local_project_is_found_without_importing_mlflow(project: Path, run_python) -> None:
    save(project)
    script = """
import sys
from pathlib import Path
from selfie_localizer.tracking import comparison
assert comparison.link(Path(sys.argv[1]))
assert "mlflow" not in sys.modules
"""
    done = run_python(script, str(project))
    assert done.returncode == 0, done.stderr
