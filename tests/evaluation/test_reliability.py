"""The score's figures against values worked by hand."""

import numpy as np
import pytest

from selfie_localizer.evaluation.reliability import area_under_roc, recommend, reliability


def test_a_score_that_keeps_its_promise_has_no_gap() -> None:
    values = np.linspace(0.05, 0.95, 100)
    found = reliability(values, values)
    assert found["rank_correlation"] == 1
    assert found["largest_gap"] == 0
    assert [part["images"] for part in found["tenths"]] == [10] * 10


def test_the_largest_gap_is_that_of_the_worst_tenth() -> None:
    score = np.arange(20) / 20
    iou = score.copy()
    iou[4:6] += 0.3  # The third tenth, and so out of order.
    found = reliability(score, iou)
    assert found["largest_gap"] == pytest.approx(0.3)
    assert found["tenths"][2] == {"images": 2, "score": 0.225, "iou": 0.525}
    assert 0.8 < found["rank_correlation"] < 1


def test_without_a_spread_there_is_no_correlation() -> None:
    assert reliability(np.full(5, 0.5), np.linspace(0, 1, 5))["rank_correlation"] is None
    assert reliability(np.array([]), np.array([])) == {"rank_correlation": None, "tenths": [], "largest_gap": None}


def test_area_under_roc_counts_pairs_and_ties_half() -> None:
    # 0.9 beats both, 0.4 beats 0.1 and ties with 0.4: 3.5 of 4 pairs.
    assert area_under_roc(np.array([0.9, 0.4]), np.array([0.4, 0.1])) == 0.875
    assert area_under_roc(np.array([0.2]), np.array([0.8])) == 0
    assert area_under_roc(np.array([0.2]), np.array([])) is None


def test_the_recommended_threshold_is_the_least_that_is_good_enough() -> None:
    score, iou = np.array([0.2, 0.5, 0.7, 0.9]), np.array([0.1, 0.8, 0.8, 0.8])
    assert recommend(score, iou, np.array([])) == {"threshold": 0.25, "precision": 1.0, "recall": 0.75}
    # A negative at 0.6 hides behind the next threshold above it.
    assert recommend(score, iou, np.array([0.6])) == {"threshold": 0.65, "precision": 1.0, "recall": 0.5}
    assert recommend(score, np.zeros(4), np.array([])) is None
