"""Box arithmetic on tensors: worked values, properties, and agreement with its NumPy twin."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from selfie_localizer import boxes
from selfie_localizer.network import boxes_ops

SIMILARITIES = [boxes_ops.iou, boxes_ops.giou, boxes_ops.diou, boxes_ops.ciou]
# In eighths, so that equal, touching, nested and empty boxes turn up often and sums are exact.
side = st.integers(0, 8).map(lambda n: n / 8)
corner = st.integers(-8, 16).map(lambda n: n / 8)
box = st.tuples(corner, corner, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
solid = box.filter(lambda b: b[2] > b[0] and b[3] > b[1])


def value(function, first, second):
    return float(function(tf.constant(first), tf.constant(second)))


# The two boxes of most cases: A = (0, 0, 2, 2) of area 4 and B = (1, 1, 3, 2) of area 2.
# Shared (1, 1, 2, 2): 1. Union 4 + 2 - 1 = 5. IoU = 1/5.
# Around both (0, 0, 3, 2): 6, so GIoU = 1/5 - (6 - 5)/6 = 1/30.
# Centres (1, 1) and (2, 1.5): d^2 = 1 + 1/4 = 5/4; c^2 = 9 + 4 = 13; DIoU = 1/5 - (5/4)/13 = 1/5 - 5/52 = 27/260.
# v = 4/pi^2 (arctan(2/2) - arctan(2/1))^2 and a = v / (1 - 1/5 + v).
A, B = [0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 2.0]
V = 4 / math.pi**2 * (math.atan(1) - math.atan(2)) ** 2


@pytest.mark.parametrize(
    ("function", "first", "second", "expected"),
    [
        (boxes_ops.iou, A, B, 1 / 5),
        (boxes_ops.giou, A, B, 1 / 30),
        (boxes_ops.diou, A, B, 27 / 260),
        (boxes_ops.ciou, A, B, 27 / 260 - V / (4 / 5 + V) * V),
        # Side by side with a gap: (0, 0, 1, 1) and (2, 0, 3, 1). Union 2, around both 3: GIoU = 0 - 1/3.
        # d = 2, c^2 = 9 + 1: DIoU = -4/10, and CIoU the same since both are square.
        (boxes_ops.iou, [0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 3.0, 1.0], 0),
        (boxes_ops.giou, [0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 3.0, 1.0], -1 / 3),
        (boxes_ops.diou, [0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 3.0, 1.0], -4 / 10),
        (boxes_ops.ciou, [0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 3.0, 1.0], -4 / 10),
        # Touching: nothing shared, nothing between, so GIoU is 0. d = 1, c^2 = 4 + 1: DIoU = -1/5.
        (boxes_ops.iou, [0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0], 0),
        (boxes_ops.giou, [0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0], 0),
        (boxes_ops.diou, [0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0], -1 / 5),
        # Inside, with the same centre: 4/16 of the area, no distance, the same aspect.
        (boxes_ops.iou, [0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 3.0, 3.0], 1 / 4),
        (boxes_ops.giou, [0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 3.0, 3.0], 1 / 4),
        (boxes_ops.ciou, [0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 3.0, 3.0], 1 / 4),
        # Two points: no area, no IoU. Around both (0, 0, 3, 4): GIoU = -12/12. d = c = 5: DIoU = -1.
        (boxes_ops.iou, [0.0, 0.0, 0.0, 0.0], [3.0, 4.0, 3.0, 4.0], 0),
        (boxes_ops.giou, [0.0, 0.0, 0.0, 0.0], [3.0, 4.0, 3.0, 4.0], -1),
        (boxes_ops.diou, [0.0, 0.0, 0.0, 0.0], [3.0, 4.0, 3.0, 4.0], -1),
        # One point twice: every quotient is 0 / 0 and counts as 0.
        (boxes_ops.ciou, [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], 0),
    ],
)
def test_values_worked_by_hand(function, first, second, expected):
    assert value(function, first, second) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("function", SIMILARITIES)
@given(first=box, second=box)
@settings(max_examples=25)
def test_similarity_is_symmetric_and_bounded(function, first, second):
    there = value(function, first, second)
    assert there == pytest.approx(value(function, second, first), abs=1e-6)
    # CIoU takes up to 1 off DIoU for the aspect ratio.
    assert -2 - 1e-6 <= there <= 1 + 1e-6
    assert there <= value(boxes_ops.iou, first, second) + 1e-6


@pytest.mark.parametrize("function", SIMILARITIES)
@given(first=solid)
@settings(max_examples=20)
def test_a_box_is_wholly_similar_to_itself(function, first):
    assert value(function, first, first) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("function", SIMILARITIES[1:])
@given(first=solid, gap=st.integers(1, 8))
@settings(max_examples=20)
def test_boxes_apart_are_less_similar_the_further_they_are(function, first, gap):
    width = first[2] - first[0]
    near, far = (np.add(first, [width + g, 0, width + g, 0]).tolist() for g in (gap, gap + 1))
    assert value(boxes_ops.iou, first, near) == 0
    assert value(function, first, far) < value(function, first, near) < 0


@pytest.mark.parametrize("function", SIMILARITIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_are_finite_for_every_arrangement_of_two_boxes(function, dtype):
    # All boxes with corners at three places: equal, apart, touching, nested, empty and out of order.
    every = list(itertools.product((0.0, 0.5, 1.0), repeat=4))
    pairs = tf.constant(list(itertools.product(every, every)), dtype)
    with tf.GradientTape() as tape:
        tape.watch(pairs)
        result = function(pairs[:, 0], pairs[:, 1])
    assert result.dtype == tf.float32
    assert np.isfinite(result).all()
    assert np.isfinite(tf.cast(tape.gradient(result, pairs), "float32")).all()


def test_iou_agrees_with_numpy_on_random_boxes():
    rng = np.random.default_rng(0)
    # Corners in any order and of any size: both sides must treat them alike.
    first, second = rng.uniform(-1, 2, (2, 2000, 4)).astype("float32")
    first[::7, 2:] = first[::7, :2]
    second[::5] = first[::5]
    np.testing.assert_allclose(boxes_ops.iou(first, second), boxes.iou(first, second), atol=1e-5)


def test_bfloat16_boxes_are_compared_in_float32():
    # Both boxes are exact in bfloat16, the areas are not: 0.6640625^2 needs 14 bits.
    first, second = [[0.0, 0.0, 0.6640625, 0.6640625]], [[0.0, 0.0, 0.66796875, 0.6640625]]
    expected = boxes.iou(first, second)
    np.testing.assert_allclose(
        boxes_ops.iou(tf.constant(first, "bfloat16"), tf.constant(second, "bfloat16")), expected, atol=1e-6
    )
