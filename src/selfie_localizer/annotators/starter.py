"""The review stage: asks a first model, that never saw these labels, where the face is on every image."""

import csv
import functools
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes, files, images, parallel, params
from selfie_localizer.dataset.known import read_batch
from selfie_localizer.dataset.prepare import read_output
from selfie_localizer.dataset.store import GIVEN, REVIEW, REVIEWED, SCORE
from selfie_localizer.network import starter_weights
from selfie_localizer.progress import Progress, say
from selfie_localizer.state import locked_state

if TYPE_CHECKING:
    import keras

ARCHITECTURE = "resnet18"
# What the starter weights were trained at.
SIZE = 128
CHUNK = 64
COLUMNS = ["sha256", *REVIEW, SCORE]


def review(settings: params.Review, workers: int = 0, root: Path = Path(".")) -> None:
    """Reads what `annotate` wrote and writes `build/review.csv`: the model's box and score for each image content.

    `prepare` makes labels of it. Boxes that came with the data need no review: then, and where the model is `none` or
    its weights are not there, the table is empty. After a kill the same call goes on where it stopped, and comes to
    the same bytes.

    Args:
        settings: The section `review` of the parameters; `model` is used.
        workers: Processes that decode; 0 means all cores.
        root: The project's folder.

    Raises:
        UserError: An input is missing, an image has changed, or the weights are damaged.
    """
    sources = read_output(root / "build/annotations.csv", "annotate")["source"]
    listing = read_output(root / "build/images.csv", "annotate")
    listing = listing[listing["error"].isna()].drop_duplicates("sha256")
    weights = root / starter_weights.path_of(ARCHITECTURE)
    if settings.model == "none" or (sources == GIVEN).all() or not weights.exists():
        _write(root / REVIEWED, [])
        say(f"review: nothing to do, {_why_not(settings, weights)}")
        return
    code = files.code_digest(images, boxes, starter_weights, sys.modules[__name__])
    fingerprint = files.digest(code, weights.read_bytes(), listing["sha256"].tolist())
    with locked_state("review", fingerprint, root / ".state") as state:
        parts = _ask(listing, workers, root, state)
        _write(root / REVIEWED, [line for part in parts for line in part.read_text(encoding="utf-8").splitlines()])
        shutil.rmtree(state)
    say(f"review: asked {settings.model} about {len(listing):,} images; see {REVIEWED}")


def _why_not(settings: params.Review, weights: Path) -> str:
    if settings.model == "none":
        return "review.model is none"
    if weights.exists():
        return "the boxes came with the data"
    return f"{weights} is missing and labels stay as drawn; `dvc pull -r sample starter.dvc` brings it"


def _ask(listing: pd.DataFrame, workers: int, root: Path, state: Path) -> list[Path]:
    """Keeps the answers on each chunk in a file and returns these files in order."""
    starts = range(0, len(listing), CHUNK)
    parts = [state / f"{start:08d}.csv" for start in starts]
    todo = [(start, part) for start, part in zip(starts, parts, strict=True) if not part.exists()]
    rows = [listing.iloc[start : start + CHUNK] for start, _ in todo]
    done = len(listing) - sum(len(chunk) for chunk in rows)
    if done:
        say(f"review: {done:,} of {len(listing):,} images were done before the interruption; going on")
    work = functools.partial(read_batch, root / "data/images", SIZE, CHUNK)
    names = [list(zip(chunk["image"], chunk["sha256"], strict=True)) for chunk in rows]
    model = _model() if todo else None
    with Progress("review", len(listing), done=done) as progress:
        pixels = parallel.map_in_order(work, names, workers)
        for chunk, (_, part), batch in zip(rows, todo, pixels, strict=True):
            assert model is not None
            text = "\n".join(_lines(chunk, model.predict_on_batch(batch)[: len(chunk)]))
            with files.atomic_write(part) as temporary:
                temporary.write_text(text, encoding="utf-8")
            progress.update(len(chunk))
    return parts


def _model() -> "keras.Model":
    from selfie_localizer.network import localizer

    return localizer.build(params.Backbone(architecture=ARCHITECTURE, weights="starter"), params.Network(), SIZE)


def _lines(chunk: pd.DataFrame, output: NDArray[np.float32]) -> Iterator[str]:
    found = boxes.scale(output[:, :4], chunk["width"], chunk["height"])
    found = boxes.clip(found, chunk["width"], chunk["height"])
    for digest, box, score in zip(chunk["sha256"], found, output[:, 4], strict=True):
        yield ",".join([digest, *(f"{value:.2f}" for value in box), f"{score:.4f}"])


def _write(path: Path, lines: Sequence[str]) -> None:
    with files.atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerow(COLUMNS)
        stream.writelines(f"{line}\n" for line in lines)
