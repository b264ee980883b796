"""Every file has its row, every annotator its say, nothing is asked twice, and nothing a folder may hold stops it."""

import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes, files, parallel, params
from selfie_localizer.annotators import examine
from selfie_localizer.annotators.annotate import annotate
from selfie_localizer.errors import UserError
from tests.annotators import fakes
from tests.faces import draw_face, encode, make_faces, with_orientation, write_image
from tests.photos.samples import empty_png

SETTINGS = params.Annotate(annotators={"haar": params.Haar()})
FACE = [50, 60, 170, 200]
OUTPUTS = ["build/annotations.csv", "build/images.csv", "reports/annotate.json"]


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    fakes.install(monkeypatch, "first", "second")


def asking(*names: str, **parameters: Any) -> params.Annotate:
    return params.Annotate(annotators=dict.fromkeys(names, parameters))


def run(
    root: Path, settings: params.Annotate = SETTINGS, workers: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Runs the stage; returns annotations and images, both by name, and the report."""
    annotate(settings, workers, root)
    tables = [
        pd.read_csv(root / "build" / name, dtype=str, keep_default_na=False)
        for name in ("annotations.csv", "images.csv")
    ]
    return tables[0].set_index("image"), tables[1].set_index("image"), json.loads((root / OUTPUTS[2]).read_text())


def outputs(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in OUTPUTS}


def box_of(annotations: pd.DataFrame, name: str) -> np.ndarray:
    return annotations.loc[name, ["x1", "y1", "x2", "y2"]].to_numpy(dtype=float)


def make_pictures(root: Path, count: int, first: int = 0) -> None:
    """Writes small pictures, all different, of which every fifth is black but for its size."""
    for index in range(first, first + count):
        picture = np.full((20 + index % 50, 20 + index // 50, 3), 0 if index % 5 == 4 else 50 + index % 200, np.uint8)
        write_image(root, f"{index:04d}.png", encode(picture, "PNG"))


def test_every_kind_of_image_has_its_face_boxed_as_displayed(tmp_path: Path) -> None:
    face = draw_face()
    wide = cv2.cvtColor(face, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257
    for name, data in {
        "grey.jpg": encode(face, mode="L"),
        "alpha.png": encode(face, "PNG", "RGBA"),
        "grey-alpha.png": encode(face, "PNG", "LA"),
        "cmyk.jpg": encode(face, mode="CMYK"),
        "sixteen.png": cv2.imencode(".png", wide)[1].tobytes(),
        "progressive.JPEG": encode(face, progressive=True),
        "deep/er/web.webp": encode(face, "WEBP"),
        "turned-3.jpg": with_orientation(face, 3),
        "turned-6.jpg": with_orientation(face, 6),
        "turned-8.jpg": with_orientation(face, 8),
    }.items():
        write_image(tmp_path, name, data)
    annotations, images, report = run(tmp_path)
    assert len(annotations) == len(images) == report["found"] == report["readable"] == 10
    for name in annotations.index:
        assert boxes.iou(box_of(annotations, name), FACE) > 0.6, name
    assert set(annotations["annotator"]) == {"haar"}
    assert annotations["sha256"].tolist() == images["sha256"].tolist()
    assert (images["error"] == "").all()
    assert images.loc["turned-6.jpg", "orientation"] == "6"


def test_width_and_height_are_those_of_the_displayed_image(tmp_path: Path) -> None:
    write_image(tmp_path, "a.jpg", with_orientation(draw_face()[:, :200], 6))
    annotations, images, _ = run(tmp_path)
    assert (annotations.loc["a.jpg", "width"], annotations.loc["a.jpg", "height"]) == ("200", "240")
    assert (images.loc["a.jpg", "width"], images.loc["a.jpg", "height"]) == ("200", "240")


def test_what_cannot_be_used_is_a_row_with_its_reason(tmp_path: Path) -> None:
    whole = encode(draw_face())
    for name, data in {
        "good.jpg": whole,
        "truncated.jpg": whole[: len(whole) // 2],
        "empty.jpg": b"",
        "enormous.png": empty_png(20_000, 20_000),
        "page.jpg": b"<html>404</html>",
        "gif.png": encode(draw_face(), "GIF"),
    }.items():
        write_image(tmp_path, name, data)
    (tmp_path / "data/images/gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "data/images/pipe.png")
    annotations, images, report = run(tmp_path)
    assert annotations.index.tolist() == ["good.jpg"]
    assert images.index.tolist() == sorted(images.index)
    assert len(images) == 8
    for name, reason in {
        "truncated.jpg": "truncated",
        "empty.jpg": "empty",
        "enormous.png": "photos.max_pixels",
        "page.jpg": "not a JPEG",
        "gif.png": "not a JPEG",
        "gone.jpg": "No such file",
        "pipe.png": "not a regular file",
    }.items():
        assert reason in images.loc[name, "error"]
        assert images.loc[name, "width"] == images.loc[name, "phash"] == ""
    assert report["unreadable"]["count"] == 7
    same = [names for reason, names in report["unreadable"]["reasons"].items() if reason.startswith("not a JPEG")]
    assert same == [{"count": 2, "files": ["gif.png", "page.jpg"]}]


def test_the_listing_holds_digest_size_and_hash_of_each_file(tmp_path: Path) -> None:
    data = encode(draw_face(), "PNG")
    write_image(tmp_path, "a.png", data)
    write_image(tmp_path, "copy.jpg", encode(draw_face()))
    _, images, _ = run(tmp_path)
    assert images.loc["a.png", "sha256"] == files.sha256(data)
    assert images.loc["a.png", "bytes"] == str(len(data))
    difference = int(images.loc["a.png", "phash"], 16) ^ int(images.loc["copy.jpg", "phash"], 16)
    assert difference.bit_count() <= 4


def test_other_files_are_counted_aloud_hidden_ones_are_nobody_s_and_links_never_run_in_circles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = encode(draw_face())
    for name in ("a.jpg", ".DS_Store", "._a.jpg", ".cache/b.jpg"):
        write_image(tmp_path, name, data)
    write_image(tmp_path, "notes.txt", b"text")
    write_image(tmp_path, "clip.mp4", b"film")
    folder = tmp_path / "data/images"
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    (tmp_path / "elsewhere.jpg").write_bytes(data)
    (folder / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (tmp_path / "data/negatives").mkdir()
    (tmp_path / "data/negatives/notes.txt").write_text("text")
    annotations, images, report = run(tmp_path)
    assert images.index.tolist() == annotations.index.tolist() == ["a.jpg", "link.jpg"]
    assert report["passed_over"]["other"] == {"count": 2, "files": ["notes.txt", "../negatives/notes.txt"]}
    assert report["passed_over"]["video"] == {"count": 1, "files": ["clip.mp4"]}
    last = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 2 images" in last
    assert "4 files passed over" in last


def test_the_closing_line_names_the_reason_that_most_unreadable_photos_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    write_image(tmp_path, "a.jpg", encode(draw_face()))
    write_image(tmp_path, "broken.jpg", b"text")
    for index in range(3):
        write_image(tmp_path, f"{index}.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes([index]) * 100)
    run(tmp_path)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "4 unreadable (3: a HEIC image: to read these, run `pip install 'selfie-localizer[heic]'`" in last
    assert "and 1 other reason)" in last


def test_negatives_are_listed_and_nobody_is_asked_about_them(tmp_path: Path) -> None:
    make_pictures(tmp_path, 3)
    (tmp_path / "data/negatives/deep").mkdir(parents=True)
    (tmp_path / "data/negatives/deep/wall.png").write_bytes(encode(np.full((30, 40, 3), 9, np.uint8), "PNG"))
    (tmp_path / "data/negatives/bad.jpg").write_bytes(b"text")
    # A content that lies in both is asked about, as an image.
    write_image(tmp_path, "0000.png", (tmp_path / "data/images/0000.png").read_bytes())
    (tmp_path / "data/negatives/copy.png").write_bytes((tmp_path / "data/images/0000.png").read_bytes())
    annotations, images, report = run(tmp_path, asking("first"))
    assert fakes.asked(tmp_path) == {"first": 3}
    assert annotations.index.tolist() == ["0000.png", "0001.png", "0002.png"]
    assert images.index.tolist()[:3] == [f"../negatives/{name}" for name in ("bad.jpg", "copy.png", "deep/wall.png")]
    assert images.loc["../negatives/deep/wall.png", ["width", "height", "error"]].tolist() == ["40", "30", ""]
    assert report["images"] == report["readable"] == 3
    assert report["negatives"] == {"images": 3, "readable": 2}


def test_any_file_name_survives(tmp_path: Path) -> None:
    names = [" a b .jpg", "a,b.jpg", 'q"q.jpg', "line\nbreak.jpg", "return\rhere.jpg", "Zoë 🙂.jpg", "NA.jpg", "-1.jpg"]
    for name in names:
        write_image(tmp_path, name, encode(draw_face()))
    raw = os.fsencode(tmp_path / "data/images") + b"/bad\xff.jpg"
    with open(raw, "wb") as stream:
        stream.write(encode(draw_face()))
    annotations, images, _ = run(tmp_path, workers=2)
    assert sorted(annotations.index) == sorted(names)
    assert sorted(images.index) == sorted([*names, "bad\\udcff.jpg"])
    assert "not valid UTF-8" in images.loc["bad\\udcff.jpg", "error"]
    with (tmp_path / "build/annotations.csv").open(newline="", encoding="utf-8") as stream:
        assert sorted(row["image"] for row in csv.DictReader(stream)) == sorted(names)


def test_the_bytes_are_the_same_for_any_number_of_workers_with_the_cache_cold_or_warm(tmp_path: Path) -> None:
    make_pictures(tmp_path, 70)
    write_image(tmp_path, "0031.jpg", b"broken")
    settings = asking("second", "first", share=0.3)
    found = []
    for workers, is_cold in [(1, True), (1, False), (2, True), (2, False)]:
        if is_cold:
            (tmp_path / ".cache/annotations.db").unlink(missing_ok=True)
        annotate(settings, workers, tmp_path)
        found.append(outputs(tmp_path))
        assert fakes.asked(tmp_path) == ({"first": 70, "second": 70} if is_cold else {})
    assert all(one == found[0] for one in found)
    rows = list(csv.reader(found[0]["build/annotations.csv"].decode().splitlines()))
    assert len(rows) == 141
    # Sorted by image, then in the order of the parameters.
    assert [(row[0], row[2]) for row in rows[1:5]] == [
        (image, name) for image in ("0000.png", "0001.png") for name in ("second", "first")
    ]


def test_nothing_seen_is_a_row_without_a_box(tmp_path: Path) -> None:
    write_image(tmp_path, "black.png", encode(np.zeros((90, 80, 3), np.uint8), "PNG"))
    write_image(tmp_path, "grey.png", encode(np.full((90, 80, 3), 51, np.uint8), "PNG"))
    _, _, report = run(tmp_path, asking("first"))
    sha = [files.sha256((tmp_path / "data/images" / name).read_bytes()) for name in ("black.png", "grey.png")]
    assert (tmp_path / OUTPUTS[0]).read_text().splitlines() == [
        "image,sha256,annotator,x1,y1,x2,y2,score,width,height",
        f"black.png,{sha[0]},first,,,,,,80,90",
        f"grey.png,{sha[1]},first,20.00,22.50,60.00,67.50,0.2000,80,90",
    ]
    assert report["found"] == 1
    assert report["annotators"]["first"] == {
        "asked": 2,
        "found": 1,
        "nothing_seen": {"count": 1, "files": ["black.png"]},
        "parameters": {"share": 0.5},
    }


def test_boxes_are_in_pixels_of_the_full_photo_and_inside_it(tmp_path: Path) -> None:
    photo = np.full((3000, 4000, 3), 120, np.uint8)
    write_image(tmp_path, "large.jpg", encode(photo))
    annotations, images, _ = run(tmp_path, asking("first", share=1.5))
    assert images.loc["large.jpg", ["width", "height"]].tolist() == ["4000", "3000"]
    assert box_of(annotations, "large.jpg").tolist() == [0, 0, 4000, 3000]
    annotations, _, _ = run(tmp_path, asking("first", share=0.5))
    np.testing.assert_allclose(box_of(annotations, "large.jpg"), [1000, 750, 3000, 2250], atol=0.01)


def test_adding_images_changes_no_row_of_the_others(tmp_path: Path) -> None:
    make_faces(tmp_path, 6, first=10)
    before, images_before, _ = run(tmp_path)
    make_faces(tmp_path, 6, first=5)
    after, images_after, _ = run(tmp_path)
    assert len(after) == 11
    pd.testing.assert_frame_equal(after.loc[before.index], before)
    pd.testing.assert_frame_equal(images_after.loc[images_before.index], images_before)


def test_only_what_is_new_is_asked(tmp_path: Path) -> None:
    make_pictures(tmp_path, 40)
    run(tmp_path, asking("first"))
    assert fakes.asked(tmp_path) == {"first": 40}
    make_pictures(tmp_path, 5, first=40)
    run(tmp_path, asking("first"))
    assert fakes.asked(tmp_path) == {"first": 5}, "new photos"
    run(tmp_path, asking("first", "second"))
    assert fakes.asked(tmp_path) == {"second": 45}, "one more annotator"
    run(tmp_path, asking("first", share=0.25))
    assert fakes.asked(tmp_path) == {"first": 45}, "other parameters"
    run(tmp_path, asking("second", "first"))
    assert fakes.asked(tmp_path) == {}, "back again"
    write_image(tmp_path, "again.png", (tmp_path / "data/images/0003.png").read_bytes())
    (tmp_path / "data/images/0007.png").rename(tmp_path / "data/images/moved.png")
    (tmp_path / "data/truth.csv").write_text("image,x1,y1,x2,y2\nmoved.png,1,2,3,4\n")
    annotations, _, _ = run(tmp_path, asking("first"))
    assert fakes.asked(tmp_path) == {}, "a copy, another name, a line of truth"
    assert annotations.loc["again.png"].tolist() == annotations.loc["0003.png"].tolist()


def test_another_version_of_an_annotator_is_asked_anew_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path, 6)
    run(tmp_path, asking("first", "second"))
    fakes.asked(tmp_path)
    version = fakes.Centre.version
    monkeypatch.setattr(fakes.Centre, "version", lambda self: "2" if self.name == "first" else version(self))
    run(tmp_path, asking("first", "second"))
    assert fakes.asked(tmp_path) == {"first": 6}
    monkeypatch.setattr(examine, "_version", lambda: "another decoder")
    run(tmp_path, asking("first", "second"))
    assert fakes.asked(tmp_path) == {"first": 6, "second": 6}


def test_limits_are_parameters_and_other_limits_ask_no_annotator_again(tmp_path: Path) -> None:
    make_pictures(tmp_path, 3)
    write_image(tmp_path, "wide.png", encode(np.full((10, 500, 3), 99, np.uint8), "PNG"))
    for limit, asked, readable in [(4_999, 3, 3), (5_000, 1, 4), (6_000, 0, 4)]:
        annotate(asking("first"), 1, tmp_path, params.Photos(max_pixels=limit))
        assert fakes.asked(tmp_path).get("first", 0) == asked
        report = json.loads((tmp_path / OUTPUTS[2]).read_text())
        assert report["readable"] == readable
    annotate(asking("first"), 1, tmp_path, params.Photos(max_bytes=100))
    errors = pd.read_csv(tmp_path / "build/images.csv", index_col="image")["error"]
    assert "photos.max_bytes" in errors["wide.png"]


def test_where_nothing_is_new_no_worker_starts_and_no_tensorflow_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pictures(tmp_path, 70)
    run(tmp_path, asking("first"), workers=2)
    before = outputs(tmp_path)
    capsys.readouterr()
    monkeypatch.setattr(parallel, "_executor", lambda workers: pytest.fail("workers were started"))
    run(tmp_path, asking("first"), workers=2)
    assert outputs(tmp_path) == before
    assert len(capsys.readouterr().err.splitlines()) == 1
    script = SCRIPT + "assert not {'tensorflow', 'keras', 'joblib', 'pandas', 'mlflow'} & set(sys.modules)\n"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script, str(tmp_path), "1"], check=True)


def test_an_annotator_that_fails_is_one_line_that_names_it_and_the_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path, 3)
    for answer, reason in [
        (lambda self, pixels: 1 / 0, "ZeroDivisionError"),
        (lambda self, pixels: (np.full(4, np.nan), 0.5), "neither a box"),
        (lambda self, pixels: (np.zeros(3), None), "neither a box|broadcast"),
    ]:
        monkeypatch.setattr(fakes.Centre, "locate", answer)
        with pytest.raises(UserError, match=f"annotator first failed on 0000.png .*({reason})") as error:
            annotate(asking("first"), 1, tmp_path)
        assert "\n" not in str(error.value)


def test_a_photo_that_changes_while_it_is_looked_at_is_not_kept_under_its_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path, 3)

    def change(self: fakes.Centre, pixels: object) -> None:
        write_image(tmp_path, "0002.png", encode(draw_face()))

    monkeypatch.setattr(fakes.Centre, "locate", change)
    with pytest.raises(UserError, match=r"0002\.png: changed while it was looked at; run this again"):
        annotate(asking("first"), 1, tmp_path)


def test_a_cache_that_breaks_in_the_middle_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pictures(tmp_path, 40)
    annotate(asking("first"), 1, tmp_path)
    expected = outputs(tmp_path)
    (tmp_path / ".cache/annotations.db").unlink()
    locate, calls = fakes.Centre.locate, []

    def break_once(self: fakes.Centre, pixels: Any) -> Any:
        calls.append(1)
        if len(calls) == 30:
            (tmp_path / ".cache/annotations.db").write_bytes(b"\0" * 20_000)
        return locate(self, pixels)

    monkeypatch.setattr(fakes.Centre, "locate", break_once)
    annotate(asking("first"), 1, tmp_path)
    assert outputs(tmp_path) == expected
    assert len(calls) > 40
    annotate(asking("first"), 1, tmp_path)
    assert outputs(tmp_path) == expected


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        ([], "no such folder"),
        (["data/images/"], "no images"),
        (["data/images/notes.txt"], "no images; 1 file passed over: 1 other"),
        (["data/images/bad.jpg", "data/images/worse.png"], r"none of the 2 images can be read \(2: not a JPEG"),
    ],
)
def test_without_a_usable_image_one_line_says_what_to_do(tmp_path: Path, present: list[str], reason: str) -> None:
    for name in present:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_bytes(b"text")
    with pytest.raises(UserError, match=reason) as error:
        annotate(SETTINGS, 1, tmp_path)
    assert "\n" not in str(error.value)
    assert "dvc pull" in str(error.value)


SCRIPT = """
import sys
from pathlib import Path
from selfie_localizer import params
from selfie_localizer.annotators import inquiry
from selfie_localizer.annotators.annotate import annotate
inquiry.CHUNK = 4
annotate(params.Annotate(annotators={"haar": params.Haar()}), int(sys.argv[2]), Path(sys.argv[1]))
"""


def start(root: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(root), str(workers)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def count_answers(root: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{root / '.cache/annotations.db'}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])
    # It is not there yet, or is being written to.
    except sqlite3.OperationalError:
        return 0


def test_killed_at_random_moments_and_repeated_it_gives_the_same_bytes_and_asks_nothing_twice(tmp_path: Path) -> None:
    make_faces(tmp_path, 48)
    start(tmp_path, 1).communicate()
    expected = outputs(tmp_path)
    everything = count_answers(tmp_path)
    for name in (*OUTPUTS, ".cache/annotations.db"):
        (tmp_path / name).unlink()
    rng, killed = random.Random(2), 0
    # By what is known already, not by the clock: slow and busy machines are killed in the same places.
    for share, workers in ((0.1, 1), (0.3, 2), (0.5, 1), (0.7, 2)):
        process = start(tmp_path, workers)
        while process.poll() is None and count_answers(tmp_path) < share * everything:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.05))
        if process.poll() is None:
            killed += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    _, said = start(tmp_path, 2).communicate()
    assert "Traceback" not in said
    assert outputs(tmp_path) == expected
    assert killed >= 2
    assert not list(tmp_path.glob("build/.*"))
    _, said = start(tmp_path, 2).communicate()
    assert " 0 new" in said


def test_an_interrupted_run_keeps_what_it_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pictures(tmp_path, 60)
    locate, calls = fakes.Centre.locate, []

    def interrupt(self: fakes.Centre, pixels: Any) -> Any:
        calls.append(1)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return locate(self, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(fakes.Centre, "locate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            annotate(asking("first"), 1, tmp_path)
    assert not (tmp_path / "build").exists()
    fakes.asked(tmp_path)
    annotate(asking("first"), 1, tmp_path)
    # Two chunks of 16 were whole.
    assert fakes.asked(tmp_path) == {"first": 28}


def test_two_runs_at_once_end_right_and_one_asks_for_both(tmp_path: Path) -> None:
    make_faces(tmp_path, 24)
    said = [process.communicate()[1] for process in [start(tmp_path, 1), start(tmp_path, 1)]]
    assert sorted(" 24 new" in text for text in said) == [False, True]
    assert sorted(" 0 new" in text for text in said) == [False, True]
    found = outputs(tmp_path)
    (tmp_path / ".cache/annotations.db").unlink()
    start(tmp_path, 1).communicate()
    assert outputs(tmp_path) == found
