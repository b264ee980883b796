"""What there is without training: taken from what annotators said where they were asked, else asked."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes, params
from selfie_localizer.annotators.haar import Haar
from selfie_localizer.dataset.store import FIT, TEST, open_store
from selfie_localizer.evaluation import baselines as module
from selfie_localizer.evaluation.baselines import (
    FIRST_MODEL,
    HAAR,
    HAAR_MOVED,
    MEAN_BOX,
    MTCNN,
    Baseline,
    find_baselines,
)
from selfie_localizer.evaluation.judge import find_judge
from tests.registry import blobs

# One pixel to the right.
RIGHT = np.array([1, 0, 1, 0])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    blobs.make_project(tmp_path, test=40)
    return tmp_path


@pytest.fixture
def asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that Haar or the first model was asked about; both draw the label one pixel to the right."""
    names: list[str] = []
    drawn = pd.concat([open_store(root / path).table for path in (TEST, FIT)]).set_index("image")[boxes.SIDES]

    def ask(wanted: pd.DataFrame) -> np.ndarray:
        names.extend(wanted["image"])
        return drawn.loc[wanted["image"]].to_numpy(np.float64) + RIGHT

    monkeypatch.setattr(module, "_ask", lambda *_: ask)
    return names


def find(root: Path) -> dict[str, Baseline]:
    judge = find_judge(open_store(root / TEST), root)
    return find_baselines(judge, open_store(root / FIT), params.Params(), 1, root)


def labels(root: Path) -> np.ndarray:
    return open_store(root / TEST).table[boxes.SIDES].to_numpy(np.float64)


def test_the_mean_box_is_that_of_the_training_labels_and_never_part_of_the_judge(root: Path) -> None:
    (root / "data/truth.csv").unlink()
    mean = find(root)[MEAN_BOX]
    trained = open_store(root / FIT).table[boxes.SIDES].to_numpy(np.float64).mean(axis=0)
    np.testing.assert_allclose(mean.boxes, np.tile(trained, (40, 1)), atol=1e-4)
    assert not mean.part_of_judge


def test_annotators_that_were_asked_are_not_asked_again_and_are_moved_as_labels_were(
    root: Path, asked: list[str]
) -> None:
    both = np.vstack([labels(root), np.tile([8.0, 8.0, 24.0, 24.0], (4, 1))])
    shifts = {"haar": [0.1, 0, 0.1, 0], "starter": [0, 0, 0, 0]}
    blobs.annotate(root, {"haar": both, "starter": both}, shifts)
    found = find(root)
    assert asked == []
    np.testing.assert_allclose(found[HAAR].boxes, labels(root))
    width = (labels(root)[:, 2] - labels(root)[:, 0])[:, None]
    np.testing.assert_allclose(found[HAAR_MOVED].boxes, labels(root) + 0.1 * width * RIGHT)
    np.testing.assert_allclose(found[FIRST_MODEL].boxes, labels(root))


@pytest.mark.parametrize(("reference", "moved"), [("data/trusted.csv", True), ("mtcnn", False)])
def test_only_a_persons_boxes_move_the_first_model(root: Path, asked: list[str], reference: str, moved: bool) -> None:
    drawn = np.vstack([labels(root), np.tile([8.0, 8.0, 24.0, 24.0], (4, 1))])
    blobs.annotate(root, {"starter": drawn, "haar": drawn}, {"starter": [0.1, 0, 0.1, 0]})
    report = json.loads((root / "reports/label.json").read_text())
    (root / "reports/label.json").write_text(json.dumps(report | {"convention": reference}))
    width = (labels(root)[:, 2] - labels(root)[:, 0])[:, None]
    np.testing.assert_allclose(find(root)[FIRST_MODEL].boxes, labels(root) + 0.1 * width * RIGHT * moved)
    assert asked == []


