"""Measures what annotators find on images with trusted boxes, to choose the defaults of `annotate`.

    python benchmarks/annotators.py DIR [DIR ...] [--every N] [--workers N] [--yunet MODEL] [--markdown FILE]

Each DIR holds `images/` and `truth.csv` (`image,x1,y1,x2,y2` and, where there are several kinds of images, `source`).
Prints two tables for people, the neural annotators and the Haar cascades, and one line of JSON for scripts;
`--markdown` also replaces the tables in a document between its two markers. A box is right where its IoU with truth is
over 0.4, since a cascade draws another box (a square, wider and lower) on the same face. Recall is the share of the
images with a right box, precision the share of the drawn boxes that are right; images without truth count for neither.
Boxes are as drawn, not moved to another convention. Speed is images/s of CPU time on one thread, decoding not included.
"""

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes, params
from selfie_localizer.annotators import catalogue
from selfie_localizer.annotators.annotator import Annotator
from selfie_localizer.errors import UserError
from selfie_localizer.files import atomic_write
from selfie_localizer.parallel import map_in_order
from selfie_localizer.photos.decode import read
from selfie_localizer.progress import track

RIGHT = 0.4
CHUNK = 16
BEGIN, END = "<!-- benchmarks/annotators.py: begin -->", "<!-- benchmarks/annotators.py: end -->"


def configurations(yunet: Path | None) -> list[Annotator]:
    """Returns what to compare: the neural annotators, each cascade with each verification, and some variations."""
    chosen: list[dict[str, Any]] = [
        {"cascades": (cascade,), "verify": verify}
        for cascade in ("default", "alt", "alt2", "alt_tree")
        for verify in ("none", "eye", "cascade")
    ]
    for cascade in ("default", "alt2"):
        for verify in ("none", "cascade"):
            fixed = {"cascades": (cascade,), "verify": verify}
            chosen += [fixed | {"neighbours": neighbours} for neighbours in (3, 8)]
    for factor in (1.05, 1.2):
        chosen.append({"cascades": ("alt2",), "verify": "cascade", "neighbours": 3, "scale_factor": factor})
    chosen.append({"cascades": ("alt2", "default"), "verify": "cascade", "neighbours": 3})
    chosen.append({"cascades": ("alt2", "profile"), "verify": "cascade", "neighbours": 3})
    base: dict[str, Any] = {"scale_factor": 1.1, "neighbours": 5}
    made: list[tuple[str, dict[str, Any]]] = [("starter", {})]
    made += [("mtcnn", {"smallest_face": size}) for size in (0.07, 0.1, 0.15, 0.2)]
    made += [("mtcnn", {"confidence": least}) for least in (0.5, 0.9)]
    if yunet:
        made += [("yunet", {"model": str(yunet.absolute()), "confidence": least}) for least in (0.5, 0.7, 0.9)]
    made += [("haar", base | one) for one in chosen]
    return [
        one for name, values in made for one in catalogue.make({name: params.ANNOTATORS[name].model_validate(values)})
    ]


def read_truth(folders: list[Path], every: int) -> pd.DataFrame:
    """Returns the rows to measure on: `path`, `part`, and the truth's `x1, y1, x2, y2`."""
    tables = []
    for folder in folders:
        table = pd.read_csv(folder / "truth.csv", keep_default_na=False)
        table["path"] = [folder / "images" / name for name in table["image"]]
        table["part"] = table["source"] if "source" in table else folder.resolve().name
        tables.append(table)
    # Every part keeps its share when only some images are taken.
    return pd.concat(tables).sort_values(["part", "image"]).iloc[::every].reset_index(drop=True)


