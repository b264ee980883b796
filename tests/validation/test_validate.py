"""The stage as a whole: good rows pass, bad rows are kept aside with their reason, and people can look at both."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from selfie_localizer import files, params
from selfie_localizer.errors import UserError
from selfie_localizer.photos.perceptual_hash import perceptual_hash
from selfie_localizer.validation.docs import self_contained
from selfie_localizer.validation.pictures import coverage
from selfie_localizer.validation.validate import validate

COLUMNS = ["image", "sha256", "annotator", "x1", "y1", "x2", "y2", "score", "width", "height"]
OUTPUTS = ["build/clean.csv", "build/rejected.csv", "build/near_duplicates.csv", "reports/validation.json"]
HOSTILE = 'gone $x$ <img src="http://a.example/b.png">.jpg'

# What the label stage writes later.
AFTER = {"../label.json", "../label/suspicious.csv", "../label/"}


def make_project(root: Path, count: int = 10) -> pd.DataFrame:
    """Writes `count` images of 80 x 60 and what `annotate` would write of them; returns the rows as text."""
    (root / "data/images").mkdir(parents=True)
    listing = []
    for index in range(count):
        coarse = np.random.default_rng(index).integers(0, 255, (6, 8, 3), np.uint8)
        pixels = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
        path = root / f"data/images/{index:02d}.png"
        cv2.imwrite(str(path), pixels[..., ::-1])
        data = path.read_bytes()
        values = [path.name, 80, 60, len(data), files.sha256(data), perceptual_hash(pixels), ""]
        listing.append(values)
    table = pd.DataFrame(listing, columns=["image", "width", "height", "bytes", "sha256", "phash", "error"])
    (root / "build").mkdir()
    table.to_csv(root / "build/images.csv", index=False)
    rows = table[["image", "sha256", "width", "height"]].assign(x1=10, y1=10, x2=40, y2=45.5)
    rows = rows.assign(annotator="given", score="")[COLUMNS].astype(str)
    rows.to_csv(root / "build/annotations.csv", index=False)
    return rows


def write_rows(root: Path, rows: pd.DataFrame) -> None:
    rows.to_csv(root / "build/annotations.csv", index=False)


def edit_listing(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = root / "build/images.csv"
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of which some rows are bad; another annotator saw nothing on one image, and one is a copy."""
    root = tmp_path_factory.mktemp("project")
    rows = make_project(root, 12)
    rows.loc[1, "x1"] = "<img src=http://a.example/b.png>"
    rows.loc[3, ["x1", "x2"]] = ["-30", "79"]
    rows.loc[5, ["image", "width", "height"]] = [HOSTILE, "", ""]
    silent = rows.iloc[[4]].assign(annotator="haar", x1="", y1="", x2="", y2="")
    (root / "data/images/copy.png").write_bytes((root / "data/images/06.png").read_bytes())
    copy = rows.iloc[[6]].assign(image="copy.png")
    write_rows(root, pd.concat([rows.drop(index=10), silent, copy]))
    # An image without a row is no row here, but it may be a near duplicate.
    edit_listing(
        root, lambda table: table.assign(phash=table["phash"].mask(table["image"] == "10.png", table["phash"][0]))
    )
    edit_listing(root, lambda table: pd.concat([table, table.iloc[[6]].assign(image="copy.png", phash="f" * 16)]))
    validate(params.Validate(max_rejected=0.5), root)
    return root


def test_good_rows_pass_in_their_order_and_so_do_those_of_who_saw_nothing_but_no_copies(project: Path) -> None:
    clean = pd.read_csv(project / "build/clean.csv")
    assert clean.columns.tolist() == COLUMNS
    assert clean["image"].tolist() == [f"{index:02d}.png" for index in (0, 2, 4, 6, 7, 8, 9, 11, 4)]
    assert clean.loc[0, ["x1", "y1", "x2", "y2", "width", "height"]].tolist() == [10, 10, 40, 45.5, 80, 60]
    assert clean["annotator"].tolist() == ["given"] * 8 + ["haar"]
    assert clean["sha256"][0] == files.sha256((project / "data/images/00.png").read_bytes())


