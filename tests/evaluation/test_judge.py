"""Who judges the test images: truth where at least 30 have it, else labels."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes
from selfie_localizer.dataset.store import TEST, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.evaluation import judge as module
from selfie_localizer.evaluation.judge import Judge, explain, find_judge
from tests.registry import blobs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """40 labelled test images without truth."""
    blobs.make_project(tmp_path, test=40, truth=False)
    return tmp_path


def judge_of(root: Path) -> Judge:
    return find_judge(open_store(root / TEST), root)


def change_store(root: Path, **columns: object) -> None:
    """Changes columns of the first 35 rows of the test store."""
    table = pd.read_csv(root / TEST / "index.csv")
    for name, value in columns.items():
        table.loc[:34, name] = value
    table.to_csv(root / TEST / "index.csv", index=False)


def test_with_truth_on_thirty_images_these_alone_judge(root: Path) -> None:
    blobs.give_truth(root, 30, moved=2)
    judge = judge_of(root)
    labels = open_store(root / TEST).table[boxes.SIDES].to_numpy(np.float64)[:30]
    assert (judge.kind, len(judge.table), judge.unjudged, judge.annotators) == ("truth", 30, 10, frozenset())
    np.testing.assert_array_equal(judge.rows, np.arange(30))
    np.testing.assert_allclose(judge.table["x1"], labels[:, 0] + 2)
    np.testing.assert_allclose(judge.labels, labels)


def test_with_truth_on_twenty_nine_the_labels_judge(root: Path) -> None:
    blobs.give_truth(root, 29, moved=2)
    judge = judge_of(root)
    labels = open_store(root / TEST).table[boxes.SIDES]
    assert (judge.kind, len(judge.table), judge.unjudged, judge.annotators) == ("labels", 40, 0, frozenset({"haar"}))
    np.testing.assert_allclose(judge.table[boxes.SIDES], labels)


def test_images_without_a_label_are_counted_and_do_not_judge(root: Path) -> None:
    change_store(root, x1=np.nan, y1=np.nan, x2=np.nan, y2=np.nan, annotators="")
    judge = judge_of(root)
    assert (judge.kind, len(judge.table), judge.unjudged) == ("labels", 5, 35)
    np.testing.assert_array_equal(judge.rows, np.arange(35, 40))


def test_truth_judges_what_annotators_missed(root: Path) -> None:
    blobs.give_truth(root, 30)
    change_store(root, x1=np.nan, y1=np.nan, x2=np.nan, y2=np.nan)
    judge = judge_of(root)
    assert (judge.kind, len(judge.table)) == ("truth", 30)
    assert np.isnan(judge.labels).all()


def test_without_any_label_the_few_images_with_truth_judge(root: Path) -> None:
    blobs.give_truth(root, 3)
    change_store(root, x1=np.nan, verdict="unasked")
    table = pd.read_csv(root / TEST / "index.csv").assign(x1=np.nan)
    table.to_csv(root / TEST / "index.csv", index=False)
    assert (judge_of(root).kind, len(judge_of(root).table), judge_of(root).unjudged) == ("truth", 3, 37)
    (root / "data/truth.csv").unlink()
    with pytest.raises(UserError, match="nobody can judge the test split") as caught:
        judge_of(root)
    assert "\n" not in str(caught.value)


def test_images_without_a_face_are_nobodys_to_judge(root: Path) -> None:
    change_store(root, verdict="negative", x1=np.nan)
    judge = judge_of(root)
    assert (len(judge.table), judge.unjudged) == (5, 0)


def test_an_empty_test_split_is_one_line(root: Path) -> None:
    change_store(root, split="train")
    table = pd.read_csv(root / TEST / "index.csv").assign(split="train")
    table.to_csv(root / TEST / "index.csv", index=False)
    with pytest.raises(UserError, match="the test split is empty"):
        judge_of(root)


def test_a_copy_under_another_name_has_the_same_truth(root: Path) -> None:
    blobs.give_truth(root, 30)
    expected = judge_of(root)
    shutil.copy(root / "data/images/0.png", root / "data/images/copy.png")
    listing = pd.read_csv(root / "build/images.csv")
    copy = listing[listing["image"] == "0.png"].assign(image="copy.png")
    pd.concat([listing, copy]).to_csv(root / "build/images.csv", index=False)
    truth = (root / "data/truth.csv").read_text()
    (root / "data/truth.csv").write_text(truth.replace("\n0.png,", "\ncopy.png,"))
    found = judge_of(root)
    pd.testing.assert_frame_equal(found.table, expected.table)
    assert found.digest == expected.digest


def test_truth_is_cut_to_the_image_and_what_lies_beside_it_judges_nothing(root: Path) -> None:
    blobs.give_truth(root, 32)
    truth = pd.read_csv(root / "data/truth.csv").astype(dict.fromkeys(boxes.SIDES, float))
    truth.loc[0, boxes.SIDES] = [-5.0, -5.0, 20.0, 99.0]
    truth.loc[1, boxes.SIDES] = [40.0, 5.0, 50.0, 9.0]
    truth.to_csv(root / "data/truth.csv", index=False)
    judge = judge_of(root)
    assert judge.table.loc[0, boxes.SIDES].tolist() == [0, 0, 20, blobs.SIZE]
    assert "1.png" not in set(judge.table["image"])
    assert len(judge.table) == 31


def test_the_digest_tells_one_set_of_judging_boxes_from_another(root: Path) -> None:
    by_labels = judge_of(root).digest
    blobs.give_truth(root, 29)
    assert judge_of(root).digest == by_labels, "truth that does not judge changes nothing"
    blobs.give_truth(root, 30)
    thirty = judge_of(root).digest
    blobs.give_truth(root, 31)
    line_more = judge_of(root).digest
    blobs.give_truth(root, 31, moved=0.5)
    assert len({by_labels, thirty, line_more, judge_of(root).digest}) == 4


def test_one_line_says_what_judged_on_how_many_and_how_many_nobody_could_judge(root: Path) -> None:
    described = judge_of(root).describe() | {"unjudged": 3}
    assert explain(described) == (
        "judged by the annotators' labels of 40 test images (haar), so this is agreement with them; "
        "nobody could judge 3 more"
    )
    blobs.give_truth(root, 40)
    assert explain(judge_of(root).describe()) == "judged by the truth of 40 test images; none was left unjudged"
    assert explain(described | {"images": 29}).endswith("(so few that it says little: look at the interval)")


def test_names_of_annotators_are_taken_from_joined_labels(root: Path) -> None:
    change_store(root, annotators="haar+mtcnn")
    assert judge_of(root).annotators == {"haar", "mtcnn"}
    assert module.annotators_of(np.nan) == []