def detect_chunk(settings: list[Annotator], paths: list[Path]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the boxes, shape (settings, images, 4) with NaN for a miss, and the seconds that each setting took."""
    found = np.full((len(settings), len(paths), 4), np.nan)
    seconds = np.zeros(len(settings))
    pixels = [read(path).pixels for path in paths]
    for row, one in enumerate(settings):
        start = time.process_time()
        for column, image in enumerate(pixels):
            detection = one.locate(image)
            if detection is not None:
                found[row, column] = detection[0]
        seconds[row] = time.process_time() - start
    return found, seconds


def measure(settings: list[Annotator], truth: pd.DataFrame, workers: int) -> list[dict[str, Any]]:
    """Returns for each setting its parameters, images/s, and recall, precision and mean IoU of each part."""
    paths = truth["path"].tolist()
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    work = functools.partial(detect_chunk, settings)
    results = list(track(map_in_order(work, chunks, workers), len(chunks), "annotators", unit="chunks"))
    found = np.concatenate([boxes_found for boxes_found, _ in results], axis=1)
    seconds = np.sum([spent for _, spent in results], axis=0)
    iou = boxes.iou(found, truth[["x1", "y1", "x2", "y2"]].to_numpy(dtype=float))
    parts = {str(part): (truth["part"] == part).to_numpy() for part in truth["part"].unique()}
    parts["all"] = np.ones(len(truth), dtype=bool)
    return [
        {
            "annotator": one.name,
            "parameters": one.parameters.model_dump(mode="json"),
            "images_per_second": len(paths) / seconds[row],
            "parts": {part: scores(iou[row, chosen]) for part, chosen in parts.items()},
        }
        for row, one in enumerate(settings)
    ]


def scores(iou: NDArray[np.float64]) -> dict[str, float | None]:
    """Returns recall, precision and the mean IoU of the right boxes; `iou` is NaN where no box was drawn."""
    right, drawn = iou > RIGHT, ~np.isnan(iou)
    return {
        "images": len(iou),
        "recall": float(right.mean()),
        "precision": float(right.sum() / drawn.sum()) if drawn.any() else None,
        "iou": float(iou[right].mean()) if right.any() else None,
    }


def markdown(results: list[dict[str, Any]]) -> str:
    """Returns two tables, of the neural annotators and of Haar; a part's cell is recall / precision / mean IoU."""
    parts = list(results[0]["parts"])
    title = [f"{part} ({results[0]['parts'][part]['images']:,})" for part in parts]
    neural = [["annotator", "parameters", *title, "images/s"]]
    haar = [["cascades", "verify", "neighbours", "scale factor", *title, "images/s"]]
    for result in results:
        one = result["parameters"]
        cells = [*(_cell(result["parts"][part]) for part in parts), f"{result['images_per_second']:.0f}"]
        if result["annotator"] == "haar":
            fixed = [" + ".join(one["cascades"]), one["verify"], str(one["neighbours"]), str(one["scale_factor"])]
            haar.append([*fixed, *cells])
        else:
            told = ", ".join(f"{name} {value}" for name, value in one.items() if name != "model") or "none"
            neural.append([result["annotator"], told, *cells])
    return f"{_table(neural)}\n\n{_table(haar)}"


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cell(part: dict[str, float | None]) -> str:
    values = [part["recall"], part["precision"], part["iou"]]
    return " / ".join("-" if value is None else f"{value:.3f}" for value in values)


def write_markdown(path: Path, table: str) -> None:
    """Puts the tables between the document's markers.

    Raises:
        SystemExit: The document has no markers.
    """
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{path}: needs the two lines {BEGIN} and {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    with atomic_write(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", metavar="DIR", type=Path, nargs="+", help="a folder with images/ and truth.csv")
    parser.add_argument("--every", type=int, default=1, help="take every Nth image only (default: 1)")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 (the default) is all cores")
    parser.add_argument("--yunet", type=Path, metavar="MODEL", help="YuNet's ONNX file, to be measured as well")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="document whose tables are to be replaced")
    args = parser.parse_args()
    for folder in args.folders:
        if not (folder / "truth.csv").is_file():
            raise SystemExit(f"{folder}: no truth.csv here; give folders with images/ and truth.csv")
    settings = configurations(args.yunet)
    try:
        for one in settings:
            one.prepare()
    except UserError as error:
        raise SystemExit(str(error)) from None
    results = measure(settings, read_truth(args.folders, args.every), args.workers)
    table = markdown(results)
    print("Each cell: recall / precision / mean IoU of the right boxes\n")
    print(table)
    print(json.dumps(results))
    if args.markdown:
        write_markdown(args.markdown, table)


if __name__ == "__main__":
    main()
