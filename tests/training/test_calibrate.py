"""After calibration a score is the IoU to expect, and the order of the images is as before."""

import keras
import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import spearmanr

from selfie_localizer import boxes, params
from selfie_localizer.dataset.store import Store
from selfie_localizer.network import localizer
from selfie_localizer.training.calibrate import calibrate, fit_map
from tests.training.conftest import TINY


def test_the_map_that_made_the_values_is_found_again() -> None:
    score = np.random.default_rng(0).uniform(0.05, 0.95, 2000)
    slope, shift = fit_map(score, expit(1.7 * logit(score) - 0.6))
    assert slope == pytest.approx(1.7, abs=0.05)
    assert shift == pytest.approx(-0.6, abs=0.05)


def test_a_few_images_change_little_and_an_unrelated_score_keeps_its_direction() -> None:
    slope, shift = fit_map(np.array([0.5]), np.array([0.9]))
    assert slope == pytest.approx(1, abs=0.2)
    assert 0 < shift < 2
    rng = np.random.default_rng(0)
    assert fit_map(rng.uniform(0, 1, 500), rng.uniform(0, 1, 500))[0] >= 0.2


def test_the_model_answers_with_calibrated_scores_and_the_same_boxes(store: Store) -> None:
    keras.utils.set_random_seed(0)
    model = localizer.build(TINY, params.Network(head_width=16), store.size)
    rows = store.indices("train")
    before = model.predict_on_batch(store.images[rows])
    calibrate(model, store, rows)
    after = model.predict_on_batch(store.images[rows])
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    reached = boxes.iou(after[:, :4], store.boxes[rows])
    assert abs(after[:, 4].mean() - reached.mean()) < 0.05 < abs(before[:, 4].mean() - reached.mean())
    assert spearmanr(before[:, 4], after[:, 4]).statistic == pytest.approx(1)
