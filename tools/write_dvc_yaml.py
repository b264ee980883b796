"""Writes the code that each stage depends on into dvc.yaml; all else in the file stays as it is, comments too.

`make dvc` runs it after imports have changed. `selfie_localizer.dependencies` says what counts and why. A stage that
always runs needs no code to tell it when.
"""

from pathlib import Path

from ruamel.yaml import YAML

from selfie_localizer.dependencies import SOURCE, code_of

DVC_YAML = Path(__file__).parents[1] / "dvc.yaml"
CODE = f"{SOURCE.name}/"


def rewrite(text: str) -> str:
    """Returns the text of a dvc.yaml with each stage's code after its other `deps`, one file a line, sorted.

    Raises:
        ValueError: A stage has no `deps` of its own, after which its code could stand, or no module.
    """
    lines: list[str | None] = list(text.splitlines())
    more: dict[int, list[str]] = {}
    for name, stage in YAML().load(text)["stages"].items():
        stage = stage.get("do", stage)
        if stage.get("always_changed"):
            continue
        deps = stage.get("deps", [])
        places = [deps.lc.item(index) for index in range(len(deps))]
        kept = [place for place, dep in zip(places, deps, strict=True) if not str(dep).startswith(CODE)]
        if not kept:
            raise ValueError(f"dvc.yaml: stage {name} needs at least one entry of `deps` that is not code")
        for line, _ in set(places) - set(kept):
            lines[line] = None
        last, column = max(kept)
        # The column is that of the entry's text, after the dash and a blank.
        more[last] = [f"{' ' * (column - 2)}- {CODE}{path.as_posix()}" for path in code_of(name)]
    written = [part for number, line in enumerate(lines) for part in (line, *more.get(number, []))]
    return "\n".join(line for line in written if line is not None) + "\n"


if __name__ == "__main__":
    DVC_YAML.write_text(rewrite(DVC_YAML.read_text(encoding="utf-8")), encoding="utf-8")
