"""The box stays right to the pixel whatever happens to the image, and a seed decides everything."""

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from selfie_localizer import boxes as box_math
from selfie_localizer import params
from selfie_localizer.dataset.augment import augment

SIDE = 96
OFF = {
    "zoom": (1.0, 1.0), "aspect": 0.0, "shift": 0.0, "flip": 0.0, "brightness": 0.0, "contrast": 0.0,
    "saturation": 0.0, "hue": 0.0, "grey": 0.0, "closeup": 0.0,
}  # fmt: skip
GEOMETRY = {
    "nothing": {},
    "zoom in": {"zoom": (0.5, 0.7)},
    "zoom out": {"zoom": (1.2, 1.6)},
    "shift": {"shift": 0.3},
    "aspect": {"aspect": 0.5},
    "flip": {"flip": 1.0},
    "turn": {"rotate": 30.0},
    "close-up": {"closeup": 1.0, "shift": 0.1},
    "all": {"zoom": (0.6, 1.4), "aspect": 0.3, "shift": 0.3, "flip": 0.5, "rotate": 20.0},
}


def make_blobs(count: int = 64, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draws one white ellipse on black in each image, with smooth edges, and its box relative to the image."""
    rng = np.random.default_rng(seed)
    half = rng.uniform(0.1, 0.25, (count, 2))
    # Apart from the rim, which is repeated where a window reaches beyond it.
    centre = rng.uniform(half + 0.03, 0.97 - half)
    y, x = (np.mgrid[0 : 4 * SIDE, 0 : 4 * SIDE] + 0.5) / (4 * SIDE)
    inside = ((x - centre[:, 0, None, None]) / half[:, 0, None, None]) ** 2
    inside += ((y - centre[:, 1, None, None]) / half[:, 1, None, None]) ** 2
    fine = (inside < 1).reshape(count, SIDE, 4, SIDE, 4).mean(axis=(2, 4)) * 255
    images = np.repeat(fine[..., None], 3, axis=-1).round().astype(np.uint8)
    return images, np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def find_blobs(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    found = []
    for image in images[..., 0]:
        rows, columns = np.flatnonzero(image.max(axis=1) > 127), np.flatnonzero(image.max(axis=0) > 127)
        found.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return np.array(found) / SIDE


def run(images: NDArray[np.uint8], boxes: NDArray[np.float32], seed: int = 0, **changes: object) -> tuple:
    settings = params.Augment(**{**OFF, **changes})  # type: ignore[arg-type]
    found = augment(tf.constant(images), tf.constant(boxes), settings, tf.constant([0, seed]))
    return found[0].numpy(), found[1].numpy()


@pytest.mark.parametrize("changes", GEOMETRY.values(), ids=GEOMETRY.keys())
def test_the_box_follows_a_blob_to_the_pixel_and_keeps_it_whole(changes: dict[str, object]) -> None:
    for seed in range(4):
        images, boxes = run(*make_blobs(seed=seed), seed=seed, **changes)
        assert (boxes > -1e-5).all()
        assert (boxes < 1 + 1e-5).all()
        assert box_math.is_box(boxes).all()
        # The blob is found to the pixel that is more than half inside: half a pixel on each side, and the rounding.
        assert np.abs(find_blobs(images) - boxes).max() * SIDE < 1.01


def test_a_close_up_shows_the_face_at_1_3_to_2_6_times_its_longer_side() -> None:
    _, boxes = run(*make_blobs(), closeup=1.0)
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1)
    assert longer.min() >= 1 / 2.6 - 1e-5
    assert longer.max() <= 1 / 1.3 + 1e-5
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, 0.5, atol=1e-5)


def test_nothing_asked_for_changes_nothing() -> None:
    images, boxes = make_blobs()
    same, same_boxes = run(images, boxes)
    np.testing.assert_array_equal(same, images)
    np.testing.assert_allclose(same_boxes, boxes, atol=1e-6)


def test_a_flip_mirrors_image_and_box() -> None:
    images, boxes = make_blobs()
    flipped, moved = run(images, boxes, flip=1.0)
    np.testing.assert_array_equal(flipped, images[:, :, ::-1])
    np.testing.assert_allclose(
        moved, np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], 1), atol=1e-6
    )


def test_a_window_smaller_than_the_face_grows_to_hold_it() -> None:
    image = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    box = np.array([[0.0, 0.1, 1.0, 0.9]], np.float32)
    for seed in range(8):
        _, moved = run(image, box, seed=seed, zoom=(0.3, 0.4), shift=0.5)
        assert moved[0, 0] == pytest.approx(0, abs=1e-5)
        assert moved[0, 2] == pytest.approx(1, abs=1e-5)
        assert moved.min() > -1e-5
        assert moved.max() < 1 + 1e-5


def test_zoom_changes_the_size_within_its_range() -> None:
    images, boxes = make_blobs(256)
    _, moved = run(images, boxes, zoom=(0.8, 1.25))
    ratio = (boxes[:, 2] - boxes[:, 0]) / (moved[:, 2] - moved[:, 0])
    assert 0.799 < ratio.min() < 0.83
    assert 1.2 < ratio.max() < 1.251


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"grey": 1.0}, (113, 113, 113)), ({"brightness": 0.2}, None), ({"contrast": 0.5}, None), ({"hue": 0.5}, None)],
)
def test_colours_change_as_named_and_boxes_stay(
    changes: dict[str, float], expected: tuple[int, int, int] | None
) -> None:
    images = np.full((64, SIDE, SIDE, 3), (180, 90, 60), np.uint8)
    boxes = np.tile(np.array([[0.2, 0.2, 0.6, 0.7]], np.float32), (64, 1))
    changed, same = run(images, boxes, **changes)
    np.testing.assert_allclose(same, boxes, atol=1e-6)
    assert (changed.reshape(64, -1, 3).std(axis=1) == 0).all()
    colours = changed[:, 0, 0].astype(int)
    if expected:
        # 0.299 x 180 + 0.587 x 90 + 0.114 x 60
        assert (colours == expected).all()
    elif "brightness" in changes:
        # The same for every channel, up to 0.2 x 255.
        assert (np.ptp(colours - [180, 90, 60], axis=1) <= 1).all()
        assert 40 < np.abs(colours[:, 0] - 180).max() <= 51
    elif "contrast" in changes:
        factor = (colours - 127.5) / (np.array([180, 90, 60]) - 127.5)
        assert 0.49 < factor.min() < 0.6
        assert 1.4 < factor.max() < 1.51
    else:
        assert len(np.unique(colours, axis=0)) > 40


def test_grey_stays_grey_under_hue_and_saturation() -> None:
    images, boxes = make_blobs()
    changed, _ = run(images, boxes, hue=0.5, saturation=1.0)
    assert np.ptp(changed.astype(int), axis=-1).max() <= 1
    np.testing.assert_allclose(changed, images, atol=1)


def test_blur_and_cutout_touch_pixels_and_never_boxes() -> None:
    images, boxes = make_blobs()
    for changes in ({"blur": 1.0}, {"cutout": 1.0}):
        changed, same = run(images, boxes, **changes)
        np.testing.assert_allclose(same, boxes, atol=1e-6)
        assert (changed != images).any(axis=(1, 2, 3)).mean() > 0.9


def test_in_a_collage_both_faces_are_whole_and_the_box_is_that_of_the_larger() -> None:
    images, boxes = make_blobs(256)
    # Each lends its blob to the next one, which is of the other colour.
    images[::2, ..., 1] = 0
    images[1::2, ..., 0] = 0
    images[..., 2] = 0
    changed, moved = run(images, boxes, collage=1.0, zoom=(0.8, 1.8))
    lent, paired = 0, 0
    for index, (image, box) in enumerate(zip(changed, moved, strict=True)):
        own, others = image[..., index % 2], image[..., 1 - index % 2]
        if others.max() <= 127:
            np.testing.assert_array_less(np.abs(find_blobs(own[None, ..., None])[0] - box) * SIDE, 1.01)
            continue
        pair = np.stack([find_blobs(channel[None, ..., None])[0] for channel in (own, others)])
        areas = np.prod(pair[:, 2:] - pair[:, :2], axis=1)
        assert np.abs(pair[areas.argmax()] - box).max() * SIDE < 1.01
        # Apart, since the strip cuts neither.
        assert pair[0, 2] <= pair[1, 0] or pair[1, 2] <= pair[0, 0]
        assert abs(np.log(areas[0] / areas[1])) > 0.1
        paired, lent = paired + 1, lent + int(areas.argmax())
    assert paired > 128
    assert 10 < lent < paired - 10


def test_in_a_collage_an_image_without_a_face_neither_lends_nor_gets_one() -> None:
    images, boxes = make_blobs(2)
    boxes[0] = 0
    changed, same = run(images, boxes, collage=1.0)
    np.testing.assert_array_equal(changed, images)
    np.testing.assert_allclose(same, boxes, atol=1e-6)


def test_a_seed_decides_everything() -> None:
    images, boxes = make_blobs(8)
    everything = {**GEOMETRY["all"], "brightness": 0.3, "hue": 0.1, "blur": 0.5, "cutout": 0.5, "collage": 0.5}
    first, again, other = (run(images, boxes, seed=seed, **everything) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()
