"""A sheet shows each image with its boxes where they are, and an image that cannot be shown says why."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from selfie_localizer.photos import sheets
from selfie_localizer.photos.sheets import CAPTION, COLUMNS, GAP, HEAD, TILE, Tile, draw_sheet

BLUE = (0x0A, 0x78, 0xFF)


def read(path: Path) -> np.ndarray:
    found = cv2.imread(str(path))
    assert found is not None
    return cv2.cvtColor(found, cv2.COLOR_BGR2RGB)


def has_line(picture: np.ndarray, x: float, y: float) -> bool:
    """Tells whether there is a blue pixel at the place or right beside it."""
    x, y = round(x), round(y)
    near = picture[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).astype(int)
    return bool((np.abs(near - BLUE).max(axis=1) < 40).any())


def test_a_box_lies_where_it_is_in_the_image(tmp_path: Path) -> None:
    grey = np.full((400, 400, 3), 128, np.uint8)
    nothing = np.full(4, np.nan)
    tiles = [Tile(grey, "a", "", [(sheets.LABEL, [100, 40, 300, 240])]), Tile(grey, "b", "", [(sheets.LABEL, nothing)])]
    draw_sheet(tiles, tmp_path / "sheet.png", columns=2)
    picture = read(tmp_path / "sheet.png")
    assert picture.shape == (2 * GAP + TILE + CAPTION, 3 * GAP + 2 * TILE, 3)
    scale = TILE / 400
    for x, y in ((100, 140), (300, 140), (200, 40), (200, 240)):
        assert has_line(picture, GAP + x * scale, GAP + y * scale)
        assert not has_line(picture, 2 * GAP + TILE + x * scale, GAP + y * scale)
    assert not has_line(picture, GAP + 200 * scale, GAP + 140 * scale)


def test_a_title_and_a_legend_stand_above_the_grid(tmp_path: Path) -> None:
    tiles = [Tile(np.zeros((50, 90, 3), np.uint8), "a")] * (COLUMNS + 1)
    draw_sheet(tiles, tmp_path / "sheet.png", "title", {"label": sheets.LABEL})
    picture = read(tmp_path / "sheet.png")
    assert picture.shape[0] == HEAD + 2 * (TILE + CAPTION + GAP) + GAP
    blue = np.abs(picture[:HEAD].astype(int) - BLUE).max(axis=-1) < 40
    assert blue.any()
    assert (picture[:HEAD, : picture.shape[1] // 2] < 100).any()


@pytest.mark.parametrize("image", [None, Path("nowhere.png")])
def test_an_image_that_cannot_be_shown_is_an_empty_tile_with_the_reason(tmp_path: Path, image: Path | None) -> None:
    draw_sheet([Tile(image, "a", "", [(sheets.LABEL, [1, 2, 3, 4])])], tmp_path / "sheet.png", columns=1)
    tile = read(tmp_path / "sheet.png")[GAP : GAP + TILE, GAP : GAP + TILE]
    assert (tile == 232).all(axis=-1).mean() > 0.9
    assert (tile < 150).any()


def test_positions_are_spread_from_the_first_to_the_last() -> None:
    assert sheets.spread(5, 24).tolist() == [0, 1, 2, 3, 4]
    assert sheets.spread(101, 5).tolist() == [0, 25, 50, 75, 100]
