"""Boxes that somebody already has, read as text and never run."""

import os
from pathlib import Path

import pytest

from selfie_localizer.dataset.given import keep_largest, read_given
from selfie_localizer.errors import UserError


def read(tmp_path: Path, text: str | bytes) -> list[tuple[str, tuple[str, ...]]]:
    path = tmp_path / "annotations.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(row.image, row.texts) for row in read_given(path)]


def test_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    found = read(tmp_path, "y2,image,who, x1,y1,x2\n40,a b.jpg,me,1,2.50,30\n")
    assert found == [("a b.jpg", ("1", "2.50", "30", "40"))]


@pytest.mark.parametrize(
    "text", ['"[1, 2.5, 30, 40]"', '"(1,2.5,30,40)"', "[1 2.5 30 40]", "[1, 2.5, 30, 40]", '" [ 1,  2.5 ,30,40 ] "']
)
def test_the_article_s_two_columns_are_read_whatever_their_names(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"path,bbox\nx/a.jpg,{text}\n") == [("x/a.jpg", ("1", "2.5", "30", "40"))]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch SIGN')",
        "[__import__('os').system('touch SIGN')]",
        "[1, 2, 3]",
        "[1, 2, 3, 4, 5]",
        "1 2 3 4",
        "",
    ],
)
def test_what_is_no_list_of_four_is_kept_as_it_is_and_never_run(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(tmp_path, f'path,bbox\na.jpg,"{text}"\n') == [("a.jpg", (text, "", "", ""))]
    assert not (tmp_path / "SIGN").exists()


def test_four_members_stay_apart_so_that_the_bad_one_can_be_named(tmp_path: Path) -> None:
    text = "[1, __import__('os').system('touch SIGN'), 3, nan]"
    found = read(tmp_path, f'path,bbox\na.jpg,"{text}"\n')
    assert found == [("a.jpg", ("1", "__import__('os').system('touch SIGN')", "3", "nan"))]


def test_a_short_row_has_empty_coordinates_and_a_blank_line_is_no_row(tmp_path: Path) -> None:
    found = read(tmp_path, "image,x1,y1,x2,y2\na.jpg,1,2\n\n,,,,\nb.jpg,1,2,3,4,5\n")
    assert found == [("a.jpg", ("1", "2", "", "")), ("b.jpg", ("1", "2", "3", "4"))]


def test_a_file_as_a_spreadsheet_writes_it_is_read(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbfimage,x1,y1,x2,y2\r\n"a,""b""\nc.jpg",1,2,3,4\r\n'
    assert read(tmp_path, text) == [('a,"b"\nc.jpg', ("1", "2", "3", "4"))]


def test_the_largest_box_of_an_image_stays_and_what_is_no_box_too(tmp_path: Path) -> None:
    (tmp_path / "annotations.csv").write_text(
        "image,x1,y1,x2,y2\na,0,0,5,5\nb,0,0,1,1\na,0,0,9,9\na,9,9,0,0\na,0,0,x,9\na,0,0,9,9\nb,0,0,inf,9\na,1e400,0,1,1\n"
    )
    rows, several = keep_largest(read_given(tmp_path / "annotations.csv"))
    assert [(row.image, row.texts) for row in rows] == [
        ("b", ("0", "0", "1", "1")),
        ("a", ("0", "0", "9", "9")),
        ("a", ("9", "9", "0", "0")),
        ("a", ("0", "0", "x", "9")),
        ("b", ("0", "0", "inf", "9")),
        ("a", ("1e400", "0", "1", "1")),
    ]
    assert several == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no rows"),
        ("image,x1,y1,x2,y2\n", "no rows"),
        ("image,x1,y1,x2\na,1,2,3\n", "no column y2 .*image,x1,y1,x2,y2, or two columns"),
        ("a.jpg,1,2,3,4\n", "no column image, x1"),
        ('a.jpg,"[1, 2, 3, 4]"\n', "first line"),
        (b"image,x1,y1,x2,y2\n\xff.jpg,1,2,3,4\n", "UTF-8"),
        ("image,x1,y1,x2,y2\n" + "a" * 200_000 + ",1,2,3,4\n", "not a CSV file"),
    ],
)
def test_a_file_in_neither_form_is_refused_in_one_line(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)
    assert "annotations.csv" in str(error.value)


def test_a_folder_or_a_pipe_in_its_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "annotations.csv")
    for path in (tmp_path, tmp_path / "annotations.csv"):
        with pytest.raises(UserError, match="not a regular file"):
            read_given(path)
