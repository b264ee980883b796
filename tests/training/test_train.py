"""The train stage in a folder of its own: what it writes, logs and says."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from selfie_localizer import boxes, params
from selfie_localizer.dataset.store import TRAINED_ON, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.tracking import mlflow_runs
from selfie_localizer.training import pictures
from selfie_localizer.training.train import train
from tests.training.conftest import make_settings, make_store


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A folder in which the stage has run, with a tuned learning rate."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(empty_database, root / "mlflow.db")
    make_store(root / "build/store/fit")
    (root / "build/tuning").mkdir()
    (root / "build/tuning/tiny.json").write_text(json.dumps({"values": {"train.learning_rate": 0.004}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DVC_ROOT", raising=False)
        settings = make_settings(keep_every_epoch=True, warmup_epochs=0.0)
        train(settings.model_copy(update={"tune": params.Tune(trials=2)}), "tiny", root)
    return root


def test_the_models_folder_holds_the_model_and_what_is_to_be_known_of_it(trained: Path) -> None:
    folder = trained / "models/tiny"
    store = open_store(trained / "build/store/fit")
    meta = json.loads((folder / "meta.json").read_text())
    model = keras.models.load_model(folder / "model.keras", safe_mode=True)
    rows = store.indices("validation")
    iou = boxes.iou(model.predict(store.images[rows], verbose=0)[:, :4], store.boxes[rows]).mean()
    assert iou == pytest.approx(meta["val_iou"], abs=1e-5)
    assert meta["parameters"] == model.count_params()
    trained_on = set((folder / TRAINED_ON).read_text().split())
    assert trained_on == set(store.table["sha256"][store.table["split"] == "train"])
    assert len(trained_on) == 64
    assert (meta["backbone"], meta["image_size"], meta["data_digest"]) == ("tiny", 32, store.digest)
    assert (meta["epochs"], meta["precision"] in ("float32", "bfloat16")) == (3, True)
    assert meta["versions"]["keras"] == keras.__version__
    assert len(meta["model_digest"]) == 64
    for name in ("architecture.png", "curves.png", "predictions.png"):
        assert cv2.imread(str(folder / name)).std() > 1
    assert sorted(path.name for path in folder.glob("checkpoints/*")) == [f"epoch-00{n}.keras" for n in (1, 2, 3)]
    assert keras.models.load_model(folder / "checkpoints/epoch-001.keras").count_params() == meta["parameters"]


def test_reports_are_curves_for_plots_and_figures_for_metrics(trained: Path) -> None:
    table = pd.read_csv(trained / "reports/training/tiny.csv")
    assert list(table.columns) == ["epoch", "loss", "iou", "val_loss", "val_iou", "learning_rate"]
    assert table["epoch"].tolist() == [1, 2, 3]
    figures = json.loads((trained / "reports/training/tiny.json").read_text())
    assert figures["val_iou"] == pytest.approx(table["val_iou"].max(), rel=1e-5)
    assert set(figures) == {"val_iou", "best_epoch", "epochs", "parameters", "minutes"}


def test_tuned_values_replace_those_of_the_parameters(trained: Path) -> None:
    table = pd.read_csv(trained / "reports/training/tiny.csv")
    meta = json.loads((trained / "models/tiny/meta.json").read_text())
    assert meta["settings"]["train"]["learning_rate"] == 0.004
    assert table["learning_rate"].max() < 0.004


def test_mlflow_has_one_run_with_parameters_curves_pictures_and_the_models_digest(trained: Path) -> None:
    meta = json.loads((trained / "models/tiny/meta.json").read_text())
    (run,) = mlflow_runs.find_runs(trained, "train", "tiny", model_digest=meta["model_digest"])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.learning_rate"] == "0.004"
    assert run.data.params["train.batch_size"] == "16"
    assert run.data.params["data.labels"] == f"blob {run.data.params['data.train_images']}"
    assert run.data.metrics["validation/best_iou"] == pytest.approx(meta["val_iou"])
    client = mlflow.MlflowClient(mlflow_runs.tracking_uri(trained))
    assert run.data.params["backbone.parameters"] == str(meta["parameters"])
    curves = {"train": ("loss", "iou", "learning_rate", "images_per_second"), "validation": ("loss", "iou")}
    for metric in (f"{section}/{name}" for section, names in curves.items() for name in names):
        assert [point.step for point in client.get_metric_history(run.info.run_id, metric)] == [1, 2, 3]
    logged = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"architecture.png", "curves.png", "predictions.png"} <= logged


def test_logging_leaves_the_processs_own_tracking_address_as_it_was(trained: Path) -> None:
    assert str(trained) not in mlflow.get_tracking_uri()
    assert str(trained) not in os.environ.get("MLFLOW_TRACKING_URI", "")


def test_finished_state_keeps_no_moments_and_a_second_run_takes_its_result(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (state,) = (trained / ".state/train-tiny").iterdir()
    assert (state / "last.npz").stat().st_size < 20_000
    before = (trained / "models/tiny/meta.json").read_bytes(), (trained / "reports/training/tiny.csv").read_bytes()
    (run,) = mlflow_runs.find_runs(trained, "train", "tiny")
    client = mlflow.MlflowClient(mlflow_runs.tracking_uri(trained))
    client.set_terminated(run.info.run_id, end_time=run.info.start_time + 60_000)
    # What a process that was killed while it logged the model leaves.
    client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run.info.run_id)
    settings = make_settings(keep_every_epoch=True, warmup_epochs=0.0)
    train(settings.model_copy(update={"tune": params.Tune(trials=2)}), "tiny", trained)
    assert "finished before" in capsys.readouterr().err
    after = (trained / "models/tiny/meta.json").read_bytes(), (trained / "reports/training/tiny.csv").read_bytes()
    assert after == before
    (again,) = mlflow_runs.find_runs(trained, "train", "tiny")
    assert again.info.end_time - again.info.start_time == 60_000, "its duration is that of its training"
    assert [str(model.status) for model in client.search_logged_models([run.info.experiment_id])] == ["READY"]


def test_pictures_show_the_same_validation_images_for_every_model(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", train=2, validation=50, test=2)
    chosen = pictures.choose(store, count=8)
    assert len(set(chosen.tolist())) == 8
    assert set(chosen) <= set(store.indices("validation"))
    np.testing.assert_array_equal(chosen, pictures.choose(store, count=8))
    assert len(pictures.choose(make_store(tmp_path / "none", train=2, validation=0, test=1))) == 0


def test_an_unknown_backbone_is_one_line_that_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no backbone resnet in params.yaml; there are tiny"):
        train(make_settings(), "resnet", tmp_path)


def test_a_missing_store_is_one_line_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no usable store .* run `dvc repro prepare`"):
        train(make_settings(), "tiny", tmp_path)


def test_no_labels_is_one_line_and_leaves_no_run(tmp_path: Path) -> None:
    make_store(tmp_path / "build/store/fit", labelled=False)
    with pytest.raises(UserError, match="the train split has no labelled face"):
        train(make_settings(), "tiny", tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


def test_ctrl_c_exits_with_130_and_the_command_says_how_to_go_on(tmp_path: Path, empty_database: Path) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    make_store(tmp_path / "build/store/fit")
    YAML().dump(json.loads(make_settings(epochs=1000).model_dump_json(by_alias=True)), tmp_path / "params.yaml")
    environment = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "DVC_ROOT")}
    command = [sys.executable, "-m", "selfie_localizer", "train", "tiny"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "epoch 2/1000" in line:
            process.send_signal(signal.SIGINT)
    assert process.wait() == 130, "".join(lines)
    (told,) = [line for line in lines if "the best so far" in line]
    assert ".state/train-tiny/" in told
    assert "run the same command again" in lines[-1]
    assert not any("Traceback" in line for line in lines)
    (run,) = mlflow_runs.find_runs(tmp_path, "train", "tiny")
    assert run.info.status == "KILLED"
    assert not (tmp_path / "models/tiny").exists()
