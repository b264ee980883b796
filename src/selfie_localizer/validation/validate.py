"""The validate stage: checks every row and puts the bad ones in quarantine."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from selfie_localizer import boxes, files, params
from selfie_localizer.errors import UserError
from selfie_localizer.progress import say
from selfie_localizer.validation.near_duplicates import near_duplicates
from selfie_localizer.validation.suite import COLUMNS, describe, run_suite

ANNOTATIONS = Path("build/annotations.csv")
LISTING = Path("build/images.csv")
CLEAN = Path("build/clean.csv")
REJECTED = Path("build/rejected.csv")
NEAR_DUPLICATES = Path("build/near_duplicates.csv")
REPORT = Path("reports/validation.json")
DOCS = Path("reports/validation")
LISTED = ["image", "width", "height", "sha256", "phash", "error"]
# The annotator that a table of the user's is: what it leaves empty is a mistake, not "saw nothing".
GIVEN = "given"
FIRST_ROW = 2


def validate(settings: params.Validate, root: Path = Path(".")) -> None:
    """Reads what `annotate` wrote and separates the rows that training can trust from the rest.

    Rows of an annotator that saw nothing hold no box to judge, and pass. A further row for the same bytes under another
    name is dropped and counted; it does no harm, and falls only where its box is another one.

    Writes `build/clean.csv`, `build/rejected.csv` (`row` is the line of `build/annotations.csv`, its header being
    line 1; one line for each rule that a row breaks), `build/near_duplicates.csv`, `reports/validation.json` and
    `reports/validation/`. Only the images in the pictures are decoded.

    Args:
        settings: The section `validate` of the parameters.
        root: The project's folder.

    Raises:
        UserError: An input is missing or lacks a column, there are no rows, or more than `max_rejected` of them fall.
            In the last case everything but `build/clean.csv` is written.
    """
    from selfie_localizer.validation.docs import write_docs

    (root / CLEAN).unlink(missing_ok=True)
    rows = _read(root / ANNOTATIONS, COLUMNS)
    listing = _read(root / LISTING, LISTED).replace("", None)
    silent = (rows["annotator"] != GIVEN) & (rows[boxes.SIDES] == "").all(axis=1)
    if silent.all():
        raise UserError(f"{ANNOTATIONS}: no box on any image; reports/annotate.json says why")
    pairs = near_duplicates(listing, settings.near_duplicate_bits)
    frame = derive(rows[~silent], listing)
    with tempfile.TemporaryDirectory() as site:
        outcome = run_suite(frame, settings, Path(site))
        rejected = _quarantine(frame, outcome)
        accepted = ~frame.index.isin(rejected["row"])
        copies = accepted & frame["copy_of"].notna().to_numpy()
        report = _report(settings, rows, frame, outcome, rejected, int(copies.sum()), pairs)
        _write_csv(root / NEAR_DUPLICATES, pairs)
        _write_csv(root / REJECTED, rejected)
        files.write_json(root / REPORT, report)
        with files.atomic_write(root / DOCS) as folder:
            rules = describe(settings)
            write_docs(folder, Path(site), root / "data/images", report, rules, frame, rejected)
    worst = _worst(report, rejected)
    if not report["passed"]:
        raise UserError(
            f"{report['rejected']:,} of {report['rows']:,} rows rejected ({report['rejected_share']:.1%}), more than "
            f"validate.max_rejected ({settings.max_rejected:.1%}): {worst}; "
            f"look at {DOCS}/index.html and {REJECTED}, then mend the rows or the limits"
        )
    _write_csv(root / CLEAN, rows.loc[rows.index[silent].union(frame.index[accepted & ~copies]), COLUMNS])
    say(_closing_line(report, worst))


def derive(rows: pd.DataFrame, listing: pd.DataFrame) -> pd.DataFrame:
    """Adds the columns that the rules speak of.

    Args:
        rows: `build/annotations.csv` as text.
        listing: `build/images.csv` as text, missing values as None.

    Returns:
        One row for each of `rows`, indexed by the line in the file. `image`, `annotator` and `sha256` are text; `x1` to
        `y2` float64, NaN where the text is no finite number; `width` and `height` Int64, of the file itself. Further:
        `file` (`present` or `missing`), `error` (why the file does not decode), `not_a_number` (the texts that are
        none), `box_width`, `box_height`, `pixels_outside` (how far the box reaches out of the image), `face_size`
        (square root of box area / image area), `aspect` (box width / height), `rank_in_image` (1 is the annotator's
        largest box on the image), and of rows whose image has the same bytes as that of an earlier row of the same
        annotator the earlier image: as `copy_of` where both boxes are on one face, else as `duplicate_of`. Missing
        values cannot be judged.
    """
    frame = rows[["image", "annotator"]].copy()
    texts = rows[boxes.SIDES]
    numbers = texts.apply(pd.to_numeric, errors="coerce").astype("float64")
    frame[boxes.SIDES] = numbers.where(np.isfinite(numbers))
    frame["not_a_number"] = _describe_garbage(texts, frame[boxes.SIDES].isna())

    files_found = listing.drop_duplicates("image").set_index("image").reindex(rows["image"]).set_axis(rows.index)
    frame["file"] = np.where(rows["image"].isin(listing["image"]), "present", "missing")
    frame[["error", "sha256"]] = files_found[["error", "sha256"]]
    decodes = (frame["file"] == "present") & frame["error"].isna()
    for name in ("width", "height"):
        frame[name] = pd.to_numeric(files_found[name].where(decodes), errors="coerce").astype("Int64")

    corners = frame[boxes.SIDES].to_numpy()
    usable = boxes.is_box(corners)
    size = frame[["width", "height"]].to_numpy(dtype=np.float64, na_value=np.nan)
    frame["box_width"], frame["box_height"] = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    outside = np.concatenate([-corners, corners - size[:, [0, 1, 0, 1]]], axis=1)
    frame["pixels_outside"] = np.maximum(outside.max(axis=1), 0)
    area = np.where(usable, boxes.area(corners), np.nan)
    frame["face_size"] = np.sqrt(area / size.prod(axis=1))
    frame["aspect"] = frame["box_width"].where(usable) / frame["box_height"]

    by_area = pd.Series(-area, frame.index).sort_values(kind="stable").index
    ranked = frame.loc[by_area].groupby(["image", "annotator"]).cumcount() + 1
    frame["rank_in_image"] = ranked.reindex(frame.index)
    candidates = frame[decodes & usable & (frame["rank_in_image"] == 1)]
    first = candidates.groupby(["annotator", "sha256"])[["image", *boxes.SIDES]].transform("first")
    repeated = first["image"] != candidates["image"]
    same = boxes.iou(first[boxes.SIDES], candidates[boxes.SIDES]) > boxes.SAME_FACE
    frame["copy_of"] = first["image"].where(repeated & same).reindex(frame.index)
    frame["duplicate_of"] = first["image"].where(repeated & ~same).reindex(frame.index)
    return frame


def _describe_garbage(texts: pd.DataFrame, bad: pd.DataFrame) -> pd.Series:
    """Names the texts that are no number, e.g. `x1='abc', y2=''`; missing where all four are numbers."""
    chosen = bad.any(axis=1)
    described = [
        ", ".join(f"{name}={text!r}" for name, text, wrong in zip(boxes.SIDES, row, flags, strict=True) if wrong)[:200]
        for row, flags in zip(texts[chosen].to_numpy(), bad[chosen].to_numpy(), strict=True)
    ]
    return pd.Series(described, texts.index[chosen], dtype=object).reindex(texts.index)


def _quarantine(frame: pd.DataFrame, outcome: list[tuple[str, str, list[int]]]) -> pd.DataFrame:
    broken = []
    for rule, column, rows in outcome:
        chosen = frame.loc[rows, ["image", column]] if rows else frame.iloc[:0, :2]
        values = [_as_text(value) for value in chosen.iloc[:, 1]]
        broken.append(pd.DataFrame({"row": rows, "image": chosen["image"].array, "rule": rule, "value": values}))
    # A stable sort keeps a row's rules in the order of the suite.
    table = pd.concat(broken, ignore_index=True).sort_values("row", kind="stable", ignore_index=True)
    return table.astype({"row": "int64"})


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(value):.6g}"


def _report(
    settings: params.Validate,
    rows: pd.DataFrame,
    frame: pd.DataFrame,
    outcome: list[tuple[str, str, list[int]]],
    rejected: pd.DataFrame,
    copies: int,
    pairs: pd.DataFrame,
) -> dict[str, Any]:
    fallen = int(rejected["row"].nunique())
    share = fallen / len(frame)
    annotators = {}
    for name in rows["annotator"].unique():
        lines = frame.index[frame["annotator"] == name]
        annotators[name] = {
            "rows": int((rows["annotator"] == name).sum()),
            "saw_nothing": int((rows["annotator"] == name).sum()) - len(lines),
            "rejected": int(rejected.loc[rejected["row"].isin(lines), "row"].nunique()),
            "rules": {rule: int(lines.isin(broken_by).sum()) for rule, _, broken_by in outcome},
        }
    return {
        "rows": len(frame),
        "accepted": len(frame) - fallen - copies,
        "copies": copies,
        "rejected": fallen,
        "rejected_share": round(share, 4),
        "passed": share <= settings.max_rejected,
        "rules": {rule: len(broken_by) for rule, _, broken_by in outcome},
        "annotators": annotators,
        "near_duplicate_pairs": len(pairs),
        "images_with_near_duplicate": len(set(pairs["image"]) | set(pairs["other"])),
    }


def _worst(report: dict[str, Any], rejected: pd.DataFrame, count: int = 3) -> str:
    """Names the rules that took most rows, each with an example row."""
    broken = sorted(((number, rule) for rule, number in report["rules"].items() if number), key=lambda pair: -pair[0])
    first = rejected.drop_duplicates("rule")
    examples = {rule: f"row {row}: {value[:40]}" for row, _, rule, value in first.itertuples(index=False)}
    return ", ".join(f"{rule} {number:,} ({examples[rule]})" for number, rule in broken[:count])


def _closing_line(report: dict[str, Any], worst: str) -> str:
    parts = [f"validate: {report['rows']:,} boxes, {report['accepted']:,} accepted, {report['rejected']:,} rejected"]
    if worst:
        parts[0] += f" by {worst}"
    if report["copies"]:
        parts.append(f"{report['copies']:,} dropped, since their images are copies of others")
    parts.append(f"near-duplicate pairs: {report['near_duplicate_pairs']:,}")
    return "; ".join([*parts, f"see {DOCS}/index.html"])


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    """Reads a table as text, indexed by the line in the file."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; run `dvc repro annotate` first") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as CSV ({reason}); run `dvc repro -f annotate`") from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise UserError(f"{path}: column {missing[0]} is missing; it needs {','.join(columns)}")
    table = table[columns].fillna("").astype(object)
    table.index = pd.RangeIndex(FIRST_ROW, FIRST_ROW + len(table))
    return table


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with files.atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
