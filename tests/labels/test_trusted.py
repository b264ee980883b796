"""A person's tables: as they are meant, by content, and held against the annotators."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes, params
from selfie_localizer.errors import UserError
from selfie_localizer.labels.trusted import TableRules, read_trusted
from tests.labels import outputs
from tests.labels.outputs import name_of, sha_of

TRUTH = Path("data/truth.csv")
NAMES = [name_of(index) for index in range(20)]
FACES = np.random.default_rng(0).uniform([5, 60, 45, 105], [15, 70, 55, 115], (20, 4)).round() * 4
# Width and height of the photos as displayed.
SIZE = np.tile([400, 480], 2)


def write(root: Path, drawn: np.ndarray, orientation: int = 1) -> pd.DataFrame:
    """Writes photos with a face each and a truth of these boxes; returns what annotators say."""
    said = {name: tuple(face) for name, face in zip(NAMES, FACES, strict=True)}
    outputs.write(root, {"haar": said, "starter": dict.fromkeys(NAMES, (80, 90, 99, 110))})
    listing = pd.read_csv(root / "build/images.csv").assign(width=SIZE[0], height=SIZE[1], orientation=orientation)
    listing.to_csv(root / "build/images.csv", index=False)
    pd.DataFrame(drawn, columns=boxes.SIDES).assign(image=NAMES).to_csv(root / TRUTH, index=False)
    return pd.read_csv(root / "build/clean.csv")


def stored(faces: np.ndarray) -> np.ndarray:
    """The same faces on the picture that orientation 6 turns to the right."""
    x1, y1, x2, y2 = faces.T
    return np.stack([y1, SIZE[0] - x2, y2, SIZE[0] - x1], axis=1)


def test_boxes_on_stored_pictures_are_turned_with_them(tmp_path: Path) -> None:
    said = write(tmp_path, stored(FACES), orientation=6)
    found = read_trusted(TRUTH, tmp_path, TableRules(picture="stored"), said)
    assert list(found["sha256"]) == [sha_of(name) for name in NAMES]
    np.testing.assert_allclose(found[boxes.SIDES], FACES)


def test_boxes_before_their_turn_stop_with_the_option_that_takes_them_so(tmp_path: Path) -> None:
    said = write(tmp_path, stored(FACES), orientation=6)
    with pytest.raises(UserError, match=r"data/truth.csv: .* fit the picture as it is stored; set annotate.boxes"):
        read_trusted(TRUTH, tmp_path, TableRules(), said)


@pytest.mark.parametrize(
    ("drawn", "reading"),
    [
        (FACES / SIZE * 100, "percentages of the image"),
        (FACES / SIZE, "fractions of the image"),
        (np.hstack([FACES[:, :2], FACES[:, 2:] - FACES[:, :2]]), "x,y,width,height"),
        (FACES[:, [1, 0, 3, 2]], "y1,x1,y2,x2"),
    ],
)
def test_a_table_in_another_reading_stops_unless_nobody_checks(tmp_path: Path, drawn: np.ndarray, reading: str) -> None:
    said = write(tmp_path, drawn)
    with pytest.raises(UserError, match=f"data/truth.csv: .* would be if they were {reading}"):
        read_trusted(TRUTH, tmp_path, TableRules(), said)
    read_trusted(TRUTH, tmp_path, TableRules(check_boxes=False), said)
    read_trusted(TRUTH, tmp_path, TableRules(), None)


def test_boxes_on_photos_where_annotators_are_wrong_are_a_line_and_no_reason_to_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = write(tmp_path, np.tile([320.0, 0, 400, 80], (20, 1)))
    assert len(read_trusted(TRUTH, tmp_path, TableRules(), said)) == 20
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "20 of 20 boxes are not on the face as written" in lines[0]


def test_right_boxes_are_taken_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = write(tmp_path, FACES)
    assert len(read_trusted(TRUTH, tmp_path, TableRules(), said)) == 20
    assert capsys.readouterr().err == ""


def test_what_annotators_were_given_may_hold_words(tmp_path: Path) -> None:
    said = write(tmp_path, FACES / SIZE).assign(annotator="given").astype({"x1": object})
    said.loc[0, "x1"] = "left"
    with pytest.raises(UserError, match="fractions of the image"):
        read_trusted(TRUTH, tmp_path, TableRules(), said)


def test_rules_are_what_the_parameters_say() -> None:
    settings = params.Params(
        annotate=params.Annotate(boxes="stored", check_boxes=False), validate=params.Validate(max_rejected=0.3)
    )
    assert TableRules.of(settings) == TableRules("stored", False, 0.3)
