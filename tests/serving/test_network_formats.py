"""What is served: its form, how far that may move a box, and who reads it."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from selfie_localizer import params
from selfie_localizer.errors import UserError
from selfie_localizer.network import inference, litert_file
from selfie_localizer.serving import network_formats
from selfie_localizer.serving.network_formats import choose_form, largest_shift, write_served
from tests.serving.conftest import SIZE

EIGHT_BITS = params.Serving(form="litert_int8", max_shift_px=SIZE)


@pytest.fixture(scope="module")
def small(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, Path]:
    """A model, and the file of its 8 bit form."""
    path = tmp_path_factory.mktemp("forms") / "network.tflite"
    model = inference.load(trained / "model.keras")
    write_served(model, EIGHT_BITS, None, SIZE, path, "it")
    return model, path


def test_one_photo_in_a_thousand_rounded_up_may_move_farther() -> None:
    assert largest_shift(np.array([0.1, 9.0, 0.3, 0.2])) == 0.3
    thousand = np.full(1000, 0.1)
    thousand[[5, 7]] = 9.0, 0.4
    assert largest_shift(thousand) == 0.4
    assert largest_shift(np.append(thousand, 0.1)) == 0.1


def test_a_single_photo_and_a_box_that_is_no_number_are_never_spared() -> None:
    assert largest_shift(np.array([2.0])) == 2.0
    assert np.isnan(largest_shift(np.array([0.1, np.nan, 0.1])))


def test_a_form_that_moves_boxes_farther_is_refused_in_one_line_that_names_the_parameter(
    small: tuple[object, Path], tmp_path: Path
) -> None:
    strict = params.Serving(form="litert_int8", max_shift_px=1e-9)
    with pytest.raises(
        UserError, match=r"it: as litert_int8 its boxes move by .* more than serving.max_shift_px: 1e-09"
    ):
        write_served(small[0], strict, None, SIZE, tmp_path / "network.tflite", "it")


def test_auto_takes_8_bits_where_boxes_stay_near_and_float32_with_a_line_that_says_why_where_not(
    small: tuple[object, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def served(form: str, shift: float) -> tuple[str, float]:
        asked = params.Serving.model_validate({"form": form, "max_shift_px": shift})
        chosen, path, moved = choose_form(small[0], asked, None, SIZE, tmp_path, "it")
        assert path.exists()
        return chosen.form, moved

    near, far = served("onnx", SIZE)[1], served("litert_int8", SIZE)[1]
    assert served("auto", float(SIZE)) == ("litert_int8", far)
    assert capsys.readouterr().err == ""
    assert served("auto", (near + far) / 2) == ("onnx", near)
    told = capsys.readouterr().err
    assert "it: as litert_int8 its boxes move by" in told
    assert "it is served in float32" in told


def test_8_bits_take_less_than_half_of_the_space_and_give_nearly_the_same_boxes(
    small: tuple[object, Path], tmp_path: Path
) -> None:
    model, path = small
    whole = params.Serving(form="onnx")
    assert write_served(model, whole, None, SIZE, tmp_path / "network.onnx", "it") < 0.01
    assert path.stat().st_size < (tmp_path / "network.onnx").stat().st_size / 2
    pixels = network_formats._test_images(SIZE)
    moved = np.abs(litert_file.load(path)(pixels) - model.predict_on_batch(pixels))[:, :4].max(axis=1)  # type: ignore[attr-defined]
    assert 0 < np.median(moved) * SIZE < 1


def test_a_litert_network_answers_the_same_alone_in_a_batch_and_from_several_threads(
    small: tuple[object, Path],
) -> None:
    network = litert_file.load(small[1])
    pixels = network_formats._test_images(SIZE)
    together = network(pixels)
    np.testing.assert_array_equal(together, np.concatenate([network(image[None]) for image in pixels]))
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(network, [pixels] * 16):
            np.testing.assert_array_equal(answer, together)


def test_without_its_package_a_form_is_refused_in_one_line(
    small: tuple[object, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match=r"needs the package ai-edge-litert.*or set serving.form: onnx") as caught:
        litert_file.load(small[1])
    assert "\n" not in str(caught.value)
