"""Batches come shuffled, complete and repeatable."""

import numpy as np
import pytest

from selfie_localizer import params
from selfie_localizer.dataset.feed import evaluation_feed, training_feed
from selfie_localizer.dataset.store import Store
from tests.dataset.test_augment import OFF
from tests.training.conftest import make_store

STILL = params.Augment.model_validate(OFF)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("feed") / "store")


def collect(feed: object) -> tuple[np.ndarray, np.ndarray, list[int]]:
    batches = list(feed.as_numpy_iterator())  # type: ignore[attr-defined]
    images, boxes = (np.concatenate([batch[part] for batch in batches]) for part in (0, 1))
    return images, boxes, [len(batch[0]) for batch in batches]


def test_an_epoch_has_every_image_once_with_its_own_box(store: Store) -> None:
    rows = store.indices("train")
    images, boxes, sizes = collect(training_feed(store, rows, STILL, 24, 0, 0))
    assert sizes == [24, 24, 16]
    known = {store.images[row].tobytes(): store.boxes[row] for row in rows}
    assert {image.tobytes() for image in images} == set(known)
    for image, box in zip(images, boxes, strict=True):
        np.testing.assert_allclose(box, known[image.tobytes()], atol=1e-6)


def test_seed_and_epoch_decide_order_and_changes(store: Store) -> None:
    rows = store.indices("train")
    first, again, later, other = (
        collect(training_feed(store, rows, params.Augment(), 16, seed, epoch))
        for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != later[0]).any()
    assert (first[0] != other[0]).any()


def test_evaluation_gives_the_images_as_they_are_in_order(store: Store) -> None:
    rows = store.indices("validation")
    images, boxes, sizes = collect(evaluation_feed(store, rows, 5))
    np.testing.assert_array_equal(images, store.images[rows])
    np.testing.assert_array_equal(boxes, store.boxes[rows])
    assert sizes == [5, 5, 5, 1]
