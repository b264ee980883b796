"""Labels are measured against truth, and truth never decides about a row."""

import os
from pathlib import Path

import pandas as pd
import pytest

from selfie_localizer.dataset.store import TRUTH
from selfie_localizer.errors import UserError
from selfie_localizer.labels.quality import compare, read_boxes, summarise


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def accepted(*rows: tuple[str, float, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image", "x1", "y1", "x2", "y2"])


def test_truth_is_one_box_for_each_image_and_rows_that_are_none_are_left_out(tmp_path: Path) -> None:
    text = (
        "image,x1,y1,x2,y2,source\na.jpg,1,2,3,4,x\na.jpg,5,6,7,8,x\nb.jpg,?,2,3,4,x\nc.jpg,3,2,1,4,x\nNA,1,2,3,4,x\n"
    )
    truth = read_boxes(write(tmp_path / "truth.csv", text), TRUTH)
    assert truth["image"].tolist() == ["a.jpg", "NA"]
    assert truth.iloc[0, 1:].tolist() == [1, 2, 3, 4]


def test_without_a_file_there_is_no_truth(tmp_path: Path) -> None:
    assert read_boxes(tmp_path / "truth.csv", TRUTH).empty


@pytest.mark.parametrize(
    ("text", "message"), [("image,x1,y1,x2\na,1,2,3\n", "column y2 is missing"), ("", "cannot be read as CSV")]
)
def test_a_truth_file_that_is_none_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_boxes(write(tmp_path / "truth.csv", text), TRUTH)
    assert "\n" not in str(caught.value)


def test_the_figures_count_agreement_and_what_has_no_label(tmp_path: Path) -> None:
    rows = ["a,0,0,10,10", "b,0,0,10,5", "c,20,20,30,30", "missed,0,0,1,1", "unreadable,0,0,1,1"]
    truth = read_boxes(write(tmp_path / "truth.csv", "image,x1,y1,x2,y2\n" + "\n".join(rows)), TRUTH)
    labels = accepted(*[(name, 0, 0, 10, 10) for name in ("c", "b", "a", "no truth")])
    both = compare(labels, truth)
    assert both["image"].tolist() == ["c", "b", "a"]
    assert both["iou"].tolist() == [0, 0.5, 1]
    assert summarise(both, truth, pd.Series(["a", "b", "c", "missed", "no truth"])) == {
        "images_with_truth": 4,
        "images_with_both": 3,
        "without_label": 1,
        "share_without_label": 0.25,
        "mean_iou": 0.5,
        "median_iou": 0.5,
        "share_over_0.4": 0.6667,
        "share_over_0.5": 0.3333,
        "share_over_0.75": 0.3333,
    }


def test_truth_that_meets_no_label_gives_counts_and_no_iou(tmp_path: Path) -> None:
    truth = read_boxes(write(tmp_path / "truth.csv", "image,x1,y1,x2,y2\nz,0,0,1,1\n"), TRUTH)
    both = compare(accepted(("a", 0, 0, 1, 1)), truth)
    report = summarise(both, truth, pd.Series(["a"]))
    assert report == {"images_with_truth": 0, "images_with_both": 0, "without_label": 0, "share_without_label": 0.0}


def test_a_pipe_in_the_place_of_a_table_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "truth.csv")
    with pytest.raises(UserError, match="not a regular file"):
        read_boxes(tmp_path / "truth.csv", TRUTH)
