"""The `render` command writes the same bytes wherever and however it runs."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from selfie_localizer.acquire.render import render
from selfie_localizer.errors import UserError
from selfie_renderer.render import LONG_SIDE, render_image

# Of `render --count 1000 --seed 0 --scenes 100`, the sample that `data.dvc` names.
SAMPLE = {
    "images/0000-000000.jpg": "525b3ad58387022848f6abe950592ccbfbe7d1ae6a5c16264948c8ed04ae333c",
    "images/0000-000001.jpg": "83a4d632f692107b2a4d59aa238c1bc9a405dc581534081e22326a538ce40d78",
    "images/0000-000002.jpg": "340dd2fdd2dd53af7a6f08bdd9c3113e918bf503dc443d1842ba20c91a6d4755",
    "images/0000-000003.jpg": "7090a974174909c8b10d0e33f0ca834ea00fcfb6db270ed731b4812d3f35b0c1",
    "negatives/0000-000000.jpg": "7ecf4d9d4ec6f5ed6fb44ede96e3a672efd7e04cf4acf068beffff8cdc776c9f",
}


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


def test_the_sample_is_made_again_to_the_byte(tmp_path: Path) -> None:
    render(4, 0, tmp_path / "again", scenes=1)
    made = _content(tmp_path / "again")
    made.pop("truth.csv")
    assert made == SAMPLE


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
