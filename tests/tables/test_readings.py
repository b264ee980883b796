"""A table that is wrong as a whole is noticed, and one that is right is left alone, whatever the detector says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from selfie_localizer import boxes
from selfie_localizer.errors import UserError
from selfie_localizer.tables.read import read
from selfie_localizer.tables.readings import Picture, check_reading, convert_stored

PATH = Path("data/annotations.csv")
BACK = {6: 8, 8: 6}


@st.composite
def stored_boxes(draw: st.DrawFn) -> tuple[list[float], int, int]:
    width, height = draw(st.integers(2, 4000)), draw(st.integers(2, 4000))
    x, y = draw(st.floats(0, width - 1)), draw(st.floats(0, height - 1))
    return [x, y, draw(st.floats(x + 0.5, width)), draw(st.floats(y + 0.5, height))], width, height


def displayed_size(orientation: int, width: int, height: int) -> tuple[int, int]:
    return (height, width) if orientation >= 5 else (width, height)


@given(stored_boxes(), st.integers(1, 8))
def test_a_turn_and_the_turn_back_give_the_same_box(found: tuple[list[float], int, int], orientation: int) -> None:
    box, width, height = found
    shown = convert_stored(box, orientation, *displayed_size(orientation, width, height))
    assert bool(boxes.is_box(shown))
    assert boxes.clip(shown, *displayed_size(orientation, width, height)) == pytest.approx(shown, abs=1e-9)
    again = convert_stored(shown, BACK.get(orientation, orientation), width, height)
    assert again == pytest.approx(np.array(box), abs=1e-9)


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where the upper left pixel of a picture stored with 4 x 3 pixels is shown, by the EXIF standard.
    [(1, (0, 0)), (2, (3, 0)), (3, (3, 2)), (4, (0, 2)), (5, (0, 0)), (6, (2, 0)), (7, (2, 3)), (8, (0, 3))],
)
def test_each_orientation_takes_the_corner_pixel_where_a_viewer_shows_it(
    orientation: int, corner: tuple[int, int], tmp_path: Path
) -> None:
    pixels = np.zeros((3, 4), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    height, width = shown.shape
    x, y = corner
    assert shown[y, x] == 255
    assert convert_stored([0, 0, 1, 1], orientation, width, height).tolist() == [x, y, x + 1, y + 1]


def test_many_boxes_of_different_turns_are_converted_at_once_and_an_unknown_turn_is_none() -> None:
    box = [[1, 2, 3, 5]] * 3
    assert convert_stored(box, [6, 0, np.nan], 10, 20).tolist() == [[5, 1, 8, 3], [1, 2, 3, 5], [1, 2, 3, 5]]


class Photos:
    """Photos with a face each, and what a detector says of them: `wrong` of its boxes are elsewhere."""

    def __init__(self, count: int, wrong: float = 0.0, turned: float = 0.0, seed: int = 0, least: float = 0.2) -> None:
        self.rng = rng = np.random.default_rng(seed)
        portrait = rng.random(count) < 0.7
        long, short = rng.integers(600, 4000, count), rng.uniform(0.5, 1, count)
        size = np.stack([long, long * short], axis=1).round()
        self.size = np.where(portrait[:, None], size[:, ::-1], size)
        self.orientation = np.where(rng.random(count) < turned, rng.choice([3, 6, 8, 6], count), 1)
        height = self.size.min(axis=1) * rng.uniform(least, 0.6, count)
        extent = np.stack([height * rng.uniform(0.7, 0.9, count), height], axis=1)
        corner = (self.size - extent) * rng.uniform(0.1, 0.9, (count, 2)) * [1, 0.8]
        self.faces = np.concatenate([corner, corner + extent], axis=1)
        self.names = [f"{place}.jpg" for place in range(count)]
        missed = rng.random(count) < wrong
        elsewhere = rng.uniform(0, 0.8, (count, 2)) * self.size
        side = self.size.min(axis=1, keepdims=True) * rng.uniform(0.1, 0.4, (count, 1))
        noise = rng.normal(0, 0.05, (count, 4)) * np.tile(extent, 2)
        detected = np.where(missed[:, None], np.concatenate([elsewhere, elsewhere + side], axis=1), self.faces + noise)
        self.reference = self.table(detected)
        self.sizes = pd.DataFrame({"image": self.names, "width": self.size[:, 0], "height": self.size[:, 1]})
        self.sizes["orientation"] = self.orientation

    def table(self, corners: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(corners, columns=boxes.SIDES).assign(image=self.names)

    def stored(self) -> np.ndarray:
        back = np.vectorize(lambda turn: BACK.get(turn, turn))(self.orientation)
        sideways = self.orientation >= 5
        size = np.where(sideways[:, None], self.size[:, ::-1], self.size)
        return convert_stored(self.faces, back, size[:, 0], size[:, 1])

    def check(self, corners: np.ndarray, picture: Picture = "displayed") -> None:
        check_reading(PATH, self.table(corners), self.reference, self.sizes, picture)


def from_corner(b: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1)


def from_centre(b: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.concatenate([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], axis=1)


def share(whole: float, inner: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None):
    return lambda b, size: (inner(b, size) if inner else b) / np.tile(size, 2) * whole


WRONG = {
    "x,y,width,height": from_corner,
    "centre x, centre y, width, height": from_centre,
    "percentages of the image, x1,y1,x2,y2": share(100),
    "percentages of the image, x,y,width,height": share(100, from_corner),
    "fractions of the image, x1,y1,x2,y2": share(1),
    "fractions of the image, x,y,width,height": share(1, from_corner),
    "fractions of the image, centre x, centre y, width, height": share(1, from_centre),
    "thousandths of the image, y1,x1,y2,x2": lambda b, size: share(1000)(b, size)[:, [1, 0, 3, 2]],
    "y1,x1,y2,x2": lambda b, size: b[:, [1, 0, 3, 2]],
    "x1,x2,y1,y2": lambda b, size: b[:, [0, 2, 1, 3]],
    "top,right,bottom,left": lambda b, size: b[:, [1, 2, 3, 0]],
    "pixels of copies at about 0.2": lambda b, size: b / 4,
    "pixels of copies with a long side of about": lambda b, size: b / size.max(axis=1, keepdims=True) * 306,
    "pixels of copies stretched to about": share(300),
}


@pytest.mark.parametrize("wrong", [0.0, 0.3])
@pytest.mark.parametrize("reading", WRONG)
def test_a_table_in_another_reading_stops_and_the_message_names_it(reading: str, wrong: float) -> None:
    photos = Photos(60, wrong=wrong, seed=3)
    with pytest.raises(UserError) as caught:
        photos.check(WRONG[reading](photos.faces, photos.size))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("data/annotations.csv: ")
    assert f"if they were {reading}" in message
    assert "of 60 boxes are not on the face as written" in message
    assert "annotate.check_boxes: false" in message


CONVENTIONS = {
    "the same": lambda b: b,
    "a wider and lower square": lambda b: square(b, 1.0, 0.1),
    "a tight square": lambda b: square(b, 0.75, 0.0),
    "a whole head": lambda b: square(b, 1.35, -0.1),
}


def square(b: np.ndarray, factor: float, down: float) -> np.ndarray:
    height = (b[:, 3] - b[:, 1])[:, None]
    middle = boxes.centre(b) + np.concatenate([0 * height, down * height], axis=1)
    return np.concatenate([middle - factor * height / 2, middle + factor * height / 2], axis=1)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("count", [8, 9, 12, 20, 60, 500])
def test_a_right_table_passes_whatever_its_convention_and_with_three_wrong_boxes_of_ten_in_the_detector(
    count: int, convention: str
) -> None:
    for seed in range(60 if count < 100 else 5):
        photos = Photos(count, wrong=0.3, turned=0.3, seed=seed)
        photos.check(CONVENTIONS[convention](photos.faces))


@pytest.mark.parametrize("count", [8, 20, 60])
def test_another_reading_is_noticed_in_nearly_every_draw(count: int) -> None:
    for reading in ("x,y,width,height", "percentages of the image, x1,y1,x2,y2"):
        stopped = 0
        for seed in range(30):
            photos = Photos(count, wrong=0.2, seed=seed)
            try:
                photos.check(WRONG[reading](photos.faces, photos.size))
            except UserError:
                stopped += 1
        assert stopped >= (22 if count == 8 else 30)


def test_fewer_than_eight_pairs_say_nothing() -> None:
    photos = Photos(7)
    photos.check(photos.faces * 0.01)
    check_reading(PATH, photos.table(photos.faces).iloc[:0], photos.reference, photos.sizes)


def test_boxes_drawn_before_the_exif_turn_stop_and_name_the_option() -> None:
    photos = Photos(20, turned=0.0)
    photos.orientation[:12] = 6
    photos.sizes["orientation"] = photos.orientation
    with pytest.raises(UserError, match=r"12 of 12 fit the picture as it is stored; set annotate.boxes: stored"):
        photos.check(photos.stored())
    photos.check(photos.faces)


@pytest.mark.parametrize("turned", [0.1, 0.5, 1.0])
def test_a_few_photos_with_a_turn_are_judged_by_themselves(turned: float) -> None:
    for seed in range(10):
        photos = Photos(100, wrong=0.2, turned=turned, seed=seed)
        photos.check(photos.faces)
        with pytest.raises(UserError, match=r"annotate.boxes: stored"):
            photos.check(photos.stored())


@pytest.mark.parametrize("turned", [0.1, 0.5, 1.0])
def test_boxes_that_are_said_to_be_on_the_stored_picture_are_held_against_the_detector_as_such(turned: float) -> None:
    for seed in range(10):
        photos = Photos(100, wrong=0.2, turned=turned, seed=seed)
        photos.check(photos.stored(), "stored")
        with pytest.raises(UserError, match=r"fit the picture as it is displayed; set annotate.boxes: displayed"):
            photos.check(photos.faces, "stored")
        with pytest.raises(UserError, match=r"x,y,width,height of the picture as it is stored; name"):
            photos.check(from_corner(photos.stored(), photos.size), "stored")


def test_another_reading_of_the_stored_picture_is_named_as_such() -> None:
    photos = Photos(60, turned=1.0)
    with pytest.raises(UserError, match=r"x,y,width,height of the picture as it is stored; .* annotate.boxes: stored"):
        photos.check(from_corner(photos.stored(), photos.size))


def test_boxes_of_other_photos_stop_without_a_reading() -> None:
    photos = Photos(60)
    with pytest.raises(UserError, match=r"no other reading of the numbers fits.*annotate.check_boxes: false"):
        photos.check(Photos(60, seed=1, least=0.1).faces[::-1] * 0.5 + [300, 0, 300, 0])


def test_sizes_without_an_orientation_or_with_blanks_are_photos_without_a_turn() -> None:
    photos = Photos(20)
    for sizes in (photos.sizes.drop(columns="orientation"), photos.sizes.assign(orientation="")):
        check_reading(PATH, photos.table(photos.faces).assign(width=1, height=1), photos.reference, sizes)


def test_axes_that_are_swapped_are_noticed_even_where_half_of_the_boxes_fit_by_chance() -> None:
    photos = Photos(80)
    swapped = photos.faces[:, [1, 0, 3, 2]]
    fits_by_chance = boxes.iou(swapped, photos.faces) > 0.3
    kept = np.flatnonzero(fits_by_chance)[:20].tolist() + np.flatnonzero(~fits_by_chance)[:18].tolist()
    with pytest.raises(UserError, match="if they were y1,x1,y2,x2"):
        check_reading(PATH, photos.table(swapped).iloc[kept], photos.reference, photos.sizes)


def test_swapped_axes_of_faces_near_the_middle_are_noticed_where_more_than_half_fit_by_chance() -> None:
    photos = Photos(200)
    swapped = photos.faces[:, [1, 0, 3, 2]]
    fits_by_chance = boxes.iou(swapped, photos.faces) > 0.3
    kept = np.flatnonzero(fits_by_chance)[:33].tolist() + np.flatnonzero(~fits_by_chance)[:13].tolist()
    with pytest.raises(UserError, match=r"12 of 46 boxes .* 46 would be if they were y1,x1,y2,x2"):
        check_reading(PATH, photos.table(swapped).iloc[kept], photos.reference, photos.sizes)


def test_of_several_boxes_the_largest_counts() -> None:
    photos = Photos(20)
    small = photos.table(photos.faces * 0.05)
    check_reading(PATH, pd.concat([small, photos.table(photos.faces)]), photos.reference, photos.sizes)


def test_a_width_that_is_called_x2_is_noticed_in_a_table_as_it_is_read(tmp_path: Path) -> None:
    photos = Photos(60)
    wrong = from_corner(photos.faces, photos.size).round(1)
    lines = [",".join([name, *map(str, row)]) for name, row in zip(photos.names, wrong, strict=True)]
    (tmp_path / "annotations.csv").write_text("image,x1,y1,x2,y2\n" + "\n".join(lines))
    table = read(tmp_path / "annotations.csv", photos.names)
    assert table.rows_that_are_no_box > 10
    with pytest.raises(UserError, match=r"of 60 boxes .*x,y,width,height; name the columns x,y,width,height"):
        check_reading(table.path, table.numbers(), photos.reference, photos.sizes)


def test_real_photos_pass_as_they_are_and_stop_in_percent(real_selfies: Path) -> None:
    truth = pd.read_csv(real_selfies / "truth.csv").iloc[:300]
    drawn = square(truth[boxes.SIDES].to_numpy(), 1.0, 0.08)
    reference = pd.DataFrame(drawn, columns=boxes.SIDES).assign(image=truth["image"])
    sizes = truth[["image", "width", "height"]]
    check_reading(PATH, truth, reference, sizes)
    percent = truth.copy()
    percent[boxes.SIDES] = truth[boxes.SIDES].to_numpy() / np.tile(sizes[["width", "height"]].to_numpy(), 2) * 100
    with pytest.raises(UserError, match=r"percentages of the image, x1,y1,x2,y2"):
        check_reading(PATH, percent, reference, sizes)
