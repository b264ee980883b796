"""Boxes leave in four forms and come back the same."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfie_localizer.acquire.export_boxes import export_boxes
from selfie_localizer.acquire.import_boxes import FORMS, import_boxes
from selfie_localizer.errors import UserError
from tests.acquire.photos import PHOTOS, make

Box = tuple[float, float, float, float]


@st.composite
def box_tables(draw: st.DrawFn) -> dict[str, Box]:
    found = {}
    for name in draw(st.lists(st.sampled_from(list(PHOTOS)), min_size=1, unique=True)):
        width, height, _ = PHOTOS[name]
        x, y = draw(st.floats(0, width - 2)), draw(st.floats(0, height - 2))
        found[name] = (x, y, draw(st.floats(x + 1, width)), draw(st.floats(y + 1, height)))
    return found


def write(path: Path, found: dict[str, Box], size: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", "x1", "y1", "x2", "y2", *(["width", "height"] if size else [])])
        rows.writerows([name, *box, *(PHOTOS[name][:2] if size else [])] for name, box in found.items())


def load(path: Path) -> dict[str, Box]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {row["image"]: tuple(float(row[side]) for side in ("x1", "y1", "x2", "y2")) for row in rows}  # type: ignore


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=box_tables(), size=st.booleans())
def test_boxes_that_go_out_and_come_back_are_the_same_to_a_hundredth_of_a_pixel(
    form: str, found: dict[str, Box], size: bool, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write(project / "build/labels.csv", found, size)
    out = tmp_path_factory.mktemp("out") / "boxes"
    export_boxes(form, out, project)  # type: ignore[arg-type]
    import_boxes(form, out, "trusted", project, replace=True)  # type: ignore[arg-type]
    again = load(project / "data/trusted.csv")
    assert set(again) == set(found)
    for name, box in found.items():
        assert np.allclose(again[name], box, atol=0.01)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("table", ["annotations", "truth", "trusted"])
def test_the_tables_of_data_go_out_as_well_with_sizes_from_the_listing(
    tmp_path: Path, form: str, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path)
    write(tmp_path / f"data/{table}.csv", {"images/a.jpg": (1, 2, 30, 40), "none.jpg": (1, 2, 3, 4)})
    (tmp_path / "build").mkdir()
    (tmp_path / "build/images.csv").write_text("image,width,height\na.jpg,64,48\nb.png,,\n")
    export_boxes(form, tmp_path / "out", tmp_path, table)  # type: ignore[arg-type]
    assert "1 boxes on 1 images" in capsys.readouterr().err
    import_boxes(form, tmp_path / "out", "truth", tmp_path, replace=True)  # type: ignore[arg-type]
    assert load(tmp_path / "data/truth.csv") == {"a.jpg": (1, 2, 30, 40)}


def test_what_is_there_is_not_overwritten_and_what_is_missing_is_said(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(UserError, match=r"labels\.csv: not there; run"):
        export_boxes("coco", tmp_path / "out", tmp_path)
    write(tmp_path / "build/labels.csv", {"a.jpg": (9, 9, 1, 1)})
    with pytest.raises(UserError, match="no box of an image"):
        export_boxes("coco", tmp_path / "out", tmp_path)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        export_boxes("coco", tmp_path / "out", tmp_path)
    assert (tmp_path / "out").read_text() == "mine"


def test_two_images_that_yolo_cannot_tell_apart_are_refused_and_voc_keeps_them(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "data/images/a.png").write_bytes((tmp_path / "data/images/b.png").read_bytes())
    (tmp_path / "build").mkdir()
    text = "image,x1,y1,x2,y2,width,height\na.jpg,1,2,3,4,64,48\na.png,5,6,7,8,40,80\n"
    (tmp_path / "build/labels.csv").write_text(text)
    with pytest.raises(UserError, match=r"a\.jpg and a\.png would share a\.txt"):
        export_boxes("yolo", tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
    export_boxes("voc", tmp_path / "out", tmp_path)
    import_boxes("voc", tmp_path / "out", "truth", tmp_path)
    assert load(tmp_path / "data/truth.csv") == {"a.jpg": (1, 2, 3, 4), "a.png": (5, 6, 7, 8)}


def test_a_name_that_leads_out_of_the_folder_is_not_written(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "build").mkdir()
    (tmp_path / "build/labels.csv").write_text("image,x1,y1,x2,y2,width,height\n../../a.jpg,1,2,3,4,64,48\n")
    for form in ("yolo", "voc"):
        with pytest.raises(UserError, match="leads out of the folder"):
            export_boxes(form, tmp_path / "out", tmp_path)  # type: ignore[arg-type]


def test_label_studio_gets_local_files_and_percentages(tmp_path: Path) -> None:
    make(tmp_path)
    write(tmp_path / "build/labels.csv", {"sub/deep/a&b #1 100%.webp": (0, 0, 33, 23.5)})
    export_boxes("labelstudio", tmp_path / "out.json", tmp_path)
    task = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))[0]
    assert task["data"]["image"] == "/data/local-files/?d=images/sub/deep/a%26b%20%231%20100%25.webp"
    value = task["annotations"][0]["result"][0]["value"]
    assert [value[key] for key in ("x", "y", "width", "height")] == [0, 0, 100, 50]
