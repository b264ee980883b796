"""From images to rows, with a network set by hand."""

import cv2
import numpy as np
import pytest

from selfie_localizer.photos.decode import square
from selfie_localizer.serving.locator import Locator


def test_a_box_that_reaches_over_the_image_is_clipped_to_it() -> None:
    data = cv2.imencode(".png", np.zeros((50, 80, 3), np.uint8))[1].tobytes()
    answer = np.array([[-0.1, 0.2, 1.2, 1.4, 0.9]], np.float32)
    (row,) = Locator(lambda pixels: answer, 16).locate([data], lambda item: item)
    assert [row[side] for side in ("x1", "y1", "x2", "y2")] == [0, np.float32(0.2) * 50, 80, 50]
    assert (row["width"], row["height"], row["error"]) == (80, 50, None)


def test_with_a_second_look_the_network_sees_the_photo_and_then_a_crop_of_it() -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[:, 150:] = 255
    data = cv2.imencode(".png", pixels)[1].tobytes()
    seen = []

    def network(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return np.array([[0.5, 0.2, 1.0, 0.8, 0.5 + 0.1 * len(seen)]], np.float32)

    (row,) = Locator(network, 16, looks_again=True).locate([data], lambda item: item)
    np.testing.assert_array_equal(seen[0][0], square(data, 16)[0])
    # The window is 1.8 x 150 = 270 wide around (225, 100), so its left fifth shows the dark half.
    assert len(seen) == 2
    assert [int(value) for value in seen[1][0, 8, [0, 2, 4, 15], 0]] == [0, 0, 255, 255]
    assert [row[side] for side in ("x1", "y1", "x2", "y2")] == pytest.approx([225, 19, 300, 181], abs=0.01)
    assert row["score"] == pytest.approx(0.7)
