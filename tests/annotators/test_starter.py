"""A first model says of every image where its face is; where it is not wanted or not there, it says nothing."""

import csv
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes, images, params
from selfie_localizer.annotators import starter
from selfie_localizer.annotators.annotate import annotate
from selfie_localizer.errors import UserError
from selfie_localizer.network import localizer, starter_weights
from tests.faces import draw_face, encode, make_faces, write_image

SETTINGS = params.Review(model="starter")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with starter weights that never learned anything."""
    root = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(0)
    model = localizer.build(params.Backbone(architecture=starter.ARCHITECTURE), params.Network(), starter.SIZE)
    # Where all cells are alike, the last digit decides which of them is the most attended.
    attention = model.get_layer("head_attention").kernel
    attention.assign(300 * attention)
    starter_weights.save(model, root / starter_weights.path_of(starter.ARCHITECTURE))
    return root


@pytest.fixture
def project(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Annotated images, one of them unreadable and one a copy, beside the starter weights."""
    make_faces(tmp_path, 5)
    write_image(tmp_path, "broken.jpg", b"broken")
    write_image(tmp_path, "copy.png", (tmp_path / "data/images/0001.png").read_bytes())
    annotate(params.Annotate(), 1, tmp_path)
    (tmp_path / "starter").symlink_to(weights / "starter")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answers(root: Path) -> list[list[str]]:
    with (root / "build/review.csv").open(newline="") as stream:
        return list(csv.reader(stream))


def test_each_content_has_the_model_s_box_in_pixels_of_the_image_and_its_score(project: Path) -> None:
    starter.review(SETTINGS, workers=1)
    header, *rows = answers(project)
    listing = pd.read_csv(project / "build/images.csv").dropna(subset="sha256").query("error.isna()")
    listing = listing.drop_duplicates("sha256")
    assert header == ["sha256", "review_x1", "review_y1", "review_x2", "review_y2", "review_score"]
    assert [row[0] for row in rows] == listing["sha256"].tolist()
    assert len(rows) == 5
    row = params.Backbone(architecture=starter.ARCHITECTURE, weights="starter")
    model = localizer.build(row, params.Network(), starter.SIZE)
    pixels = np.stack([images.resize(images.read(project / "data/images" / name), 128) for name in listing["image"]])
    expected = model.predict_on_batch(pixels)
    inside = boxes.scale(np.clip(expected[:, :4], 0, 1), listing["width"], listing["height"])
    np.testing.assert_allclose([[float(v) for v in row[1:5]] for row in rows], inside, atol=0.02)
    np.testing.assert_allclose([float(row[5]) for row in rows], expected[:, 4], atol=1e-3)


def test_interrupted_and_repeated_with_other_workers_it_gives_the_same_bytes_and_asks_nothing_twice(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(starter, "CHUNK", 2)
    # Processes that an earlier test has started are in another folder.
    starter.review(SETTINGS, workers=2, root=project)
    expected = (project / "build/review.csv").read_bytes()
    (project / "build/review.csv").unlink()
    lines, calls = starter._lines, []

    def interrupt(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return lines(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(starter, "_lines", interrupt)
    with pytest.raises(KeyboardInterrupt):
        starter.review(SETTINGS, workers=1)
    assert not (project / "build/review.csv").exists()
    starter.review(SETTINGS, workers=1)
    assert (project / "build/review.csv").read_bytes() == expected
    assert "2 of 5 images were done before the interruption" in capsys.readouterr().err
    assert len(calls) == 4


@pytest.mark.parametrize("reason", ["review.model is none", "the boxes came with the data", "is missing"])
def test_where_there_is_nothing_to_ask_the_table_is_empty_and_the_network_is_not_built(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    monkeypatch.setattr(starter, "_model", lambda: pytest.fail("the network was built"))
    if "missing" in reason:
        (project / "starter").unlink()
    if "came" in reason:
        (project / "data/annotations.csv").write_text("image,x1,y1,x2,y2\n0001.png,1,2,30,40\n")
        annotate(params.Annotate(), 1, project)
    starter.review(params.Review() if "none" in reason else SETTINGS)
    assert len(answers(project)) == 1
    assert reason in capsys.readouterr().err


def test_an_image_that_changed_since_annotate_stops_it(project: Path) -> None:
    write_image(project, "0003.png", encode(draw_face(150, (70, 80), 35), "PNG"))
    with pytest.raises(UserError, match=r"0003\.png: changed since it was annotated"):
        starter.review(SETTINGS, workers=1)
