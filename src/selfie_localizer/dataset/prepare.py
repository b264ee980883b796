"""The prepare stage: decodes, resizes and splits the images once."""

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfie_localizer import boxes, files, images, parallel, params
from selfie_localizer.dataset.known import read_known
from selfie_localizer.dataset.negatives import read_negatives
from selfie_localizer.dataset.store import BOX, REVIEW, REVIEWED, SCORE, SPLITS, STORE, TRUSTED, TRUTH, write_store
from selfie_localizer.errors import UserError
from selfie_localizer.labels.convention import adopt
from selfie_localizer.labels.fusion import describe, draw, fuse
from selfie_localizer.labels.quality import read_boxes
from selfie_localizer.progress import Progress, say

CHUNK = 64
STRICTNESS = {name: level for level, name in enumerate(SPLITS)}


def split_of(sha256: str, validation: float, test: float) -> str:
    """Returns the split of an image; it depends on the image's own content alone, so new images move no old one.

    Args:
        sha256: Hex digest of the image file's bytes.
        validation: Share of the validation split.
        test: Share of the test split.
    """
    position = int(sha256[:16], 16) / 2**64
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def prepare(
    settings: params.Prepare, workers: int = 0, root: Path = Path("."), review: params.Review | None = None
) -> None:
    """Reads `build/clean.csv` and writes `build/store/`, `reports/prepare.json` and `reports/prepare/`.

    The test split also keeps images with truth but no label: what the annotator missed is part of the test. A train
    or validation image with a near duplicate in a stricter split is left out. Images of `data/trusted.csv` never
    enter the test split; their boxes are their labels and, where `convention` is `auto`, show how to map all others.
    Before that, drawn labels are joined with what `build/review.csv` has, if it is there; see `fusion`.
    Images in `data/negatives/` are split by their content as well.

    Args:
        settings: The section `prepare` of the parameters.
        workers: Number of processes; 0 means all cores.
        root: The project's folder.
        review: The section `review` of the parameters; None is its defaults.

    Raises:
        UserError: An input is missing, there is nothing to prepare, an image has changed, or the disk is too small.
    """
    table, report, reviewed = _rows(settings, review or params.Review(), root)
    _check_disk(root / STORE, len(table) * settings.image_size**2 * 3)

    def fill(path: Path) -> None:
        chunks = [
            (
                start,
                table["image"].iloc[start : start + CHUNK].tolist(),
                table["sha256"].iloc[start : start + CHUNK].tolist(),
            )
            for start in range(0, len(table), CHUNK)
        ]
        work = functools.partial(_fill_chunk, path, root / "data/images")
        with Progress("prepare", len(table)) as progress:
            for count in parallel.map_in_order(work, chunks, workers):
                progress.update(count)

    write_store(root / STORE, table, settings.image_size, fill, made_by=files.code_digest(images))
    with files.atomic_write(root / "reports/prepare") as folder:
        folder.mkdir()
        draw(reviewed, root / "data/images", folder)
    files.write_json(root / "reports/prepare.json", report)
    split = ", ".join(f"{report['splits'][name]['images']:,} {name}" for name in SPLITS)
    empty = " or ".join(name for name in SPLITS if not report["splits"][name]["images"])
    if empty:
        say(f"prepare: no image fell into {empty}, which the later stages need; add images, or raise its share")
    if line := describe(report["review"]):
        say(f"prepare: {line}")
    convention = report["convention"]
    if any(convention["shifts"].values()):
        mean_iou = convention["mean_iou"]
        say(
            f"prepare: labels mapped to the convention of {convention['pairs']:,} trusted boxes, "
            f"on which the mean IoU rose from {mean_iou['before']:.3f} to {mean_iou['after']:.3f}"
        )
    elif settings.convention == "auto" and convention["trusted"]:
        say(f"prepare: labels kept as drawn: only {convention['pairs']:,} of them lie on the face of a trusted box")
    say(f"prepare: {split}; {report['near_duplicates_left_out']:,} near duplicates left out; see reports/prepare.json")


