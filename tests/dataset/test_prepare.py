"""Photos become arrays once, and what judges is kept apart from what learns."""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes, files, params
from selfie_localizer.dataset import prepare as stage
from selfie_localizer.dataset.prepare import prepare
from selfie_localizer.dataset.store import FIT, TEST, Store, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.photos.decode import read, resize

SETTINGS = params.Prepare(image_size=32)
SPLITS = ("train", "train", "train", "validation", "test")


def make_project(root: Path, count: int = 40) -> pd.DataFrame:
    """Writes `count` images, three without a label and two without a face in each ten; returns `labels.csv`."""
    rows = []
    for index in range(count):
        rng = np.random.default_rng(index)
        height, width = int(rng.integers(40, 90)), int(rng.integers(40, 90))
        negative, missed = index % 10 in (3, 4), index % 10 in (5, 8, 9)
        name = f"{'../negatives' if negative else 'deep'}/{index:03d}.png"
        path = root / "data/images" / name
        (root / "data/images").mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (height, width, 3), np.uint8))
        verdict = "negative" if negative else "unseen" if missed else "alone"
        row = {"image": name, "sha256": files.sha256(path.read_bytes()), "split": SPLITS[index % 5], "verdict": verdict}
        row |= {"width": width, "height": height, "annotators": "haar", "spread": np.nan}
        rows.append(row | dict(zip(boxes.SIDES, (2, 4, width - 3, height - 5), strict=True)))
    table = pd.DataFrame(rows)
    table.loc[table["verdict"] != "alone", boxes.SIDES] = np.nan
    write_labels(root, table)
    return table


def write_labels(root: Path, table: pd.DataFrame) -> None:
    (root / "build").mkdir(exist_ok=True)
    table.to_csv(root / "build/labels.csv", index=False)


def open_both(root: Path) -> tuple[Store, Store]:
    return open_store(root / FIT), open_store(root / TEST)


def read_bytes(root: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in (root / "build/store").glob("*/*")}


def test_the_stores_hold_each_image_as_decoded_and_resized_with_its_label(tmp_path: Path) -> None:
    make_project(tmp_path)
    prepare(SETTINGS, workers=1, root=tmp_path)
    for store in open_both(tmp_path):
        assert store.images.shape[1:] == (32, 32, 3)
        for position, row in store.table.iterrows():
            expected = resize(read(tmp_path / "data/images" / row["image"]).pixels, 32)
            np.testing.assert_array_equal(store.images[position], expected)
            if row["verdict"] == "alone":
                box = [2 / row["width"], 4 / row["height"], 1 - 3 / row["width"], 1 - 5 / row["height"]]
                np.testing.assert_allclose(store.boxes[position], box, rtol=1e-6)
            else:
                assert np.isnan(store.boxes[position]).all()


def test_fit_has_what_can_be_learned_from_and_test_every_usable_image_of_its_split(tmp_path: Path) -> None:
    table = make_project(tmp_path)
    prepare(SETTINGS, workers=1, root=tmp_path)
    fit, test = open_both(tmp_path)
    learnable = table[(table["split"] != "test") & (table["verdict"] != "unseen")]
    assert fit.table["image"].tolist() == learnable["image"].tolist()
    assert test.table["image"].tolist() == table.loc[table["split"] == "test", "image"].tolist()
    assert len(test.indices("test")) < len(test.indices("test", labelled=False))
    assert len(test.negatives("test")) == 4
    assert len(fit.negatives("train")) == 0
    assert len(fit.negatives("validation")) == 4
    assert not set(fit.indices("validation")) & set(fit.indices("train"))


def test_neither_store_holds_truth(tmp_path: Path) -> None:
    make_project(tmp_path)
    prepare(SETTINGS, workers=1, root=tmp_path)
    before = read_bytes(tmp_path)
    (tmp_path / "data/truth.csv").write_text("image,x1,y1,x2,y2\ndeep/000.png,1,2,3,4\n")
    prepare(SETTINGS, workers=1, root=tmp_path)
    assert read_bytes(tmp_path) == before


