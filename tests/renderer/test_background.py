import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from selfie_renderer import background, indoor

SIZES = [(64, 64), (54, 96), (97, 41), (9, 16), (3, 2), (1, 1)]


def _draw(seed: int, width: int, height: int, kind: str | None = None) -> NDArray[np.float32]:
    return background.draw(np.random.default_rng(seed), width, height, kind)


@pytest.mark.parametrize("kind", background.KINDS)
def test_the_same_generator_paints_the_same_picture(kind: str) -> None:
    np.testing.assert_array_equal(_draw(5, 64, 80, kind), _draw(5, 64, 80, kind))


@pytest.mark.parametrize("kind", background.KINDS)
def test_another_seed_paints_another_picture(kind: str) -> None:
    pictures = [_draw(seed, 48, 48, kind) for seed in range(6)]
    assert len({p.tobytes() for p in pictures}) >= 5  # Two white studios may be alike.


@pytest.mark.parametrize("kind", background.KINDS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_kind_fills_every_size(kind: str, width: int, height: int) -> None:
    for seed in range(3):
        picture = _draw(seed, width, height, kind)
        assert picture.shape == (height, width, 3)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_every_kind_is_chosen_as_often_as_its_share_says() -> None:
    assert sum(share for share, _, _ in background.KINDS.values()) == pytest.approx(1)
    rng = np.random.default_rng(0)
    chosen = [background.choose(rng) for _ in range(4000)]
    for kind, (share, _, _) in background.KINDS.items():
        assert chosen.count(kind) / len(chosen) == pytest.approx(share, abs=0.02), kind
        assert kind in chosen


def test_an_unnamed_kind_is_drawn_at_random() -> None:
    brightness = [_draw(seed, 32, 32).mean() for seed in range(40)]
    assert np.std(brightness) > 0.1


def test_backgrounds_are_as_bright_and_as_colourful_as_photographs() -> None:
    # Wide brackets around what was measured on the surroundings of 310 real selfies: luma 144, saturation 59 of 255.
    pictures = [(_draw(seed, 96, 96) * 255).astype(np.uint8) for seed in range(100)]
    luma = np.mean([cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).mean() for p in pictures])
    saturation = np.mean([cv2.cvtColor(p, cv2.COLOR_RGB2HSV)[..., 1].mean() for p in pictures])
    assert 110 < luma < 175
    assert 40 < saturation < 90


def _view(**changes: float) -> indoor.View:
    straight = {"left": 2.0, "right": 3.0, "floor": 1.5, "ceiling": 1.0, "far": 4.0, "focal": 0.5}
    return indoor.View(**(straight | {"yaw": 0.0, "pitch": 0.0, "roll": 0.0} | changes))


def test_rays_meet_the_planes_of_the_box_where_geometry_says() -> None:
    hits = indoor.cast(_view(), 100, 100)
    assert hits.plane[50, 50] == indoor.FAR
    assert hits.distance[50, 50] == pytest.approx(4.0)
    assert (hits.plane[50, 0], hits.plane[50, 99]) == (indoor.LEFT, indoor.RIGHT)
    assert (hits.plane[0, 50], hits.plane[99, 50]) == (indoor.CEILING, indoor.FLOOR)
    # Focal length 50 px: the ray of column 0 goes 1 m to the left for each metre ahead, so the wall is 2 m deep there.
    assert hits.u[50, 0] == pytest.approx(2.0)
    # The far wall ends 3 m to the right, 37.5 px from the middle.
    assert hits.plane[50, 87] == indoor.FAR
    assert hits.plane[50, 88] == indoor.RIGHT


def test_turning_right_shows_more_of_the_right_wall() -> None:
    def share(view: indoor.View) -> float:
        return float((indoor.cast(view, 60, 60).plane == indoor.RIGHT).mean())

    assert share(_view(yaw=0.4)) > share(_view()) > share(_view(yaw=-0.4))
