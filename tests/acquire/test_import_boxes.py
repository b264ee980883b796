"""Boxes of annotation tools, as the tools write them, become a table of the contract."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfie_localizer.acquire.box_formats import read_boxes
from selfie_localizer.acquire.import_boxes import import_boxes
from selfie_localizer.errors import UserError
from tests.acquire.photos import make
from tests.acquire.test_export_boxes import load


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path)


def coco(root: Path, images: list[dict[str, Any]], boxes: list[dict[str, Any]], **more: Any) -> Path:
    (root / "coco.json").write_text(json.dumps({"images": images, "annotations": boxes} | more))
    return root / "coco.json"


def region(x: float, y: float, w: float, h: float, **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": more.pop("rotation", 0), "rectanglelabels": ["Face"]}
    return {"type": "rectanglelabels", "value": value} | more


def label_studio(root: Path, *tasks: dict[str, Any]) -> dict[str, Any]:
    (root / "ls.json").write_text(json.dumps(tasks))
    import_boxes("labelstudio", root / "ls.json", "truth", root, replace=True)
    return load(root / "data/truth.csv")


def task(image: str, *regions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": list(regions)}]} | more


def test_coco_takes_faces_skips_crowds_and_says_what_matches_no_image(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [{"id": 7, "file_name": "images\\a.jpg", "width": 64, "height": 48}, {"id": 8, "file_name": "gone.jpg"}]
    boxes = [
        {"image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 20.5]},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 60, 40]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 0, 4]},
        {"image_id": 8, "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"image_id": 9, "category_id": 1, "bbox": "x"},
    ]
    kinds = [{"id": 1, "name": "Human face"}, {"id": 2, "name": "person"}]
    import_boxes("coco", coco(root, images, boxes, categories=kinds), "annotations", root)
    assert (root / "data/annotations.csv").read_text() == "image,x1,y1,x2,y2\na.jpg,1,2,11,22.5\n"
    said = capsys.readouterr().err
    assert "1 boxes on 1 images" in said
    assert "4 skipped" in said
    assert "1 of its images are not in" in said
    assert "gone.jpg" in said


def test_boxes_of_another_size_are_scaled_and_those_before_the_turn_are_turned(root: Path) -> None:
    images = [
        {"id": 1, "file_name": "a.jpg", "width": 32, "height": 24},
        {"id": 2, "file_name": "turned.jpg", "width": 50, "height": 30},
        {"id": 3, "file_name": "b.png"},
    ]
    boxes = [{"image_id": number, "category_id": 1, "bbox": [1, 2, 3, 4]} for number in (1, 2, 3)]
    import_boxes("coco", coco(root, images, boxes), "truth", root)
    # Orientation 6: what is x in the stored picture is y, and x is counted from the stored bottom.
    assert load(root / "data/truth.csv") == {
        "a.jpg": (2, 4, 8, 12),
        "turned.jpg": (24, 1, 28, 4),
        "b.png": (1, 2, 4, 6),
    }


def test_a_table_that_is_there_is_overwritten_only_if_asked(root: Path) -> None:
    source = coco(root, [{"id": 1, "file_name": "a.jpg"}], [{"image_id": 1, "bbox": [1, 2, 3, 4]}])
    (root / "data/truth.csv").write_text("mine")
    with pytest.raises(UserError, match=r"truth\.csv: is there already; add --replace"):
        import_boxes("coco", source, "truth", root)
    assert (root / "data/truth.csv").read_text() == "mine"
    import_boxes("coco", source, "truth", root, replace=True)
    assert load(root / "data/truth.csv") == {"a.jpg": (1, 2, 4, 6)}


def test_yolo_reads_boxes_scores_and_polygons_by_the_size_of_the_photo_as_displayed(root: Path) -> None:
    folder = root / "set/labels"
    (folder / "sub").mkdir(parents=True)
    (root / "set/data.yaml").write_text("names:\n  0: person\n  1: face\n")
    (folder / "a.txt").write_text("1 0.5 0.5 0.5 0.25\n0 0.5 0.5 1 1\n1 x y z 1\n")
    (folder / "turned.txt").write_text("1 0.5 0.5 0.2 0.2 0.93\n")
    (folder / "sub/Ünï côde 写真.txt").write_text("1 0.1 0.1 0.5 0.1 0.5 0.6\n")
    (folder / "classes.txt").write_text("person\nface\n")
    import_boxes("yolo", root / "set", "trusted", root)
    assert load(root / "data/trusted.csv") == {
        "a.jpg": (16, 18, 48, 30),
        "turned.jpg": (12, 20, 18, 30),
        "sub/Ünï côde 写真.jpg": (10, 6, 50, 36),
    }


VOC = """<annotation><folder>x</folder><filename>{}</filename><path>C:\\x\\{}</path>
<size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>face</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40.5</ymax></bndbox></object>
<object><name>face</name></object></annotation>"""


def test_voc_reads_a_folder_at_any_depth(root: Path) -> None:
    (root / "Annotations").mkdir()
    (root / "Annotations/a.xml").write_text(VOC.format("a.jpg", "a.jpg"))
    (root / "Annotations/other.xml").write_text("<project/>")
    import_boxes("voc", root / "Annotations", "truth", root)
    assert load(root / "data/truth.csv") == {"a.jpg": (1, 2, 30, 40.5)}


def test_xml_that_defines_entities_is_refused_before_it_grows(root: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>'
    (root / "voc").mkdir()
    (root / "voc/a.xml").write_text(bomb)
    with pytest.raises(UserError, match="document type"):
        import_boxes("voc", root / "voc", "truth", root)


@pytest.mark.parametrize(
    ("address", "image"),
    [
        ("/data/upload/1/abcd1234-a.jpg", "a.jpg"),
        ("/data/upload/12/0123abcd-%C3%9Cn%C3%AF_c%C3%B4de_%E5%86%99%E7%9C%9F.jpg", "sub/Ünï côde 写真.jpg"),
        ("/data/upload/12/0123abcd-ab_1_100.webp", "sub/deep/a&b #1 100%.webp"),
        ("/data/local-files/?d=photos/data/images/sub/deep/a%26b%20%231%20100%25.webp", "sub/deep/a&b #1 100%.webp"),
        ("/data/local-files/?d=images\\a.jpg", "a.jpg"),
        ("http://localhost:8080/data/upload/1/abcd1234-a.jpg?x=1", "a.jpg"),
        ("s3://bucket/some/prefix/a.jpg", "a.jpg"),
        ("a.jpg", "a.jpg"),
    ],
)
def test_label_studio_s_addresses_lead_to_the_images(root: Path, address: str, image: str) -> None:
    found = label_studio(root, task(address, region(0, 0, 50, 50)))
    assert list(found) == [image]


def test_label_studio_s_percentages_are_of_the_photo_and_cancelled_work_is_not_taken(root: Path) -> None:
    size = {"original_width": 640, "original_height": 480, "image_rotation": 0}
    done = task("a.jpg", region(25, 50, 50, 25, **size))
    done["annotations"].append({"was_cancelled": True, "result": [region(0, 0, 9, 9)]})
    done["annotations"][0]["result"].append({"type": "choices", "value": {"choices": ["smile"]}})
    assert label_studio(root, done) == {"a.jpg": (16, 24, 48, 36)}


def test_a_rectangle_that_was_turned_is_the_box_around_it(root: Path) -> None:
    size = {"original_width": 64, "original_height": 48}
    # From (32, 12), 16 to the right and 6 down, turned by 90 degrees clockwise: 6 to the left and 16 down.
    assert label_studio(root, task("a.jpg", region(50, 25, 25, 12.5, rotation=90, **size))) == {
        "a.jpg": (26, 12, 32, 28)
    }


def test_a_view_that_was_turned_counts_only_where_the_size_is_the_view_s(root: Path) -> None:
    upright = {"original_width": 64, "original_height": 48, "image_rotation": 90}
    assert label_studio(root, task("a.jpg", region(0, 0, 50, 25, **upright))) == {"a.jpg": (0, 0, 32, 12)}
    # The view is 48 wide and 64 high; its upper left corner is the photo's lower left one.
    view = {"original_width": 48, "original_height": 64, "image_rotation": 90}
    assert label_studio(root, task("a.jpg", region(0, 0, 50, 25, **view))) == {"a.jpg": (0, 24, 16, 48)}


def test_label_studio_s_small_export_is_read_as_well(root: Path) -> None:
    small = {"x": 0, "y": 0, "width": 50, "height": 50, "rectanglelabels": ["Face"], "original_width": 64}
    assert label_studio(root, {"image": "/data/upload/1/abcd1234-a.jpg", "id": 1, "label": [small]}) == {
        "a.jpg": (0, 0, 32, 24)
    }


KEYS = [
    "images",
    "annotations",
    "id",
    "image_id",
    "file_name",
    "bbox",
    "width",
    "height",
    "categories",
    "x",
    "y",
    "data",
    "image",
    "result",
    "value",
    "rotation",
    "image_rotation",
    "original_width",
    "rectanglelabels",
]
nonsense = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["a.jpg", "", "http://[x/a.jpg", "5"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=nonsense | st.lists(nonsense) | st.fixed_dictionaries({"images": nonsense, "annotations": nonsense}))
def test_any_json_is_read_or_refused_with_a_message(content: Any, tmp_path: Path) -> None:
    (tmp_path / "any.json").write_text(json.dumps(content))
    for form in ("coco", "labelstudio"):
        with contextlib.suppress(UserError):
            read_boxes(form, tmp_path / "any.json")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "text", "reason"),
    [
        ("coco", "[", "not JSON"),
        ("coco", "[" * 100_000, "not JSON"),
        ("coco", "[]", "not COCO"),
        ("coco", '{"images": [], "annotations": []}', "no box of the form coco"),
        ("coco", '{"images": [{"id": 1, "file_name": "z.jpg"}], "annotations": [{"image_id": 1, "bbox": [1,2,3,4]}]}',
         r"0 of 1 boxes belong to an image; looked for .*z\.jpg"),
        ("labelstudio", "{}", "list of tasks"),
        ("labelstudio", "[1, {}]", "no box of the form"),
        ("yolo", "x", "not a folder"),
        ("voc", "x", "not a folder"),
    ],
)  # fmt: skip
def test_a_source_of_another_form_is_refused_and_nothing_is_written(
    root: Path, form: Any, text: str, reason: str
) -> None:
    (root / "source").write_text(text)
    with pytest.raises(UserError, match=reason) as caught:
        import_boxes(form, root / "source", "truth", root)
    assert "\n" not in str(caught.value)
    assert not (root / "data/truth.csv").exists()
    with pytest.raises(UserError, match="no such file"):
        import_boxes(form, root / "none", "truth", root)
