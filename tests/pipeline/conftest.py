"""A project of one's own in a folder of its own, with DVC and git, as a user has it after a clone."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


class Project:
    """A copy of this project's files in a scratch folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        # Users write byte code; a stage must not rerun because of it.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.environment["GIT_CONFIG_COUNT"] = "2"
        self.environment |= {"GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Test"}
        self.environment |= {"GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "test@example.org"}

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the project's folder and returns what it printed."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def set_params(self, changes: Mapping[str, object]) -> None:
        """Changes values of params.yaml by dotted names."""
        from ruamel.yaml import YAML

        yaml = YAML()
        content = yaml.load((self.root / "params.yaml").read_text())
        for name, value in changes.items():
            *path, key = name.split(".")
            section = content
            for part in path:
                section = section[part]
            section[key] = value
        yaml.dump(content, (self.root / "params.yaml").open("w"))


def stages_run(output: str) -> list[str]:
    """Returns the stages that `dvc repro` says it ran, in that order."""
    return re.findall(r"Running stage '([^']+)'", output)


def make_project(root: Path) -> Project:
    """Copies the project without any data or weights."""
    listed = subprocess.run(
        ["git", "-C", str(PROJECT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        # The sample is large, and what a stage made of it is of no use here.
        made_of_it = ("data.dvc", "starter.dvc", "dvc.lock", "reports/metrics.json")
        skipped = name.startswith("sample/") or name in made_of_it
        if skipped or not (PROJECT / name).is_file():
            continue
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, root / name)
    # Stages depend on the folder of the starter weights, whether or not a backbone starts from them.
    (root / "starter").mkdir()
    made = Project(root)
    made.set_params({"annotate.annotators": {"haar": {}}, "label.convention": "auto"})
    made.run("git", "init", "--quiet")
    made.run("git", "add", ".")
    made.run("git", "commit", "--quiet", "-m", "start")
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The project without any data."""
    return make_project(tmp_path / "project")
