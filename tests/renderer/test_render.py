import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from selfie_localizer import boxes
from selfie_renderer import render, shot, truth
from selfie_renderer.figure import Posed
from selfie_renderer.light import Light


def test_seeds_differ() -> None:
    pictures = [render.render_image(seed, index)[0] for seed, index in ((0, 1), (1, 0), (0, 0))]
    assert len({p.tobytes() for p in pictures}) == 3


def test_boxes_are_inside_the_picture_and_of_a_face_s_size() -> None:
    for index in range(12):
        image, box = render.render_image(21, index, long_side=96)
        height, width = image.shape[:2]
        assert image.dtype == np.uint8
        assert max(width, height) == 96
        assert boxes.is_box(box)
        assert box == tuple(boxes.clip(box, width, height))
        assert 0.01 < boxes.area(box) / (width * height) < 0.9
        assert 0.4 < (box[2] - box[0]) / (box[3] - box[1]) < 1.7


def test_the_box_is_where_the_person_was_painted() -> None:
    inside, outside = [], []
    for index in range(8):
        rng = np.random.default_rng(index)
        empty = np.full((120, 120, 3), 0.5, np.float32)
        picture, (x1, y1, x2, y2) = shot.take(rng, empty, shot.choose(rng))
        changed = np.abs(picture - empty).max(-1) > 0.02
        # The middle of a face is never background; the frame's upper corners mostly are.
        cx, cy, w, h = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        rows, columns = np.mgrid[:120, :120]
        core = (np.abs(columns - cx) < 0.35 * w) & (np.abs(rows - cy) < 0.35 * h)
        inside.append(changed[core].mean())
        outside.append(changed[:10, [*range(10), *range(110, 120)]].mean())
    assert min(inside) > 0.93
    assert np.mean(outside) < 0.5


def test_the_largest_face_of_two_is_the_true_one() -> None:
    seen = []
    paint = shot._paint_person

    def spy(posed: Posed, view: shot.View, picture: NDArray[np.float32], glow: Light) -> NDArray[np.float32]:
        seen.append(truth.box(view.project(posed.body)[0], 48, 48))
        return paint(posed, view, picture, glow)

    pairs = 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shot, "_paint_person", spy)
        for seed in range(40):
            seen.clear()
            _, box = shot.take(np.random.default_rng(seed), np.full((48, 48, 3), 0.5, np.float32), "portrait")
            pairs += int(len(seen) == 2)
            assert boxes.area(box) == boxes.area(seen).max()
    assert pairs


def test_pictures_without_a_person_have_none() -> None:
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    found = 0
    for index in range(25):
        scene = render.render_scene(0, index)
        assert scene.dtype == np.uint8
        assert max(scene.shape[:2]) == render.LONG_SIDE
        assert np.array_equal(scene, render.render_scene(0, index))
        found += int(len(cascade.detectMultiScale(cv2.cvtColor(scene, cv2.COLOR_RGB2GRAY), 1.1, 5)) > 0)
    assert found <= 4


def test_haar_finds_most_faces_where_the_truth_says() -> None:
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    best, offsets = [], []
    for index in range(60):
        image, box = render.render_image(33, index)
        hits = cascade.detectMultiScale(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1.1, 5, minSize=(24, 24))
        found = np.array([[x, y, x + w, y + h] for x, y, w, h in hits], float).reshape(-1, 4)
        overlap = boxes.iou(found, box)
        best.append(overlap.max(initial=0))
        if best[-1] > 0.4:
            size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
            offsets.append((found[overlap.argmax()] - box) / size)
    right = np.array(best) > 0.4
    assert 0.5 <= right.mean() <= 0.9
    # On 1,298 real selfies: mean IoU 0.716, and these medians on the left, top, right and bottom.
    assert np.array(best)[right].mean() == pytest.approx(0.716, abs=0.05)
    np.testing.assert_allclose(np.median(offsets, 0), [-0.137, 0.036, 0.124, -0.037], atol=0.045)
