import importlib.machinery
import importlib.util
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes
from selfie_localizer.annotators import mtcnn
from selfie_localizer.errors import UserError
from selfie_localizer.photos.decode import Pixels, read
from selfie_renderer import render


@pytest.fixture(scope="module")
def selfie() -> tuple[Pixels, boxes.Boxes]:
    """A rendered selfie and its true box."""
    image, box = render.render_image(5, 1)
    return image, np.asarray(box, np.float64)


def found_in(image: Pixels, **arguments: float) -> boxes.Boxes:
    answer = mtcnn.detect(image, **arguments)
    assert answer is not None
    return answer[0]


def test_the_face_of_a_rendered_selfie_is_found(selfie: tuple[Pixels, boxes.Boxes]) -> None:
    image, truth = selfie
    answer = mtcnn.detect(image)
    assert answer is not None
    box, probability = answer
    assert box.shape == (4,)
    assert box.dtype == np.float64
    assert boxes.iou(box, truth) > 0.6
    assert 0.7 < probability <= 1


def test_a_mirrored_image_gives_the_mirrored_box(selfie: tuple[Pixels, boxes.Boxes]) -> None:
    image = selfie[0]
    x1, y1, x2, y2 = found_in(image[:, ::-1])
    width = image.shape[1]
    # P-Net and R-Net are not symmetrical, so that O-Net begins from another square.
    assert boxes.iou(found_in(image), [width - x2, y1, width - x1, y2]) > 0.9


def test_a_large_image_gives_the_same_box_in_its_own_pixels(selfie: tuple[Pixels, boxes.Boxes]) -> None:
    image = selfie[0]
    large = np.asarray(cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), np.uint8)
    assert boxes.iou(found_in(large) / 4, found_in(image)) > 0.9


def test_the_largest_of_two_faces_is_taken(selfie: tuple[Pixels, boxes.Boxes]) -> None:
    image = selfie[0]
    small = np.asarray(cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), np.uint8)
    both = np.full((image.shape[0], image.shape[1] + small.shape[1], 3), 128, np.uint8)
    both[: small.shape[0], : small.shape[1]] = small
    both[:, small.shape[1] :] = image
    assert boxes.iou(found_in(both) - [small.shape[1], 0, small.shape[1], 0], found_in(image)) > 0.9


def test_an_answer_does_not_depend_on_what_was_asked_before(selfie: tuple[Pixels, boxes.Boxes]) -> None:
    image = selfie[0]
    first = mtcnn.detect(image)
    other, _ = render.render_image(5, 2, long_side=200)
    mtcnn.detect(other, smallest_face=0.3)
    again = mtcnn.detect(image)
    assert first is not None
    assert again is not None
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1] == again[1]


def test_a_face_smaller_or_less_probable_than_asked_for_is_passed_over(
    selfie: tuple[Pixels, boxes.Boxes],
) -> None:
    image = selfie[0]
    box = found_in(image)
    share = float((box[2:] - box[:2]).max() / min(image.shape[:2]))
    assert mtcnn.detect(image, smallest_face=share * 0.9) is not None
    assert mtcnn.detect(image, smallest_face=share * 1.1) is None
    assert mtcnn.detect(image, confidence=1) is None


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (5, 3), (11, 40), (12, 12), (13, 2000), (2000, 40), (6000, 5), (300, 300)]
)
@pytest.mark.parametrize("noise", [0, 255])
def test_without_a_face_there_is_no_box(width: int, height: int, noise: int) -> None:
    image = np.random.default_rng(0).integers(0, noise + 1, (height, width, 3)).astype(np.uint8)
    assert mtcnn.detect(image) is None


def test_a_box_that_leaves_the_image_is_cut(selfie: tuple[Pixels, boxes.Boxes]) -> None:
    image = selfie[0]
    x1, y1, x2, y2 = found_in(image)
    part = np.ascontiguousarray(image[:, round(x1 + (x2 - x1) * 0.2) :])
    cut = found_in(part)
    assert cut[0] == 0
    assert boxes.iou(cut, [0, y1, x2 - round(x1 + (x2 - x1) * 0.2), y2]) > 0.7


def test_boxes_are_moved_in_units_of_their_own_sides() -> None:
    moved = mtcnn._move([[10, 20, 30, 60]], [[0.1, -0.05, 0, 0.25]])
    np.testing.assert_allclose(moved, [[12, 18, 30, 70]])


def test_a_square_is_as_large_as_the_longer_side() -> None:
    squares = mtcnn._square(np.array([[10, 20, 30, 60], [-5.2, 0.1, 4.9, 3.8]]))
    assert squares.tolist() == [[0, 20, 40, 60], [-5, -3, 5, 7]]


def test_of_boxes_that_overlap_the_most_probable_stays() -> None:
    found = np.array([[0, 0, 10, 5], [0, 0, 10, 10], [20, 0, 30, 10], [0, 2, 10, 12]], np.float64)
    scores = np.array([0.8, 0.9, 0.95, 0.7])
    # Overlaps with the second box: 1/2 and 8/12.
    assert mtcnn._suppress(found, scores, 0.5).tolist() == [2, 1, 0]
    assert mtcnn._suppress(found, scores, 0.4).tolist() == [2, 1]
    assert mtcnn._suppress(found, scores, 0.7).tolist() == [2, 1, 0, 3]


