"""The largest believable face, in the pixels of the image."""

import subprocess
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from selfie_localizer import boxes, params
from selfie_localizer.annotators.haar import Haar
from tests.faces import add_face, draw_face

VERIFICATIONS = ["none", "eye", "cascade"]
FACE = [50, 60, 170, 200]


def detect(image: np.ndarray, **parameters: Any) -> np.ndarray | None:
    found = Haar("haar", params.Haar(**parameters)).locate(image)
    return None if found is None else found[0]


@pytest.mark.parametrize("verify", VERIFICATIONS)
@pytest.mark.parametrize("cascade", ["default", "alt", "alt2", "alt_tree", "profile"])
def test_every_cascade_finds_the_face(cascade: str, verify: str) -> None:
    box = detect(draw_face(), cascades=(cascade,), verify=verify)
    assert boxes.iou(box, FACE) > 0.6


@pytest.mark.parametrize("verify", VERIFICATIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 2), (15, 15), (200, 300)])
def test_an_image_without_a_face_has_none(size: tuple[int, int], verify: str) -> None:
    assert detect(np.full((*size, 3), 120, np.uint8), verify=verify) is None


def test_of_two_faces_the_larger_is_taken() -> None:
    image = np.full((300, 300, 3), 110, np.uint8)
    add_face(image, (70, 80), 35)
    add_face(image, (200, 180), 60)
    box = detect(image)
    assert 150 < boxes.centre(box)[0] < 250


def test_a_face_smaller_than_asked_for_is_passed_over() -> None:
    image = np.full((300, 300, 3), 110, np.uint8)
    add_face(image, (150, 150), 30)
    assert detect(image, smallest_face=0.15) is not None
    assert detect(image, smallest_face=0.6) is None


def test_a_large_image_is_searched_smaller_and_its_box_scaled_back() -> None:
    image = cv2.resize(draw_face(), (4000, 3000))
    box = detect(image)
    small = cv2.resize(draw_face(), (640, 480))
    expected = detect(small)
    assert boxes.iou(box, expected * 6.25) > 0.95


def test_a_face_at_the_edge_has_a_box_inside_the_image() -> None:
    image = draw_face(240, (60, 75), 65)
    box = detect(image, verify="none")
    assert (boxes.clip(box, 240, 240) == box).all()


def test_a_profile_is_found_whichever_side_it_looks_to() -> None:
    settings = {"cascades": ("profile",), "verify": "none"}
    box = detect(draw_face(), **settings)
    mirrored = detect(np.ascontiguousarray(draw_face()[:, ::-1]), **settings)
    np.testing.assert_allclose(mirrored, [240 - box[2], box[1], 240 - box[0], box[3]], atol=1)


def test_a_face_without_eyes_fails_the_eye_verification() -> None:
    image = draw_face()
    found = detect(image, verify="none", neighbours=0)
    cv2.rectangle(image, (60, 95), (160, 135), (225, 180, 150), -1)
    assert found is not None
    assert detect(image, verify="eye", neighbours=0) is None


def test_a_cascade_has_no_score() -> None:
    found = Haar("haar", params.Haar()).locate(draw_face())
    assert found is not None
    assert found[1] is None


def test_an_opencv_without_cascades_is_named_in_one_line(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    script = """
import cv2
from selfie_localizer import params
from selfie_localizer.annotators.haar import Haar
cv2.data.haarcascades = "/nowhere/"
Haar("haar", params.Haar()).prepare()
"""
    last = run_python(script).stderr.strip().splitlines()[-1]
    assert "no cascade haarcascade_frontalface_default.xml" in last
    assert "opencv-python-headless" in last