def _rows(
    settings: params.Prepare, review: params.Review, root: Path
) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame]:
    """Returns the store's rows, what to report, and the rows whose label the review changed."""
    clean = read_output(root / "build/clean.csv", "validate")
    listing = read_output(root / "build/images.csv", "annotate")
    listing = listing[listing["error"].isna()]
    pairs = read_output(root / "build/near_duplicates.csv", "validate")
    truth = _of_content(read_boxes(root / "data/truth.csv", TRUTH), listing)
    trusted = _of_content(read_boxes(root / "data/trusted.csv", TRUSTED), listing)

    opinions = read_opinions(root, review)

    known = listing["sha256"].isin({*truth["sha256"], *trusted["sha256"], *opinions["sha256"]})
    missed = listing[known & ~listing["sha256"].isin(clean["sha256"])].drop_duplicates("sha256")
    columns = ["image", *BOX, "width", "height", "source", "sha256"]
    table = pd.concat([clean[columns], missed[["image", "width", "height", "sha256"]]], ignore_index=True)
    for extra in (truth, trusted, opinions):
        table = table.merge(extra, on="sha256", how="left")
    table = table.sort_values("image", ignore_index=True)
    inside = boxes.clip(table[TRUSTED], table["width"], table["height"])
    table[TRUSTED] = np.where(boxes.is_box(inside)[:, None], inside, np.nan)

    table["split"] = [split_of(value, settings.validation, settings.test) for value in table["sha256"]]
    table.loc[table["sha256"].isin(trusted["sha256"]) & (table["split"] == "test"), "split"] = "train"
    table, reviewed = fuse(table, review)
    has_label = table["x1"].notna() | table["trusted_x1"].notna()
    in_test = (table["split"] == "test") & (table["truth_x1"].notna() | has_label)
    verdicts = table[table["verdict"].isin(["left out", "added"])]
    table = table[has_label | in_test].reset_index(drop=True)

    keep = _without_leaks(table, pairs)
    report: dict[str, Any] = {
        "near_duplicates_left_out": int((~keep).sum()),
        "left_out": {name: int(((table["split"] == name) & ~keep).sum()) for name in SPLITS},
        "review": reviewed,
        "splits": {},
    }
    table, report["convention"] = adopt(table[keep].reset_index(drop=True), settings.convention)
    if table["x1"].notna().sum() == 0:
        raise UserError(
            "build/clean.csv: no image with a box to prepare; "
            "see reports/annotate.json and reports/validation/index.html"
        )
    negatives, report["unusable_negatives"] = read_negatives(root)
    negatives["split"] = [split_of(value, settings.validation, settings.test) for value in negatives["sha256"]]
    report["splits"] = {
        name: {
            "images": int(chosen.sum()),
            "negatives": int((negatives["split"] == name).sum()),
            "labelled": int((chosen & table["x1"].notna()).sum()),
            "with_truth": int((chosen & table["truth_x1"].notna()).sum()),
        }
        for name in SPLITS
        for chosen in [table["split"] == name]
    }
    table = pd.concat([table, negatives], ignore_index=True) if len(negatives) else table
    return table[["image", "split", "sha256", "width", "height", "source", *BOX, *TRUTH]], report, verdicts


def read_opinions(root: Path, review: params.Review) -> pd.DataFrame:
    """Returns a first model's boxes in pixels and its scores by content (`sha256`); no rows where it was not asked."""
    path = root / REVIEWED
    if review.model == "none" or not path.exists():
        return pd.DataFrame({"sha256": pd.Series(dtype=str)} | {c: pd.Series(dtype=float) for c in (*REVIEW, SCORE)})
    found = read_output(path, "review")
    return found.astype({"sha256": str} | dict.fromkeys([*REVIEW, SCORE], float))


def _without_leaks(table: pd.DataFrame, pairs: pd.DataFrame) -> NDArray[np.bool_]:
    """Tells which rows stay: those without a near duplicate, also through others, in a stricter split."""
    position = pd.Series(np.arange(len(table)), index=table["image"])
    known = pairs[pairs["image"].isin(position.index) & pairs["other"].isin(position.index)]
    first, second = position[known["image"]].to_numpy(), position[known["other"]].to_numpy()
    graph = coo_array((np.ones(len(known)), (first, second)), shape=(len(table), len(table)))
    group = connected_components(graph, directed=False)[1]
    strictness = table["split"].map(STRICTNESS)
    return (strictness == strictness.groupby(group).transform("max")).to_numpy()


def _fill_chunk(path: Path, folder: Path, chunk: tuple[int, list[str], list[str]]) -> int:
    start, names, digests = chunk
    # Each process writes its own rows of the file: no pixels travel between processes.
    store = np.load(path, mmap_mode="r+")
    for row, (name, expected) in enumerate(zip(names, digests, strict=True), start=start):
        store[row] = read_known(folder, name, expected, store.shape[1])
    return len(names)


def _check_disk(path: Path, needed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise UserError(
            f"{path}: needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "free some space or lower prepare.image_size"
        )


def read_output(path: Path, stage: str) -> pd.DataFrame:
    """Reads a table that an earlier stage wrote; empty texts are missing values.

    Raises:
        UserError: It is not there.
    """
    try:
        return pd.read_csv(
            path, keep_default_na=False, na_values=[""], dtype={"image": str, "other": str, "error": str}
        )
    except FileNotFoundError:
        raise UserError(f"{path}: missing; run `dvc repro {stage}` first") from None


def _of_content(known: pd.DataFrame, listing: pd.DataFrame) -> pd.DataFrame:
    """Returns boxes by the content of their images, so that a copy under another name has the same one."""
    digests = listing[["image", "sha256"]].drop_duplicates("image")
    return known.merge(digests, on="image").drop(columns="image").drop_duplicates("sha256")
