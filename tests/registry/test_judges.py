"""Promotion under one judge and another: truth, labels, a line more of truth, baselines that are part of the judge."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from selfie_localizer import files
from selfie_localizer.errors import UserError
from selfie_localizer.registry import status
from selfie_localizer.registry.promote import promote
from tests.registry import blobs
from tests.registry.test_promote import BETTER, get_alias, get_tags, try_model


@pytest.fixture
def labelled(crowned: Path) -> Path:
    """The project with a champion, whose truth is gone since, so that labels judge."""
    (crowned / "data/truth.csv").unlink()
    return crowned


def test_a_figure_against_labels_is_a_tag_of_another_name(labelled: Path) -> None:
    report = try_model(labelled, **BETTER)
    tags = get_tags(labelled, "2")
    assert "test_iou" not in tags
    assert float(tags["test_iou_labels"]) == report["test_iou_labels"] == pytest.approx(0.9025, abs=1e-3)
    assert (tags["judge"], tags["judge_images"]) == ("labels", "80")
    assert report["judge"]["annotators"] == ["haar"]
    assert "agreement against the champion's" in report["verdict"]["gates"]["better"]["says"]


def test_evaluated_again_by_truth_a_version_loses_its_figure_against_labels(labelled: Path) -> None:
    try_model(labelled, **BETTER)
    blobs.give_truth(labelled, 40)
    blobs.evaluate(labelled)
    promote(blobs.make_settings(), labelled)
    tags = get_tags(labelled, "2")
    assert "test_iou_labels" not in tags
    assert (tags["judge"], tags["judge_images"]) == ("truth", "40")
    assert float(tags["test_iou"]) == pytest.approx(0.9025, abs=1e-3)


def test_a_champion_evaluated_by_another_judge_is_scored_again_by_this_one(crowned: Path) -> None:
    # The truth lies three pixels beside the labels now: 0.725 was against another.
    blobs.give_truth(crowned, 40, moved=3)
    report = try_model(crowned, **BETTER)
    assert get_tags(crowned, "1")["test_split"] != get_tags(crowned, "2")["test_split"]
    assert report["verdict"]["gates"]["better"]["champion_iou"] < 0.65
    champion = status.collect(crowned)["champion"]
    assert (champion["judge"], champion["judge_images"]) == ("truth", 40)


def test_promote_refuses_an_evaluation_by_the_truth_of_before(crowned: Path) -> None:
    blobs.make_model(crowned, **BETTER)
    blobs.evaluate(crowned)
    blobs.give_truth(crowned, 79)
    with pytest.raises(UserError, match="changed after evaluate; run `dvc repro evaluate`"):
        promote(blobs.make_settings(), crowned)
    assert get_alias(crowned) == "1"


def test_promote_refuses_an_evaluation_of_another_model(crowned: Path) -> None:
    blobs.make_model(crowned, **BETTER)
    with pytest.raises(UserError, match="of another model or test split; run `dvc repro evaluate`"):
        promote(blobs.make_settings(), crowned)


def give_baseline(root: Path, name: str, iou: float, part_of_judge: bool = False) -> None:
    """Writes what evaluate writes of a baseline with this IoU on every image, by the judge that the candidate has."""
    folder = root / "reports/evaluation"
    report = json.loads((folder / "baseline-mean-box.json").read_text())
    report["test"]["iou"] = iou
    files.write_json(folder / f"baseline-{name}.json", report | {"part_of_judge": part_of_judge})
    scores = pd.read_csv(folder / "baseline-mean-box.csv").assign(iou=iou)
    scores.to_csv(folder / f"baseline-{name}.csv", index=False)


def try_with_baselines(root: Path, *baselines: tuple[str, float, bool], **rules: Any) -> dict[str, Any]:
    """Promotes a model with an IoU of 0.9025 beside these baselines; returns what the floor's gate says."""
    blobs.make_model(root, **BETTER)
    blobs.evaluate(root)
    for name, iou, part_of_judge in baselines:
        give_baseline(root, name, iou, part_of_judge)
    promote(blobs.make_settings(**rules), root)
    return dict(blobs.read_report(root)["verdict"]["gates"]["floor"])


