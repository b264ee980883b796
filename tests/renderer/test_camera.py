import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from selfie_renderer import background, camera

Picture = NDArray[np.float32]


def _blob(width: int, height: int, x: float, y: float, radius: float) -> Picture:
    """A bright disc with a soft edge on dark grey."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    disc = np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1)
    return np.repeat((0.15 + 0.6 * disc)[..., None], 3, -1).astype(np.float32)


def _decoded(data: bytes) -> NDArray[np.uint8]:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def test_the_same_generator_gives_the_same_bytes() -> None:
    picture = background.draw(np.random.default_rng(1), 90, 120)
    for seed in range(20):
        first, second = np.random.default_rng(seed), np.random.default_rng(seed)
        one, other = camera.develop(first, picture), camera.develop(second, picture)
        np.testing.assert_array_equal(one, other)
        assert camera.encode(first, one) == camera.encode(second, other)


def test_the_picture_given_is_left_alone() -> None:
    picture = _blob(60, 60, 30, 30, 12)
    before = picture.copy()
    for seed in range(30):
        camera.develop(np.random.default_rng(seed), picture)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (54, 96), (97, 41), (9, 16), (3, 2), (1, 1)])
def test_every_size_comes_out_whole(width: int, height: int) -> None:
    picture = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    for seed in range(80):
        rng = np.random.default_rng(seed)
        developed = camera.develop(rng, picture)
        assert developed.shape == (height, width, 3)
        assert developed.dtype == np.uint8
        assert _decoded(camera.encode(rng, developed)).shape == (height, width, 3)


@pytest.mark.parametrize(("width", "height"), [(160, 160), (121, 180)])
def test_nothing_moves(width: int, height: int) -> None:
    x, y, radius = width * 0.4, height * 0.55, 24.0
    picture = _blob(width, height, x, y, radius)
    for seed in range(150):
        developed = camera.develop(np.random.default_rng(seed), picture).astype(np.float32).mean(-1)
        # Around the disc only, where no border comes; half way between the medians of inside and outside.
        rows, columns = np.mgrid[:height, :width]
        apart = np.hypot(columns - x, rows - y)
        inside, outside = np.median(developed[apart < 15]), np.median(developed[(apart > 32) & (apart < 38)])
        bright = (developed > (inside + outside) / 2) & (apart < 38)
        assert columns[bright].mean() == pytest.approx(x, abs=0.6), seed
        assert rows[bright].mean() == pytest.approx(y, abs=0.6), seed
        assert np.sqrt(bright.sum() / np.pi) == pytest.approx(radius, abs=1.5), seed


def test_most_pictures_change_mildly_and_a_few_strongly() -> None:
    picture = cv2.resize(background.draw(np.random.default_rng(3), 120, 120, "room"), (120, 120))
    change = [np.abs(camera.develop(np.random.default_rng(s), picture) / 255.0 - picture).mean() for s in range(150)]
    assert np.median(change) < 0.12
    assert max(change) > 0.15


def test_some_pictures_are_black_and_white_and_some_framed() -> None:
    picture = np.empty((80, 80, 3), np.float32)
    picture[...] = (0.7, 0.4, 0.3)
    grey = framed = 0
    for seed in range(300):
        developed = camera.develop(np.random.default_rng(seed), picture).astype(int)
        grey += int(np.ptp(developed[20:60, 20:60].mean((0, 1))) < 2)
        rim, middle = developed[0].mean(), developed[35:45, 35:45].mean()
        framed += int(abs(rim - middle) > 70)
    assert 15 < grey < 60
    assert 5 < framed < 45


def test_a_border_covers_the_rim_only() -> None:
    picture = np.full((200, 200, 3), 0.5, np.float32)
    for seed in range(40):
        framed = picture.copy()
        camera._border(np.random.default_rng(seed), framed)
        changed = np.abs(framed - picture).max(-1) > 0
        assert changed.any()
        assert not changed[22:177, 22:178].any()


def test_jpegs_are_as_large_as_a_phone_app_makes_them() -> None:
    sizes = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        picture = background.draw(rng, 306, 306)
        sizes.append(len(camera.encode(rng, camera.develop(rng, picture))))
    assert 6_000 < np.mean(sizes) < 25_000


def test_quality_is_mostly_good() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    rng = np.random.default_rng(1)
    error = [np.abs(_decoded(camera.encode(rng, image)).astype(int) - image).mean() for _ in range(60)]
    assert len({round(e, 3) for e in error}) > 10
