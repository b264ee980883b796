"""The promote stage: the best model of this run becomes champion if it passes the gates.

Where it does not and there is no champion, the first model becomes it, so that there is always something to serve.

DVC cannot see the registry, so the stage runs every time. Each step looks at what the registry holds and does what is
missing; a promotion that was killed anywhere is finished by the next one, and where everything is right already
nothing but the report is written.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfie_localizer import files, params
from selfie_localizer.errors import UserError
from selfie_localizer.evaluation.judge import metric
from selfie_localizer.progress import say
from selfie_localizer.registry.candidate import EVALUATION, Candidate, best, register
from selfie_localizer.registry.floor import Floor, find_floor
from selfie_localizer.registry.versions import CHALLENGER, CHAMPION, NAME, Registry, history, locked, number, opened

if TYPE_CHECKING:
    from selfie_localizer.registry.gate import JudgedImages

REPORT = Path("reports/promotion.json")
ATTEMPTS = 3

Verdict = dict[str, Any]


def promote(settings: params.Params, root: Path = Path(".")) -> None:
    """Registers the best model of this run as challenger, judges it, and makes it champion if it passes.

    Args:
        settings: All parameters.
        root: The project's folder.

    Raises:
        UserError: Something that an earlier stage makes is missing, or the registry does not answer.
    """
    candidate = best(settings, root)
    with opened(root, create=True) as registry, locked(root):
        version = register(candidate, registry, root)
        registry.point(CHALLENGER, number(version))
        decision = _decide(candidate, version, registry, settings, root)
        champion = registry.by_alias(CHAMPION)
    _write_report(candidate, version, champion, decision, root)


def _decide(candidate: Candidate, version: Any, registry: Registry, settings: params.Params, root: Path) -> str:
    """Does what the gates say and returns `champion`, `rejected`, `challenger` or `rolled back`."""
    for _ in range(ATTEMPTS):
        champion = registry.by_alias(CHAMPION)
        if champion is not None and number(champion) == number(version):
            # Somebody may have set the alias by hand.
            registry.tag(version, approved="true", rejected=None, rolled_back=None)
            say(f"promote: version {number(version)} ({candidate.backbone}) is the champion; nothing to change")
            return "champion"
        if "DVC_EXP_NAME" in os.environ and not settings.promote.from_experiments:
            say(
                f"promote: version {number(version)} stays challenger, since this is an experiment; "
                "`dvc exp apply` and `dvc repro` judge it, promote.from_experiments: true does so at once"
            )
            return "challenger"
        if "rolled_back" in version.tags:
            say(
                f"promote: version {number(version)} was rolled back and stays so; "
                f"`selfie-localizer rollback --to {number(version)}` brings it back"
            )
            return "rolled back"
        verdict = _verdict(candidate, version, champion, registry, settings, root)
        if not verdict["passed"]:
            if (
                champion is None
                and not _moved(registry, None)
                and _crown_first_model(candidate, registry, settings, root)
            ):
                # It is the champion whom the candidate is held against from now on.
                continue
            registry.tag(version, rejected=verdict["reason"], approved=None)
            kept = "there is no champion" if champion is None else f"version {number(champion)} stays champion"
            say(f"promote: version {number(version)} ({candidate.backbone}) is rejected, {kept}: {verdict['reason']}")
            return "rejected"
        if _moved(registry, champion):
            continue
        registry.approve(version, [] if champion is None else [*history(champion), number(champion)])
        before = "" if champion is None else f"; before it was version {number(champion)}"
        say(f"promote: version {number(version)} ({candidate.backbone}) is the champion now{before}")
        _warn_of_race(registry, version)
        return "champion"
    raise UserError("the champion changes faster than a candidate can be judged; run `dvc repro promote` later")


def _crown_first_model(candidate: Candidate, registry: Registry, settings: params.Params, root: Path) -> bool:
    from selfie_localizer.registry import first_model

    return first_model.crown(candidate, _judged(candidate, settings, root), registry, settings, root)


def _judged(candidate: Candidate, settings: params.Params, root: Path) -> "JudgedImages":
    from selfie_localizer.labels.trusted import TableRules
    from selfie_localizer.registry import gate

    return gate.read_judged(_scores(candidate, root), candidate.test_split, TableRules.of(settings), root)


def _scores(candidate: Candidate, root: Path) -> Path:
    return root / EVALUATION / f"{candidate.backbone}.csv"


def _moved(registry: Registry, champion: Any | None) -> bool:
    """Reads the alias again: on a shared server another machine may have promoted since this one looked."""
    now = registry.by_alias(CHAMPION)
    before, after = (None if version is None else number(version) for version in (champion, now))
    if before != after:
        say(f"warning: another promotion made version {after} the champion meanwhile (it was {before}); judging again")
    return before != after


def _warn_of_race(registry: Registry, version: Any) -> None:
    now = registry.by_alias(CHAMPION)
    if now is None or number(now) != number(version):
        shown = "none" if now is None else f"version {number(now)}"
        say(f"warning: another promotion at the same moment made {shown} the champion; run `dvc repro promote` again")


def _verdict(
    candidate: Candidate, version: Any, champion: Any | None, registry: Registry, settings: params.Params, root: Path
) -> Verdict:
    """Returns what the gates say; the same question is not asked twice, its answer is a tag of the version."""
    rules = settings.promote.model_dump(exclude={"from_experiments"}, mode="json")
    floor = find_floor(settings.promote, candidate, root)
    against = None if champion is None else number(champion)
    evidence = (
        candidate.test_split,
        files.sha256(_scores(candidate, root).read_bytes()),
        rules,
        settings.seed,
        asdict(floor),
        against,
    )
    asked = files.digest(*evidence)
    known = json.loads(version.tags.get("verdict", "{}"))
    # A model that did not answer may do so now: what it needs may have been installed since.
    if known.get("evidence") == asked and known["gates"].get("answers", {"passed": True})["passed"]:
        return dict(known)
    verdict = _pass_gates(candidate, version, champion, registry, settings, floor, root) | {"evidence": asked}
    registry.tag(version, verdict=json.dumps(verdict, sort_keys=True))
    return verdict


def _pass_gates(
    candidate: Candidate,
    version: Any,
    champion: Any | None,
    registry: Registry,
    settings: params.Params,
    floor: Floor,
    root: Path,
) -> Verdict:
    """Goes through the gates, cheap ones first; what is rejected already is not asked for more."""
    from selfie_localizer.registry import gate
    from selfie_localizer.registry.rescore import CannotAnswerError, answers

    rules, by = settings.promote, candidate.judge["by"]
    judged = _judged(candidate, settings, root)
    gates: dict[str, gate.Gate] = {"floor": gate.over_floor(judged, floor, root / EVALUATION, settings.seed)}
    if champion is not None and gates["floor"]["passed"]:
        label = f"promote: champion, version {number(champion)}"
        try:
            theirs = judged.iou(answers(registry, number(champion), judged.paths, label))
        except CannotAnswerError as error:
            text = f"the champion, version {number(champion)}, cannot answer any more: {error}"
            say(f"warning: {text}")
            gates["better"] = {"passed": True, "says": text}
        else:
            ours = judged.candidate["iou"].to_numpy()
            gates["better"] = gate.better(ours, theirs, rules, settings.seed, by)
            gates["slices"] = gate.no_slice_worse(judged.candidate, theirs, rules)
    if all(found["passed"] for found in gates.values()):
        label = f"promote: reloaded version {number(version)}"
        sample = [judged.paths[row] for row in judged.sample()]
        try:
            reloaded = answers(registry, number(version), sample, label, timed=len(sample) if rules.latency_ms else 0)
        except CannotAnswerError as error:
            gates["answers"] = {"passed": False, "says": f"the reloaded model does not answer: {error}"}
        else:
            gates["answers"] = gate.answering(judged, reloaded)
            if rules.latency_ms:
                gates["latency"] = gate.quick(reloaded, rules.latency_ms)
    reason = gate.reason(gates)
    return {
        "passed": not reason,
        "reason": reason,
        "champion": None if champion is None else number(champion),
        "test_split": candidate.test_split,
        "gates": gates,
    }


def _write_report(candidate: Candidate, version: Any, champion: Any | None, decision: str, root: Path) -> None:
    """Writes `reports/promotion.json`, which tells the state and not the way to it: repeated, it is the same."""
    verdict = json.loads(version.tags.get("verdict", "null"))
    report = {
        "model": NAME,
        "decision": decision,
        "version": number(version),
        "backbone": candidate.backbone,
        "judge": candidate.judge,
        metric("test_iou", candidate.judge["by"]): round(candidate.iou, 4),
        **candidate.identity,
        "champion": None if champion is None else number(champion),
        "previous_champions": [] if champion is None else history(champion),
        "verdict": verdict,
    }
    files.write_json(root / REPORT, report)