def test_mtcnn_is_a_baseline_where_it_is_an_annotator(root: Path, asked: list[str]) -> None:
    assert MTCNN not in find(root)
    both = np.vstack([labels(root), np.tile([8.0, 8.0, 24.0, 24.0], (4, 1))])
    blobs.annotate(root, {"haar": both, "starter": both, "mtcnn": both}, {"mtcnn": [0.1, 0, 0.1, 0]})
    asked.clear()
    found = find(root)[MTCNN]
    assert asked == []
    width = (labels(root)[:, 2] - labels(root)[:, 0])[:, None]
    np.testing.assert_allclose(found.boxes, labels(root) + 0.1 * width * RIGHT)
    assert not found.part_of_judge


def test_what_an_annotator_missed_is_a_miss(root: Path, asked: list[str]) -> None:
    drawn = np.vstack([labels(root), labels(root)[:4]])
    drawn[7] = np.nan
    blobs.annotate(root, {"haar": drawn, "starter": drawn})
    assert np.isnan(find(root)[FIRST_MODEL].boxes[7]).all()
    assert asked == []


def test_who_is_no_annotator_is_asked_and_moved_to_the_trusted_convention(
    root: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.convention, "LEAST_PAIRS", 4)
    (root / "starter").mkdir()
    (root / "starter/resnet18.onnx").touch()
    table = open_store(root / FIT).table
    table[["image", *boxes.SIDES]].to_csv(root / "data/trusted.csv", index=False)
    blobs.annotate(root, {"given": np.zeros((44, 4))})
    found = find(root)
    assert sorted(asked) == sorted(2 * [f"{row}.png" for row in range(44)])
    np.testing.assert_allclose(found[HAAR].boxes, labels(root) + RIGHT)
    # The trusted boxes lie one pixel to the left of what is drawn, which is some share of a box's width.
    for name in (HAAR_MOVED, FIRST_MODEL):
        np.testing.assert_allclose(found[name].boxes, labels(root), atol=0.6)


def test_without_trusted_boxes_the_first_model_is_taken_as_it_is(root: Path, asked: list[str]) -> None:
    (root / "starter").mkdir()
    (root / "starter/resnet18.onnx").touch()
    blobs.annotate(root, {"given": np.zeros((44, 4))})
    found = find(root)
    np.testing.assert_allclose(found[FIRST_MODEL].boxes, labels(root) + RIGHT)
    assert HAAR_MOVED not in found


def test_without_starter_weights_there_is_no_first_model_and_a_line_says_so(
    root: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    blobs.annotate(root, {"haar": np.zeros((44, 4))})
    assert FIRST_MODEL not in find(root)
    assert "first model is no baseline" in capsys.readouterr().err


@pytest.mark.parametrize(("by", "part"), [("truth", False), ("labels", True)])
def test_an_annotator_whose_boxes_judge_is_part_of_the_judge(root: Path, by: str, part: bool) -> None:
    shifts = {"haar": [0.1, 0, 0.1, 0]}
    blobs.annotate(root, dict.fromkeys(("haar", "starter"), np.tile([8.0, 8.0, 24.0, 24.0], (44, 1))), shifts)
    if by == "labels":
        (root / "data/truth.csv").unlink()
    found = find(root)
    assert found[HAAR].part_of_judge is found[HAAR_MOVED].part_of_judge is part
    assert not found[FIRST_MODEL].part_of_judge


def test_haar_is_asked_as_annotate_asks_by_the_parameters_and_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def locate(self: Haar, pixels: np.ndarray) -> object:
        asked.append(self.parameters.neighbours)
        return None if pixels[0, 0, 0] < 60 else (np.array([1.0, 2.0, 3.0, 4.0]), None)

    monkeypatch.setattr(Haar, "locate", locate)
    settings = params.Params(annotate=params.Annotate(annotators={"haar": {"neighbours": 7}}))
    table = open_store(root / TEST).table.iloc[:2]
    for _ in range(2):
        found = module._ask("haar", settings, 1, root)(table)
        assert found[0].tolist() == [1, 2, 3, 4]
        assert np.isnan(found[1]).all()
    assert asked == [7, 7]
