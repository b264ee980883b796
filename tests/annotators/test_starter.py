"""The first model says as an ONNX file what Keras says; what it needs is named where it is missing."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes, params
from selfie_localizer.annotators.annotate import annotate
from selfie_localizer.annotators.starter import Starter
from selfie_localizer.errors import UserError
from selfie_localizer.network import localizer, starter_network, starter_weights
from selfie_localizer.serving.locator import Locator
from tests.faces import make_faces, write_image

SETTINGS = params.Annotate(annotators={"starter": params.Starter()})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with starter weights that never learned anything, and their network."""
    root = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(0)
    backbone = params.Backbone(architecture=starter_network.ARCHITECTURE)
    model = localizer.build(backbone, params.Network(), starter_network.IMAGE_SIZE)
    # Where all cells are alike, the last digit decides which of them is the most attended.
    attention = model.get_layer("head_attention").kernel
    attention.assign(300 * attention)
    starter_weights.save(model, root / starter_weights.path_of(starter_network.ARCHITECTURE))
    starter_weights.load(model, starter_network.ARCHITECTURE, root)
    starter_network.write(model, root / starter_network.NETWORK)
    return root


@pytest.fixture
def project(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images, one of them unreadable and one a copy, beside the starter weights and what was made of them."""
    make_faces(tmp_path, 5)
    write_image(tmp_path, "broken.jpg", b"broken")
    write_image(tmp_path, "copy.png", (tmp_path / "data/images/0001.png").read_bytes())
    (tmp_path / "starter").symlink_to(made / "starter")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def test_each_photo_has_the_box_that_keras_gives_in_its_own_pixels_and_the_score(project: Path) -> None:
    annotate(SETTINGS, 1, project)
    rows = pd.read_csv(project / "build/annotations.csv").set_index("image")
    assert rows.index.tolist() == ["0000.png", "0001.png", "0002.png", "0003.png", "0004.png", "copy.png"]
    backbone = params.Backbone(architecture=starter_network.ARCHITECTURE)
    model = localizer.build(backbone, params.Network(), starter_network.IMAGE_SIZE)
    starter_weights.load(model, starter_network.ARCHITECTURE, project)
    locator = Locator(lambda pixels: np.asarray(model.predict_on_batch(pixels)), 128, looks_again=True)
    wanted = locator.locate([project / "data/images" / str(name) for name in rows.index], Path.read_bytes)
    for row, answer in zip(rows.to_dict("records"), wanted, strict=True):
        np.testing.assert_allclose(
            [row[side] for side in boxes.SIDES], [answer[side] for side in boxes.SIDES], atol=0.5
        )
        assert row["score"] == pytest.approx(answer["score"], abs=0.005)
    assert rows["score"].between(0, 1).all()
    report = json.loads((project / "reports/annotate.json").read_text())
    assert report["annotators"]["starter"]["found"] == 6


def test_workers_do_without_tensorflow_and_come_to_the_same_bytes(project: Path) -> None:
    script = """
import sys
from pathlib import Path
from selfie_localizer import params
from selfie_localizer.annotators import inquiry
from selfie_localizer.annotators.annotate import annotate
inquiry.CHUNK = 2
annotate(params.Annotate(annotators={"starter": params.Starter()}), int(sys.argv[2]), Path(sys.argv[1]))
assert not {"tensorflow", "keras", "mlflow"} & set(sys.modules)
"""
    found = []
    for workers in ("1", "2"):
        (project / ".cache/annotations.db").unlink(missing_ok=True)
        subprocess.run([sys.executable, "-c", script, str(project), workers], check=True)
        found.append((project / "build/annotations.csv").read_bytes())
    assert found[0] == found[1]


def test_missing_weights_are_one_line_that_names_the_command(project: Path) -> None:
    (project / "starter").unlink()
    with pytest.raises(UserError, match=r"dvc pull -r sample starter\.dvc") as error:
        annotate(SETTINGS, 1, project)
    assert "\n" not in str(error.value)
    assert not (project / "build").exists()


def test_other_weights_are_another_version(project: Path, made: Path) -> None:
    before = Starter("starter", params.Starter(), project).version()
    assert Starter("starter", params.Starter(), project).version() == before
    (project / "starter").unlink()
    (project / "starter").mkdir()
    (project / starter_network.NETWORK).write_bytes((made / starter_network.NETWORK).read_bytes() + b"\0")
    assert Starter("starter", params.Starter(), project).version() != before


def test_a_damaged_network_is_one_line_that_names_the_command(project: Path, made: Path) -> None:
    (project / "starter").unlink()
    (project / "starter").mkdir()
    whole = (made / starter_network.NETWORK).read_bytes()
    (project / starter_network.NETWORK).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"starter/resnet18\.onnx: damaged.*dvc pull -r sample starter\.dvc") as error:
        annotate(SETTINGS, 1, project)
    assert "\n" not in str(error.value)


def test_the_network_is_a_quarter_as_large_as_its_floats(made: Path) -> None:
    floats = sum(array.size * 4 for array in np.load(made / "starter/resnet18.npz").values())
    assert (made / starter_network.NETWORK).stat().st_size < 0.3 * floats


def test_pixels_without_an_answer_have_no_face(project: Path) -> None:
    annotator = Starter("starter", params.Starter(), project)
    annotator.__dict__["_network"] = lambda pixels: np.full((1, 5), np.nan, np.float32)
    assert annotator.locate(np.zeros((9, 9, 3), np.uint8)) is None
