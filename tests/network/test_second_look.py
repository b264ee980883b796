"""Windows, crops and the way back, with networks set by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfie_localizer import boxes
from selfie_localizer.network.second_look import UNSURE, crop, from_window, look_again, parts, window
from selfie_localizer.photos.decode import resize

WIDTHS = st.integers(4, 400)
INSIDE = st.tuples(*[st.floats(-0.5, 1.5)] * 4).map(sorted)


def bright_box(pixels: np.ndarray) -> np.ndarray:
    """A network that finds the bright pixels, as exactly as its square shows them; it is surer the larger they are."""
    answers = []
    for image in pixels:
        bright = image[..., 0] > 127
        columns, rows = np.flatnonzero(bright.any(axis=0)), np.flatnonzero(bright.any(axis=1))
        sides = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if bright.any() else (np.nan,) * 4
        answers.append([*(np.array(sides) / len(image)), 0.5 + bright.mean() / 2])
    return np.array(answers, np.float32)


def photo(width: int, height: int, sides: tuple[int, int, int, int]) -> np.ndarray:
    pixels = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = sides
    pixels[y1:y2, x1:x2] = 255
    return pixels


def test_a_window_is_a_square_of_1_8_times_the_longer_side_around_the_box() -> None:
    # 1.8 x 50 = 90 around the centre (50, 75)
    np.testing.assert_array_equal(window([30, 50, 70, 100], 200, 300), [5, 30, 95, 120])
    # a corner of the photo: what is outside does not count
    np.testing.assert_array_equal(window([-30, -50, 20, 10], 200, 300), [-8, -13, 28, 23])


@given(WIDTHS, WIDTHS, INSIDE, INSIDE)
def test_a_window_is_square_and_holds_what_of_the_box_is_in_the_photo(
    width: int, height: int, x: list[float], y: list[float]
) -> None:
    inside = boxes.clip([x[0] * width, y[0] * height, x[3] * width, y[3] * height], width, height)
    square = window([x[0] * width, y[0] * height, x[3] * width, y[3] * height], width, height)
    if square is None:
        assert (inside[2:] - inside[:2]).min() < 1
        return
    assert square[2] - square[0] == square[3] - square[1]
    assert (square[:2] <= inside[:2]).all()
    assert (square[2:] >= inside[2:]).all()
    assert np.abs(boxes.centre(square) - boxes.centre(inside)).max() <= 1


@given(WIDTHS, WIDTHS, INSIDE, INSIDE)
def test_a_box_comes_back_from_the_window_where_it_was(width: int, height: int, x: list[float], y: list[float]) -> None:
    box = np.array([x[1] * width, y[1] * height, x[2] * width, y[2] * height])
    square = window([0, 0, width, height], width, height)
    assert square is not None
    relative = (box - np.tile(square[:2], 2)) / (square[2] - square[0])
    np.testing.assert_allclose(from_window(relative, square), box, atol=1e-6)


@given(st.integers(2, 40), st.integers(2, 40), INSIDE, INSIDE)
def test_a_crop_is_the_window_of_a_photo_whose_edge_goes_on(
    width: int, height: int, x: list[float], y: list[float]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    square = window([x[0] * width, y[0] * height, x[3] * width, y[3] * height], width, height)
    if square is None:
        return
    border = 100
    wide = np.pad(pixels, ((border, border), (border, border), (0, 0)), mode="edge")
    x1, y1, x2, y2 = square + border
    # A square of the window's own side is not resized.
    np.testing.assert_array_equal(crop(pixels, square, x2 - x1), wide[y1:y2, x1:x2])


def test_the_second_answer_is_more_exact_and_in_the_first_ones_units() -> None:
    pixels = photo(600, 400, (153, 87, 241, 191))
    first = bright_box(resize(pixels, 16)[None])
    again = look_again(bright_box, first, [pixels], 16)
    errors = [np.abs(boxes.scale(answer[0, :4], 600, 400) - [153, 87, 241, 191]).max() for answer in (first, again)]
    # A pixel of the whole photo's square is 37.5 x 25; one of the window's 188 is 11.75.
    assert errors[1] < 11.75 < errors[0]
    assert (
        again[0, 4] == bright_box(crop(pixels, window(boxes.scale(first[0, :4], 600, 400), 600, 400), 16)[None])[0, 4]
    )


def test_each_photo_of_a_batch_has_its_own_window() -> None:
    photos = [photo(300, 200, (40, 30, 120, 130)), photo(200, 300, (100, 150, 180, 260))]
    first = np.concatenate([bright_box(resize(pixels, 16)[None]) for pixels in photos])
    together = look_again(bright_box, first, photos, 16)
    alone = [look_again(bright_box, first[row : row + 1], photos[row : row + 1], 16)[0] for row in range(2)]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    "sides",
    [(np.nan, 0, 1, 1), (0.5, 0.2, 0.5, 0.8), (0.7, 0.2, 0.3, 0.8), (1.2, 0.1, 1.4, 0.5), (0.2, -0.4, 0.8, -0.1)],
)
def test_a_first_box_without_area_in_the_photo_stays(sides: tuple[float, ...]) -> None:
    first = np.array([[*sides, 0.45], [0.2, 0.2, 0.8, 0.8, 0.5]])
    again = look_again(
        lambda pixels: np.full((len(pixels), 5), 0.5, np.float32), first, [np.zeros((50, 80, 3), np.uint8)] * 2, 16
    )
    np.testing.assert_array_equal(again[0], first[0])
    assert again[1, 4] == 0.5


def test_a_second_answer_that_is_no_number_leaves_the_first() -> None:
    first = np.array([[0.2, 0.2, 0.8, 0.8, 0.5]])
    again = look_again(
        lambda pixels: np.full((len(pixels), 5), np.nan, np.float32), first, [np.zeros((50, 80, 3), np.uint8)], 16
    )
    np.testing.assert_array_equal(again, first)


def sees_large(pixels: np.ndarray) -> np.ndarray:
    """A network that is sure of bright pixels where they fill a tenth of its square, else unsure of the upper left."""
    answers = bright_box(pixels)
    answers[:, 4] = [(image > 127).mean() for image in pixels]
    answers[answers[:, 4] < 0.1] = [0.0, 0.0, 0.1, 0.1, 0.05]
    answers[:, 4] = np.where(answers[:, 4] >= 0.1, 0.9, 0.05)
    return answers


def test_where_it_is_unsure_it_finds_a_small_face_in_a_part_of_the_photo() -> None:
    pixels = photo(400, 400, (300, 280, 380, 380))  # a twentieth of the photo, a seventh of its lower right part
    first = sees_large(resize(pixels, 32)[None])
    assert first[0, 4] < UNSURE
    found = look_again(sees_large, first, [pixels], 32)
    np.testing.assert_allclose(found[0, :4] * 400, [300, 280, 380, 380], atol=10)
    assert found[0, 4] > UNSURE


def test_where_no_part_of_the_photo_is_surer_the_answer_stays() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    first = np.array([[0.2, 0.2, 0.8, 0.8, 0.3]])
    again = look_again(lambda square: np.full((len(square), 5), 0.3, np.float32), first, [pixels], 16)
    np.testing.assert_allclose(again[0, 4], 0.3, atol=1e-6)


@given(st.integers(1, 500), st.integers(1, 500))
def test_the_parts_of_a_photo_lie_in_it_and_cover_it(width: int, height: int) -> None:
    covered = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in parts(width, height):
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        covered[y1:y2, x1:x2] = True
    assert covered.all()