def test_the_best_baseline_is_the_floor_and_the_gate_compares_on_the_same_images(crowned: Path) -> None:
    floor = try_with_baselines(crowned, ("first-model", 0.92, False), ("haar-moved", 0.8, False))
    assert (floor["passed"], floor["floor"], floor["baseline"]) == (False, 0.92, "baseline-first-model")
    assert floor["gain"]["mean"] == pytest.approx(0.9025 - 0.92, abs=1e-3)
    assert floor["gain"]["low"] <= floor["gain"]["mean"] <= floor["gain"]["high"]
    assert "the floor is 0.920 (first model); on the same images -0.01" in floor["says"]
    assert get_alias(crowned) == "1"


def test_a_baseline_that_is_part_of_the_judge_is_never_the_best(crowned: Path) -> None:
    floor = try_with_baselines(crowned, ("first-model", 0.8, False), ("haar-moved", 0.95, True))
    assert (floor["passed"], floor["baseline"]) == (True, "baseline-first-model")


def test_the_first_model_may_be_the_floor(crowned: Path) -> None:
    floor = try_with_baselines(crowned, ("first-model", 0.8, False), ("mtcnn", 0.95, False), floor="first_model")
    assert (floor["passed"], floor["floor"]) == (True, 0.8)


def test_a_number_may_be_the_floor(crowned: Path) -> None:
    floor = try_with_baselines(crowned, ("first-model", 0.95, False), floor=0.91)
    assert (floor["passed"], floor["floor"], floor["baseline"]) == (False, 0.91, None)


def test_a_baseline_that_is_part_of_the_judge_is_no_floor_and_the_mean_box_is(
    crowned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    floor = try_with_baselines(crowned, ("first-model", 0.95, True), floor="first_model")
    assert (floor["passed"], floor["baseline"]) == (True, "baseline-mean-box")
    assert floor["floor"] < 0.7
    assert "first_model is part of the judge and cannot be the floor; the mean box is" in capsys.readouterr().err


def test_a_floor_that_evaluate_did_not_score_is_one_line(crowned: Path) -> None:
    with pytest.raises(UserError, match=r"baseline-first-model\.json: missing or damaged"):
        try_model(crowned, **BETTER, floor="first_model")


def test_a_floor_by_another_judge_is_refused(crowned: Path) -> None:
    blobs.make_model(crowned, **BETTER)
    blobs.evaluate(crowned)
    path = crowned / "reports/evaluation/baseline-mean-box.json"
    report = json.loads(path.read_text())
    files.write_json(path, report | {"judge": report["judge"] | {"digest": "other"}})
    with pytest.raises(UserError, match=r"baseline-mean-box\.json: by another judge than blob"):
        promote(blobs.make_settings(), crowned)


def test_status_says_what_judged_and_that_few_images_say_little(
    blank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (blank / "data/truth.csv").unlink()
    assert try_model(blank, dark=0.9, normal=0.8)["decision"] == "champion"
    shown = status.table(blank)
    assert "agreement with labels then" in shown
    assert "labels, 80 images" in shown
    assert "test IoU when it was evaluated" not in shown
    assert "say" not in shown
    assert "agreement 0.725 with the annotators' labels of 80 images\n" in capsys.readouterr().err


def test_a_promotion_on_few_images_says_so_wherever_it_shows_the_figure(
    tmp_path: Path, blank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small"
    blobs.make_project(small, test=12, truth=False)
    (blank / "mlflow.db").rename(small / "mlflow.db")
    report = try_model(small, dark=0.9, normal=0.8)
    few = "12 images (so few that it says little: look at the interval)"
    assert few in capsys.readouterr().err
    assert few in report["verdict"]["gates"]["floor"]["says"]
    assert few in status.table(small)
