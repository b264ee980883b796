"""The label stage: makes the one box that training believes of what annotators say, and says which split it is in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes, files, params
from selfie_localizer.errors import UserError
from selfie_localizer.labels import convention, fusion, quality, suspicion
from selfie_localizer.labels.contents import of_contents, read_contents, read_output
from selfie_localizer.labels.split import SPLITS, assign_splits
from selfie_localizer.labels.trusted import DEFAULT_RULES, TableRules, read_trusted
from selfie_localizer.progress import say

LABELS, REPORT, REPORTS = Path("build/labels.csv"), Path("reports/label.json"), Path("reports/label")
TRUTH, TRUSTED = Path("data/truth.csv"), Path("data/trusted.csv")
COLUMNS = ["image", "sha256", "split", *boxes.SIDES, "annotators", "spread", "verdict", "width", "height"]
# Verdicts beside those of `fusion`: a person's box, and an image without a face.
PERSON, NEGATIVE = "trusted", "negative"
STARTER, VERSION = "starter", "models:/"
# An interval of fewer images says nothing; the figures say so, and a larger share is proposed.
LEAST_TEST = 30
DEFAULT_WEIGHT = 0.5
# Rows that are joined at once, so that memory stays at a few hundred megabytes.
CHUNK = 100_000


@dataclass(frozen=True)
class Opinions:
    """What annotators say of N contents.

    Attributes:
        names: The A annotators, in the order of the table.
        boxes: In pixels, shape (N, A, 4); NaN where nothing was seen.
        score: Shape (N, A); NaN where there is none.
        asked: Whether the annotator was asked about the content, shape (N, A).
    """

    names: list[str]
    boxes: NDArray[np.float64]
    score: NDArray[np.float64]
    asked: NDArray[np.bool_]


def label(settings: params.Label, rules: TableRules = DEFAULT_RULES, root: Path = Path(".")) -> None:
    """Reads what `validate` let pass and writes `build/labels.csv`, `reports/label.json` and `reports/label/`.

    `labels.csv` has a row for each usable content: its split, its label where there is one, whose boxes are in it, how
    far they lie apart, and the verdict. In the train split all annotators join; in validation and test only those from
    which no judged model descends, so never the starter weights and never a version of the registry.

    Args:
        settings: The section `label` of the parameters.
        rules: How `data/trusted.csv` and `data/truth.csv` are meant.
        root: The project's folder.

    Raises:
        UserError: An input is missing, a person's table is wrong as a whole, or a split that the later stages need
            would be empty.
    """
    contents = read_contents(root)
    clean = read_output(root / "build/clean.csv", "validate")
    trusted = read_trusted(TRUSTED, root, rules, clean)
    truth = of_contents(read_trusted(TRUTH, root, rules, clean), contents["sha256"])
    pairs = _by_content(read_output(root / "build/near_duplicates.csv", "validate"), root)
    opinions = opinions_on(contents["sha256"], clean)

    person = of_contents(trusted, contents["sha256"])
    has_person = boxes.is_box(person) & ~contents["negative"].to_numpy()
    split = assign_splits(contents, pairs, has_person, settings)
    shifts, reference = learn_conventions(opinions, person, split == "train", settings)
    size = contents[["width", "height"]].to_numpy(np.float64)
    moved = move(opinions, shifts, size)
    independent = np.array([not descends_from_a_model(name) for name in opinions.names], bool)
    allowed = opinions.asked & ((split == "train")[:, None] | independent)
    joined = join(opinions, moved, allowed, settings)

    table = contents[["image", "sha256", "width", "height"]].assign(split=split)
    found = np.where(has_person[:, None], person, boxes.clip(joined.boxes, *size.T))
    table[boxes.SIDES] = np.round(found, 2)
    table["annotators"] = np.where(has_person, "person", _names(opinions.names, joined.members))
    table["spread"] = np.where(has_person, np.nan, np.round(joined.spread, 4))
    table["verdict"] = np.select([contents["negative"], has_person], [NEGATIVE, PERSON], joined.verdict)
    table.loc[contents["negative"], [*boxes.SIDES, "spread"]] = np.nan
    table.loc[contents["negative"], "annotators"] = ""
    ranked = suspicion.rank(table, pairs)
    report = _report(table, opinions, moved, shifts, reference, truth, settings)
    _check_enough(report, settings)
    with files.atomic_write(root / LABELS) as temporary:
        table[COLUMNS].to_csv(temporary, index=False, lineterminator="\n")
    with files.atomic_write(root / REPORTS) as folder:
        folder.mkdir()
        ranked.to_csv(folder / "suspicious.csv", index=False, lineterminator="\n")
        # Matplotlib takes a second to import.
        from selfie_localizer.labels import pictures

        pictures.draw(table, ranked, opinions, truth, root / "data/images", folder)
    files.write_json(root / REPORT, report)
    for line in describe(report):
        say(f"label: {line}")


def descends_from_a_model(annotator: str) -> bool:
    """Tells whether a judged model may descend from an annotator: the starter weights, a version of the registry."""
    return annotator == STARTER or annotator.startswith(VERSION)


def _by_content(pairs: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Returns near duplicates as pairs of contents, `sha256` and `other`."""
    listing = read_output(root / "build/images.csv", "annotate").drop_duplicates("image").set_index("image")["sha256"]
    found = pd.DataFrame({"sha256": pairs["image"].map(listing), "other": pairs["other"].map(listing)})
    return found[found["sha256"] != found["other"]].dropna().reset_index(drop=True)


