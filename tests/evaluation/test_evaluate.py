"""The stage on networks of known quality."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from selfie_localizer import boxes, params
from selfie_localizer.errors import UserError
from selfie_localizer.evaluation.evaluate import evaluate
from selfie_localizer.network import inference, onnx_file
from selfie_localizer.photos.decode import read_bytes
from selfie_localizer.serving.locator import Locator
from selfie_localizer.tracking import comparison, mlflow_runs
from tests.registry import blobs
from tests.registry.champion import forget_environment


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """Evaluated by the truth of 30 of 40 images: `a` is better on the test split, `b` on the validation split."""
    root = tmp_path_factory.mktemp("evaluated")
    blobs.make_project(root, test=40, truth=False)
    blobs.give_truth(root, 30)
    blobs.make_model(root, 0.95, 0.95, "a", val_iou=0.7)
    digest = blobs.make_model(root, 0.9, 0.9, "b", val_iou=0.8)
    shutil.copy(empty_database, root / "mlflow.db")
    (root / "reports/training").mkdir(parents=True)
    (root / "reports/training/b.csv").write_text("epoch,loss,val_iou\n1,0.5,0.7\n2,0.4,0.8\n")
    with pytest.MonkeyPatch.context() as patch:
        forget_environment(patch)
        (root / ".state/run").mkdir(parents=True)
        with mlflow_runs.open_run("train", "b", root, root / ".state/run") as run:
            run.tags({"model_digest": digest})
        evaluate(blobs.make_settings("a", "b"), 1, root)
    return root


def read(root: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((root / "reports" / name).read_text()))


def test_every_figure_stands_beside_what_judged(finished: Path) -> None:
    for name in ("a", "b", "baseline-mean-box", "baseline-haar", "baseline-first-model"):
        report = read(finished, f"evaluation/{name}.json")
        assert {key: report["judge"][key] for key in ("by", "images", "unjudged")} == {
            "by": "truth",
            "images": 30,
            "unjudged": 10,
        }
        assert len(pd.read_csv(finished / f"reports/evaluation/{name}.csv")) == 30
    assert read(finished, "evaluation/b.json")["test"]["iou"] == pytest.approx(0.81, abs=1e-3)
    assert read(finished, "evaluation/baseline-first-model.json")["test"]["iou"] == 1


def test_the_best_backbone_is_the_validation_splits(finished: Path) -> None:
    comparison = read(finished, "evaluation/comparison.json")
    assert (comparison["best"], comparison["chosen_by"]) == ("b", "validation")
    assert comparison["models"]["a"]["iou"] > comparison["models"]["b"]["iou"]
    assert (comparison["models"]["a"]["val_iou"], comparison["models"]["b"]["val_iou"]) == (0.7, 0.8)
    assert comparison["best_minus_second"]["mean"] < 0
    assert comparison["models"]["baseline-haar"]["part_of_judge"] is False


def test_the_curves_of_all_backbones_that_have_one_are_in_one_file(finished: Path) -> None:
    curves = (finished / "reports/evaluation/comparison.csv").read_text()
    assert curves == "backbone,epoch,val_iou\nb,1,0.7\nb,2,0.8\n"


def test_the_metrics_of_dvc_are_few(finished: Path) -> None:
    metrics = read(finished, "metrics.json")
    assert metrics["judge"] == {"by": "truth", "images": 30, "unjudged": 10}
    assert metrics["serving"] == {key: {"form": "onnx", "second_look": False} for key in "ab"}
    assert set(metrics["test"]) == {"iou"}
    assert metrics["test"]["iou"] == pytest.approx({"a": 0.9025, "b": 0.81}, abs=1e-3)


def test_mlflow_has_the_figures_in_sections_and_the_judge_as_tags(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_environment(monkeypatch)
    (run,) = mlflow_runs.find_runs(finished, "train", "b")
    report = read(finished, "evaluation/b.json")
    shown = ("iou", "iou_low", "iou_high", "over_0.5", "over_0.75", "over_0.9")
    assert {name: value for name, value in run.data.metrics.items() if name.startswith("test/")} == {
        f"test/{name}": report["test"][name] for name in shown
    }
    assert run.data.metrics["test_score/threshold"] == report["score"]["threshold"]
    assert (run.data.tags["judge"], run.data.tags["judge_images"]) == ("truth", "30")


def test_baselines_stand_beside_the_backbones_in_mlflow(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_environment(monkeypatch)
    client = MlflowClient(mlflow_runs.tracking_uri(finished))
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    view = json.loads(json.loads(experiment.tags[comparison.TAG])["state"])
    runs = client.search_runs([experiment.experiment_id], view["searchFilter"], order_by=[view["orderByKey"] + " DESC"])
    # The first model's boxes are the truth of these images; `a` has no training run to show.
    assert [run.info.run_name for run in runs][:2] == ["first model", "b"]
    assert {run.info.run_name for run in runs} == {"first model", "b", "mean box", "haar"}
    assert {run.data.tags["stage"] for run in runs} == {"train", "baseline"}
    assert runs[0].data.metrics["test/iou"] == 1


def test_baselines_of_the_same_figures_are_logged_once(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_environment(monkeypatch)
    root = tmp_path / "copy"
    shutil.copytree(finished, root)
    evaluate(blobs.make_settings("b"), 1, root)
    before = mlflow_runs.find_runs(finished, "baseline")
    assert len(mlflow_runs.find_runs(root, "baseline")) == len(before) == 3
    blobs.give_truth(root, 40)
    evaluate(blobs.make_settings("b"), 1, root)
    assert len(mlflow_runs.find_runs(root, "baseline")) == 6


def test_with_a_second_look_its_boxes_are_scored_and_said_so(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_environment(monkeypatch)
    shutil.copytree(finished, tmp_path / "copy")
    root = tmp_path / "copy"
    settings = params.replace(blobs.make_settings("a"), {"serving.second_look": True})
    evaluate(settings, 1, root)
    report = read(root, "evaluation/a.json")
    assert (report["form"], report["second_look"]) == ("onnx", True)
    assert read(root, "metrics.json")["serving"] == {"a": {"form": "onnx", "second_look": True}}
    network = onnx_file.load(write_onnx(root / "models/a/model.keras", tmp_path))
    scored = pd.read_csv(root / "reports/evaluation/a.csv")
    paths = [root / "data/images" / name for name in scored["image"]]
    rows = Locator(network, blobs.SIZE, looks_again=True).locate(paths, read_bytes)
    expected = pd.DataFrame(rows)[[*boxes.SIDES, "score"]]
    pd.testing.assert_frame_equal(scored[[*boxes.SIDES, "score"]], expected, atol=1e-3, rtol=1e-3)
    first = pd.read_csv(finished / "reports/evaluation/a.csv")
    assert not scored["x1"].equals(first["x1"])
    (root / "data/images" / scored["image"][0]).unlink()
    with pytest.raises(UserError, match=r"png: cannot be read .*; `dvc checkout data.dvc` brings data/ back"):
        evaluate(settings, 1, root)


def write_onnx(model: Path, folder: Path) -> Path:
    onnx_file.export(inference.load(model), folder / "network.onnx", blobs.SIZE)
    return folder / "network.onnx"


def test_pictures_are_drawn_of_each_backbone(finished: Path) -> None:
    drawn = {path.name for path in (finished / "reports/evaluation").glob("*.png")}
    assert drawn == {"comparison.png"} | {f"{name}-{kind}.png" for name in "ab" for kind in ("best", "worst", "scores")}


def test_without_truth_figures_and_the_closing_line_say_agreement(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_environment(monkeypatch)
    shutil.copytree(finished, tmp_path / "copy")
    root = tmp_path / "copy"
    (root / "data/truth.csv").unlink()
    evaluate(blobs.make_settings("a", "b"), 1, root)
    assert set(read(root, "metrics.json")["test"]) == {"iou_labels"}
    assert all(name.endswith("_labels") for name in read(root, "evaluation/b.json")["test"])
    assert read(root, "evaluation/baseline-haar.json")["part_of_judge"] is True
    (run,) = mlflow_runs.find_runs(root, "train", "b")
    assert run.data.tags["judge"] == "labels"
    assert "test/iou_labels" in run.data.metrics
    said = capsys.readouterr().err
    assert "best by validation is b (IoU 0.800 there), agreement 0.810 with the annotators' labels of 40 images" in said
    assert "judged by the annotators' labels of 40 test images (haar), so this is agreement with them" in said


def test_without_a_model_the_stage_that_makes_it_is_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    (tmp_path / "copy/models/a/model.keras").unlink()
    with pytest.raises(UserError, match=r"a/model\.keras: missing; run `dvc repro train@a` first"):
        evaluate(blobs.make_settings("a", "b"), 1, tmp_path / "copy")


def test_a_truth_in_percent_judges_nothing(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(finished, root)
    blobs.give_truth(root, 40)
    truth = pd.read_csv(root / "data/truth.csv")
    truth[boxes.SIDES] *= 100 / blobs.SIZE
    truth.to_csv(root / "data/truth.csv", index=False)
    with pytest.raises(UserError, match=r"truth.csv: .* if they were percentages of the image"):
        evaluate(blobs.make_settings("a", "b"), 1, root)


def test_a_truth_most_of_whose_rows_match_no_image_judges_nothing(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(finished, root)
    truth = pd.read_csv(root / "data/truth.csv")
    truth["image"] = "old/x" + truth["image"]
    truth.to_csv(root / "data/truth.csv", index=False)
    with pytest.raises(UserError, match=r"truth.csv: 0 of 30 rows match an image; looked for"):
        evaluate(blobs.make_settings("a", "b"), 1, root)
