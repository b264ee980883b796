"""The stage `label`: honest validation and test, one convention, a person's boxes above all others."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes, params
from selfie_localizer.errors import UserError
from selfie_localizer.labels.label import label
from selfie_localizer.labels.trusted import TableRules
from tests.labels import outputs
from tests.labels.outputs import ELSEWHERE, FACE, name_of, names_in

SETTINGS = params.Label()
NAMES = [name_of(index) for index in range(80)]


def faces(names=NAMES, move=(0, 0, 0, 0), score=None):
    """A box for each image, a little another on each, moved by pixels."""
    found = {}
    for index, name in enumerate(names):
        box = tuple(np.add(FACE, move) + index % 7)
        found[name] = box if score is None else (box, score)
    return found


def run(root: Path, said, **more) -> pd.DataFrame:
    settings = more.pop("settings", SETTINGS)
    outputs.write(root, said, **more)
    label(settings, root=root)
    return outputs.read(root)


def report_of(root: Path):
    return json.loads((root / "reports/label.json").read_text())


def test_in_train_all_annotators_join_and_in_validation_and_test_never_a_model(tmp_path: Path) -> None:
    table = run(tmp_path, {"haar": faces(), "starter": faces(move=(4, 4, 4, 4), score=0.9)})
    train = table[table["split"] == "train"]
    others = table[table["split"] != "train"]
    assert set(train["annotators"]) == {"haar+starter"}
    assert set(others["annotators"]) == {"haar"}
    assert {"validation", "test"} == set(others["split"])
    report = report_of(tmp_path)
    assert [name for name, found in report["annotators"].items() if found["labels_validation_and_test"]] == ["haar"]


def test_where_only_a_model_was_asked_validation_and_test_have_no_label_and_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no labelled one in validation"):
        run(tmp_path, {"starter": faces(score=0.9)})
    said = {"starter": faces(score=0.9), "models:/selfie-localizer/3": faces(score=0.9)}
    with pytest.raises(UserError, match="no labelled one in validation"):
        run(tmp_path, said)


def test_boxes_are_moved_to_the_starters_convention_as_train_teaches_it(tmp_path: Path) -> None:
    # Haar's box is 40 wide and 60 high; the starter's lies 4 further right and 6 further up.
    table = run(tmp_path, {"haar": faces(), "starter": faces(move=(4, -6, 4, -6), score=0.9)})
    shifts = report_of(tmp_path)["annotators"]["haar"]["shifts"]
    assert shifts == pytest.approx({"x1": 0.1, "y1": -0.1, "x2": 0.1, "y2": -0.1})
    assert report_of(tmp_path)["convention"] == "starter"
    wanted = pd.DataFrame(faces(move=(4, -6, 4, -6)), index=boxes.SIDES).T
    np.testing.assert_allclose(table.loc[NAMES, boxes.SIDES], wanted.loc[NAMES], atol=0.011)

    still = run(
        tmp_path,
        {"haar": faces(), "starter": faces(move=(4, -6, 4, -6), score=0.9)},
        settings=SETTINGS.model_copy(update={"convention": "none"}),
    )
    haar = pd.DataFrame(faces(), index=boxes.SIDES).T
    test = still.index[still["split"] == "test"]
    np.testing.assert_allclose(still.loc[test, boxes.SIDES], haar.loc[test], atol=0.011)


def test_boxes_are_moved_to_the_convention_of_the_annotator_that_is_named(tmp_path: Path) -> None:
    said = {"haar": faces(), "mtcnn": faces(move=(2, 0, 2, 0), score=0.9), "starter": faces(move=(4, -6, 4, -6))}
    run(tmp_path, said, settings=SETTINGS.model_copy(update={"convention": "mtcnn"}))
    report = report_of(tmp_path)
    assert report["convention"] == "mtcnn"
    shifts = {name: report["annotators"][name]["shifts"] for name in said}
    assert shifts["mtcnn"] == dict.fromkeys(boxes.SIDES, 0)
    assert shifts["haar"] == pytest.approx({"x1": 0.05, "y1": 0, "x2": 0.05, "y2": 0})
    assert shifts["starter"] == pytest.approx({"x1": -0.05, "y1": 0.1, "x2": -0.05, "y2": 0.1})


def test_a_persons_boxes_are_labels_teach_their_convention_and_stay_out_of_test(tmp_path: Path) -> None:
    said = {"haar": faces(), "starter": faces(move=(4, -6, 4, -6), score=0.9)}
    outputs.write(tmp_path, said)
    person = faces(names=NAMES[:20], move=(8, 0, 0, 0))
    rows = [f"{name},{','.join(map(str, box))}" for name, box in person.items()]
    (tmp_path / "data/trusted.csv").write_text("image,x1,y1,x2,y2\n" + "\n".join(rows) + "\n")
    label(SETTINGS, root=tmp_path)
    table = outputs.read(tmp_path)
    np.testing.assert_allclose(table.loc[NAMES[:20], boxes.SIDES], list(person.values()))
    assert set(table.loc[NAMES[:20], "verdict"]) == {"trusted"}
    assert set(table.loc[NAMES[:20], "annotators"]) == {"person"}
    assert "test" not in set(table.loc[NAMES[:20], "split"])
    report = report_of(tmp_path)
    assert report["convention"] == "data/trusted.csv"
    assert report["annotators"]["haar"]["shifts"] == pytest.approx({"x1": 0.2, "y1": 0, "x2": 0, "y2": 0})
    assert report["annotators"]["starter"]["shifts"] == pytest.approx({"x1": 0.1, "y1": 0.1, "x2": -0.1, "y2": 0.1})


def test_a_line_in_truth_changes_the_report_and_no_label(tmp_path: Path) -> None:
    run(tmp_path, {"haar": faces()})
    before = (tmp_path / "build/labels.csv").read_bytes()
    train = names_in("train", 10)
    rows = [f"{name},{','.join(map(str, faces()[name]))}" for name in train]
    (tmp_path / "data/truth.csv").write_text("image,x1,y1,x2,y2\n" + "\n".join(rows) + "\n")
    label(SETTINGS, root=tmp_path)
    assert (tmp_path / "build/labels.csv").read_bytes() == before
    assert report_of(tmp_path)["against_truth"]["train"]["mean_iou"] == 1.0


def test_what_annotators_disagree_on_or_miss_has_no_label_and_is_looked_at_first(tmp_path: Path) -> None:
    haar, mtcnn = faces(), faces()
    torn, missed, alone, wide = names_in("train", 4)
    mtcnn[torn], haar[missed], mtcnn[missed], mtcnn[alone] = ELSEWHERE, None, None, None
    mtcnn[wide] = tuple(np.add(haar[wide], (-8, -8, 8, 8)))
    table = run(tmp_path, {"haar": haar, "mtcnn": mtcnn})
    assert table.loc[[torn, missed, alone], "verdict"].tolist() == ["left out", "unseen", "alone"]
    assert table.loc[[torn, missed], "x1"].isna().all()
    ranked = pd.read_csv(tmp_path / "reports/label/suspicious.csv")
    assert ranked["image"].tolist()[:4] == [torn, missed, alone, wide]
    assert "annotators disagree" in ranked["reason"][0]
    assert {path.name for path in (tmp_path / "reports/label").iterdir()} == {
        "alone.png",
        "left-out.png",
        "suspicious.csv",
        "suspicious.png",
    }


def test_near_duplicates_with_their_boxes_elsewhere_are_suspicious(tmp_path: Path) -> None:
    one, two = names_in("train", 2)
    haar = faces() | {two: ELSEWHERE}
    run(tmp_path, {"haar": haar}, pairs=[(one, two)])
    ranked = pd.read_csv(tmp_path / "reports/label/suspicious.csv")
    assert set(ranked["image"][:2]) == {one, two}
    assert "near duplicate" in ranked["reason"][0]


def test_a_group_reaches_through_images_without_a_label_and_through_negatives(tmp_path: Path) -> None:
    train, test = names_in("train", 1)[0], names_in("test", 1)[0]
    haar = {name: box for name, box in faces().items() if name != test}
    table = run(tmp_path, {"haar": haar}, images=[test], pairs=[(train, test)])
    assert table.loc[[train, test], "split"].tolist() == ["test", "test"]
    assert table.loc[test, "verdict"] == "unasked"

    negative = next(f"n{index}.jpg" for index in range(99) if outputs.sha_of(f"n{index}.jpg") < "1")
    table = run(tmp_path, {"haar": faces()}, negatives=[negative], pairs=[(train, f"../negatives/{negative}")])
    assert table.loc[[train, f"../negatives/{negative}"], "split"].tolist() == ["test", "test"]
    assert table.loc[f"../negatives/{negative}", "verdict"] == "negative"


def test_labels_are_clipped_to_their_image(tmp_path: Path) -> None:
    reaching = dict.fromkeys(NAMES, (-10, 20, 60, 120))
    table = run(tmp_path, {"haar": reaching})
    assert (table[boxes.SIDES].to_numpy() == [0, 20, 60, 100]).all()


def test_a_few_photos_are_told_what_their_figures_mean_and_how_to_get_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, {"haar": faces()})
    test = (outputs.read(tmp_path)["split"] == "test").sum()
    assert f"only {test} test images: what is measured on them means little; `label.test: 0.38`" in (
        capsys.readouterr().err
    )


def test_eight_photos_are_one_clear_line_before_anything_trains(tmp_path: Path) -> None:
    names = names_in("train", 8)
    with pytest.raises(UserError) as caught:
        run(tmp_path, {"haar": faces(names=names)})
    text = str(caught.value)
    assert "8 usable photos are too few" in text
    assert "predict PATH --model starter" in text
    assert "\n" not in text
    assert not (tmp_path / "build/labels.csv").exists()


def test_where_trusted_boxes_leave_no_photo_for_the_test_split_the_line_says_so(tmp_path: Path) -> None:
    outputs.write(tmp_path, {"haar": faces()})
    lines = [f"{name},{','.join(map(str, FACE))}" for name in faces()]
    (tmp_path / "data/trusted.csv").write_text("\n".join(["image,x1,y1,x2,y2", *lines]))
    with pytest.raises(UserError, match=rf"0 test \({len(lines)} have a box in data/trusted.csv, which keeps them out"):
        label(SETTINGS, root=tmp_path)


def test_rows_of_a_persons_tables_without_an_image_are_counted_and_stop_where_they_are_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs.write(tmp_path, {"haar": faces()})
    (tmp_path / "data/truth.csv").write_text("image,x1,y1,x2,y2\ngone.jpg,1,2,30,40\n" + f"{NAMES[0]},1,2,30,40\n")
    label(SETTINGS, TableRules(max_unmatched=0.5), tmp_path)
    assert "truth.csv: 1 of 2 rows" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"truth\.csv: 1 of 2 rows"):
        label(SETTINGS, TableRules(max_unmatched=0.2), tmp_path)


def test_a_missing_input_names_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro annotate"):
        label(SETTINGS, root=tmp_path)