def opinions_on(digests: pd.Series, clean: pd.DataFrame) -> Opinions:
    """Arranges the rows of `clean.csv` by content and annotator."""
    names = list(clean["annotator"].unique())
    row = pd.Index(digests).get_indexer(clean["sha256"])
    column = pd.Index(names).get_indexer(clean["annotator"])
    # A table that is given has boxes for every copy of a photo; the first counts.
    clean = clean.assign(row=row, column=column)[row >= 0].drop_duplicates(["row", "column"])
    place = clean["row"].to_numpy(), clean["column"].to_numpy()
    found = np.full((len(digests), len(names), 4), np.nan)
    score, asked = np.full(found.shape[:2], np.nan), np.zeros(found.shape[:2], bool)
    found[place] = clean[boxes.SIDES].to_numpy(np.float64)
    score[place] = clean["score"].to_numpy(np.float64)
    asked[place] = True
    return Opinions(names, found, score, asked)


def learn_conventions(
    opinions: Opinions, person: boxes.Boxes, train: NDArray[np.bool_], settings: params.Label
) -> tuple[dict[str, tuple[NDArray[np.float64], int]], str]:
    """Returns for each annotator its shift and the pairs it was learnt from, and whose convention is taken."""
    still = dict.fromkeys(opinions.names, (np.zeros(4), 0))
    if settings.convention == "none":
        return still, "none"
    # Trusted boxes count wherever they lie: none of them is ever in test.
    if sum(convention.learn(opinions.boxes[:, place], person)[1] for place in range(len(opinions.names))):
        learned = {
            name: convention.learn(opinions.boxes[:, place], person) for place, name in enumerate(opinions.names)
        }
        if any(pairs >= convention.LEAST_PAIRS for _, pairs in learned.values()):
            return learned, "data/trusted.csv"
    reference = STARTER if settings.convention == "auto" else settings.convention
    if reference not in opinions.names or len(opinions.names) == 1:
        return still, "none"
    wanted = opinions.boxes[train, opinions.names.index(reference)]
    return {
        name: (np.zeros(4), 0) if name == reference else convention.learn(opinions.boxes[train, place], wanted)
        for place, name in enumerate(opinions.names)
    }, reference


