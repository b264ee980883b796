"""Scores against values worked by hand."""

import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes
from selfie_localizer.evaluation.scores import score_boxes, summarise
from selfie_localizer.intervals import interval, paired_difference

NAN = float("nan")


def make_judging(rows: list[tuple[float, ...]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=boxes.SIDES)
    return table.assign(image=[f"{row}.jpg" for row in range(len(rows))], width=100, height=100)


def score_one(predicted: tuple[float, ...], judging: tuple[float, ...]) -> pd.Series:
    return score_boxes(np.array([predicted]), make_judging([judging]), np.array([100.0])).iloc[0]


BOX, NONE = (0, 0, 10, 20), (NAN,) * 4


def test_a_miss_counts_as_zero() -> None:
    assert score_one(NONE, BOX)["iou"] == 0


def test_a_prediction_is_cut_to_the_image_first() -> None:
    assert score_one((-50, -50, 10, 20), BOX)["iou"] == 1


def test_slicing_values_are_relative_to_the_image() -> None:
    # The judging box is 10 x 20 of 100 x 100 with its centre at (5, 10).
    scored = score_one((0, 0, 10, 10), BOX)
    assert scored["iou"] == 0.5
    assert scored["face_size"] == pytest.approx(np.sqrt(0.02))
    assert scored["position"] == pytest.approx(np.hypot(0.45, 0.40))
    # Centres are (5, 5) and (5, 10); the judging box's diagonal is sqrt(500).
    assert scored["centre_error"] == pytest.approx(5 / np.sqrt(500))


def test_the_summary_of_four_images_worked_by_hand() -> None:
    # IoUs 1, 0.8, 0.5 and 0.
    predicted = np.array([(0, 0, 10, 20), (0, 0, 10, 16), (0, 0, 10, 10), NONE])
    found = summarise(score_boxes(predicted, make_judging([BOX] * 4), np.full(4, 50.0)), "truth")
    test = found["test"]
    assert test["iou"] == 0.575
    assert test["iou_median"] == 0.65
    # Linear between the two lowest: 0.15 of the way from 0 to 0.5.
    assert test["iou_p5"] == 0.075
    assert (test["over_0.5"], test["over_0.75"], test["over_0.9"]) == (0.5, 0.5, 0.25)
    assert found["slices"]["brightness"] == {
        "dark": {"images": 4, "iou": 0.575},
        "normal": {"images": 0, "iou": None},
        "bright": {"images": 0, "iou": None},
    }


def test_no_figure_against_labels_has_the_name_of_one_against_truth() -> None:
    scored = score_boxes(np.array([BOX] * 3, np.float64), make_judging([BOX] * 3), np.full(3, 50.0))
    against_truth, against_labels = summarise(scored, "truth")["test"], summarise(scored, "labels")["test"]
    assert against_labels == {f"{name}_labels": value for name, value in against_truth.items()}


def test_every_image_is_in_exactly_one_part_of_each_slice() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (200, 2))
    label = np.hstack([corner, corner + rng.uniform(1, 50, (200, 2))])
    found = summarise(
        score_boxes(label, make_judging([tuple(box) for box in label]), rng.uniform(0, 255.9, 200)), "truth"
    )
    for parts in found["slices"].values():
        assert sum(part["images"] for part in parts.values()) == 200


def test_the_interval_of_a_constant_is_that_constant() -> None:
    assert interval(np.full(50, 0.7)) == pytest.approx((0.7, 0.7))


def test_the_interval_is_about_two_standard_errors_wide_each_way() -> None:
    values = np.random.default_rng(1).normal(0.6, 0.1, 400)
    low, high = interval(values)
    assert high - low == pytest.approx(4 * 0.1 / 20, rel=0.15)


def test_pairing_finds_a_small_steady_difference_between_scattered_scores() -> None:
    second = np.random.default_rng(2).uniform(0, 0.9, 100)
    found = paired_difference(second + 0.01, second)
    assert found["low"] == found["high"] == found["mean"] == 0.01
