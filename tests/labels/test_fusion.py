"""Drawn labels and a first model's boxes become better labels than either; what was given is left alone."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes, params
from selfie_localizer.dataset.store import BOX, REVIEW, SCORE, TRUTH
from selfie_localizer.errors import UsageError
from selfie_localizer.labels.convention import LEAST_PAIRS
from selfie_localizer.labels.fusion import describe, draw, fuse

SETTINGS = params.Review(model="starter", weight=0.7, same_face=0.5, elsewhere=0.3, min_score=0.5)
NONE = [np.nan] * 4
LABEL, NEAR, FAR = [100, 100, 200, 200], [110, 100, 210, 200], [300, 300, 400, 400]


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows with `label`, `model` and, where they matter, `score`, `split`, `source` and `truth`."""
    found = []
    for index, row in enumerate(rows):
        base = {"image": f"{index}.png", "split": row.get("split", "train"), "source": row.get("source", "haar:alt2")}
        base |= {"width": 500, "height": 500, SCORE: row.get("score", 0.9)}
        for columns, key in ((BOX, "label"), (REVIEW, "model"), (TRUTH, "truth")):
            base |= dict(zip(columns, row.get(key, NONE), strict=True))
        found.append(base)
    return pd.DataFrame(found)


def one(**row: Any) -> tuple[str, list[float], str]:
    """Returns verdict, label and source of a table of one row."""
    found = fuse(table(row), SETTINGS)[0].iloc[0]
    return found["verdict"], found[BOX].tolist(), found["source"]


def test_two_boxes_on_one_face_become_their_weighted_mean() -> None:
    verdict, box, source = one(label=LABEL, model=NEAR)
    # 0.3 x 100 + 0.7 x 110, and so on.
    assert (verdict, source) == ("averaged", "haar:alt2+starter")
    assert box == pytest.approx([107, 100, 207, 200])


def test_a_label_is_left_out_of_the_train_split_where_the_model_is_sure_of_a_face_elsewhere() -> None:
    verdict, box, source = one(label=LABEL, model=FAR)
    assert verdict == "left out"
    assert np.isnan(box).all()
    assert pd.isna(source)
    for split in ("validation", "test"):
        assert one(label=LABEL, model=FAR, split=split) == ("", LABEL, "haar:alt2")


def test_a_label_stays_where_the_model_is_unsure_or_half_agrees_or_was_not_asked() -> None:
    half = [150, 100, 250, 200]
    assert 0.3 < boxes.iou(LABEL, half) < 0.5
    for row in ({"model": FAR, "score": 0.4}, {"model": half}, {"model": NONE, "score": np.nan}):
        assert one(label=LABEL, **row) == ("", LABEL, "haar:alt2")


@pytest.mark.parametrize("model", [NEAR, FAR])
def test_given_boxes_are_left_alone(model: list[float]) -> None:
    assert one(label=LABEL, model=model, source="given") == ("", LABEL, "given")


def test_a_sure_box_joins_where_nothing_was_drawn_but_in_the_train_split_only() -> None:
    assert one(model=FAR, source=None) == ("added", FAR, "pseudo")
    for row in ({"score": 0.4}, {"split": "validation"}, {"split": "test"}):
        verdict, box, _ = one(model=FAR, source=None, **row)
        assert verdict == ""
        assert np.isnan(box).all()


def test_each_of_the_three_can_be_turned_off_alone() -> None:
    rows = table({"label": LABEL, "model": NEAR}, {"label": LABEL, "model": FAR}, {"model": FAR, "source": None})
    for changes, expected in (
        ({"weight": 0.0}, ["", "left out", "added"]),
        ({"elsewhere": 0.0}, ["averaged", "", "added"]),
        ({"add_missed": False}, ["averaged", "left out", ""]),
    ):
        found, _ = fuse(rows, SETTINGS.model_copy(update=changes))
        assert found["verdict"].tolist() == expected
    assert fuse(rows, SETTINGS.model_copy(update={"weight": 0.0}))[0][BOX].iloc[0].tolist() == LABEL


def test_labels_move_to_the_model_s_convention_before_they_are_compared() -> None:
    # The annotator's boxes reach 40 % further down than the model's.
    rows = [{"label": [10, 10 + i, 110, 150 + i], "model": [10, 10 + i, 110, 110 + i]} for i in range(LEAST_PAIRS)]
    unsure = {"label": [200, 200, 300, 340], "model": [0, 0, 50, 50], "score": 0.1}
    found, report = fuse(table(*rows, unsure), SETTINGS)
    assert report["shifts"] == {"x1": 0, "y1": 0, "x2": 0, "y2": round(-40 / 140, 4)}
    assert report["averaged"] == LEAST_PAIRS
    np.testing.assert_allclose(found[BOX].iloc[:-1], [row["model"] for row in rows], atol=1e-9)
    np.testing.assert_allclose(found[BOX].iloc[-1].to_numpy(float), [200, 200, 300, 300], atol=1e-9)
    alone, report = fuse(table(*rows, unsure), SETTINGS.model_copy(update={"weight": 0.0}))
    assert set(alone["source"]) == {"haar:alt2"}
    assert describe(report) == "labels moved to the convention of starter"


def test_the_report_says_how_good_the_labels_were_and_are_without_the_test_split() -> None:
    rows = [
        {"label": LABEL, "model": NEAR, "truth": NEAR},
        {"label": LABEL, "model": FAR, "truth": FAR},
        {"model": FAR, "truth": FAR, "source": None},
        {"label": LABEL, "model": NEAR, "truth": FAR, "split": "test"},
    ]
    _, report = fuse(table(*rows), SETTINGS)
    assert (report["averaged"], report["left_out"], report["added"]) == (2, 1, 1)
    # Before: IoU 9/11 and 0. After: [107, 100, 207, 200] against [110, 100, 210, 200] is 97/103, and 1.
    before = {"labels": 2, "mean_iou": round(9 / 22, 4), "right_face": 0.5}
    after = {"labels": 2, "mean_iou": round((97 / 103 + 1) / 2, 4), "right_face": 1.0}
    assert report["against_truth"] == {"before": before, "after": after}
    assert "2 labels averaged with the boxes of starter, 1 left out" in describe(report)
    assert f"from {9 / 22:.3f} to" in describe(report)


def test_without_a_review_nothing_changes_and_nothing_is_said(tmp_path: Path) -> None:
    before = table({"label": LABEL, "model": NONE, "score": np.nan}, {"model": NONE, "score": np.nan, "source": None})
    after, report = fuse(before, SETTINGS)
    pd.testing.assert_frame_equal(after[before.columns], before)
    assert describe(report) == ""
    draw(after, tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_out_and_added_is_drawn(tmp_path: Path) -> None:
    for name in ("0.png", "1.png"):
        cv2.imwrite(str(tmp_path / name), np.full((500, 500, 3), 90, np.uint8))
    found, _ = fuse(table({"label": LABEL, "model": FAR}, {"model": FAR, "source": None}), SETTINGS)
    (tmp_path / "out").mkdir()
    draw(found, tmp_path, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["added.png", "left-out.png"]


def test_a_cut_for_elsewhere_above_that_for_the_same_face_is_refused() -> None:
    with pytest.raises(UsageError, match="elsewhere must not be above same_face"):
        params.parse({"review": {"model": "starter", "elsewhere": 0.6}})