def move(
    opinions: Opinions, shifts: Mapping[str, tuple[NDArray[np.float64], int]], size: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns all boxes in one convention, cut to images of `size` (width, height), shape (N, A, 4)."""
    parts = [
        convention.apply(opinions.boxes[:, place], shifts[name][0], *size.T)
        for place, name in enumerate(opinions.names)
    ]
    return np.stack(parts, axis=1) if parts else opinions.boxes


def join(
    opinions: Opinions, moved: NDArray[np.float64], allowed: NDArray[np.bool_], settings: params.Label
) -> fusion.Joined:
    """Joins moved boxes of those annotators that are allowed to say something, shape (N, A), as `fusion.join` does."""
    weights = np.array([settings.weights.get(name, DEFAULT_WEIGHT) for name in opinions.names], np.float64)
    parts = [
        fusion.join(moved[rows], opinions.score[rows], allowed[rows], weights, settings)
        for rows in (slice(start, start + CHUNK) for start in range(0, max(len(moved), 1), CHUNK))
    ]
    names = ("boxes", "members", "spread", "verdict")
    return fusion.Joined(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _names(names: Sequence[str], members: NDArray[np.bool_]) -> NDArray[np.object_]:
    """Returns who is in each label, e.g. `haar+starter`; few combinations are many rows."""
    number = members @ (1 << np.arange(len(names)))
    known = np.array(
        ["+".join(name for place, name in enumerate(names) if code >> place & 1) for code in range(1 << len(names))],
        object,
    )
    return np.asarray(known[number])


def _report(
    table: pd.DataFrame,
    opinions: Opinions,
    moved: NDArray[np.float64],
    shifts: Mapping[str, tuple[NDArray[np.float64], int]],
    reference: str,
    truth: boxes.Boxes,
    settings: params.Label,
) -> dict[str, Any]:
    has_label = table["x1"].notna().to_numpy()
    shows_face = (table["verdict"] != NEGATIVE).to_numpy()
    splits, against = {}, {}
    label_boxes = table[boxes.SIDES].to_numpy(np.float64)
    for name in SPLITS:
        inside = (table["split"] == name).to_numpy()
        splits[name] = {
            "images": int((inside & shows_face).sum()),
            "labelled": int((inside & has_label).sum()),
            "trusted": int((inside & (table["verdict"] == PERSON)).sum()),
            "negatives": int((inside & ~shows_face).sum()),
            "verdicts": table.loc[inside & shows_face, "verdict"].value_counts().sort_index().to_dict(),
        }
        against[name] = quality.compare(label_boxes[inside], truth[inside])
    annotators = {}
    for place, name in enumerate(opinions.names):
        shift, pairs = shifts[name]
        annotators[name] = {
            "asked": int(opinions.asked[:, place].sum()),
            "saw_a_face": int(boxes.is_box(opinions.boxes[:, place]).sum()),
            "labels_validation_and_test": not descends_from_a_model(name),
            "shifts": {side: round(float(value), 4) for side, value in zip(boxes.SIDES, shift, strict=True)},
            "pairs": pairs,
            "against_truth": {
                "as_drawn": quality.compare(opinions.boxes[:, place], truth),
                "moved": quality.compare(moved[:, place], truth),
            },
        }
    return {
        "images": int(shows_face.sum()),
        "splits": splits,
        "annotators": annotators,
        "convention": reference,
        "against_truth": against,
    }


def _check_enough(report: Mapping[str, Any], settings: params.Label) -> None:
    """Refuses what cannot be trained or judged, before anything is decoded or trained.

    Raises:
        UserError: A split has no image that the later stages need.
    """
    splits = report["splits"]
    counts = ", ".join(f"{splits[name]['images']:,} {name}" for name in SPLITS)
    lacking = [name for name in ("train", "validation") if not splits[name]["labelled"]]
    lacking += ["test"] * (not splits["test"]["images"])
    if lacking:
        trusted = sum(split["trusted"] for split in splits.values())
        kept = f" ({trusted:,} have a box in {TRUSTED}, which keeps them out of test)" if trusted else ""
        raise UserError(
            f"label: {report['images']:,} usable photos are too few: they make {counts}{kept}, and no labelled one in "
            f"{' and '.join(lacking)}; add photos to data/images, or raise label.validation and label.test in "
            "params.yaml; the first model needs no training: `selfie-localizer predict PATH --model starter`"
        )


def describe(report: Mapping[str, Any]) -> list[str]:
    """Says in a few lines what the stage made; `summary` says the same."""
    splits = report["splits"]
    lines = []
    train = splits["train"]
    verdicts = ", ".join(f"{count:,} {name}" for name, count in train["verdicts"].items())
    lines.append(f"train: {train['labelled']:,} labels of {train['images']:,} images ({verdicts})")
    others = [name for name, found in report["annotators"].items() if found["labels_validation_and_test"]]
    said = " and ".join(others) if others else "nobody, so that only data/truth.csv can judge"
    lines.append(
        f"validation: {splits['validation']['labelled']:,} labels of {splits['validation']['images']:,} images, "
        f"test: {splits['test']['labelled']:,} of {splits['test']['images']:,}, by {said}"
    )
    if report["convention"] != "none":
        moved = [name for name, found in report["annotators"].items() if any(found["shifts"].values())]
        lines.append(f"boxes of {', '.join(moved) or 'nobody'} moved to the convention of {report['convention']}")
    known = report["against_truth"]["train"]
    if "mean_iou" in known:
        lines.append(
            f"labels against truth in train: mean IoU {known['mean_iou']:.3f}, {known['right_face']:.1%} on the right "
            f"face, on {known['labels']:,} of {known['images']:,} images with truth"
        )
    test = splits["test"]["images"]
    if test < LEAST_TEST:
        total = max(report["images"], 1)
        share = min(0.4, np.ceil(100 * LEAST_TEST / total) / 100)
        lines.append(
            f"only {test:,} test images: what is measured on them means little; `label.test: {share:g}` would make "
            f"about {round(share * total):,}"
        )
    lines.append("what to look at first: reports/label/suspicious.csv and the pictures beside it")
    return lines
