"""The promote stage under DVC, which cannot see the registry."""

import json
import re
import shutil
from pathlib import Path

from tests.pipeline.conftest import Project
from tests.registry import blobs
from tests.registry.test_promote import get_alias


def read_decision(project: Project) -> str:
    return str(json.loads((project.root / "reports/promotion.json").read_text())["decision"])


def test_repro_promotes_and_an_experiment_stops_at_challenger(project: Project, champion_root: Path) -> None:
    project.environment.pop("MLFLOW_TRACKING_URI", None)
    project.set_params({"backbones": {"blob": {"architecture": "resnet18", "weights": "none"}}})
    for name in ("data", "build", "models", "reports"):
        shutil.copytree(champion_root / name, project.root / name, dirs_exist_ok=True)
    shutil.copy(champion_root / "mlflow.db", project.root)
    (project.root / "reports/promotion.json").unlink()
    project.run("git", "commit", "--quiet", "--all", "-m", "one backbone")

    # The registry is right, and DVC has never run the stage: it runs every time, and says so.
    for _ in range(2):
        done = project.run("dvc", "repro", "--single-item", "promote")
        assert "version 1 (blob) is the champion; nothing to change" in done.stderr + done.stdout
        assert read_decision(project) == "champion"

    blobs.make_model(project.root, dark=0.95, normal=0.95)
    blobs.evaluate(project.root)
    done = project.run("dvc", "exp", "run", "--single-item", "promote")
    assert "stays challenger, since this is an experiment" in done.stderr + done.stdout
    assert read_decision(project) == "challenger"
    assert (get_alias(project.root), get_alias(project.root, "challenger")) == ("1", "2")

    project.run("dvc", "repro", "--single-item", "promote")
    assert read_decision(project) == "champion"
    assert get_alias(project.root) == "2"
    shown = project.run("dvc", "metrics", "show", "reports/promotion.json", "--json").stdout
    assert '"gain"' in shown

    project.run("selfie-localizer", "rollback")
    done = project.run("selfie-localizer", "status")
    assert re.search(r"version +1 +2\n", done.stdout)
    assert re.search(r"state +approved +rolled back\n", done.stdout)
    assert json.loads(project.run("selfie-localizer", "status", "--json").stdout)["champion"]["version"] == "1"
