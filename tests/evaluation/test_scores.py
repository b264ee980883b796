"""Scores against values worked by hand."""

import numpy as np
import pandas as pd
import pytest

from selfie_localizer.evaluation.scores import interval, judge, paired_difference, summarise

NAN = float("nan")


def make_table(rows: list[tuple[float, ...]]) -> pd.DataFrame:
    columns = ["x1", "y1", "x2", "y2", "truth_x1", "truth_y1", "truth_x2", "truth_y2"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(image=[f"{row}.jpg" for row in range(len(rows))], width=100, height=100)


def judge_one(predicted: tuple[float, ...], row: tuple[float, ...]) -> pd.Series:
    return judge(np.array([predicted]), make_table([row]), np.array([100.0])).iloc[0]


LABEL, TRUTH, NONE = (0, 0, 10, 10), (0, 0, 10, 20), (NAN,) * 4


def test_truth_counts_where_there_is_one_and_both_are_told() -> None:
    judged = judge_one((0, 0, 10, 10), LABEL + TRUTH)
    assert judged["iou_label"] == 1
    assert judged["iou_truth"] == 0.5
    assert judged["iou"] == 0.5


def test_without_truth_the_label_counts() -> None:
    judged = judge_one((0, 0, 10, 5), LABEL + NONE)
    assert judged["iou"] == 0.5
    assert np.isnan(judged["iou_truth"])


def test_what_the_annotator_missed_is_judged_against_truth() -> None:
    judged = judge_one((0, 0, 10, 10), NONE + TRUTH)
    assert judged["iou"] == 0.5
    assert np.isnan(judged["iou_label"])


def test_a_miss_counts_as_zero() -> None:
    assert judge_one(NONE, LABEL + TRUTH)["iou"] == 0


def test_a_prediction_is_cut_to_the_image_first() -> None:
    assert judge_one((-50, -50, 10, 10), LABEL + NONE)["iou"] == 1


def test_slicing_values_are_relative_to_the_image() -> None:
    # The truth is 10 x 20 of 100 x 100 with its centre at (5, 10).
    judged = judge_one((0, 0, 10, 10), LABEL + TRUTH)
    assert judged["face_size"] == pytest.approx(np.sqrt(0.02))
    assert judged["position"] == pytest.approx(np.hypot(0.45, 0.40))
    # Centres are (5, 5) and (5, 10); the truth's diagonal is sqrt(500).
    assert judged["centre_error"] == pytest.approx(5 / np.sqrt(500))


def test_the_summary_of_four_images_worked_by_hand() -> None:
    # IoUs 1, 0.8, 0.5 and 0.
    predicted = np.array([(0, 0, 10, 10), (0, 0, 10, 8), (0, 0, 10, 5), NONE])
    found = summarise(judge(predicted, make_table([LABEL + NONE] * 4), np.full(4, 50.0)))
    assert found["test_iou"] == 0.575
    assert found["test_iou_median"] == 0.65
    # Linear between the two lowest: 0.15 of the way from 0 to 0.5.
    assert found["test_iou_p5"] == 0.075
    assert (found["share_over_0.5"], found["share_over_0.75"], found["share_over_0.9"]) == (0.5, 0.5, 0.25)
    assert found["iou_truth"] is None
    assert found["slices"]["brightness"] == {
        "dark": {"images": 4, "iou": 0.575},
        "normal": {"images": 0, "iou": None},
        "bright": {"images": 0, "iou": None},
    }


def test_every_image_is_in_exactly_one_part_of_each_slice() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (200, 2))
    label = np.hstack([corner, corner + rng.uniform(1, 50, (200, 2))])
    table = make_table([(*box, *NONE) for box in label])
    found = summarise(judge(label, table, rng.uniform(0, 255.9, 200)))
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
