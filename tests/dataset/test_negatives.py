"""Images without a face are prepared and split as all others, and are never taken for selfies."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfie_localizer import images, params
from selfie_localizer.dataset.feed import training_feed
from selfie_localizer.dataset.prepare import prepare
from selfie_localizer.dataset.store import open_store
from tests.dataset.test_feed import STILL
from tests.dataset.test_prepare import make_project

SETTINGS = params.Prepare(image_size=32, validation=0.2, test=0.2)


def test_negatives_are_split_by_content_and_kept_apart_from_selfies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path)
    folder = tmp_path / "data/negatives/rooms"
    folder.mkdir(parents=True)
    for index in range(30):
        pixels = np.random.default_rng(1000 + index).integers(0, 255, (50, 40, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index:02d}.png"), pixels)
    (folder / "copy.png").write_bytes((folder / "00.png").read_bytes())
    (folder / "broken.jpg").write_bytes(b"no image")
    prepare(SETTINGS, workers=1, root=tmp_path)

    store = open_store(tmp_path / "build/store")
    found = {split: store.negatives(split) for split in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert sum(len(rows) for rows in found.values()) == 30
    assert all(len(rows) > 0 for rows in found.values())
    for split, rows in found.items():
        assert np.isnan(store.boxes[rows]).all()
        assert not set(rows) & set(store.indices(split, labelled=False))  # type: ignore[arg-type]
        for row in rows:
            expected = images.resize(images.read(tmp_path / "data/images" / store.table["image"][row]), 32)
            np.testing.assert_array_equal(store.images[row], expected)

    report = json.loads((tmp_path / "reports/prepare.json").read_text())
    assert {name: part["negatives"] for name, part in report["splits"].items()} == {k: len(v) for k, v in found.items()}
    assert report["unusable_negatives"] == 1
    assert "data/negatives/rooms/broken.jpg" in capsys.readouterr().err

    rows = np.concatenate([store.indices("train"), found["train"]])
    boxes = np.concatenate([batch[1] for batch in training_feed(store, rows, STILL, 8, 0, 0).as_numpy_iterator()])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert (area == 0).sum() == len(found["train"])
