"""The article's own recipe, `profiles/article.yaml`, from photos to the registry."""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import pytest

from selfie_localizer import params
from selfie_localizer.acquire.render import render
from selfie_localizer.network import backbones, inference
from tests.pipeline.conftest import Project, make_project, stages_run

PHOTOS = 60


def make_preset(folder: Path) -> None:
    """Saves a narrow ResNet of random weights in the form in which ImageNet's come, with their normalisation."""
    import keras_hub

    keras.utils.set_random_seed(0)
    narrow = {"stackwise_num_filters": [64, 16, 16, 32], "stackwise_num_blocks": [1, 1, 1, 1]}
    backbones.load(params.Backbone(architecture="resnet50", arguments=narrow)).backbone.save_to_preset(str(folder))
    converter = keras_hub.layers.ResNetImageConverter(image_size=(300, 300), scale=1 / 255)
    converter.save_to_preset(str(folder))


@pytest.fixture
def finished(tmp_path: Path, empty_database: Path) -> tuple[Project, str]:
    """A project in which `dvc repro` has run on rendered photos; only where the weights come from was changed."""
    project = make_project(tmp_path / "project")
    render(PHOTOS, 0, project.root / "data")
    shutil.copy(project.root / "profiles/article.yaml", project.root / "params.yaml")
    make_preset(project.root / "preset")
    project.set_params({"backbones.resnet50.weights": "preset"})
    project.run("git", "commit", "--quiet", "--all", "-m", "article")
    shutil.copy(empty_database, project.root / "mlflow.db")
    return project, project.run("dvc", "repro", MLFLOW_TRACKING_URI="", DVC_ROOT="").stdout


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.long
def test_the_article_s_recipe_runs_from_photos_to_the_registry(finished: tuple[Project, str]) -> None:
    project, output = finished
    stages = ["annotate", "validate", "label", "prepare", "tune@resnet50", "train@resnet50", "evaluate", "promote"]
    assert stages_run(output) == stages
    root = project.root
    assert list(read(root / "reports/annotate.json")["annotators"]) == ["haar"]

    # What the article's text says of network and training.
    model = inference.load(root / "models/resnet50/model.keras")
    assert model.input_shape == (None, 300, 300, 3)
    neck = model.get_layer("neck_conv")
    assert (neck.filters, neck.kernel_size, neck.strides, neck.activation.__name__) == (1024, (3, 3), (2, 2), "relu")
    assert isinstance(model.get_layer("vectorizer_gap"), keras.layers.GlobalAveragePooling2D)
    hidden, numbers = model.get_layer("head_dense"), model.get_layer("head_regression")
    assert (hidden.units, hidden.activation.__name__, numbers.units) == (512, "relu", 4)
    train = read(root / "models/resnet50/meta.json")["settings"]["train"]
    article = {"epochs": 10, "batch_size": 16, "loss": "mse", "optimizer": "adam", "schedule": "exponential"}
    article |= {"decay_steps": 3600, "decay_rate": 0.8, "keep_every_epoch": True}
    assert {key: train[key] for key in article} == article
    assert len((root / "reports/training/resnet50.csv").read_text().splitlines()) == 1 + 10
    assert len(list((root / "models/resnet50/checkpoints").iterdir())) == 10

    # Of so few test photos the labels are the judge.
    assert 0 < read(root / "reports/evaluation/resnet50.json")["test"]["iou_labels"] < 1
    assert read(root / "reports/promotion.json")["decision"]
    (image,) = sorted((root / "data/images").iterdir())[:1]
    answer = project.run("selfie-localizer", "predict", str(image), "--model", "models/resnet50", "--format", "json")
    assert json.loads(answer.stdout)[0]["error"] is None
