"""Tables of boxes as tools and people write them; nothing in them is ever run."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfie_localizer import boxes
from selfie_localizer.errors import UserError
from selfie_localizer.tables.read import BoxTable, check_matched, read

IMAGES = ["a.jpg", "b.jpg", "sub/c.jpg"]
ONE = ("a.jpg", ("1", "2.5", "30", "40"))


def table(folder: Path, text: str | bytes, images: list[str] | None = None) -> BoxTable:
    path = folder / "annotations.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, IMAGES if images is None else images)


def rows(folder: Path, text: str | bytes) -> list[tuple[str, tuple[str, ...]]]:
    found = table(folder, text).rows
    return [(row[0], tuple(row[1:])) for row in found[["image", *boxes.SIDES]].itertuples(index=False)]


@pytest.mark.parametrize(
    "header",
    [
        "image,x1,y1,x2,y2",
        "Image , X1, Y1,X2 ,Y2",
        "filename,xmin,ymin,xmax,ymax",
        "FileName,XMin,YMin,XMax,YMax",
        "file,x_min,y_min,x_max,y_max",
        "path,left,top,right,bottom",
        "file_name,x_1,y_1,x_2,y_2",
        "image_path,x0,y0,x1,y1",
        "img,bbox_x1,bbox_y1,bbox_x2,bbox_y2",
        "image_id,Left,Top,Right,Bottom",
        "image_name,x min,y min,x max,y max",
    ],
)
def test_the_names_that_tools_give_the_columns_are_read(tmp_path: Path, header: str) -> None:
    assert rows(tmp_path, f"{header}\na.jpg,1,2.5,30,40\n") == [ONE]


def test_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    assert rows(tmp_path, "y2,image,who, x1,y1,x2\n40,a.jpg,me,1,2.5,30\n") == [ONE]
    assert rows(tmp_path, "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,99,99,face,1,2.5,30,40\n") == [ONE]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("image,x,y,w,h", "x,y,w,h are a corner and a size"),
        ("image,x,y,width,height", "a corner and a size"),
        ("image_id,x_1,y_1,width,height", "a corner and a size"),
        ("image,left,top,width,height", "a corner and a size"),
        ("image,x1,y1,width,height", "a corner and a size"),
    ],
)
def test_a_width_and_a_height_in_the_header_become_corners_and_a_line_says_so(
    tmp_path: Path, header: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rows(tmp_path, f"{header}\na.jpg,1,2.5,29,37.5\n") == [("a.jpg", ("1", "2.5", "30", "40.0"))]
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("header", ["image,x_center,y_center,width,height", "file,cx,cy,w,h", "img,xc,yc,w,h"])
def test_a_centre_in_the_header_becomes_corners_and_a_line_says_so(
    tmp_path: Path, header: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = table(tmp_path, f"{header}\na.jpg,10,20,4,6\n").boxes()
    assert found.iloc[0].tolist() == ["a.jpg", 8, 17, 12, 23]
    assert "a centre and a size" in capsys.readouterr().err


def test_the_size_of_the_image_beside_that_of_the_box_is_not_taken_for_it(tmp_path: Path) -> None:
    found = table(tmp_path, "image,width,height,x,y,w,h\na.jpg,640,480,1,2,10,20\n").boxes()
    assert found.iloc[0].tolist() == ["a.jpg", 1, 2, 11, 22]


def test_sums_of_decimals_are_exact_and_what_is_no_number_stays_to_be_named(tmp_path: Path) -> None:
    text = "image,x,y,w,h\na.jpg,0.1,?,0.2,5\nb.jpg,1e999999999,1,1,\n"
    assert rows(tmp_path, text)[0] == ("a.jpg", ("0.1", "?", "0.3", "5"))
    assert rows(tmp_path, text)[1][1][1::2] == ("1", "")


@pytest.mark.parametrize("text", ["a.jpg,1,2.5,30,40\n", "a.jpg,1,2.5,30,40,face\n", 'a.jpg,"[1, 2.5, 30, 40]"\n'])
def test_without_a_header_the_first_row_is_data(tmp_path: Path, text: str) -> None:
    found = table(tmp_path, text + text)
    assert [tuple(row) for row in found.rows[boxes.SIDES].itertuples(index=False)] == [ONE[1]] * 2
    assert found.rows["line"].tolist() == [1, 2]


LISTS = [
    '"[1, 2.5, 30, 40]"',
    '"(1,2.5,30,40)"',
    "[1 2.5 30 40]",
    "[1, 2.5, 30, 40]",
    '" [ 1,  2.5 ,30,40 ] "',
    '"[1, 2.5, 30, 40,]"',
    '"[[1, 2.5, 30, 40]]"',
    "\"['1', '2.5', '30', '40']\"",
    '"[np.int64(1), np.float64(2.5), np.int32(30), np.float32(40)]"',
    "(np.int64(1), np.float64(2.5), 30, numpy.uint8(40))",
    '"array([1, 2.5, 30, 40])"',
    '"np.array([1, 2.5, 30, 40], dtype=float32)"',
    "array([1, 2.5, 30, 40])",
    '"[ 1  2.5\n 30  40]"',
]


@pytest.mark.parametrize("text", LISTS)
@pytest.mark.parametrize("header", ["path,bbox\n", "anything,else\n", ""])
def test_the_article_s_two_columns_are_read_however_the_list_is_written(tmp_path: Path, text: str, header: str) -> None:
    assert rows(tmp_path, f"{header}a.jpg,{text}\n") == [ONE]


def test_numpy_s_own_form_of_an_array_is_read(tmp_path: Path) -> None:
    assert rows(tmp_path, "path,box\na.jpg,[1. 2.5 30. 40.]\n") == [("a.jpg", ("1.", "2.5", "30.", "40."))]


def test_a_column_of_lists_is_found_among_others_and_before_the_path(tmp_path: Path) -> None:
    assert rows(tmp_path, ',image,bbox,label\n0,a.jpg,"[1, 2.5, 30, 40]",face\n') == [ONE]
    assert rows(tmp_path, "bbox,path\n[1, 2.5, 30, 40],a.jpg\n") == [ONE]
    assert rows(tmp_path, 'path,bbox\na.jpg,"[1, 2.5, 30, 40]",,\n') == [ONE]


def test_a_list_whose_header_says_xywh_is_converted(tmp_path: Path) -> None:
    assert rows(tmp_path, 'image,bbox_xywh\na.jpg,"[1, 2, 3, 4]"\n') == [("a.jpg", ("1", "2", "4", "6"))]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch SIGN')",
        "[__import__('os').system('touch SIGN')]",
        "[1, 2, 3]",
        "[1, 2, 3, 4, 5]",
        "[[1, 2], [3, 4]]",
        "1 2 3 4",
        "[]",
        "[[]]",
        "array(",
        "",
    ],
)
def test_what_is_no_list_of_four_is_kept_as_it_is_and_never_run(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert rows(tmp_path, f'path,bbox\na.jpg,"{text}"\n') == [("a.jpg", (text, "", "", ""))]
    assert not (tmp_path / "SIGN").exists()


def test_four_members_stay_apart_so_that_the_bad_one_can_be_named(tmp_path: Path) -> None:
    found = rows(tmp_path, "path,bbox\na.jpg,\"[1, __import__('os').system('touch SIGN'), 3, nan]\"\n")
    assert found == [("a.jpg", ("1", "__import__('os').system('touch SIGN')", "3", "nan"))]


def test_a_short_row_has_empty_coordinates_and_a_blank_line_is_no_row(tmp_path: Path) -> None:
    found = table(tmp_path, "image,x1,y1,x2,y2\na.jpg,1,2\n\n,,,,\nb.jpg,1,2,3,4,5\n").rows
    assert found[boxes.SIDES].to_numpy().tolist() == [["1", "2", "", ""], ["1", "2", "3", "4"]]
    assert found["line"].tolist() == [2, 5]


@pytest.mark.parametrize(
    "text",
    [
        "image;x1;y1;x2;y2\r\na.jpg;1;2,5;30;40\r\n",
        "sep=;\r\nimage;x1;y1;x2;y2\r\na.jpg;1;2,5;30;40\r\n",
        "a.jpg;1;2,5;30;40\r\n",
        "image\tx1\ty1\tx2\ty2\na.jpg\t1\t2.5\t30\t40\n",
        "path;box\na.jpg;[1, 2.5, 30, 40]\n",
        "path\tbox\na.jpg\t[1, 2.5, 30, 40]\n",
        "a.jpg;[1, 2.5, 30, 40]\n",
        "image,x1,y1,x2,y2\ra.jpg,1,2.5,30,40\r",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_a_european_excel_or_another_program_saves_is_read(tmp_path: Path, text: str, encoding: str) -> None:
    assert rows(tmp_path, text.encode(encoding)) == [ONE]


def test_a_line_of_a_row_is_where_it_starts_whatever_its_quotes_hold(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbfimage,x1,y1,x2,y2\r\n\r\n"a,""b""\n\nc.jpg",1,2,3,4\r\nb.jpg,1,2,3,4'
    found = table(tmp_path, text, ['a,"b"\n\nc.jpg', "b.jpg"]).rows
    assert found["line"].tolist() == [3, 6]
    assert found["matched"].all()


def test_windows_paths_match(tmp_path: Path) -> None:
    found = table(tmp_path, "image,x1,y1,x2,y2\r\nsub\\c.jpg,1,2,3,4\r\n.\\a.jpg,1,2,3,4\r\n").rows
    assert found["image"].tolist() == ["sub/c.jpg", "a.jpg"]


def test_the_largest_box_of_an_image_counts_whatever_its_path_is_called(tmp_path: Path) -> None:
    found = table(
        tmp_path,
        "image,x1,y1,x2,y2\na.jpg,0,0,5,5\nb.jpg,0,0,1,1\n./a.jpg,0,0,9,9\na.jpg,9,9,0,0\nimages/a.jpg,0,0,x,9\n"
        "a.jpg,0,0,9,9\nb.jpg,0,0,inf,9\na.jpg,1e400,0,1,1\nnone.jpg,0,0,1,1\n",
    )
    boxes = found.boxes()
    assert boxes.to_numpy().tolist() == [["b.jpg", 0, 0, 1, 1], ["a.jpg", 0, 0, 9, 9]]
    assert [str(kind) for kind in boxes.dtypes[1:]] == ["float64"] * 4
    assert found.images_with_several == ["a.jpg"]
    assert found.rows_that_are_no_box == 4
    assert found.rows_without_image == ["none.jpg"]
    assert found.largest_rows()["line"].tolist() == [3, 4, 5, 6, 8, 9, 10]
    assert len(found.numbers()) == 5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no rows"),
        ("image,x1,y1,x2,y2\n", "no rows"),
        ("image,x1,y1,x2\na,1,2,3\n", "no column y2 .*image,x1,y1,x2,y2, or two columns"),
        ("image;x1;y1;x2\na;1;2;3\n", "no column y2 .*found: image, x1, y1, x2"),
        ("one\ntwo\n", "no column image, x1"),
        (b"image,x1,y1,x2,y2\n\xff.jpg,1,2,3,4\n", "not UTF-8.*Windows-1252"),
        ("image,x1,y1,x2,y2\n".encode("utf-16-le"), "zero bytes.*save it as UTF-8"),
        (b"\xff\xfea", "not UTF-16"),
        (b"PK\x03\x04rest", "Excel workbook"),
        ("image,x1,y1,x2,y2\n" + "a" * 200_000 + ",1,2,3,4\n", "not a CSV file"),
        ('image,x1,y1,x2,y2\na.jpg,1,2,3,4\n"b.jpg,1,2,3,4\nc.jpg,1,2,3,4\n', "line 3: a quote"),
    ],
)
def test_a_file_in_no_form_is_refused_in_one_line(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        rows(tmp_path, text)
    assert "\n" not in str(error.value)
    assert "annotations.csv" in str(error.value)


def test_a_folder_or_a_pipe_in_its_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "annotations.csv")
    for path in (tmp_path, tmp_path / "annotations.csv"):
        with pytest.raises(UserError, match="not a regular file"):
            read(path, IMAGES)
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "none.csv", IMAGES)


def test_a_table_of_which_nothing_matches_says_where_it_looked(tmp_path: Path) -> None:
    found = table(tmp_path, "image,x1,y1,x2,y2\n" + "x\\a.png,1,2,3,4\n" * 60)
    with pytest.raises(UserError, match=r"0 of 60 rows match an image; looked for .*/images/x/a\.png"):
        check_matched(found, 0.2)


def test_rows_without_image_are_said_aloud_and_too_many_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = table(tmp_path, "image,x1,y1,x2,y2\na.jpg,1,2,3,4\nb.jpg,1,2,3,4\nz.jpg,1,2,3,4\n")
    check_matched(found, 0.5)
    assert "1 of 3 rows match no image, the first in line 4" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"1 of 3 rows \(33.3%\) match no image, more than validate.max_rejected"):
        check_matched(found, 0.2)
    check_matched(table(tmp_path, "image,x1,y1,x2,y2\na.jpg,1,2,3,4\n"), 0.0)
    assert capsys.readouterr().err == ""


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_a_message(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    try:
        found = table(tmp_path_factory.getbasetemp(), data)
    except UserError:
        return
    assert len(found.rows)
    found.boxes()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_any_cell_is_read_and_a_box_is_four_finite_numbers_in_order(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    quoted = text.replace('"', '""')
    found = table(tmp_path_factory.getbasetemp(), f'path,bbox\na.jpg,"{quoted}"\n').boxes()
    for row in found[boxes.SIDES].to_numpy():
        assert row[0] < row[2]
        assert row[1] < row[3]
