"""Every file has its row, every face its box, and nothing a folder may hold stops the stage."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes, files, params
from selfie_localizer.annotators.annotate import annotate
from selfie_localizer.errors import UserError
from tests.faces import draw_face, encode, make_faces, with_orientation, write_image
from tests.test_images import png_header

SETTINGS = params.Annotate()
FACE = [50, 60, 170, 200]
OUTPUTS = ["build/annotations.csv", "build/images.csv", "reports/annotate.json"]


def run(root: Path, workers: int = 1) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Runs the stage; returns annotations and images, both by name, and the report."""
    annotate(SETTINGS, workers, root)
    tables = [
        pd.read_csv(root / "build" / name, dtype=str, keep_default_na=False)
        for name in ("annotations.csv", "images.csv")
    ]
    return tables[0].set_index("image"), tables[1].set_index("image"), json.loads((root / OUTPUTS[2]).read_text())


def outputs(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in OUTPUTS}


def box_of(annotations: pd.DataFrame, name: str) -> np.ndarray:
    return annotations.loc[name, ["x1", "y1", "x2", "y2"]].to_numpy(dtype=float)


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
    assert set(annotations["source"]) == {"haar:alt2"}
    assert (images["error"] == "").all()


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
        "enormous.png": png_header(20_000, 20_000),
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
        "enormous.png": "limit",
        "page.jpg": "not a JPEG",
        "gif.png": "not a JPEG",
        "gone.jpg": "No such file",
        "pipe.png": "not a regular file",
    }.items():
        assert reason in images.loc[name, "error"]
        assert images.loc[name, "width"] == images.loc[name, "phash"] == ""
    assert report["unreadable"]["count"] == 7
    same = report["unreadable"]["reasons"]["not a JPEG, PNG or WebP image"]
    assert same == {"count": 2, "files": ["gif.png", "page.jpg"]}


def test_the_listing_holds_digest_size_and_hash_of_each_file(tmp_path: Path) -> None:
    data = encode(draw_face(), "PNG")
    write_image(tmp_path, "a.png", data)
    write_image(tmp_path, "copy.jpg", encode(draw_face()))
    _, images, _ = run(tmp_path)
    assert images.loc["a.png", "sha256"] == files.sha256(data)
    assert images.loc["a.png", "bytes"] == str(len(data))
    difference = int(images.loc["a.png", "phash"], 16) ^ int(images.loc["copy.jpg", "phash"], 16)
    assert difference.bit_count() <= 4


