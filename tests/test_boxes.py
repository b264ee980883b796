"""Box arithmetic: values worked by hand, and properties that hold for any boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfie_localizer import boxes

coordinate = st.floats(-1000, 1000, allow_nan=False, width=32)


@st.composite
def well_formed(draw: st.DrawFn) -> np.ndarray:
    x, y = draw(coordinate), draw(coordinate)
    width, height = draw(st.floats(0.5, 500)), draw(st.floats(0.5, 500))
    return np.array([x, y, x + width, y + height])


def test_iou_of_two_squares_shifted_by_half_is_a_third() -> None:
    # 10 x 10 each; they share 5 x 10 = 50 of 100 + 100 - 50 = 150.
    assert boxes.iou([0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(1 / 3)


def test_iou_of_a_box_inside_another_is_the_ratio_of_areas() -> None:
    assert boxes.iou([0, 0, 10, 10], [2, 2, 4, 7]) == pytest.approx(10 / 100)


@pytest.mark.parametrize("other", [[10, 0, 20, 10], [10, 10, 20, 20], [30, 0, 40, 10]])
def test_iou_of_touching_or_disjoint_boxes_is_zero(other: list[float]) -> None:
    assert boxes.iou([0, 0, 10, 10], other) == 0


def test_iou_of_a_box_without_area_is_zero_even_with_itself() -> None:
    assert boxes.iou([3, 3, 3, 9], [3, 3, 3, 9]) == 0


def test_iou_of_corners_out_of_order_is_zero() -> None:
    assert boxes.iou([10, 10, 0, 0], [0, 0, 10, 10]) == 0


def test_iou_of_nan_is_nan_and_does_not_hide_a_missing_box() -> None:
    assert np.isnan(boxes.iou([np.nan] * 4, [0, 0, 1, 1]))


def test_iou_works_elementwise_on_leading_axes() -> None:
    many = np.array([[[0, 0, 1, 1], [0, 0, 2, 2]]])
    assert boxes.iou(many, [0, 0, 2, 2]).tolist() == [[0.25, 1.0]]


@given(well_formed(), well_formed())
def test_iou_is_symmetric_and_between_zero_and_one(a: np.ndarray, b: np.ndarray) -> None:
    value = boxes.iou(a, b)
    assert 0 <= value <= 1
    assert value == pytest.approx(boxes.iou(b, a))


@given(well_formed())
def test_iou_with_itself_is_one(a: np.ndarray) -> None:
    assert boxes.iou(a, a) == pytest.approx(1)


@given(well_formed(), well_formed(), st.floats(0.1, 10), st.floats(0.1, 10))
def test_iou_does_not_change_when_the_image_is_resized(a: np.ndarray, b: np.ndarray, x: float, y: float) -> None:
    assert boxes.iou(boxes.scale(a, x, y), boxes.scale(b, x, y)) == pytest.approx(boxes.iou(a, b), abs=1e-6)


@given(well_formed(), st.integers(1, 500), st.integers(1, 500))
def test_a_clipped_box_lies_in_the_image_and_in_itself(a: np.ndarray, width: int, height: int) -> None:
    clipped = boxes.clip(a, width, height)
    assert (clipped >= 0).all()
    assert (clipped <= [width, height, width, height]).all()
    assert boxes.area(clipped) <= boxes.area(a) + 1e-6


def test_centre_is_the_middle() -> None:
    assert boxes.centre([0, 10, 4, 20]).tolist() == [2, 15]


@pytest.mark.parametrize(
    ("box", "good"),
    [
        ([0, 0, 1, 1], True),
        ([1, 0, 1, 1], False),
        ([0, 2, 1, 1], False),
        ([0, 0, np.nan, 1], False),
        ([0, 0, np.inf, 1], False),
    ],
)
def test_is_box_needs_finite_corners_in_order(box: list[float], good: bool) -> None:
    assert bool(boxes.is_box(box)) is good
