"""Points the champion back to the one before it."""

from pathlib import Path
from typing import Any

from selfie_localizer.errors import UserError
from selfie_localizer.progress import say
from selfie_localizer.registry.versions import CHAMPION, Registry, history, locked, number, opened


def rollback(to: str | None = None, root: Path = Path(".")) -> None:
    """Makes the champion before the present one champion again; repeated, it goes one further back.

    The version that is left is marked, so that the next `dvc repro` does not bring it back.

    Args:
        to: Number of a version to make champion, also one that was rolled back or rejected; None goes one back.
        root: The project's folder.

    Raises:
        UserError: There is no champion, none before it, or no such version.
    """
    with opened(root) as registry, locked(root):
        champion = registry.by_alias(CHAMPION)
        if to is None:
            target, previous = _one_back(registry, champion)
        else:
            target, previous = _named(registry, champion, to)
        if champion is not None and number(champion) == number(target):
            say(f"rollback: version {number(target)} is the champion already")
            return
        # Marked first: after a kill in between, the next promotion must not act against it.
        if champion is not None and number(champion) not in previous:
            registry.tag(champion, rolled_back="true")
        registry.approve(target, previous)
    left = "" if champion is None else f"; before it was version {number(champion)}"
    say(f"rollback: version {number(target)} is the champion now{left}")


def _one_back(registry: Registry, champion: Any | None) -> tuple[Any, list[str]]:
    """Returns the champion before and those before it; a version that was deleted is passed over."""
    if champion is None:
        raise UserError("there is no champion to roll back; `selfie-localizer status` shows what there is")
    past = history(champion)
    while past:
        target = registry.get(past.pop())
        if target is not None:
            return target, past
    raise UserError(
        f"no champion before version {number(champion)} is known; `selfie-localizer rollback --to VERSION` names one"
    )


def _named(registry: Registry, champion: Any | None, wanted: str) -> tuple[Any, list[str]]:
    target = registry.get(wanted)
    if target is None:
        raise UserError(f"there is no version {wanted}; `selfie-localizer status` shows what there is")
    past = [] if champion is None else [*history(champion), number(champion)]
    return target, past[: past.index(number(target))] if number(target) in past else past
