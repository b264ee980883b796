"""What the stages before `label` write, made by hand: no image is needed for it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from selfie_localizer import boxes, files

Box = Sequence[float]
SIZE = 100
FACE = (30, 20, 70, 80)
ELSEWHERE = (0, 0, 20, 25)


def name_of(index: int) -> str:
    return f"{index:04d}.jpg"


def sha_of(name: str) -> str:
    return files.sha256(name.encode())


def names_in(split: str, count: int, validation: float = 0.1, test: float = 0.1) -> list[str]:
    """Returns the first images whose own content puts them into a split."""
    from selfie_localizer.labels.split import split_of

    found: list[str] = []
    index = 0
    while len(found) < count:
        name = name_of(index)
        if split_of(sha_of(name), validation, test) == split:
            found.append(name)
        index += 1
    return found


def write(
    root: Path,
    said: Mapping[str, Mapping[str, Box | tuple[Box | None, float] | None]],
    images: Sequence[str] = (),
    pairs: Sequence[tuple[str, str]] = (),
    negatives: Sequence[str] = (),
    taken: Mapping[str, str] | None = None,
) -> None:
    """Writes `images.csv`, `clean.csv` and `near_duplicates.csv`.

    Args:
        root: The project's folder.
        said: For each annotator its box on each image, None where it saw nothing; or box and score.
        images: Images that nobody was asked about.
        pairs: Near duplicates.
        negatives: Names in `data/negatives`.
        taken: EXIF dates.
    """
    (root / "build").mkdir(exist_ok=True)
    (root / "data").mkdir(exist_ok=True)
    names = sorted({*images, *(name for answers in said.values() for name in answers)})
    rows = [(name, sha_of(name)) for name in names] + [(f"../negatives/{name}", sha_of(name)) for name in negatives]
    listing = pd.DataFrame(rows, columns=["image", "sha256"]).sort_values("image")
    listing = listing.assign(width=SIZE, height=SIZE, bytes=1, phash="0" * 16, orientation=1, error="")
    listing["taken"] = [(taken or {}).get(name, "") for name in listing["image"]]
    listing.to_csv(root / "build/images.csv", index=False)
    lines = []
    for name in names:
        for annotator, answers in said.items():
            if name in answers:
                answer = answers[name]
                scored = isinstance(answer, tuple) and len(answer) == 2
                box, score = answer if scored else (answer, np.nan)  # type: ignore[misc]
                corners = [np.nan] * 4 if box is None else list(box)  # type: ignore[arg-type]
                lines.append((name, sha_of(name), annotator, *corners, score, SIZE, SIZE))
    columns = ["image", "sha256", "annotator", *boxes.SIDES, "score", "width", "height"]
    pd.DataFrame(lines, columns=columns).to_csv(root / "build/clean.csv", index=False)
    table = pd.DataFrame([(*pair, 1) for pair in pairs], columns=["image", "other", "bits"])
    table.to_csv(root / "build/near_duplicates.csv", index=False)


def read(root: Path) -> pd.DataFrame:
    """Returns `labels.csv` by image."""
    from selfie_localizer.labels.contents import read_output

    return read_output(root / "build/labels.csv", "label").set_index("image")
