"""Losses and the metric: values worked by hand, gradients, and what is saved with a model."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from selfie_localizer import params
from selfie_localizer.errors import UsageError
from selfie_localizer.network.losses import BOX_LOSSES, LocalizerLoss
from selfie_localizer.network.metrics import MeanIoU

# True box (0.25, 0.25, 0.75, 0.75), area 1/4. Predicted (0.5, 0.25, 0.75, 1.0), area 1/4 * 3/4 = 3/16.
# Differences 1/4, 0, 0, 1/4. Shared (0.5, 0.25, 0.75, 0.75): 1/8. Union 1/4 + 3/16 - 1/8 = 5/16. IoU = 2/5.
TRUE, PREDICTED = [0.25, 0.25, 0.75, 0.75], [0.5, 0.25, 0.75, 1.0]
# Around both (0.25, 0.25, 0.75, 1.0): 1/2 * 3/4 = 3/8, so GIoU = 2/5 - (3/8 - 5/16)/(3/8) = 2/5 - 1/6 = 7/30.
GIOU = 7 / 30
# Centres (1/2, 1/2) and (5/8, 5/8): d^2 = 1/32. c^2 = 1/4 + 9/16 = 13/16. DIoU = 2/5 - (1/32)/(13/16) = 2/5 - 1/26.
DIOU = 2 / 5 - 1 / 26
# Aspects 1 and (1/4)/(3/4) = 1/3: v = 4/pi^2 (pi/4 - arctan(1/3))^2 and arctan(1) - arctan(1/3) = arctan(1/2).
V = 4 / np.pi**2 * np.arctan(1 / 2) ** 2
CIOU = DIOU - V**2 / (3 / 5 + V)
EXPECTED = {
    "mse": (1 / 16 + 1 / 16) / 4,
    # 1/4 is above beta = 1/9, so twice 1/4 - 1/18, over four coordinates.
    "smooth_l1": 2 * (1 / 4 - 1 / 18) / 4,
    "l1": 1 / 4 + 1 / 4,
    "giou": 1 - GIOU,
    "diou": 1 - DIOU,
    "ciou": 1 - CIOU,
    "l1_giou": 1 / 2 + 1 - GIOU,
    "l1_ciou": 1 / 2 + 1 - CIOU,
}


def test_there_is_a_loss_for_each_name_in_params():
    assert set(BOX_LOSSES) == set(params.Train.model_fields["loss"].annotation.__args__)
    assert set(EXPECTED) == set(BOX_LOSSES)


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_loss_worked_by_hand(name):
    loss = LocalizerLoss(name, score_weight=0.0)
    assert float(loss([TRUE], [[*PREDICTED, 0.9]])) == pytest.approx(EXPECTED[name], abs=1e-6)


def test_smooth_l1_is_quadratic_near_zero():
    # One difference of 1/18, below beta = 1/9: (1/18)^2 / (2/9) = 1/72, over four coordinates.
    shifted = [TRUE[0] + 1 / 18, *TRUE[1:]]
    assert float(LocalizerLoss("smooth_l1", score_weight=0.0)([TRUE], [[*shifted, 0.0]])) == pytest.approx(1 / 288)


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_a_right_box_costs_nothing_and_any_other_more(name):
    loss = LocalizerLoss(name, score_weight=0.0)
    assert float(loss([TRUE], [[*TRUE, 0.0]])) == pytest.approx(0, abs=1e-6)
    assert float(loss([TRUE], [[*PREDICTED, 0.0]])) > 0.01


def test_score_costs_its_squared_distance_from_the_iou():
    # IoU 2/5 and score 0.9: (0.5)^2 = 1/4, times the weight of 2.
    loss = LocalizerLoss("l1", score_weight=2.0)
    assert float(loss([TRUE], [[*PREDICTED, 0.9]])) == pytest.approx(0.5 + 2 * 0.25)


def test_score_teaches_the_box_nothing():
    predicted = tf.Variable([[*PREDICTED, 0.9]])
    gradients = []
    for weight in (0.0, 5.0):
        with tf.GradientTape() as tape:
            cost = LocalizerLoss("ciou", score_weight=weight)(tf.constant([TRUE]), predicted)
        gradients.append(tape.gradient(cost, predicted).numpy()[0])
    np.testing.assert_allclose(gradients[0][:4], gradients[1][:4])
    # 5 x 2 x (0.9 - 0.4).
    assert gradients[1][4] == pytest.approx(5.0)
    assert gradients[0][4] == 0


@pytest.mark.parametrize("name", BOX_LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loss_and_gradient_are_finite_for_every_arrangement_of_two_boxes(name, dtype):
    every = list(itertools.product((0.0, 0.5, 1.0), repeat=4))
    truth, predicted = (np.array(boxes) for boxes in zip(*itertools.product(every, every), strict=True))
    y_pred = tf.constant(np.hstack([predicted, np.full((len(predicted), 1), 0.5)]), dtype)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        costs = LocalizerLoss(name, reduction="none")(tf.constant(truth, dtype), y_pred)
    assert np.isfinite(costs).all()
    assert np.isfinite(tf.cast(tape.gradient(costs, y_pred), "float32")).all()


@pytest.mark.parametrize("name", [name for name in BOX_LOSSES if name not in ("mse", "smooth_l1")])
def test_a_box_far_off_is_still_pulled(name):
    predicted = tf.Variable([[2.0, 2.0, 2.25, 2.25, 0.5]])
    with tf.GradientTape() as tape:
        cost = LocalizerLoss(name, score_weight=0.0)(tf.constant([TRUE]), predicted)
    gradient = tape.gradient(cost, predicted).numpy()[0, :4]
    # A step against the gradient moves the centre back, to the left and up.
    assert gradient[0] + gradient[2] > 0.01
    assert gradient[1] + gradient[3] > 0.01


def test_batch_loss_is_the_mean_over_its_rows():
    loss = LocalizerLoss("l1", score_weight=0.0)
    both = float(loss([TRUE, TRUE], [[*PREDICTED, 0.0], [*TRUE, 0.0]]))
    assert both == pytest.approx(EXPECTED["l1"] / 2)


def test_an_unknown_loss_is_one_line_with_the_choices():
    with pytest.raises(UsageError, match=r"^unknown loss 'huber'; choose from mse, .*l1_ciou$"):
        LocalizerLoss("huber")


def test_loss_and_metric_survive_their_config():
    loss = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(LocalizerLoss("giou", 0.5)))
    assert (type(loss), loss.name, loss.score_weight) == (LocalizerLoss, "giou", 0.5)
    metric = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(MeanIoU()))
    assert (type(metric), metric.name) == (MeanIoU, "iou")


def test_mean_iou_is_over_images_not_batches_and_resets():
    metric = MeanIoU()
    metric.update_state([TRUE], [[*PREDICTED, 0.1]])
    metric.update_state([TRUE, TRUE, TRUE], [[*TRUE, 0.2], [*TRUE, 0.3], [*TRUE, 0.4]])
    # (2/5 + 3) / 4.
    assert float(metric.result()) == pytest.approx(0.85)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_an_image_without_a_face_wants_a_score_of_zero_and_nothing_of_the_box() -> None:
    no_face = np.array([[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]], np.float32)
    answer = np.array([[0.1, 0.1, 0.9, 0.9, 0.6], [0.2, 0.2, 0.4, 0.4, 0.2]], np.float32)
    loss = LocalizerLoss("l1_ciou", score_weight=0.25, reduction="none")
    # 0.25 x 0.6^2 and 0.25 x 0.2^2
    np.testing.assert_allclose(ops.convert_to_numpy(loss(no_face, answer)), [0.09, 0.01], atol=1e-6)


def test_the_metric_passes_over_images_without_a_face() -> None:
    metric = MeanIoU()
    metric.update_state(np.array([[0, 0, 1, 1], [0, 0, 0, 0]], np.float32), np.array([[0, 0, 0.5, 1]] * 2, np.float32))
    assert float(metric.result()) == pytest.approx(0.5)


def cells_of(*rows: list[float]) -> list[list[float]]:
    """An answer, PREDICTED with a score of 0, with the cells' boxes and logits behind it."""
    return [[*PREDICTED, 0.0, *itertools.chain(*rows)]]


