"""The `render` command writes the same bytes wherever and however it runs."""

import hashlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from selfie_localizer.acquire.render import render
from selfie_localizer.errors import UserError
from selfie_renderer.render import LONG_SIDE, render_image

PROJECT = Path(__file__).parents[2]
SAMPLE = "b767c58be6d43f42e96a24b3a318457a.dir"  # 1,100 selfies and 100 scenes: render --look evening --seed 0.


def _content(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_bytes_do_not_depend_on_the_number_of_workers_or_of_images(tmp_path: Path) -> None:
    render(10, 3, tmp_path / "one", workers=1, scenes=3)
    render(10, 3, tmp_path / "two", workers=2, scenes=3)
    render(4, 3, tmp_path / "few", workers=1, scenes=1)
    one, two, few = (_content(tmp_path / name) for name in ("one", "two", "few"))
    assert one == two
    assert len(one) == 14
    assert len([name for name in one if name.startswith("negatives/")]) == 3
    assert {k: v for k, v in few.items() if k != "truth.csv"}.items() <= one.items()
    whole, start = ((tmp_path / n / "truth.csv").read_text() for n in ("one", "few"))
    assert whole.startswith(start)


def test_the_folder_holds_jpegs_and_their_true_boxes(tmp_path: Path) -> None:
    render(3, 1, tmp_path / "out", workers=1)
    table = pd.read_csv(tmp_path / "out" / "truth.csv")
    assert list(table.columns) == ["image", "x1", "y1", "x2", "y2", "width", "height"]
    assert sorted(p.name for p in (tmp_path / "out" / "images").iterdir()) == sorted(table["image"])
    for index, row in table.iterrows():
        image = cv2.imread(str(tmp_path / "out" / "images" / row["image"]), cv2.IMREAD_COLOR_RGB)
        assert image is not None
        assert image.shape == (row["height"], row["width"], 3)
        assert max(image.shape) == LONG_SIDE
        expected, box = render_image(1, int(str(index)))
        assert row[["x1", "y1", "x2", "y2"]].tolist() == pytest.approx(box, abs=0.051)
        assert np.abs(image.astype(int) - expected).mean() < 12  # What JPEG loses.


def test_a_look_is_another_sample_of_the_same_seed(tmp_path: Path) -> None:
    render(2, 3, tmp_path / "one", workers=1, scenes=1, look="evening")
    render(3, 3, tmp_path / "two", workers=2, scenes=1, look="evening")
    render(2, 3, tmp_path / "everyday", workers=1, scenes=1)
    one, two, everyday = (_content(tmp_path / name) for name in ("one", "two", "everyday"))
    assert {k: v for k, v in one.items() if k != "truth.csv"}.items() <= two.items()
    assert one.keys() == everyday.keys()
    assert not one.items() & everyday.items()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    render(1, 0, out, workers=1)
    assert len(list((out / "images").iterdir())) == 1


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(UserError, match="No space left on device"):
        render(1, 0, tmp_path / "out", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_no_images_make_an_empty_table(tmp_path: Path) -> None:
    render(0, 0, tmp_path / "out", workers=1)
    assert len(pd.read_csv(tmp_path / "out" / "truth.csv")) == 0


def test_the_sample_is_whole_and_the_one_that_the_documents_describe() -> None:
    def stored(md5: str) -> bytes:
        data = (PROJECT / "sample/files/md5" / md5[:2] / md5[2:]).read_bytes()
        assert hashlib.md5(data).hexdigest() == md5.removesuffix(".dir")
        return data

    assert yaml.safe_load((PROJECT / "data.dvc").read_text())["outs"][0]["md5"] == SAMPLE
    files = {row["relpath"]: stored(row["md5"]) for row in json.loads(stored(SAMPLE))}
    assert len(files) == 1_201
    truth = pd.read_csv(io.BytesIO(files["truth.csv"]))
    assert {f"images/{name}" for name in truth["image"]} == {name for name in files if name.startswith("images/")}


@pytest.mark.parametrize("kind", ["file", "full folder"])
def test_a_place_that_is_taken_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    before = _content(tmp_path)
    with pytest.raises(UserError, match="not empty"):
        render(1, 0, out, workers=1)
    assert _content(tmp_path) == before
