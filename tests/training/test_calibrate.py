"""After calibration a score is the IoU to expect, and the order of the images is as before."""

import keras
import numpy as np
import pandas as pd
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
    calibrate(model, store, rows, store.negatives("train"))
    after = model.predict_on_batch(store.images[rows])
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    reached = boxes.iou(after[:, :4], store.boxes[rows])
    assert abs(after[:, 4].mean() - reached.mean()) < abs(before[:, 4].mean() - reached.mean()) / 2
    assert spearmanr(before[:, 4], after[:, 4]).statistic == pytest.approx(1)


def make_scorer(faces: int, negatives: int) -> tuple[keras.Model, Store]:
    """A model that draws every face half right with a score of 0.7 or 0.8, and gives empty scenes 0.2 or 0.3."""
    count = faces + negatives
    images = np.zeros((count, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = np.where(np.arange(count) < faces, 70, 20) + 10 * (np.arange(count) % 2)
    pixels = keras.Input((2, 2, 3), dtype="uint8")
    score = keras.ops.cast(pixels[:, 0, 0, :1], "float32") / 100
    x = keras.ops.log(score) - keras.ops.log(1 - score)
    layer = keras.layers.Dense(1, activation="sigmoid", kernel_initializer="ones", name="head_score")
    half = keras.ops.zeros_like(x) + np.array([0, 0, 1, 0.5], np.float32)
    model = keras.Model(pixels, keras.ops.concatenate([half, layer(x)], axis=-1))
    sides = np.where(np.arange(count)[:, None] < faces, np.array([0, 0, 1, 1], np.float32), np.nan)
    return model, Store(images, sides.astype(np.float32), pd.DataFrame(), "digest")


def test_images_without_a_face_keep_their_low_score_where_hard_faces_would_raise_it() -> None:
    scores = {}
    for seen in (0, 30):
        model, store = make_scorer(90, 30)
        calibrate(model, store, np.arange(90), np.arange(90, 90 + seen))
        after = model.predict_on_batch(store.images)[:, 4]
        scores[seen] = after[:90].mean(), after[90:].mean()
    assert scores[30][1] < scores[0][1] - 0.05
    assert scores[30][0] == pytest.approx(0.5, abs=0.05), "the faces keep their promise"


def test_each_image_counts_once() -> None:
    model, store = make_scorer(90, 10)
    slope, shift = calibrate(model, store, np.arange(90), np.arange(90, 100))
    score = np.concatenate([np.tile([0.7, 0.8], 45), np.tile([0.2, 0.3], 5)])
    expected = fit_map(score, np.concatenate([np.full(90, 0.5), np.zeros(10)]))
    assert (slope, shift) == pytest.approx(expected, abs=1e-3)
