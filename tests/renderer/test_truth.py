import numpy as np
import pytest

from selfie_renderer import head, truth


def _frontal() -> np.ndarray:
    """The base mesh seen from the front without perspective, 100 pixels for each decimetre."""
    vertices = head.load().vertices
    return np.stack([400 + 100 * vertices[:, 0], 1000 - 100 * vertices[:, 1]], 1)


def test_the_box_goes_from_the_forehead_to_the_chin_and_leaves_the_ears_outside() -> None:
    mesh, points = head.load(), _frontal()
    x1, y1, x2, y2 = truth.box(points, 800, 1000)
    height = y2 - y1
    eyes = np.mean([points[e].mean(0)[1] for e in mesh.eyes])
    lips = points[(mesh.masks["lips"] > 0.5) & (np.abs(mesh.vertices[:, 0]) < 0.05), 1].mean()
    # Detectors put the eyes at 0.38 and the mouth at 0.77 of the boxes of real faces.
    assert (eyes - y1) / height == pytest.approx(0.38, abs=0.025)
    assert (lips - y1) / height == pytest.approx(0.77, abs=0.04)
    assert 0.7 < (x2 - x1) / height < 0.85  # Real ones are seen from nearby, which makes them narrower: 0.745.
    ears = points[mesh.masks["ears"] > 0.6]
    assert ears[:, 0].min() < x1 - 5
    assert ears[:, 0].max() > x2 + 5


def test_the_box_is_even_for_a_face_seen_from_the_front() -> None:
    x1, _, x2, _ = truth.box(_frontal(), 800, 1000)
    assert (x1 + x2) / 2 == pytest.approx(400, abs=0.5)


def test_the_box_moves_and_grows_with_the_face() -> None:
    points = _frontal()
    box = np.array(truth.box(points, 5000, 5000))
    moved = np.array(truth.box(2 * points + [30, 50], 5000, 5000))
    np.testing.assert_allclose(moved, 2 * box + [30, 50, 30, 50], atol=1e-3)


def test_the_box_is_cut_to_the_frame() -> None:
    points = _frontal()
    whole = truth.box(points, 800, 1000)
    cut = truth.box(points - [380, 0], 60, 300)
    assert cut == (0.0, pytest.approx(whole[1]), 60.0, 300.0)
