"""Each rule: rows at its limit pass, rows just beyond it fail, and rows that it cannot judge are not listed."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from selfie_localizer import params
from selfie_localizer.validation.suite import build_suite, run_suite
from selfie_localizer.validation.validate import FIRST_ROW, derive

LIMITS = params.Validate(smallest_face=0.1, largest_face=0.5, min_aspect=0.5, max_aspect=2.0)
GOOD = {"x1": "20", "y1": "20", "x2": "50", "y2": "50", "width": "100", "height": "100", "annotator": "given"}

# Name: what differs from a good row on a 100 x 100 image, and the rules it breaks with their values.
CASES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "good": ({}, {}),
    "floats": ({"x1": "20.25", "y1": "2e1", "x2": "+50"}, {}),
    "word": ({"x1": "abc"}, {"number": "x1='abc'"}),
    "blank": ({"x1": "", "y2": " "}, {"number": "x1='', y2=' '"}),
    "nan": ({"y1": "nan"}, {"number": "y1='nan'"}),
    "infinite": ({"x2": "inf", "y2": "-Infinity"}, {"number": "x2='inf', y2='-Infinity'"}),
    "overflow": ({"x2": "1e999"}, {"number": "x2='1e999'"}),
    "code": ({"x1": "__import__('os').getcwd()"}, {"number": "x1=\"__import__('os').getcwd()\""}),
    "tag": ({"x1": "<img src=http://a.example/b.png>"}, {"number": "x1='<img src=http://a.example/b.png>'"}),
    "list": (
        {"x1": "[1, 2, 3]", "y1": "", "x2": "", "y2": ""},
        {"number": "x1='[1, 2, 3]', y1='', x2='', y2=''"},
    ),
    "no width": ({"x1": "50"}, {"x_order": 0}),
    "left and right swapped": ({"x1": "50", "x2": "20"}, {"x_order": -30}),
    "no height": ({"y1": "50"}, {"y_order": 0}),
    "both swapped": ({"x1": "50", "x2": "20", "y1": "50", "y2": "20"}, {"x_order": -30, "y_order": -30}),
    "at the corner": ({"x1": "0", "y1": "0"}, {}),
    "at the far corner": ({"x1": "60", "y1": "60", "x2": "100", "y2": "100"}, {}),
    "out on the left": ({"x1": "-0.5"}, {"inside_image": 0.5}),
    "out at the top": ({"y1": "-0.5"}, {"inside_image": 0.5}),
    "out on the right": ({"x1": "60", "y1": "60", "x2": "100.5", "y2": "100"}, {"inside_image": 0.5}),
    "out at the bottom": ({"x1": "60", "y1": "60", "x2": "90", "y2": "107"}, {"inside_image": 7}),
    "smallest": ({"x2": "30", "y2": "30"}, {}),
    "too small": ({"x2": "29.9", "y2": "29.9"}, {"face_size": 0.099}),
    "largest": ({"x2": "70", "y2": "70"}, {}),
    "too large": ({"x2": "70.1", "y2": "70.1"}, {"face_size": 0.501}),
    "narrowest": ({"x2": "40", "y2": "60"}, {}),
    "too narrow": ({"x2": "40", "y2": "61"}, {"aspect": 20 / 41}),
    "widest": ({"x2": "60", "y2": "40"}, {}),
    "too wide": ({"x2": "61", "y2": "40"}, {"aspect": 2.05}),
    "missing file": ({"width": "", "height": ""}, {"file_exists": "missing"}),
    "truncated file": ({"width": "", "height": ""}, {"file_decodes": "truncated"}),
    "damaged and garbage": ({"x1": "?"}, {"file_decodes": "truncated", "number": "x1='?'"}),
    "copied": ({}, {}),
    "copy": ({}, {}),
    "copy with another face": ({"x1": "60", "y1": "60", "x2": "90", "y2": "90"}, {"duplicate": "copied"}),
    "copied garbage": ({"x1": "?"}, {"number": "x1='?'"}),
    "copy of what fell": ({}, {}),
    "empty file": ({}, {"file_decodes": "empty file"}),
    "another empty file": ({}, {"file_decodes": "empty file"}),
}
SAME_BYTES = {"copy": "copied", "copy with another face": "copied", "copy of what fell": "copied garbage"}
SAME_BYTES["another empty file"] = "empty file"
ERRORS = {"truncated file": "truncated", "damaged and garbage": "truncated"}
ERRORS |= {"empty file": "empty file", "another empty file": "empty file"}

# Rows of one image, by their boxes' sizes: the largest stays, the first of equals, whatever the order.
SEVERAL = {"several": ["?", "38", "45", "45"], "one is left": ["?", "40"]}
SEVERAL_BROKEN = {
    "several": [{"number", "one_row_per_image"}, {"one_row_per_image"}, set(), {"one_row_per_image"}],
    "one is left": [{"number", "one_row_per_image"}, set()],
}


def as_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = [GOOD | changes | {"image": name} for name, (changes, _) in CASES.items()]
    rows += [GOOD | {"image": name, "x2": x2} for name, ends in SEVERAL.items() for x2 in ends]
    table = pd.DataFrame(rows, index=range(FIRST_ROW, FIRST_ROW + len(rows)))
    names = [name for name in dict.fromkeys(table["image"]) if name != "missing file"]
    listing = pd.DataFrame({"image": names, "bytes": "9", "phash": "0" * 16, "width": "100", "height": "100"})
    listing["sha256"] = [SAME_BYTES.get(name, name) for name in names]
    listing["error"] = [ERRORS.get(name) for name in names]
    return table, listing.astype(object).where(listing.notna(), None)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict[int, dict[str, Any]]]:
    """The rows with the columns that the rules speak of, and for each row the rules it breaks with their values."""
    frame = derive(*as_tables())
    broken: dict[int, dict[str, Any]] = {row: {} for row in frame.index}
    for rule, column, rows in run_suite(frame, LIMITS, tmp_path_factory.mktemp("site")):
        for row in rows:
            broken[row][rule] = frame.at[row, column]
    return frame, broken


@pytest.mark.parametrize("name", CASES)
def test_a_row_breaks_exactly_the_rules_it_should(
    name: str, judged: tuple[pd.DataFrame, dict[int, dict[str, Any]]]
) -> None:
    frame, broken = judged
    (row,) = frame.index[frame["image"] == name]
    expected = CASES[name][1]
    assert {rule: value if isinstance(value, str) else pytest.approx(value) for rule, value in expected.items()} == (
        broken[row]
    )


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_rows_of_an_image_the_largest_box_stays(
    name: str, judged: tuple[pd.DataFrame, dict[int, dict[str, Any]]]
) -> None:
    frame, broken = judged
    assert [set(broken[row]) for row in frame.index[frame["image"] == name]] == SEVERAL_BROKEN[name]


def test_every_rule_has_a_row_that_breaks_it(judged: tuple[pd.DataFrame, dict[int, dict[str, Any]]]) -> None:
    rules = {expectation.meta["rule"] for expectation in build_suite(LIMITS).expectations}
    assert {rule for row in judged[1].values() for rule in row} == rules - {"columns"}


def test_the_size_is_the_files_own_and_not_what_a_row_claims() -> None:
    table, listing = as_tables()
    table["width"] = "9999"
    frame = derive(table, listing)
    assert frame.loc[frame["image"] == "good", "width"].tolist() == [100]


def test_the_suite_tolerates_the_share_of_the_parameters(tmp_path: Path) -> None:
    shares = {
        expectation.mostly
        for expectation in build_suite(LIMITS.model_copy(update={"max_rejected": 0.25})).expectations[1:]
    }
    assert shares == {0.75}


def test_a_copy_with_the_same_face_is_known_as_one_and_breaks_no_rule(
    judged: tuple[pd.DataFrame, dict[int, dict[str, Any]]],
) -> None:
    frame, _ = judged
    copies = frame[frame["copy_of"].notna()]
    assert copies[["image", "copy_of"]].to_numpy().tolist() == [["copy", "copied"]]


def test_rows_of_different_annotators_are_neither_copies_nor_several_of_one_image() -> None:
    table, listing = as_tables()
    twice = pd.concat([table, table.assign(annotator="haar")], ignore_index=True)
    twice.index += FIRST_ROW
    frame = derive(twice, listing)
    for name in ("good", "several", "copy"):
        one, other = (frame[(frame["image"] == name) & (frame["annotator"] == who)] for who in ("given", "haar"))
        columns = ["rank_in_image", "copy_of", "duplicate_of"]
        pd.testing.assert_frame_equal(one[columns].reset_index(drop=True), other[columns].reset_index(drop=True))
