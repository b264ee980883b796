"""From images to rows, with a network set by hand."""

import cv2
import numpy as np

from selfie_localizer.serving.locator import Locator


def test_a_box_that_reaches_over_the_image_is_clipped_to_it() -> None:
    data = cv2.imencode(".png", np.zeros((50, 80, 3), np.uint8))[1].tobytes()
    answer = np.array([[-0.1, 0.2, 1.2, 1.4, 0.9]], np.float32)
    (row,) = Locator(lambda pixels: answer, 16).locate([data], lambda item: item)
    assert [row[side] for side in ("x1", "y1", "x2", "y2")] == [0, np.float32(0.2) * 50, 80, 50]
    assert (row["width"], row["height"], row["error"]) == (80, 50, None)