def test_bad_rows_are_listed_by_line_with_each_rule_and_value(project: Path) -> None:
    rejected = pd.read_csv(project / "build/rejected.csv")
    assert rejected.to_numpy().tolist() == [
        [3, "01.png", "number", "x1='<img src=http://a.example/b.png>'"],
        [5, "03.png", "inside_image", "30"],
        [5, "03.png", "aspect", f"{109 / 35.5:.6g}"],
        [7, HOSTILE, "file_exists", "missing"],
    ]
    lines = (project / "build/annotations.csv").read_text().splitlines()
    assert lines[3 - 1].startswith("01.png")
    assert "gone" in lines[7 - 1]


def test_near_duplicates_include_images_without_a_row(project: Path) -> None:
    pairs = pd.read_csv(project / "build/near_duplicates.csv")
    assert pairs.to_numpy().tolist() == [["00.png", "10.png", 0]]


def test_the_report_counts_rules_copies_and_pairs_and_what_each_annotator_said(project: Path) -> None:
    report = json.loads((project / "reports/validation.json").read_text())
    assert (report["rows"], report["accepted"], report["rejected"], report["passed"]) == (12, 8, 3, True)
    assert report["copies"] == 1
    assert report["rejected_share"] == 0.25
    assert {rule: count for rule, count in report["rules"].items() if count} == {
        "number": 1,
        "inside_image": 1,
        "aspect": 1,
        "file_exists": 1,
    }
    assert report["near_duplicate_pairs"] == 1
    given, haar = report["annotators"]["given"], report["annotators"]["haar"]
    assert (given["rows"], given["saw_nothing"], given["rejected"], given["rules"]["aspect"]) == (12, 0, 3, 1)
    assert (haar["rows"], haar["saw_nothing"], haar["rejected"]) == (1, 1, 0)


def test_the_pages_load_nothing_from_elsewhere_and_hold_no_foreign_tag(project: Path) -> None:
    pages = sorted((project / "reports/validation").glob("*.html"))
    assert [page.name for page in pages] == ["index.html", "results.html", "suite.html"]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        targets = re.findall(r"<[^>]*\b(?:src|href)\s*=\s*[\"']?([^\s\"'>]*)", text) + re.findall(r"url\((.*?)\)", text)
        for target in set(targets) - AFTER:
            assert target.startswith("#") or (page.parent / target).is_file(), f"{page.name} refers to {target}"
        assert "<script" not in text
        assert "<link" not in text
        assert "<img src=http" not in text


def test_the_page_says_that_it_is_before_labels_were_made_and_links_what_came_after(project: Path) -> None:
    index = (project / "reports/validation/index.html").read_text(encoding="utf-8")
    assert "before the annotators were joined" in index
    assert all(f'<a href="{target}">' in index for target in AFTER)


def test_the_pages_show_every_picture_and_great_expectations_finds_the_same_rows(project: Path) -> None:
    folder = project / "reports/validation"
    index = (folder / "index.html").read_text(encoding="utf-8")
    for picture in ("positions", "shapes", "rejected", "accepted"):
        assert f'src="{picture}.png"' in index
        assert cv2.imread(str(folder / f"{picture}.png")) is not None
    assert "<td>aspect</td><td>Box width / height: 0.4 to 1.6</td>" in index
    results = (folder / "results.html").read_text(encoding="utf-8")
    assert "The image file exists" in results
    assert re.search(r">missing</div>.{0,300}>7</div>", results, re.DOTALL), "by the same line number"


def test_a_second_run_gives_the_same_bytes(project: Path) -> None:
    before = {name: (project / name).read_bytes() for name in OUTPUTS}
    stale = project / "reports/validation/stale.png"
    stale.write_bytes(b"of an earlier run")
    validate(params.Validate(max_rejected=0.5), project)
    assert {name: (project / name).read_bytes() for name in OUTPUTS} == before
    assert not stale.exists()
    assert [path.name for path in (project / "reports").iterdir() if path.name.startswith(".")] == []