def test_a_box_that_was_dropped_drops_no_other() -> None:
    chain = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float64)
    assert mtcnn._suppress(chain, np.array([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]


def test_a_box_inside_another_is_dropped_where_the_smaller_one_counts() -> None:
    found = np.array([[0, 0, 20, 20], [5, 5, 10, 10]], np.float64)
    scores = np.array([0.9, 0.8])
    assert mtcnn._suppress(found, scores, 0.7).tolist() == [0, 1]
    assert mtcnn._suppress(found, scores, 0.7, of_smaller=True).tolist() == [0]


def test_equal_boxes_go_in_their_order_and_never_more_than_the_bound() -> None:
    apart = np.arange(700.0)[:, None] * 10 + [0, 0, 5, 5]
    kept = mtcnn._suppress(apart, np.full(700, 0.9), 0.5)
    assert kept.tolist() == list(range(mtcnn.MOST_BOXES))
    assert mtcnn._suppress(np.zeros((0, 4)), np.zeros(0), 0.5).size == 0


def test_the_pyramid_begins_at_the_smallest_face_and_ends_at_the_whole_image() -> None:
    assert mtcnn._pyramid(120, 240, 24) == [(60, 120), (43, 85), (30, 60), (21, 43), (15, 30)]
    assert mtcnn._pyramid(14, 20, 2) == [(14, 20)]
    assert mtcnn._pyramid(11, 300, 2) == []


def test_a_crop_is_grey_outside_of_the_image() -> None:
    image = np.full((10, 20, 3), 200, np.uint8)
    left, below, beyond = mtcnn._crop(image, np.array([[-4, 0, 4, 8], [0, 6, 8, 14], [40, 40, 48, 48]]), 8)
    assert (left[:, :4] == 128).all()
    assert (left[:, 4:] == 200).all()
    assert (below[:4] == 200).all()
    assert (below[4:] == 128).all()
    assert (beyond == 128).all()


def test_neither_the_package_nor_tensorflow_is_imported(run_python: Callable) -> None:
    script = (
        "import sys, numpy\n"
        "from selfie_localizer.annotators import mtcnn\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "mtcnn.check()\n"
        "assert mtcnn.detect(numpy.zeros((64, 64, 3), numpy.uint8)) is None\n"
        "print({'mtcnn', 'tensorflow', 'keras'} & set(sys.modules))\n"
    )
    done = run_python(script)
    assert (done.stdout.strip(), done.stderr.strip()) == ("set()", "")


def test_the_version_names_onnx_runtime_and_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    version = mtcnn.version()
    assert version == mtcnn.version()
    assert len(version.split()[1]) == 64
    whole = mtcnn._read
    monkeypatch.setattr(mtcnn, "_read", lambda name: whole(name) + (b"!" if name == "rnet.lz4" else b""))
    assert mtcnn.version() != version


def message_of_check() -> str:
    mtcnn._load.cache_clear()
    with pytest.raises(UserError) as error:
        mtcnn.check()
    message = str(error.value)
    assert "\n" not in message
    assert "pip install" in message
    assert "'mtcnn>=1,<2'" in message
    return message


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Has the package found in `folder`."""
    spec = importlib.machinery.ModuleSpec("mtcnn", None, is_package=True)
    assert spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(folder))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "mtcnn" else None)


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "not installed" in message_of_check()
    with pytest.raises(UserError, match="not installed"):
        mtcnn.version()


def test_missing_weights_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path)
    message = message_of_check()
    assert "pnet.lz4" in message
    assert "No such file" in message


@pytest.mark.parametrize("damage", ["cut", "empty", "other network", "text"])
def test_damaged_weights_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str) -> None:
    weights = {name: mtcnn._read(name) for name in ("pnet.lz4", "rnet.lz4", "onet.lz4")}
    whole = weights["rnet.lz4"]
    changed = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "other network": weights["onet.lz4"],
        "text": b"version https://git-lfs.github.com/spec/v1\n",
    }
    (tmp_path / "assets/weights").mkdir(parents=True)
    for name, content in (weights | {"rnet.lz4": changed[damage]}).items():
        (tmp_path / "assets/weights" / name).write_bytes(content)
    install(monkeypatch, tmp_path)
    message = message_of_check()
    assert "rnet.lz4 cannot be used" in message


def test_on_real_selfies_nearly_every_face_is_found_where_it_is(real_selfies: Path) -> None:
    table = pd.read_csv(real_selfies / "truth.csv").iloc[::40]
    found = [mtcnn.detect(read(real_selfies / "images" / name).pixels) for name in table["image"]]
    truth = table[["x1", "y1", "x2", "y2"]].to_numpy()
    shared = np.array([boxes.iou(one[0], box) if one else 0 for one, box in zip(found, truth, strict=True)])
    assert np.mean(shared > 0.4) >= 0.97
    assert shared[shared > 0].mean() >= 0.89
