"""Champion and challenger side by side."""

import json
from pathlib import Path
from typing import Any

from selfie_localizer.registry.versions import CHALLENGER, CHAMPION, NAME, history, number, opened

ROWS = {
    "version": "version",
    "backbone": "backbone",
    "test_iou": "test IoU when it was evaluated",
    "same_split_iou": "test IoU on the challenger's split",
    "data_hash": "data",
    "git_commit": "commit",
    "state": "state",
    "reason": "reason",
}


def collect(root: Path = Path(".")) -> dict[str, Any]:
    """Returns `champion` and `challenger` (None where there is none), each with the keys of `ROWS`, and `history`.

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
    width = max(len(label) for label in ROWS.values())
    first = max(len(text) for text in [CHAMPION, *columns[0][:-1]])
    lines = [f"{'':{width}}  {CHAMPION:{first}}  {CHALLENGER}"]
    for label, left, right in list(zip(ROWS.values(), *columns, strict=True))[:-1]:
        lines.append(f"{label:{width}}  {left:{first}}  {right}")
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
        "test_iou": _score(version),
        "data_hash": tags.get("data_hash"),
        "git_commit": tags.get("git_commit"),
        "state": state,
        "reason": tags.get("rejected"),
    }


def _score(version: Any) -> float | None:
    return round(float(version.tags["test_iou"]), 4) if "test_iou" in version.tags else None


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
    value = None if described is None else described[key]
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return value[:12] if key in ("data_hash", "git_commit") else str(value)
