"""The estimate grows with what there is to do, and shrinks with the machine's speed."""

import pytest

from selfie_localizer import params
from selfie_localizer.app.estimate import MATRICES, Speed, measure, seconds
from tests.conftest import PROJECT

SETTINGS = params.load(PROJECT / "params.yaml")
HERE = Speed(1.0, MATRICES)


def estimated(
    changes: dict[str, object] | None = None, photos: int = 1100, speed: Speed = HERE, bits: int = 16
) -> float:
    settings = params.replace(SETTINGS, changes or {})
    return seconds(settings, photos, speed, "bfloat16" if bits == 16 else "float32", 2)


def test_the_sample_takes_as_long_as_the_run_that_the_constants_are_from() -> None:
    assert estimated() == pytest.approx(458, rel=0.1)


@pytest.mark.parametrize("changes", [{"train.epochs": 8}, {"train.frozen_stride": 0}, {"prepare.image_size": 192}])
def test_more_to_compute_takes_longer(changes: dict[str, object]) -> None:
    assert estimated(changes) > 1.1 * estimated()


def test_a_slower_machine_more_photos_and_float32_take_longer() -> None:
    assert estimated(speed=Speed(0.5, MATRICES / 2)) == pytest.approx(2 * estimated(), rel=0.15)
    assert estimated(photos=2200) > 1.2 * estimated()
    assert estimated(bits=32) > estimated()


def test_a_cap_on_time_is_kept() -> None:
    capped = {"train.epochs": 1000, "train.max_minutes": 1.0}
    assert estimated(capped) < estimated({"train.epochs": 1}) + 3 * 60


def test_measuring_finds_some_speed() -> None:
    speed = measure()
    assert speed.python > 0
    assert speed.matrices > 0
