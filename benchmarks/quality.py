"""Measures a localizer on photos with trusted boxes that it never saw, by half and by source.

    python benchmarks/quality.py DIR [--model models/resnet18/model.keras | --starter resnet18] [--half development]

`DIR` holds `images/` and `truth.csv` (`image,x1,y1,x2,y2`, and `source` where it has several kinds). An image belongs
to the development or the reporting half by its content alone; look at single images of the former only, and at the
figures of the latter once. `--worst DIR` draws the 48 worst of the development half.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from halves import HALVES, TRUTH, load_truth
from selfie_localizer import boxes, params
from selfie_localizer.evaluation import pictures
from selfie_localizer.evaluation.reliability import area_under_roc, reliability
from selfie_localizer.network import localizer
from selfie_localizer.photos import sheets
from selfie_localizer.photos.decode import read, resize


def load_half(folder: Path, half: str, size: int) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """Returns the network's images of a half and their rows of the truth."""
    table = load_truth(folder, half)
    pixels, sizes = [], []
    for name in table["image"]:
        photo = read(folder / "images" / name)
        pixels.append(resize(photo.pixels, size))
        sizes.append((photo.width, photo.height))
    table[["width", "height"]] = sizes
    return np.stack(pixels), table


def face_free_crops(folder: Path, table: pd.DataFrame, size: int) -> NDArray[np.uint8]:
    """Returns what is beside, above or below the head in each photo: the largest window of at least a quarter of it."""
    crops = []
    for row in table.itertuples(index=False):
        image = read(folder / "images" / str(row.image)).pixels
        height, width = image.shape[:2]
        box = np.array([row.truth_x1, row.truth_y1, row.truth_x2, row.truth_y2], np.float64)
        across, down = box[2:] - box[:2]
        # Hair, ears and neck stay out as well.
        head = box + np.array([-0.5, -0.6, 0.5, 0.4]) * [across, down, across, down]
        x1, y1, x2, y2 = boxes.clip(head, width, height).astype(int)
        windows = [image[:, :x1], image[:, x2:], image[:y1], image[y2:]]
        largest = max(windows, key=lambda window: window.shape[0] * window.shape[1])
        if largest.size * 4 >= image.size:
            crops.append(resize(np.ascontiguousarray(largest), size))
    return np.stack(crops)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="a .keras file")
    parser.add_argument("--starter", help="an architecture whose starter weights are in ./starter")
    parser.add_argument("--half", choices=(*HALVES, "all"), default="development")
    parser.add_argument("--crops", action="store_true", help="compare scores with those of crops without a face")
    parser.add_argument("--worst", type=Path, help="folder for a picture of the worst 48; development half only")
    args = parser.parse_args()
    if args.worst and args.half != "development":
        parser.error("only the development half may be looked at")
    if args.starter:
        row = params.Backbone(architecture=args.starter, weights="starter")
        model = localizer.build(row, params.Network(), 128)
    else:
        model = keras.models.load_model(args.model, compile=False)
    pixels, table = load_half(args.folder, args.half, model.input_shape[1])
    output = np.concatenate([model.predict_on_batch(pixels[at : at + 64]) for at in range(0, len(pixels), 64)])
    predicted = boxes.scale(output[:, :4], table["width"], table["height"])
    predicted = boxes.clip(predicted, table["width"], table["height"])
    iou = boxes.iou(predicted, table[TRUTH])
    print(f"{'':12}{'images':>7}{'mean IoU':>10}{'over 0.5':>10}{'over 0.75':>11}")
    found: dict[str, Any] = {}
    for name, rows in [("all", table.index), *table.groupby("source").groups.items()]:
        part = iou[rows]
        found[str(name)] = {"images": len(part), "iou": part.mean(), "over_0.75": (part > 0.75).mean()}
        shares = f"{(part > 0.5).mean():10.1%}{(part > 0.75).mean():11.1%}"
        print(f"{name!s:12}{len(part):7}{part.mean():10.3f}{shares}")
    score = reliability(output[:, 4].astype(np.float64), iou)
    found["score"] = {key: score[key] for key in ("rank_correlation", "largest_gap")}
    print(f"score: rank correlation with the IoU {score['rank_correlation']}, largest gap {score['largest_gap']}")
    if args.crops:
        # Others than the largest face may be on photos of several people.
        single = table[table["source"] != "sunglasses"]
        crops = face_free_crops(args.folder, single, model.input_shape[1])
        others = np.concatenate([model.predict_on_batch(crops[at : at + 64]) for at in range(0, len(crops), 64)])[:, 4]
        found["score"]["auc"] = area_under_roc(output[:, 4], others)
        print(f"selfies against {len(crops)} crops without a face: area under the ROC {found['score']['auc']}")
    print(json.dumps({"half": args.half, **found}))
    if args.worst:
        judged = table.assign(iou=iou, score=output[:, 4], **dict(zip(boxes.SIDES, predicted.T, strict=True)))
        args.worst.mkdir(parents=True, exist_ok=True)
        worst = judged.sort_values("iou").head(48)
        sides = worst[TRUTH].to_numpy(np.float64)
        tiles = [
            pictures.tile(args.folder / "images", row, {"truth": sides[place]})
            for place, (_, row) in enumerate(worst.iterrows())
        ]
        sheets.draw_sheet(tiles, args.worst / "worst.png", "worst of the development half", sheets.LEGEND, columns=12)


if __name__ == "__main__":
    main()
