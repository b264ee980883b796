"""Starter weights arrive in the localizer, as far as they fit, and what is missing is one line."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from selfie_localizer import params
from selfie_localizer.errors import UserError
from selfie_localizer.network import localizer, starter_weights
from tests.training.conftest import TINY

ROW = params.Backbone(architecture="VGGBackbone", arguments=TINY.arguments, weights="starter")


def build(row: params.Backbone, width: int = 16, seed: int = 0, **network: Any) -> keras.Model:
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    return localizer.build(row, params.Network(head_width=width, **network), 32)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spread(kernel: np.ndarray) -> np.ndarray:
    """Returns the greatest size of a number in each output channel."""
    return np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))


def assert_close(mine: keras.Variable, theirs: np.ndarray) -> None:
    """Kernels are kept in 8 bits for each output channel, all else in 16."""
    atol = spread(theirs) / 127 * 0.501 if theirs.ndim >= 2 else 1e-6
    rtol = 0 if theirs.ndim >= 2 else 1e-3
    difference = np.abs(mine.numpy() - theirs)
    assert (difference <= atol + rtol * np.abs(theirs)).all(), mine.path


def test_a_localizer_starts_from_the_saved_one_to_8_bits(here: Path) -> None:
    saved = build(TINY, seed=1)
    starter_weights.save(saved, starter_weights.path_of("VGGBackbone"))
    loaded = build(ROW, seed=2)
    for mine, theirs in zip(loaded.variables, saved.variables, strict=True):
        assert_close(mine, theirs.numpy())
    pixels = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(loaded.predict_on_batch(pixels), saved.predict_on_batch(pixels), atol=0.01)


def test_each_channel_has_a_scale_of_its_own() -> None:
    # Two inputs, three channels of very different size; the last is all zeros.
    kernel = np.array([[127.0, 0.004, 0.0], [-63.6, -0.0127, 0.0]], np.float32)
    whole, scale = starter_weights.quantise(kernel)
    np.testing.assert_array_equal(whole, [[127, 40, 0], [-64, -127, 0]])
    np.testing.assert_allclose(scale, [1.0, 0.0001, 0.0], rtol=1e-6)
    assert whole.dtype == np.int8


def test_a_file_of_16_bit_floats_is_read_as_it_was_written(here: Path) -> None:
    saved = build(TINY, seed=1)
    starter_weights.STARTER.mkdir()
    floats = {v.path: v.numpy().astype(np.float16) for v in saved.variables if v.dtype == "float32"}
    np.savez_compressed(starter_weights.path_of("VGGBackbone"), **floats)
    loaded = build(ROW, seed=2)
    for mine, theirs in zip(loaded.variables, saved.variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-6, err_msg=mine.path)


def test_a_file_of_a_newer_format_is_one_line(here: Path) -> None:
    starter_weights.STARTER.mkdir()
    np.savez(starter_weights.path_of("VGGBackbone"), format=np.array(99))
    with pytest.raises(UserError, match="it is of format 99, newer than this version of the project"):
        build(ROW)


def of_head(path: str) -> bool:
    return path.startswith(("vectorizer_", "head_"))


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in model.variables}


def test_each_width_has_a_head_of_its_own_on_the_one_backbone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = {width: build(TINY, width, seed=width) for width in (16, 8, 24)}
    backbone, heads = values(saved[16]), {width: values(model) for width, model in saved.items()}
    starter_weights.save(saved[16], starter_weights.path_of("VGGBackbone"), [saved[8], saved[24]])
    capsys.readouterr()
    for width in (8, 16, 24):
        loaded = build(ROW, width, seed=99)
        for mine in loaded.variables:
            assert_close(mine, heads[width][mine.path] if of_head(mine.path) else backbone[mine.path])
    assert capsys.readouterr().err == ""


def test_a_head_of_a_width_that_is_not_there_stays_random_on_the_starter_backbone_and_one_line_says_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = build(TINY, seed=1)
    backbone = values(saved)
    starter_weights.save(saved, starter_weights.path_of("VGGBackbone"), [build(TINY, width=24)])
    capsys.readouterr()
    loaded = build(ROW, width=8, seed=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert "no head of width 8 that fits this neck and vectorizer (its widths: 16, 24)" in line
    assert line.endswith("the head starts from random weights")
    fresh = values(build(TINY, width=8, seed=2))
    for mine in loaded.variables:
        assert_close(mine, fresh[mine.path] if of_head(mine.path) else backbone[mine.path])


def test_no_part_of_a_head_goes_to_another_vectorizer_of_its_width(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starter_weights.save(build(TINY, seed=1), starter_weights.path_of("VGGBackbone"))
    loaded, fresh = (values(build(row, seed=2, vectorizer="gap")) for row in (ROW, TINY))
    np.testing.assert_array_equal(loaded["head_score/kernel"], fresh["head_score/kernel"])
    assert "no head of width 16" in capsys.readouterr().err


def test_missing_or_foreign_weights_are_one_line_that_says_what_to_do(here: Path) -> None:
    with pytest.raises(UserError, match=r"no starter weights of VGGBackbone here; fetch them by `dvc pull"):
        build(ROW)
    starter_weights.STARTER.mkdir()
    starter_weights.path_of("VGGBackbone").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        build(ROW)
    np.savez(starter_weights.path_of("VGGBackbone"), other=np.zeros(3))
    with pytest.raises(UserError, match="no weights of this network"):
        build(ROW)


def test_a_value_beyond_16_bits_is_refused_before_anything_is_written(here: Path) -> None:
    model = build(TINY)
    bias = model.get_layer("head_score").bias
    bias.assign(np.full(bias.shape, 1e6))
    with pytest.raises(ValueError, match="does not fit in 16 bits"):
        starter_weights.save(model, starter_weights.path_of("VGGBackbone"))
    assert not starter_weights.path_of("VGGBackbone").exists()
