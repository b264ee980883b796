"""The dataset stages under `dvc repro`, as a user runs them."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.conftest import PROJECT, Project, stages_run


@pytest.fixture
def selfies(project: Project) -> Project:
    project.run("selfie-localizer", "render", "--count", "60", "--seed", "7", "--out", "data")
    return project


def test_a_folder_of_selfies_becomes_a_store_and_only_changes_run_again(selfies: Project) -> None:
    done = selfies.run("dvc", "repro", "prepare")
    assert stages_run(done.stdout) == ["annotate", "validate", "label", "prepare"]
    splits = json.loads((selfies.root / "reports/label.json").read_text())["splits"]
    assert sum(split["labelled"] for split in splits.values()) > 20

    second = selfies.run("dvc", "repro", "prepare")
    assert stages_run(second.stdout) == []
    assert "Data and pipelines are up to date" in second.stdout + second.stderr

    selfies.set_params({"validate.smallest_face": 0.06})
    third = selfies.run("dvc", "repro", "prepare")
    assert stages_run(third.stdout)[0] == "validate"
    assert "annotate" not in stages_run(third.stdout)

    shown = selfies.run("selfie-localizer", "summary").stdout
    assert "images have a box" in shown
    assert "What next:" in shown


def test_the_sample_arrives_in_a_clone_without_a_network(tmp_path: Path) -> None:
    if not (PROJECT / "sample").exists():
        pytest.skip("needs the sample remote of a checkout")
    clone = Project(tmp_path / "clone")
    subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone.root)], check=True)
    clone.run("dvc", "pull", "--quiet", "-r", "sample", "data.dvc")
    assert len(list((clone.root / "data/images").rglob("*.jpg"))) == 1100
    assert clone.run("git", "status", "--porcelain").stdout == ""


def test_a_push_goes_nowhere_unless_the_user_names_a_remote(project: Project) -> None:
    (project.root / "data/images").mkdir(parents=True)
    (project.root / "data/images/mine.jpg").write_bytes(b"private")
    project.run("dvc", "add", "--quiet", "data")
    done = project.run("dvc", "push", check=False)
    assert done.returncode != 0
    assert "no remote" in done.stderr
    assert project.run("git", "status", "--porcelain", "sample").stdout == ""