def test_dense_losses_worked_by_hand():
    # The face (0, 0, 1, 1) of 2 x 2 cells: all four are as far from its centre, so that each has a share of 1/4.
    whole = [0.0, 0.0, 1.0, 1.0]
    cells = cells_of([0.2, 0.2, 1.0, 1.0, 0.0], [*whole, 0.0], [*whole, 0.0], [*whole, np.log(2)])
    plain = 1 / 2 + 1 / 4 + 1 / 4  # The answer's own L1.
    # One of the four boxes is off by 0.2 + 0.2.
    assert float(LocalizerLoss("l1", 0.0, dense_boxes=3.0)([whole], cells)) == pytest.approx(plain + 3 * 0.4 / 4)
    # The softmax is 1/5, 1/5, 1/5, 2/5: a cross-entropy of (3 log 5 + log(5/2)) / 4.
    expected = plain + 2 * (3 * np.log(5) + np.log(5 / 2)) / 4
    assert float(LocalizerLoss("l1", 0.0, dense_attention=2.0)([whole], cells)) == pytest.approx(expected)


def test_cells_count_by_their_distance_from_the_face_in_sides_of_the_face():
    # Of 2 x 2 cells the first is in the centre of the face, the others are 2 half sides beside, below, and both:
    # the shares are as 1 : e^-8 : e^-8 : e^-16. The second cell's box is off by 1.
    true, right = [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5, 0.0]
    off = [0.5, 0.0, 1.0, 0.5, 0.0]
    share = np.exp(-8) / (1 + 2 * np.exp(-8) + np.exp(-16))
    cost = [
        float(LocalizerLoss("l1", 0.0, dense_boxes=weight)([true], cells_of(right, off, right, right)))
        for weight in (0.0, 100.0)
    ]
    assert cost[1] - cost[0] == pytest.approx(100 * share, rel=1e-3)


def test_an_image_without_a_face_trains_no_cell():
    cells = tf.Variable(cells_of([0.2, 0.2, 1.0, 1.0, 3.0], *[[0.1, 0.2, 0.3, 0.4, 0.0]] * 3))
    with tf.GradientTape() as tape:
        cost = LocalizerLoss(dense_boxes=1.0, dense_attention=1.0)(tf.zeros((1, 4)), cells)
    assert float(cost) == 0
    np.testing.assert_array_equal(tape.gradient(cost, cells), 0)
