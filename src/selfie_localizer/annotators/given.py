"""Boxes that somebody already has: `data/annotations.csv`, which is the one annotator where it exists."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selfie_localizer.annotators.report import NAMED

if TYPE_CHECKING:
    from selfie_localizer.tables.read import BoxTable

NAME = "given"
FILE = Path("data/annotations.csv")
# So many photos are enough to tell a table that is wrong as a whole.
CHECKED = 64

Facts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class GivenBoxes:
    """The table as it was read.

    Attributes:
        table: What the reader found.
        boxes: Whether its boxes are meant on the images as they are displayed, or stored, before their EXIF turn.
    """

    table: "BoxTable"
    boxes: Literal["displayed", "stored"]

    def rows(self, facts: Facts) -> Iterator[tuple[str, list[str]]]:
        """Yields image and four coordinates as texts, sorted by image and then as in the file.

        Of several boxes of an image the largest is taken. What is no box, and what matches no image, is there as well.
        Texts are as written, but for boxes on a stored image that EXIF turns.

        Args:
            facts: What is known of the readable images, by name: `width`, `height` and `orientation`.
        """
        rows = self.table.largest_rows().sort_values("image", kind="stable")
        for image, *texts in rows[["image", "x1", "y1", "x2", "y2"]].itertuples(index=False):
            yield image, self._displayed(image, texts, facts)

    def images_with_box(self) -> set[str]:
        """Returns the images that have a box."""
        return set(self.table.boxes()["image"])

    def summary(self) -> dict[str, Any]:
        """Returns what the report says of the table, for `annotate.json`."""
        lost = self.table.rows_without_image
        return {
            "parameters": {"boxes": self.boxes},
            "rows": len(self.table.rows),
            "rows_that_are_no_box": self.table.rows_that_are_no_box,
            "rows_without_image": {"count": len(lost), "files": lost[:NAMED]},
            "largest_taken": len(self.table.images_with_several),
        }

    def check(self, facts: Facts, reference: Mapping[str, Sequence[float]]) -> None:
        """Stops where the boxes are elsewhere than an annotator's, and says how the table would have to be read.

        Args:
            facts: As in `rows`.
            reference: Boxes of an annotator, by image.

        Raises:
            UserError: Most boxes are elsewhere; see `tables.readings.check_reading`.
        """
        import pandas as pd

        from selfie_localizer.boxes import SIDES
        from selfie_localizer.tables import readings

        numbers = self.table.numbers()
        boxes = pd.DataFrame([[image, *box] for image, box in reference.items()], columns=["image", *SIDES])
        sizes = pd.DataFrame([{"image": image, **facts[image]} for image in reference])
        if len(sizes):
            readings.check_reading(self.table.path, numbers, boxes, sizes, self.boxes)

    def sample(self, facts: Facts, contents: Mapping[str, str]) -> list[str]:
        """Returns the images to hold against an annotator: at most 64, chosen by content, half of them turned by EXIF.

        Args:
            facts: As in `rows`.
            contents: SHA-256 digests by image.
        """
        images = sorted({*self.table.numbers()["image"]} & {*facts}, key=lambda image: (contents[image], image))
        turned = [image for image in images if facts[image]["orientation"] != 1][: CHECKED // 2]
        return [*turned, *(image for image in images if image not in {*turned})][:CHECKED]

    def _displayed(self, image: str, texts: list[str], facts: Facts) -> list[str]:
        known = facts.get(image)
        if self.boxes == "displayed" or known is None or known["orientation"] == 1:
            return texts
        from selfie_localizer.tables import numbers, readings

        if not all(numbers.is_number(text) for text in texts):
            return texts
        stored = [float(text) for text in texts]
        box = readings.convert_stored(stored, known["orientation"], known["width"], known["height"])
        return [f"{corner:.10g}" for corner in box]


def read(
    root: Path, images: Sequence[str], boxes: Literal["displayed", "stored"], max_unmatched: float
) -> GivenBoxes | None:
    """Reads `data/annotations.csv`; None where there is none.

    Args:
        root: The project's folder.
        images: Names of the images, relative to `data/images`.
        boxes: The parameter `annotate.boxes`.
        max_unmatched: Greatest share of the rows that may match no image.

    Raises:
        UserError: The file cannot be read, has none of the known forms, has no rows, or too many match no image.
    """
    path = root / FILE
    # A link to nothing is a mistake, not an absent file.
    if not path.exists() and not path.is_symlink():
        return None
    from selfie_localizer.tables import read as reader

    table = reader.read(path, images)
    reader.check_matched(table, max_unmatched)
    return GivenBoxes(table, boxes)