def test_as_many_bad_rows_as_allowed_pass_and_one_more_stops_the_pipeline(tmp_path: Path) -> None:
    rows = make_project(tmp_path)
    rows.loc[[2, 4], "x1"] = "?"
    write_rows(tmp_path, rows)
    validate(params.Validate(max_rejected=0.2), tmp_path)
    assert len(pd.read_csv(tmp_path / "build/clean.csv")) == 8

    rows.loc[7, ["x1", "x2"]] = ["0", "80"]
    write_rows(tmp_path, rows)
    with pytest.raises(UserError) as caught:
        validate(params.Validate(max_rejected=0.2), tmp_path)
    message = str(caught.value)
    assert "3 of 10 rows rejected (30.0%), more than validate.max_rejected (20.0%)" in message
    assert "number 2 (row 4: x1='?'), aspect 1 (row 9: 2.25352)" in message
    assert "build/rejected.csv" in message
    assert "\n" not in message
    assert not (tmp_path / "build/clean.csv").exists(), "what an earlier run accepted must not look current"
    assert len(pd.read_csv(tmp_path / "build/rejected.csv")) == 3
    assert json.loads((tmp_path / "reports/validation.json").read_text())["passed"] is False
    assert "Stopped" in (tmp_path / "reports/validation/index.html").read_text()


def test_when_every_row_falls_the_reports_are_still_written(tmp_path: Path) -> None:
    write_rows(tmp_path, make_project(tmp_path, 3).assign(x1="?"))
    with pytest.raises(UserError, match="3 of 3 rows rejected"):
        validate(params.Validate(max_rejected=0.9), tmp_path)
    assert 'src="rejected.png"' in (tmp_path / "reports/validation/index.html").read_text()


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_stops_with_one_line(tmp_path: Path, column: str) -> None:
    write_rows(tmp_path, make_project(tmp_path, 2).drop(columns=column))
    with pytest.raises(UserError, match=rf"build/annotations\.csv: column {column} is missing") as caught:
        validate(params.Validate(), tmp_path)
    assert "\n" not in str(caught.value)


def test_no_rows_at_all_is_one_line(tmp_path: Path) -> None:
    write_rows(tmp_path, make_project(tmp_path, 2).iloc[:0])
    with pytest.raises(UserError, match=r"build/annotations\.csv: no box on any image"):
        validate(params.Validate(), tmp_path)


@pytest.mark.parametrize("name", ["annotations.csv", "images.csv"])
def test_a_missing_or_damaged_input_names_the_stage_to_run(tmp_path: Path, name: str) -> None:
    make_project(tmp_path, 2)
    (tmp_path / "build" / name).write_bytes(b'image,"\xff\n\n"')
    with pytest.raises(UserError, match=rf"{name}: cannot be read as CSV .*run `dvc repro -f annotate`"):
        validate(params.Validate(), tmp_path)
    (tmp_path / "build" / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: missing; run `dvc repro annotate` first"):
        validate(params.Validate(), tmp_path)


def test_a_page_is_made_self_contained() -> None:
    page = (
        '<html><head><link rel="stylesheet" href="https://a.example/x.css"><style>b{background:url(https://a/b)}</style>'
        '<script src="https://a.example/x.js"></script></head><body><img\n src="https://a.example/logo.png">'
        '<a href="../../../expectations/selfies.html">s</a><a href="../../index.html">h</a><p>kept</p>'
        "<script>go()</script><footer>https://a.example</footer></body></html>"
    )
    text = self_contained(page)
    assert "http:" not in text
    assert "https:" not in text
    assert "<script" not in text
    assert '<a href="suite.html">s</a><a href="index.html">h</a><p>kept</p>' in text
    assert "default-src 'none'" in text


def test_the_heat_map_counts_the_boxes_that_cover_the_centre_of_each_cell() -> None:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(-0.2, 1.2, (200, 2, 2)), axis=1).reshape(200, 4)
    centres = (np.arange(20) + 0.5) / 20
    x, y = np.meshgrid(centres, centres)
    expected = sum((x1 <= x) & (x < x2) & (y1 <= y) & (y < y2) for x1, y1, x2, y2 in corners)
    np.testing.assert_array_equal(coverage(corners, 20), expected)