def test_other_files_are_counted_hidden_ones_passed_over_and_links_never_run_in_circles(tmp_path: Path) -> None:
    data = encode(draw_face())
    for name in ("a.jpg", "notes.txt", ".DS_Store", "._a.jpg", ".cache/b.jpg", "raw.heic"):
        write_image(tmp_path, name, data)
    folder = tmp_path / "data/images"
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    (tmp_path / "elsewhere.jpg").write_bytes(data)
    (folder / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    annotations, images, report = run(tmp_path)
    assert images.index.tolist() == annotations.index.tolist() == ["a.jpg", "link.jpg"]
    assert report["ignored"] == {"count": 3, "files": ["circle", "notes.txt", "raw.heic"]}


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


@pytest.mark.parametrize("given", [False, True])
def test_the_bytes_are_the_same_for_any_number_of_workers(tmp_path: Path, given: bool) -> None:
    make_faces(tmp_path, 70)
    write_image(tmp_path, "0031.jpg", b"broken")
    if given:
        lines = [f"{index:04d}.png,1,2,{index + 3},9" for index in reversed(range(72))]
        (tmp_path / "data/annotations.csv").write_text("\n".join(["image,x1,y1,x2,y2", *lines]))
    found = []
    for workers in (1, 2):
        annotate(SETTINGS, workers, tmp_path)
        found.append(outputs(tmp_path))
    assert found[0] == found[1]
    assert len(found[0]["build/annotations.csv"].splitlines()) == (73 if given else 71)


def test_adding_images_changes_no_row_of_the_others(tmp_path: Path) -> None:
    make_faces(tmp_path, 6, first=10)
    before, images_before, _ = run(tmp_path)
    make_faces(tmp_path, 6, first=5)
    after, images_after, _ = run(tmp_path)
    assert len(after) == 11
    pd.testing.assert_frame_equal(after.loc[before.index], before)
    pd.testing.assert_frame_equal(images_after.loc[images_before.index], images_before)


def test_images_without_a_face_are_counted_and_have_no_row(tmp_path: Path) -> None:
    write_image(tmp_path, "face.jpg", encode(draw_face()))
    write_image(tmp_path, "wall.jpg", encode(np.full((90, 90, 3), 120, np.uint8)))
    annotations, _, report = run(tmp_path)
    assert annotations.index.tolist() == ["face.jpg"]
    assert report["without_detection"] == {"count": 1, "files": ["wall.jpg"]}
    expected = SETTINGS.model_dump(
        include={"cascades", "scale_factor", "neighbours", "smallest_face", "verify"}, mode="json"
    )
    assert report["parameters"] == expected


def test_given_boxes_pass_through_in_their_order_as_they_were_written(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        write_image(tmp_path, name, encode(draw_face()[:, :200]))
    write_image(tmp_path, "broken.jpg", b"no")
    (tmp_path / "data/annotations.csv").write_text(
        "image,x1,y1,x2,y2,source\nc.jpg,12,13,112.123456789012345,99,me\nlost.jpg,1,2,3,4,me\nbroken.jpg,1,2,3,4,me\n"
        "a.jpg,1,2,3,4,me\na.jpg,1,2,30,40,me\nb.jpg,left,2,3,4,me\n"
    )
    run(tmp_path)
    assert (tmp_path / "build/annotations.csv").read_text() == (
        "image,x1,y1,x2,y2,width,height,source\n"
        "c.jpg,12,13,112.123456789012345,99,200,240,given\n"
        "lost.jpg,1,2,3,4,,,given\n"
        "broken.jpg,1,2,3,4,,,given\n"
        "a.jpg,1,2,30,40,200,240,given\n"
        "b.jpg,left,2,3,4,200,240,given\n"
    )
    report = json.loads((tmp_path / "reports/annotate.json").read_text())
    assert report["method"] == "given"
    assert report["found"] == 2
    assert report["without_detection"] == {"count": 2, "files": ["b.jpg", "d.jpg"]}
    assert report["rows_without_image"] == {"count": 1, "files": ["lost.jpg"]}
    assert report["rows_that_are_no_box"] == 1
    assert report["largest_taken"] == 1


def test_the_article_s_form_gives_the_same_rows(tmp_path: Path) -> None:
    write_image(tmp_path, "x/a.jpg", encode(draw_face()))
    (tmp_path / "data/annotations.csv").write_text('img,bbox\nx/a.jpg,"[41, 59.5, 181, 199]"\n')
    annotations, _, _ = run(tmp_path)
    assert annotations.loc["x/a.jpg"].tolist() == ["41", "59.5", "181", "199", "240", "240", "given"]


def test_hostile_text_reaches_the_table_as_text_and_a_path_outside_is_not_opened(tmp_path: Path) -> None:
    write_image(tmp_path, "a.jpg", encode(draw_face()))
    (tmp_path / "secret.jpg").write_bytes(encode(draw_face()))
    hostile = f"__import__('os').system('touch {tmp_path}/SIGN')"
    (tmp_path / "data/annotations.csv").write_text(f'img,bbox\na.jpg,"{hostile}"\n../../secret.jpg,"[1, 2, 3, 4]"\n')
    annotations, _, _ = run(tmp_path)
    assert not (tmp_path / "SIGN").exists()
    assert annotations.loc["a.jpg", "x1"] == hostile
    assert annotations.loc["../../secret.jpg", "width"] == ""


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        ([], "no such folder"),
        (["data/images/"], "no images"),
        (["data/images/notes.txt"], "no images among its 1 files"),
        (["data/images/bad.jpg", "data/images/worse.png"], "none of the 2 images can be read"),
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


def test_given_boxes_without_a_column_stop_before_any_image_is_read(tmp_path: Path) -> None:
    write_image(tmp_path, "a.jpg", encode(draw_face()))
    (tmp_path / "data/annotations.csv").write_text("image,left,top,right,bottom\na.jpg,1,2,3,4\n")
    with pytest.raises(UserError, match="no column x1, y1, x2, y2"):
        annotate(SETTINGS, 1, tmp_path)
    assert not (tmp_path / "build").exists()


SCRIPT = """
import sys
from pathlib import Path
from selfie_localizer import params
from selfie_localizer.annotators import annotate
annotate.CHUNK = 4
annotate.annotate(params.Annotate(), int(sys.argv[2]), Path(sys.argv[1]))
"""


def start(root: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(root), str(workers)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finished_parts(root: Path) -> list[Path]:
    return sorted((root / ".state/annotate").glob("*/*.json"))


def kill_after_parts(root: Path, count: int, workers: int) -> bool:
    """Kills the stage and its workers when so many parts are finished; tells whether it was still running."""
    process = start(root, workers)
    while process.poll() is None and len(finished_parts(root)) < count:
        time.sleep(0.002)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return running


def test_killed_at_several_moments_and_repeated_it_gives_the_same_bytes(tmp_path: Path) -> None:
    make_faces(tmp_path, 48)
    annotate(SETTINGS, 1, tmp_path)
    expected = outputs(tmp_path)
    killed = 0
    for count, workers in [(1, 1), (8, 2), (12, 1)]:
        for name in OUTPUTS:
            (tmp_path / name).unlink(missing_ok=True)
        killed += kill_after_parts(tmp_path, count, workers)
    done = start(tmp_path, 2)
    assert done.communicate()[0] is None
    assert done.returncode == 0
    assert outputs(tmp_path) == expected
    assert killed >= 2
    assert not list(tmp_path.glob("build/.*"))
    assert not finished_parts(tmp_path)


def test_what_was_finished_before_a_kill_is_not_done_again(tmp_path: Path) -> None:
    make_faces(tmp_path, 48)
    assert kill_after_parts(tmp_path, 3, 1)
    parts = finished_parts(tmp_path)
    assert 3 <= len(parts) < 12
    # A mark that only the finished part has shows whether it is used.
    looks = json.loads(parts[0].read_text())
    looks[0]["phash"] = "marked"
    parts[0].write_text(json.dumps(looks))
    process = start(tmp_path, 1)
    said = process.communicate()[1]
    assert f"{len(parts) * 4} of 48 images were done before" in said
    assert "marked" in (tmp_path / "build/images.csv").read_text()


def test_a_changed_image_makes_unfinished_work_start_anew(tmp_path: Path) -> None:
    make_faces(tmp_path, 48)
    assert kill_after_parts(tmp_path, 2, 1)
    write_image(tmp_path, "0000.png", encode(draw_face(150, (70, 80), 35), "PNG"))
    process = start(tmp_path, 1)
    assert "were done before" not in process.communicate()[1]
    images = pd.read_csv(tmp_path / "build/images.csv").set_index("image")
    assert images.loc["0000.png", "width"] == 150