def test_the_bytes_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    make_project(tmp_path, count=150)
    prepare(SETTINGS, workers=1, root=tmp_path)
    one = read_bytes(tmp_path)
    os.rename(tmp_path / "build/store", tmp_path / "before")
    prepare(SETTINGS, workers=2, root=tmp_path)
    assert read_bytes(tmp_path) == one


def test_only_images_that_no_store_holds_yet_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_project(tmp_path)
    write_labels(tmp_path, table.iloc[:30])
    prepare(SETTINGS, workers=1, root=tmp_path)
    # One image goes over to the other store, and one has another label.
    moved = table.copy()
    moved.loc[0, "split"] = "test"
    moved.loc[1, "x1"] = 7
    write_labels(tmp_path, moved)
    read, decoded = stage._read, []
    monkeypatch.setattr(stage, "_read", lambda *rest: decoded.append(rest[1]) or read(*rest))
    prepare(SETTINGS, workers=1, root=tmp_path)
    new = moved.iloc[30:]
    wanted = new[(new["split"] == "test") | (new["verdict"] != "unseen")]
    assert sorted(decoded) == sorted(wanted["image"])
    taken_over = read_bytes(tmp_path)
    os.rename(tmp_path / "build/store", tmp_path / "before")
    prepare(SETTINGS, workers=1, root=tmp_path)
    assert read_bytes(tmp_path) == taken_over


def test_images_of_another_size_or_made_by_other_code_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path)
    prepare(SETTINGS, workers=1, root=tmp_path)
    prepare(params.Prepare(image_size=48), workers=1, root=tmp_path)
    assert open_both(tmp_path)[0].size == 48
    before = read_bytes(tmp_path)
    monkeypatch.setattr(stage, "code_digest", lambda *_: "other code")
    monkeypatch.setattr(stage, "_read", lambda *_: np.zeros((48, 48, 3), np.uint8))
    prepare(params.Prepare(image_size=48), workers=1, root=tmp_path)
    assert open_both(tmp_path)[0].images.max() == 0
    assert read_bytes(tmp_path)["fit/store.json"] != before["fit/store.json"]


def test_a_damaged_store_of_before_is_made_again(tmp_path: Path) -> None:
    make_project(tmp_path)
    prepare(SETTINGS, workers=1, root=tmp_path)
    whole = read_bytes(tmp_path)
    (tmp_path / FIT / "images.npy").write_bytes(b"\x93NUMPY and nothing else")
    (tmp_path / TEST / "index.csv").unlink()
    prepare(SETTINGS, workers=1, root=tmp_path)
    assert read_bytes(tmp_path) == whole


def test_the_digest_names_images_and_labels(tmp_path: Path) -> None:
    table = make_project(tmp_path)
    digests = []
    for x1 in (2, 2, 3):
        write_labels(tmp_path, table.assign(x1=table["x1"].where(table.index > 0, x1)))
        prepare(SETTINGS, workers=1, root=tmp_path)
        digests.append([store.digest for store in open_both(tmp_path)])
    assert digests[0] == digests[1]
    assert digests[0][0] != digests[2][0]
    assert digests[0][1] == digests[2][1], "the label of a training image is nothing to the test store"


def test_an_image_that_changed_since_annotate_stops_and_leaves_the_stores_as_they_were(tmp_path: Path) -> None:
    table = make_project(tmp_path)
    cv2.imwrite(str(tmp_path / "data/images" / table["image"][2]), np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(UserError, match=r"deep/002\.png: changed since it was annotated"):
        prepare(SETTINGS, workers=2, root=tmp_path)
    assert list((tmp_path / "build/store").iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("selfie_localizer.dataset.prepare.shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="free some space or lower"):
        prepare(SETTINGS, root=tmp_path)


def test_a_missing_input_or_store_names_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro label"):
        prepare(SETTINGS, root=tmp_path)
    with pytest.raises(UserError, match="dvc repro prepare"):
        open_store(tmp_path / FIT)
