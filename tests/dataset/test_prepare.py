"""Selfies become arrays once; the split of an image never depends on other images."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfie_localizer import files, images, params
from selfie_localizer.dataset.prepare import prepare, split_of
from selfie_localizer.dataset.store import BOX, open_store
from selfie_localizer.errors import UserError

SETTINGS = params.Prepare(image_size=32, validation=0.1, test=0.1)


def make_project(root: Path, count: int = 40, first: int = 0) -> pd.DataFrame:
    """Writes `count` images with boxes as the stages before `prepare` would; returns the listing."""
    (root / "data/images/deep").mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(first, first + count):
        rng = np.random.default_rng(index)
        height, width = int(rng.integers(40, 90)), int(rng.integers(40, 90))
        name = f"deep/{index:03d}.png"
        pixels = rng.integers(0, 255, (height, width, 3), np.uint8)
        cv2.imwrite(str(root / "data/images" / name), pixels)
        sha256 = files.sha256((root / "data/images" / name).read_bytes())
        rows.append({"image": name, "width": width, "height": height, "sha256": sha256})
    listing = pd.DataFrame(rows)
    write_inputs(root, listing, listing)
    return listing


def write_inputs(root: Path, listing: pd.DataFrame, labelled: pd.DataFrame, pairs: list[tuple[str, str]] = ()) -> None:
    (root / "build").mkdir(exist_ok=True)
    listing.assign(bytes=1, phash="0" * 16, error="").to_csv(root / "build/images.csv", index=False)
    clean = labelled.assign(x1=2, y1=4, x2=labelled["width"] - 3, y2=labelled["height"] - 5, source="haar")
    clean.to_csv(root / "build/clean.csv", index=False)
    pd.DataFrame([(*pair, 1) for pair in pairs], columns=["image", "other", "bits"]).to_csv(
        root / "build/near_duplicates.csv", index=False
    )


def names(store, split: str) -> list[str]:
    return store.table["image"][store.indices(split, labelled=False)].tolist()


def test_the_store_holds_each_image_as_decoded_and_resized_with_its_box(tmp_path: Path) -> None:
    make_project(tmp_path)
    prepare(SETTINGS, workers=1, root=tmp_path)
    store = open_store(tmp_path / "build/store")
    assert store.images.shape == (40, 32, 32, 3)
    for position, row in store.table.iterrows():
        expected = images.resize(images.read(tmp_path / "data/images" / row["image"]), 32)
        np.testing.assert_array_equal(store.images[position], expected)
        box = [2 / row["width"], 4 / row["height"], 1 - 3 / row["width"], 1 - 5 / row["height"]]
        np.testing.assert_allclose(store.boxes[position], box, rtol=1e-6)


def test_the_bytes_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    found = []
    make_project(tmp_path, count=150)
    for workers in (1, 2):
        prepare(SETTINGS, workers=workers, root=tmp_path)
        found.append({path.name: path.read_bytes() for path in (tmp_path / "build/store").iterdir()})
    assert found[0] == found[1]


def test_every_image_is_in_one_split_and_the_shares_are_about_as_asked() -> None:
    digests = [files.digest(index) for index in range(5000)]
    splits = [split_of(value, 0.1, 0.2) for value in digests]
    assert splits.count("validation") == pytest.approx(500, abs=100)
    assert splits.count("test") == pytest.approx(1000, abs=130)


@given(st.binary(min_size=32, max_size=32), st.floats(0.01, 0.4), st.floats(0.01, 0.4))
def test_a_larger_test_share_never_moves_an_image_out_of_the_test_split(raw: bytes, test: float, more: float) -> None:
    if split_of(raw.hex(), 0.05, test) == "test":
        assert split_of(raw.hex(), 0.05, test + more) == "test"


def test_adding_images_moves_no_image_to_another_split(tmp_path: Path) -> None:
    before = make_project(tmp_path, count=40)
    prepare(SETTINGS, workers=1, root=tmp_path)
    old = open_store(tmp_path / "build/store").table.set_index("image")["split"]
    after = make_project(tmp_path, count=60, first=40)
    both = pd.concat([after, before])
    write_inputs(tmp_path, both, both)
    prepare(SETTINGS, workers=1, root=tmp_path)
    new = open_store(tmp_path / "build/store").table.set_index("image")["split"]
    assert len(new) == 100
    pd.testing.assert_series_equal(new[old.index], old)


def test_a_near_duplicate_in_a_stricter_split_leaves_the_other_out_and_is_counted(tmp_path: Path) -> None:
    listing = make_project(tmp_path, count=100)
    prepare(SETTINGS, workers=1, root=tmp_path)
    store = open_store(tmp_path / "build/store")
    train, validation, test = (names(store, split) for split in ("train", "validation", "test"))
    # The third train image touches the test split only through the validation split.
    pairs = [(train[0], test[0]), (validation[0], train[1]), (validation[1], test[1]), (train[2], validation[1])]
    write_inputs(tmp_path, listing, listing, [*pairs, (train[3], train[4])])
    prepare(SETTINGS, workers=1, root=tmp_path)
    store = open_store(tmp_path / "build/store")
    assert names(store, "test") == test
    assert names(store, "validation") == [name for name in validation if name != validation[1]]
    assert names(store, "train") == train[3:]
    report = json.loads((tmp_path / "reports/prepare.json").read_text())
    assert report["near_duplicates_left_out"] == 4
    assert report["left_out"] == {"train": 3, "validation": 1, "test": 0}


def test_the_test_split_keeps_what_the_annotator_missed_where_truth_exists(tmp_path: Path) -> None:
    listing = make_project(tmp_path, count=100)
    truth = listing[["image"]].assign(x1=1, y1=1, x2=20, y2=30)
    truth.to_csv(tmp_path / "data/truth.csv", index=False)
    write_inputs(tmp_path, listing, listing.iloc[:50])
    prepare(SETTINGS, workers=1, root=tmp_path)
    store = open_store(tmp_path / "build/store")
    unlabelled = store.table[store.table["x1"].isna()]
    assert len(unlabelled) > 0
    assert set(unlabelled["split"]) == {"test"}
    expected = [
        name
        for name, value in zip(listing["image"][50:], listing["sha256"][50:], strict=True)
        if split_of(value, 0.1, 0.1) == "test"
    ]
    assert unlabelled["image"].tolist() == expected
    assert np.isfinite(store.truth).all()
    assert len(store.indices("test", labelled=False)) == len(store.indices("test")) + len(unlabelled)


def test_images_with_trusted_boxes_never_enter_the_test_split(tmp_path: Path) -> None:
    listing = make_project(tmp_path, count=60)
    listing[["image"]].assign(x1=1, y1=1, x2=20, y2=30).to_csv(tmp_path / "data/trusted.csv", index=False)
    prepare(SETTINGS, workers=1, root=tmp_path)
    assert names(open_store(tmp_path / "build/store"), "test") == []


def test_an_image_that_changed_since_annotate_stops_and_leaves_no_store(tmp_path: Path) -> None:
    listing = make_project(tmp_path)
    cv2.imwrite(str(tmp_path / "data/images" / listing["image"][3]), np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(UserError, match=r"deep/003\.png: changed since it was annotated"):
        prepare(SETTINGS, workers=2, root=tmp_path)
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == [
        "clean.csv",
        "images.csv",
        "near_duplicates.csv",
    ]


def test_a_disk_that_is_too_small_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("selfie_localizer.dataset.prepare.shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="free some space or lower"):
        prepare(SETTINGS, root=tmp_path)


def test_no_box_at_all_is_one_clear_line(tmp_path: Path) -> None:
    listing = make_project(tmp_path, count=3)
    write_inputs(tmp_path, listing, listing.iloc[:0])
    with pytest.raises(UserError, match="no image with a box to prepare"):
        prepare(SETTINGS, root=tmp_path)


def test_a_missing_input_names_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro validate"):
        prepare(SETTINGS, root=tmp_path)


def test_a_missing_store_names_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro prepare"):
        open_store(tmp_path / "build/store")


def test_the_digest_names_the_content(tmp_path: Path) -> None:
    listing = make_project(tmp_path)
    digests = []
    for labelled in (listing, listing, listing.iloc[1:]):
        write_inputs(tmp_path, listing, labelled)
        prepare(SETTINGS, workers=1, root=tmp_path)
        digests.append(open_store(tmp_path / "build/store").digest)
    assert digests[0] == digests[1] != digests[2]


def test_box_columns_keep_their_pixels(tmp_path: Path) -> None:
    listing = make_project(tmp_path, count=5)
    prepare(SETTINGS, workers=1, root=tmp_path)
    table = open_store(tmp_path / "build/store").table
    assert table[BOX[2]].tolist() == (listing["width"] - 3).tolist()


def test_trusted_boxes_become_labels_and_map_those_of_the_annotator(tmp_path: Path) -> None:
    listing = make_project(tmp_path, count=60)
    wanted = listing[["image"]].assign(x1=6, y1=4, x2=listing["width"] - 9, y2=listing["height"] - 5)
    trusted = wanted.iloc[:20].assign(y1=listing["height"] // 3)
    trusted.to_csv(tmp_path / "data/trusted.csv", index=False)
    # The annotator missed two of the trusted images and one of the others.
    write_inputs(tmp_path, listing, listing.iloc[2:59])
    prepare(SETTINGS, workers=1, root=tmp_path)
    store = open_store(tmp_path / "build/store")
    table = store.table.set_index("image")
    assert "deep/059.png" not in table.index
    own = table.loc[trusted["image"]]
    np.testing.assert_array_equal(own[BOX], trusted[BOX])
    assert set(own["source"]) == {"trusted"}
    assert "test" not in set(own["split"])
    others = table[~table.index.isin(trusted["image"])]
    assert set(others["source"]) == {"haar"}
    drawn, shift = 2, (others["y1"] - 4) / (others["height"] - 9)
    assert np.ptp(shift) < 1e-9
    assert (others["x1"] > drawn).all()
    report = json.loads((tmp_path / "reports/prepare.json").read_text())["convention"]
    assert report["trusted"] == 20
    assert report["pairs"] == 18
    assert report["mean_iou"]["after"] > report["mean_iou"]["before"]

    prepare(SETTINGS.model_copy(update={"convention": "none"}), workers=1, root=tmp_path)
    unmapped = open_store(tmp_path / "build/store").table.set_index("image")
    assert (unmapped.loc[others.index, "x1"] == drawn).all()
    np.testing.assert_array_equal(unmapped.loc[trusted["image"], BOX], trusted[BOX])


def test_a_copy_of_a_trusted_image_under_another_name_stays_out_of_the_test_split_too(tmp_path: Path) -> None:
    listing = make_project(tmp_path, count=60)
    twin = "deep/twin.png"
    tested = next(row for row in listing.itertuples() if split_of(row.sha256, 0.1, 0.1) == "test")
    (tmp_path / "data/images" / twin).write_bytes((tmp_path / "data/images" / tested.image).read_bytes())
    both = pd.concat([listing, listing[listing["image"] == tested.image].assign(image=twin)])
    write_inputs(tmp_path, both, listing)
    (tmp_path / "data/trusted.csv").write_text(f"image,x1,y1,x2,y2\n{twin},5,6,30,31\n")
    prepare(SETTINGS, workers=1, root=tmp_path)
    row = open_store(tmp_path / "build/store").table.set_index("image").loc[tested.image]
    assert row["split"] == "train"
    assert row[BOX].tolist() == [5, 6, 30, 31]


def test_a_trusted_box_is_cut_to_its_image_and_none_is_made_of_one_outside(tmp_path: Path) -> None:
    listing = make_project(tmp_path)
    write_inputs(tmp_path, listing, listing.iloc[2:])
    lines = [f"{listing['image'][0]},-5,1,2000,30", f"{listing['image'][1]},1000,1000,2000,2000"]
    (tmp_path / "data/trusted.csv").write_text("image,x1,y1,x2,y2\n" + "\n".join(lines) + "\n")
    prepare(SETTINGS, workers=1, root=tmp_path)
    table = open_store(tmp_path / "build/store").table.set_index("image")
    assert table.loc[listing["image"][0], BOX].tolist() == [0, 1, listing["width"][0], 30]
    assert listing["image"][1] not in table.index


@pytest.mark.parametrize("name", ["truth", "trusted"])
def test_rows_of_trusted_boxes_that_hold_none_are_passed_over_with_a_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = make_project(tmp_path)
    lines = [f"{listing['image'][0]},1,2,20,30", f"{listing['image'][1]},?,2,20,30", "gone.png,1,2,3,4"]
    (tmp_path / f"data/{name}.csv").write_text("\ufeffimage,x1,y1,x2,y2\n" + "\n".join(lines) + "\n", encoding="utf-8")
    prepare(SETTINGS, workers=1, root=tmp_path)
    assert f"{name}.csv: 1 of 3 rows hold no box and are passed over, first deep/001.png,?,2,20,30" in (
        capsys.readouterr().err
    )


def test_a_split_without_images_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_project(tmp_path, count=3)
    prepare(params.Prepare(image_size=32, validation=0.0001, test=0.0001), workers=1, root=tmp_path)
    assert "no image fell into validation or test" in capsys.readouterr().err


def test_a_review_that_is_there_joins_the_labels_and_brings_images_without_any(tmp_path: Path) -> None:
    listing = make_project(tmp_path, count=40)
    write_inputs(tmp_path, listing, listing.iloc[:30])
    model = listing[["sha256"]].assign(review_x1=4, review_y1=4, review_x2=listing["width"] - 1, review_score=0.9)
    model.insert(4, "review_y2", listing["height"] - 5)
    model.to_csv(tmp_path / "build/review.csv", index=False)
    settings = params.Review(model="starter", weight=0.5)
    prepare(SETTINGS, workers=1, root=tmp_path, review=settings)
    table = open_store(tmp_path / "build/store").table.set_index("image")
    # The labels are [2, 4, width - 3, height - 5], and the first shift moves them to the model's.
    averaged = table[table["source"] == "haar+starter"]
    np.testing.assert_allclose(averaged["x1"], 4, atol=0.6)
    np.testing.assert_allclose(averaged["x2"], averaged["width"] - 1, atol=0.6)
    assert len(averaged) == 30
    added = table[table["source"] == "pseudo"]
    train = [split_of(value, 0.1, 0.1) == "train" for value in listing["sha256"][30:]]
    assert sorted(added.index) == sorted(listing["image"][30:][train])
    report = json.loads((tmp_path / "reports/prepare.json").read_text())["review"]
    assert (report["averaged"], report["added"]) == (30, sum(train))
    assert [path.name for path in (tmp_path / "reports/prepare").iterdir()] == ["added.png"]
