"""The summary: what judged, which backbone validation prefers, what is part of the judge, what training gained."""

from pathlib import Path
from typing import Any

import pytest

from selfie_localizer import files
from selfie_localizer.app import summary

JUDGE = {"by": "truth", "images": 261, "unjudged": 12, "annotators": []}


def write(root: Path, name: str, iou: float, judge: dict[str, Any], **more: Any) -> None:
    suffix = "" if judge["by"] == "truth" else "_labels"
    figures = {"iou": iou, "iou_low": iou - 0.01, "iou_high": iou + 0.01, "over_0.5": 0.9, "over_0.75": 0.8}
    test = {f"{key}{suffix}": value for key, value in figures.items()}
    files.write_json(root / f"reports/evaluation/{name}.json", {"judge": judge, "test": test, **more})


def make_reports(root: Path, **judge: Any) -> None:
    """`lucky` is better on the test split, `chosen` on the validation split."""
    judged = JUDGE | judge
    for name, iou, val_iou in (("lucky", 0.9, 0.7), ("chosen", 0.8, 0.75)):
        gain = {"mean": 0.021, "low": -0.001, "high": 0.04}
        write(root, name, iou, judged, milliseconds=4.2, gain_over_first_model=gain)
        files.write_json(root / f"reports/training/{name}.json", {"val_iou": val_iou, "minutes": 3.0})
    write(root, "baseline-mean-box", 0.3, judged, part_of_judge=False)
    write(root, "baseline-haar", 0.95, judged, part_of_judge=judged["by"] == "labels")


def rows(root: Path) -> list[str]:
    return summary.table(root).split("\n\n")[0].strip("\n").splitlines()


def test_backbones_stand_in_the_order_of_the_validation_split_and_baselines_below(tmp_path: Path) -> None:
    make_reports(tmp_path)
    assert [row[:14].strip() for row in rows(tmp_path)[1:-1]] == ["chosen", "lucky", "Haar as drawn", "mean box"]
    assert [model["name"] for model in summary.collect(tmp_path)["models"]][:2] == ["chosen", "lucky"]


def test_against_truth_the_column_is_the_test_iou_and_one_line_says_what_judged(tmp_path: Path) -> None:
    make_reports(tmp_path)
    head, *_, last = rows(tmp_path)
    assert "test IoU" in head
    assert last == "judged by the truth of 261 test images; nobody could judge 12 more"
    assert summary.collect(tmp_path)["judge"] == JUDGE
    assert "part of the judge" not in summary.table(tmp_path)


def test_against_labels_the_column_is_agreement_and_a_judging_baseline_says_so(tmp_path: Path) -> None:
    make_reports(tmp_path, by="labels", annotators=["haar"], images=20)
    head, *body, last = rows(tmp_path)
    assert "agreement" in head
    assert "test IoU" not in head
    assert [row[:14].strip() for row in body if row.endswith("  part of the judge")] == ["Haar as drawn"]
    assert last.startswith("judged by the annotators' labels of 20 test images (haar), so this is agreement")
    assert last.endswith("(so few that it says little: look at the interval)")


def test_what_training_gained_and_how_long_an_answer_takes_stand_beside_each_backbone(tmp_path: Path) -> None:
    make_reports(tmp_path)
    head, chosen, _, haar, *_ = rows(tmp_path)
    assert chosen[head.index("gain over") :][:25] == "+0.021 (-0.001 to +0.040)"
    assert chosen.endswith("4.2")
    assert haar[head.index("gain over") :] == ""


def test_the_first_thing_to_type_next_shows_a_picture(tmp_path: Path) -> None:
    make_reports(tmp_path)
    text = summary.table(tmp_path).partition("What next:\n")[2].splitlines()
    assert "predict me.jpg --draw" in text[1]


def test_no_line_of_the_figures_is_wider_than_a_screen(tmp_path: Path) -> None:
    make_reports(tmp_path, by="labels", annotators=["haar", "mtcnn"], images=20)
    assert max(map(len, rows(tmp_path)[:-1])) <= 120


@pytest.mark.parametrize("column", ["validation", "95 % interval", "minutes"])
def test_figures_stand_under_their_heads(tmp_path: Path, column: str) -> None:
    make_reports(tmp_path)
    head, chosen, *_ = rows(tmp_path)
    expected = {"validation": "0.750", "95 % interval": "0.790 to 0.810", "minutes": "3.0"}[column]
    assert chosen[head.index(column) :][: max(len(column), len(expected))].strip() == expected
