"""What the pipeline made, in one screen, and what to type next."""

import json
from pathlib import Path
from typing import Any

from selfie_localizer.errors import UserError
from selfie_localizer.evaluation.judge import explain, figure, title
from selfie_localizer.labels.label import describe
from selfie_localizer.tracking import comparison

BASELINES = {
    "baseline-mean-box": "mean box",
    "baseline-haar": "Haar as drawn",
    "baseline-haar-moved": "Haar moved",
    "baseline-first-model": "first model",
    "baseline-mtcnn": "MTCNN moved",
}


def collect(root: Path = Path(".")) -> dict[str, Any]:
    """Gathers the figures of the reports.

    Returns:
        Sections `annotate`, `validate`, `label`, `judge` and `models`, each only where its stage has run. `models` has
        the backbones, best on the validation split first, and then the baselines.

    Raises:
        UserError: No stage has run here.
    """
    reports = root / "reports"
    found: dict[str, Any] = {
        stage: _read(reports / name)
        for stage, name in (("annotate", "annotate.json"), ("validate", "validation.json"), ("label", "label.json"))
    }
    found = {stage: content for stage, content in found.items() if content}
    models = [
        {"name": path.stem, **_read(path), **_read(reports / "training" / path.name)}
        for path in sorted((reports / "evaluation").glob("*.json"))
        if path.stem != "comparison"
    ]
    if models:
        found["judge"] = models[0]["judge"]
        found["models"] = sorted(
            models, key=lambda model: (model["name"] in BASELINES, -model.get("val_iou", 0), -figure(model))
        )
    if not found:
        raise UserError("nothing to sum up yet: run `make run`, or `dvc repro` in the project's folder")
    return found


def table(root: Path = Path(".")) -> str:
    """Returns the summary as text for people."""
    found = collect(root)
    lines = []
    if "annotate" in found:
        report = found["annotate"]
        share = report["found"] / max(report["readable"], 1)
        lines.append(f"faces     {report['found']:,} of {report['readable']:,} images have a box ({share:.0%})")
    if "validate" in found:
        report = found["validate"]
        lines.append(f"checked   {report['accepted']:,} rows accepted, {report['rejected']:,} in quarantine")
    if "label" in found:
        lines += [f"labels    {line}" for line in describe(found["label"])]
    if "models" in found:
        lines += ["", *_scores(found["models"], found["judge"])]
    lines += ["", *_next(found, root)]
    return "\n".join(lines)


def _scores(models: list[dict[str, Any]], judge: dict[str, Any]) -> list[str]:
    head = f"{'':14}{'validation':>10}{title(judge['by']):>11}  {'95 % interval':<16}"
    lines = [f"{head}{'gain over the first model':<27}{'minutes':>8}{'ms a photo':>12}"]
    for model in models:
        validation = f"{model['val_iou']:.3f}" if "val_iou" in model else ""
        minutes = f"{model['minutes']:.1f}" if "minutes" in model else ""
        took = f"{model['milliseconds']:.1f}" if "milliseconds" in model else ""
        gain = model.get("gain_over_first_model")
        gained = f"{gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})" if gain else ""
        line = (
            f"{BASELINES.get(model['name'], model['name']):14}{validation:>10}{figure(model):11.3f}  "
            f"{figure(model, 'iou_low'):.3f} to {figure(model, 'iou_high'):.3f}  "
            f"{gained:27}{minutes:>8}{took:>12}"
        )
        lines.append(f"{line.rstrip()}  part of the judge" if model.get("part_of_judge") else line.rstrip())
    return [*lines, explain(judge)]


def _next(found: dict[str, Any], root: Path) -> list[str]:
    if "models" not in found:
        steps = [
            ("open reports/validation/index.html", "the boxes, what was rejected and why"),
            ("source .venv/bin/activate && dvc repro", "runs again what has changed, which is nothing now"),
        ]
    else:
        steps = [
            ("source .venv/bin/activate", "so that the next commands are found"),
            ("selfie-localizer predict me.jpg --draw boxes", "your own photo; the picture with the box is in boxes/"),
        ]
        if compared := comparison.link(root):
            command, address = compared
            steps.append((command or "open", f"the backbones side by side: {address}"))
    return ["What next:", *(f"  {command:46}{meaning}" for command, meaning in steps)]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
