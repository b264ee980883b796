"""The promote stage under DVC, which cannot see the registry."""

import json
import shutil
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project
from tests.registry import blobs
from tests.registry.champion import forget_environment
from tests.registry.test_promote import get_alias


def read_report(project: Project) -> str:
    return (project.root / "reports/promotion.json").read_text()


def read_decision(project: Project) -> str:
    return str(json.loads(read_report(project))["decision"])


def keep_only_promote(project: Project) -> None:
    """Takes the stages before it out of dvc.yaml: their results are put in place by hand here."""
    from ruamel.yaml import YAML

    yaml = YAML()
    stages = yaml.load((project.root / "dvc.yaml").read_text())["stages"]
    yaml.dump({"stages": {"promote": stages["promote"]}}, (project.root / "dvc.yaml").open("w"))


def test_repro_promotes_and_an_experiment_stops_at_challenger(
    project: Project, champion_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_environment(monkeypatch)
    project.environment.pop("MLFLOW_TRACKING_URI", None)
    project.set_params(
        {
            "backbones": {"blob": {"architecture": "resnet18", "weights": "none"}},
            "serving": blobs.FLOAT32.model_dump(include={"form", "second_look"}),
        }
    )
    keep_only_promote(project)
    for name in ("data", "build", "models", "reports"):
        shutil.copytree(champion_root / name, project.root / name, dirs_exist_ok=True)
    shutil.copy(champion_root / "mlflow.db", project.root)
    (project.root / "reports/promotion.json").unlink()
    project.run("git", "commit", "--quiet", "--all", "-m", "one backbone")

    done = project.run("dvc", "repro")
    assert "version 1 (blob) is the champion; nothing to change" in done.stderr + done.stdout
    assert read_decision(project) == "champion"

    blobs.make_model(project.root, dark=0.95, normal=0.95)
    blobs.evaluate(project.root)
    done = project.run("dvc", "exp", "run")
    assert "stays challenger, since this is an experiment" in done.stderr + done.stdout
    assert read_decision(project) == "challenger"
    assert (get_alias(project.root), get_alias(project.root, "challenger")) == ("1", "2")

    # For DVC nothing has changed since; the stage runs all the same, and judges.
    project.run("dvc", "repro")
    assert read_decision(project) == "champion"
    assert get_alias(project.root) == "2"
    assert '"gain"' in read_report(project)

    project.run("selfie-localizer", "rollback")
    found = json.loads(project.run("selfie-localizer", "status", "--json").stdout)
    assert (found["champion"]["version"], found["challenger"]["state"]) == ("1", "rolled back")
