"""Champion and challenger side by side."""

import json
from pathlib import Path
from typing import Any

from selfie_localizer.evaluation.judge import remark
from selfie_localizer.registry.versions import CHALLENGER, CHAMPION, NAME, history, number, opened

ROWS = {
    "version": "version",
    "backbone": "backbone",
    "test_iou": "test IoU when it was evaluated",
    "test_iou_labels": "agreement with labels then",
    "judge": "judged by",
    "same_split_iou": "by the challenger's judge",
    "score_threshold": "recommended least score",
    "data_hash": "data",
    "git_commit": "commit",
    "state": "state",
    "reason": "reason",
}

FIGURES = ("test_iou", "test_iou_labels")


def collect(root: Path = Path(".")) -> dict[str, Any]:
    """Returns `champion` and `challenger` (None where there is none), and `history`.

    Each of the two has the keys of `ROWS` and `judge_images`. A version of before there were judges has no `judge`: its
    `test_iou` was against truth on the images that had it, and against labels on the others.

    Raises:
        UserError: There is no registry, or it does not answer.
    """
    with opened(root) as registry:
        champion, challenger = registry.by_alias(CHAMPION), registry.by_alias(CHALLENGER)
    same = _same_split(champion, challenger)
    return {
        "model": NAME,
        "registry": registry.uri,
        "champion": None if champion is None else _describe(champion) | {"same_split_iou": same},
        "challenger": None if challenger is None else _describe(challenger) | {"same_split_iou": _score(challenger)},
        "history": [] if champion is None else history(champion),
    }


def table(root: Path = Path(".")) -> str:
    """Returns the same as text for people."""
    found = collect(root)
    if found["champion"] is None and found["challenger"] is None:
        return f"no model is registered in {found['registry']} yet; `dvc repro` registers the first"
    columns = [[_shown(key, found[alias]) for key in ROWS] for alias in (CHAMPION, CHALLENGER)]
    rows = [row for key, *row in zip(ROWS, ROWS.values(), *columns, strict=True) if key != "reason"]
    # A figure that neither has says nothing; which judge they had does.
    rows = [row for row in rows if row[1:] != ["-", "-"] or row[0] == ROWS["judge"]]
    width, first = max(len(row[0]) for row in rows), max(len(text) for text in [CHAMPION, *(row[1] for row in rows)])
    lines = [f"{'':{width}}  {CHAMPION:{first}}  {CHALLENGER}"]
    lines += [f"{label:{width}}  {left:{first}}  {right}" for label, left, right in rows]
    for alias in (CHAMPION, CHALLENGER):
        images = found[alias] and found[alias]["judge_images"]
        if images is not None and remark(images):
            lines.append(f"\nthe {alias} was judged on {images:,} images{remark(images)}")
    if found["challenger"] and found["challenger"]["reason"]:
        lines.append(f"\nthe challenger was rejected: {found['challenger']['reason']}")
    if found["history"]:
        lines.append(f"\nchampions before: {', '.join(found['history'])}; `selfie-localizer rollback` goes one back")
    return "\n".join(lines)


def _describe(version: Any) -> dict[str, Any]:
    tags = version.tags
    state = next(
        (key.replace("_", " ") for key in ("rolled_back", "approved", "rejected") if key in tags), "not judged"
    )
    return {
        "version": number(version),
        "backbone": tags.get("backbone"),
        **{key: round(float(tags[key]), 4) if key in tags else None for key in FIGURES},
        "judge": tags.get("judge"),
        "judge_images": int(tags["judge_images"]) if "judge_images" in tags else None,
        "score_threshold": float(tags["score_threshold"]) if "score_threshold" in tags else None,
        "data_hash": tags.get("data_hash"),
        "git_commit": tags.get("git_commit"),
        "state": state,
        "reason": tags.get("rejected"),
    }


def _score(version: Any) -> float | None:
    """Returns a version's IoU when it was evaluated, whatever judged it."""
    return next((round(float(version.tags[key]), 4) for key in FIGURES if key in version.tags), None)


def _same_split(champion: Any | None, challenger: Any | None) -> float | None:
    """Returns the champion's score on the challenger's test split, or None while promote has not found it out."""
    if champion is None or challenger is None:
        return None
    verdict = json.loads(challenger.tags.get("verdict", "{}"))
    split = challenger.tags.get("test_split")
    if verdict.get("champion") == number(champion) and verdict.get("test_split") == split:
        scored = verdict["gates"].get("better", {}).get("champion_iou")
        if scored is not None:
            return float(scored)
    return _score(champion) if champion.tags.get("test_split") == split else None


def _shown(key: str, described: dict[str, Any] | None) -> str:
    if described is None or described[key] is None or described[key] == "":
        return "-"
    value = described[key]
    if key == "judge":
        return f"{value}, {described['judge_images']:,} images"
    if key == "score_threshold":
        return f"{value:g}"
    if isinstance(value, float):
        return f"{value:.3f}"
    return value[:12] if key in ("data_hash", "git_commit") else str(value)
