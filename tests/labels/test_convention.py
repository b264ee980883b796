"""A handful of trusted boxes shows how the annotator's boxes differ from those that people draw."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes
from selfie_localizer.labels.convention import apply, learn

# A square becomes narrower by a fifth, and begins and ends higher.
SHIFTS = np.array([0.1, -0.05, -0.1, -0.08])


def squares(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(60, 100, (count, 2)), rng.uniform(60, 120, (count, 1))
    return np.concatenate([corner, corner + side], axis=1)


def people_draw(labels: np.ndarray) -> np.ndarray:
    return labels + SHIFTS * np.tile(labels[:, 2:] - labels[:, :2], 2)


def test_the_map_is_found_exactly_where_people_are_consistent() -> None:
    labels = squares(5)
    shifts = learn(labels, people_draw(labels))[0]
    np.testing.assert_allclose(shifts, SHIFTS)
    other = squares(20, seed=1)
    np.testing.assert_allclose(apply(other, shifts, 300, 300), people_draw(other))


def test_false_labels_and_sloppy_boxes_hardly_move_the_map() -> None:
    labels = squares(50)
    trusted = people_draw(labels)
    trusted[:8] = [0, 0, 20, 20]
    trusted[8:16] += 25
    np.testing.assert_allclose(learn(labels, trusted)[0], SHIFTS, atol=0.02)


def test_too_few_pairs_teach_nothing() -> None:
    labels = squares(5)
    trusted = people_draw(labels)
    trusted[0] = [0, 0, 20, 20]
    assert (learn(labels, trusted)[0] == 0).all()


def test_a_mapped_box_is_cut_to_its_image_and_stays_a_box() -> None:
    labels = np.array([[0.0, 2, 100, 102], [10, 0, 12, 2], [np.nan] * 4])
    mapped = apply(labels, np.array([0.6, -0.5, -0.5, 0]), 300, 300)
    assert mapped[0].tolist() == labels[0].tolist(), "its sides would have crossed"
    assert np.isnan(mapped[2]).all()
    assert apply(labels[:1], SHIFTS, 300, 300)[0].tolist() == pytest.approx([10, 0, 90, 94])


def test_on_real_selfies_25_trusted_boxes_bring_squares_close_to_the_truth(real_selfies: Path) -> None:
    truth = pd.read_csv(real_selfies / "truth.csv")[boxes.SIDES].to_numpy()
    # Squares as a cascade draws them, around the truth: wider, lower, and shaken.
    rng = np.random.default_rng(0)
    side = (truth[:, 3] - truth[:, 1]) * rng.normal(0.95, 0.05, len(truth))
    middle = (truth[:, :2] + truth[:, 2:]) / 2 + rng.normal(0, 0.03, (len(truth), 2)) * side[:, None]
    labels = np.concatenate([middle - side[:, None] / 2, middle + side[:, None] / 2], axis=1)
    shifts = learn(labels[:25], truth[:25])[0]
    before = boxes.iou(labels[25:], truth[25:]).mean()
    after = boxes.iou(apply(labels[25:], shifts, 306, 306), truth[25:]).mean()
    assert after > before + 0.08
