"""Boxes that came with the data are the one annotator, as they were written, unless they are wrong as a whole."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfie_localizer import params
from selfie_localizer.annotators.annotate import annotate
from selfie_localizer.errors import UserError
from selfie_localizer.files import sha256
from tests.annotators import fakes
from tests.faces import draw_face, encode, with_orientation, write_image


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    fakes.install(monkeypatch, "first", "second")


SETTINGS = params.Annotate(annotators={"haar": params.Haar()})


def write_boxes(root: Path, text: str) -> None:
    (root / "data/annotations.csv").write_text(text)


def rows(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "build/annotations.csv", dtype=str, keep_default_na=False).set_index("image")


def test_rows_pass_through_as_they_were_written_sorted_by_image(tmp_path: Path) -> None:
    data = encode(draw_face()[:, :200])
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        write_image(tmp_path, name, data)
    write_image(tmp_path, "broken.jpg", b"no")
    write_boxes(
        tmp_path,
        "image,x1,y1,x2,y2,source\nc.jpg,12,13,112.123456789012345,99,me\nlost.jpg,1,2,3,4,me\nbroken.jpg,1,2,3,4,me\n"
        "./images/a.jpg,1,2,3,4,me\na.jpg,1,2,30,40,me\nb.jpg,left,2,3,4,me\n",
    )
    annotate(SETTINGS, 1, tmp_path)
    sha, bad = sha256(data), sha256(b"no")
    assert (tmp_path / "build/annotations.csv").read_text().splitlines() == [
        "image,sha256,annotator,x1,y1,x2,y2,score,width,height",
        f"a.jpg,{sha},given,1,2,30,40,,200,240",
        f"b.jpg,{sha},given,left,2,3,4,,200,240",
        f"broken.jpg,{bad},given,1,2,3,4,,,",
        f"c.jpg,{sha},given,12,13,112.123456789012345,99,,200,240",
        "lost.jpg,,given,1,2,3,4,,,",
    ]
    report = json.loads((tmp_path / "reports/annotate.json").read_text())
    assert report["found"] == 2
    told = report["annotators"]["given"]
    assert told["nothing_seen"] == {"count": 2, "files": ["b.jpg", "d.jpg"]}
    assert told["rows_without_image"] == {"count": 1, "files": ["lost.jpg"]}
    assert told["rows_that_are_no_box"] == 1
    assert told["largest_taken"] == 1
    assert told["rows"] == 6


def test_the_article_s_form_gives_the_same_rows(tmp_path: Path) -> None:
    write_image(tmp_path, "x/a.jpg", encode(draw_face()))
    write_boxes(tmp_path, 'img,bbox\nx/a.jpg,"[41, 59.5, 181, 199]"\n')
    annotate(SETTINGS, 1, tmp_path)
    assert rows(tmp_path).loc["x/a.jpg"].tolist()[1:] == ["given", "41", "59.5", "181", "199", "", "240", "240"]


def test_hostile_text_reaches_the_table_as_text_and_a_path_outside_is_not_opened(tmp_path: Path) -> None:
    write_image(tmp_path, "a.jpg", encode(draw_face()))
    (tmp_path / "secret.jpg").write_bytes(encode(draw_face()))
    hostile = f"__import__('os').system('touch {tmp_path}/SIGN')"
    write_boxes(tmp_path, f'img,bbox\na.jpg,"{hostile}"\n../../secret.jpg,"[1, 2, 3, 4]"\n')
    annotate(SETTINGS, 1, tmp_path)
    assert not (tmp_path / "SIGN").exists()
    assert rows(tmp_path).loc["a.jpg", "x1"] == hostile
    assert rows(tmp_path).loc["../../secret.jpg", "width"] == ""


def test_a_table_without_a_column_stops_before_any_photo_is_looked_at(tmp_path: Path) -> None:
    write_image(tmp_path, "a.jpg", encode(draw_face()))
    write_boxes(tmp_path, "image,color,shape,taste,smell\na.jpg,1,2,3,4\n")
    with pytest.raises(UserError, match="no column x1"):
        annotate(SETTINGS, 1, tmp_path)
    assert not (tmp_path / "build").exists()
    assert not (tmp_path / ".cache").exists()


def make_scene(root: Path, count: int, share: float) -> None:
    """Writes pictures, and a table of boxes in their middle, of which the annotators see one of half the side."""
    lines = []
    for index in range(count):
        size = 200 + index
        write_image(root, f"{index:03d}.png", encode(np.full((size, size, 3), 99, np.uint8), "PNG"))
        low, high = size * (1 - share) / 2, size * (1 + share) / 2
        lines.append(f"{index:03d}.png,{low},{low},{high},{high}")
    write_boxes(root, "\n".join(["image,x1,y1,x2,y2", *lines, ""]))


def asking(**parameters: Any) -> params.Annotate:
    return params.Annotate(annotators={"first": {}, "second": {}}, **parameters)


def test_an_annotator_is_asked_about_a_sample_alone_and_about_it_once(tmp_path: Path) -> None:
    make_scene(tmp_path, 80, 0.6)
    annotate(asking(), 1, tmp_path)
    assert fakes.asked(tmp_path) == {"first": 64}
    first = (tmp_path / "build/annotations.csv").read_bytes()
    report = json.loads((tmp_path / "reports/annotate.json").read_text())
    assert report["annotators"]["given"]["checked"] == 64
    annotate(asking(), 1, tmp_path)
    assert fakes.asked(tmp_path) == {}
    assert (tmp_path / "build/annotations.csv").read_bytes() == first


def test_boxes_that_are_mostly_elsewhere_stop_the_stage_unless_nobody_checks(tmp_path: Path) -> None:
    make_scene(tmp_path, 20, 0.6)
    text = (tmp_path / "data/annotations.csv").read_text().splitlines()
    shifted = [line.split(",")[0] + ",1,1,20,20" for line in text[1:]]
    write_boxes(tmp_path, "\n".join([text[0], *shifted, ""]))
    with pytest.raises(UserError, match="20 of 20 boxes are not on the face") as error:
        annotate(asking(), 1, tmp_path)
    assert "annotate.check_boxes" in str(error.value)
    assert not (tmp_path / "build").exists()
    fakes.asked(tmp_path)
    annotate(asking(check_boxes=False), 1, tmp_path)
    assert fakes.asked(tmp_path) == {}
    assert len(rows(tmp_path)) == 20


def test_the_next_annotator_is_asked_where_the_first_sees_few_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locate = fakes.Centre.locate
    monkeypatch.setattr(
        fakes.Centre,
        "locate",
        lambda self, pixels: locate(self, pixels if self.name == "second" or len(pixels) > 215 else 0 * pixels),
    )
    make_scene(tmp_path, 20, 0.05)
    with pytest.raises(UserError, match="20 of 20 boxes are not on the face"):
        annotate(asking(), 1, tmp_path)
    assert fakes.asked(tmp_path) == {"first": 20, "second": 20}


def test_an_annotator_that_cannot_be_asked_leaves_the_check_to_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_scene(tmp_path, 20, 0.6)
    annotate(params.Annotate(annotators={"starter": {}, "first": {}}), 1, tmp_path)
    assert fakes.asked(tmp_path) == {"first": 20}
    assert "boxes are not compared with those of starter" in capsys.readouterr().err


def test_boxes_on_stored_pictures_are_turned_with_them(tmp_path: Path) -> None:
    photo = np.full((100, 60, 3), 120, np.uint8)
    for name, orientation in [("1.png", 1), ("6.jpg", 6), ("8.jpg", 8)]:
        write_image(tmp_path, name, with_orientation(photo, orientation, "PNG" if orientation == 1 else "JPEG"))
    # In the stored pictures of 100 x 60; displayed, they are 60 x 100.
    write_boxes(tmp_path, "image,x1,y1,x2,y2\n1.png,1,2,30,40\n6.jpg,10,5,50,25.5\n8.jpg,10,5,50,25.5\n")
    annotate(params.Annotate(annotators={"first": {}}, boxes="stored"), 1, tmp_path)
    boxes = rows(tmp_path)[["x1", "y1", "x2", "y2"]]
    assert boxes.loc["1.png"].tolist() == ["1", "2", "30", "40"]
    assert boxes.loc["6.jpg"].tolist() == ["34.5", "10", "55", "50"]
    assert boxes.loc["8.jpg"].tolist() == ["5", "50", "25.5", "90"]


def test_rows_without_an_image_are_counted_and_stop_before_any_photo_is_looked_at_where_they_are_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_scene(tmp_path, 20, 0.6)
    lines = (tmp_path / "data/annotations.csv").read_text().splitlines()
    write_boxes(tmp_path, "\n".join([lines[0], *lines[1:16], *(f"old/x{line}" for line in lines[16:])]))
    annotate(asking(), 1, tmp_path, max_rejected=0.25)
    assert "annotations.csv: 5 of 20 rows match no image, the first in line 17: looked for" in capsys.readouterr().err
    fakes.asked(tmp_path)
    with pytest.raises(UserError, match=r"5 of 20 rows \(25.0%\) match no image, more than validate.max_rejected"):
        annotate(asking(), 1, tmp_path, max_rejected=0.2)
    write_boxes(tmp_path, "\n".join([lines[0], *(f"old/x{line}" for line in lines[1:])]))
    with pytest.raises(UserError, match=r"0 of 20 rows match an image; looked for .*data/images/old/x000.png"):
        annotate(asking(), 1, tmp_path, max_rejected=0.2)
    assert fakes.asked(tmp_path) == {}


def test_boxes_that_are_called_stored_and_are_on_the_displayed_picture_stop_with_the_option(tmp_path: Path) -> None:
    lines = ["image,x1,y1,x2,y2"]
    for index in range(20):
        write_image(tmp_path, f"{index}.jpg", with_orientation(np.full((200 + index, 60, 3), 120, np.uint8), 6))
        lines.append(f"{index}.jpg,15,50,45,150")
    write_boxes(tmp_path, "\n".join(lines))
    annotate(asking(), 1, tmp_path)
    with pytest.raises(UserError, match=r"fit the picture as it is displayed; set annotate.boxes: displayed"):
        annotate(asking(boxes="stored"), 1, tmp_path)
