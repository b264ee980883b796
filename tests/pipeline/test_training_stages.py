"""The whole pipeline under `dvc repro` with a tiny backbone, and its training stages killed at any moment."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from selfie_localizer.tracking import mlflow_runs
from tests.faces import draw_face, encode, write_image
from tests.pipeline.conftest import Project, make_project, stages_run
from tests.registry.champion import forget_environment

TRIALS = 2


def make_row(filters: int) -> dict[str, Any]:
    arguments = {"stackwise_num_repeats": [1] * 5, "stackwise_num_filters": [8, 8, filters, filters, filters]}
    return {"architecture": "VGGBackbone", "arguments": arguments, "weights": "none"}


SMALL = {
    "prepare.image_size": 32,
    "label.validation": 0.2,
    "label.test": 0.2,
    "backbones": {"tiny": make_row(16)},
    "network.head_width": 8,
    "train.epochs": 2,
    "tune.trials": TRIALS,
    "tune.epochs": 1,
    "tune.space": {
        "train.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
        "network.head_width": {"choices": [8, 16]},
    },
    # The faces are drawn near the middle, where their mean box is hard to beat in two epochs.
    "promote.floor": 0.01,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> tuple[Project, str, str]:
    """A project on which `dvc repro` has run as `mlflow run` starts it; what it printed, and the run it was given."""
    project = make_project(tmp_path_factory.mktemp("pipeline") / "project")
    for index in range(48):
        image = draw_face(160, (60 + index % 9 * 3, 76 + index % 7 * 3), 36 + index % 5 * 2, index)
        # Keeps them from being near duplicates.
        noise = np.random.default_rng(index).integers(0, 255, (6, 6, 3), np.uint8)
        image[:, 126:] = cv2.resize(noise, (34, 160), interpolation=cv2.INTER_NEAREST)
        write_image(project.root, f"{index:03d}.jpg", encode(image))
    project.set_params(SMALL)
    project.run("git", "commit", "--quiet", "--all", "-m", "small")
    shutil.copy(empty_database, project.root / "mlflow.db")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "DVC_ROOT", "DVC_EXP_NAME"):
        project.environment.pop(name, None)
    uri = f"sqlite:///{project.root / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("of mlflow run")
    given = client.create_run(experiment).info.run_id
    environment = {"MLFLOW_RUN_ID": given, "MLFLOW_EXPERIMENT_ID": experiment, "MLFLOW_TRACKING_URI": uri}
    done = project.run("dvc", "repro", **environment)
    return project, done.stdout, given


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_environment(monkeypatch)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def get_runs(root: Path) -> list[Any]:
    """Returns all runs of the project's experiment, deleted ones too."""
    client = mlflow.MlflowClient(mlflow_runs.tracking_uri(root))
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    return list(client.search_runs([experiment.experiment_id], run_view_type=mlflow.entities.ViewType.ALL))


def read_names(root: Path) -> dict[str, tuple[str, str | None]]:
    """Returns the status of each run of a model and the name of the run that it is nested in."""
    runs = [run for run in get_runs(root) if run.data.tags["stage"] != "baseline"]
    names = {run.info.run_id: run.info.run_name for run in runs}
    parents = {run.info.run_name: run.data.tags.get("mlflow.parentRunId") for run in runs}
    assert len(parents) == len(runs), f"several runs have the same name: {sorted(names.values())}"
    return {run.info.run_name: (run.info.status, names.get(parents[run.info.run_name] or "")) for run in runs}


def expect_names() -> dict[str, tuple[str, str | None]]:
    trials = {f"tiny trial {n + 1}": ("FINISHED", "tiny tuning") for n in range(TRIALS)}
    return {"tiny": ("FINISHED", None), "tiny tuning": ("FINISHED", None), **trials}


def test_repro_runs_every_stage_and_each_writes_what_the_next_needs(finished: tuple[Project, str, str]) -> None:
    project, output, _ = finished
    first = ["annotate", "validate", "label", "prepare"]
    assert stages_run(output) == [*first, "tune@tiny", "train@tiny", "evaluate", "promote"]
    chosen = read_json(project.root / "build/tuning/tiny.json")["values"]
    used = read_json(project.root / "models/tiny/meta.json")["settings"]
    assert used["network"]["head_width"] == chosen["network.head_width"]
    assert used["train"]["learning_rate"] == chosen["train.learning_rate"]
    assert read_json(project.root / "reports/promotion.json")["decision"] == "champion"


def test_repro_leaves_one_tidy_set_of_runs_under_the_run_it_was_given(finished: tuple[Project, str, str]) -> None:
    project, _, given = finished
    assert read_names(project.root) == expect_names()
    client = mlflow.MlflowClient(mlflow_runs.tracking_uri(project.root))
    for run in get_runs(project.root):
        if run.data.tags["stage"] != "trial":
            assert run.data.tags["mlflow.parentRunId"] == given
        assert set(run.data.tags) >= {"stage", "backbone", "mlflow.source.git.commit"}
    untouched = client.get_run(given)
    assert (untouched.info.status, untouched.data.metrics, untouched.data.params) == ("RUNNING", {}, {})
    names = {experiment.name for experiment in client.search_experiments()}
    assert names == {"Default", "of mlflow run", mlflow_runs.EXPERIMENT}


def test_figures_are_the_same_in_mlflow_in_dvc_and_in_the_summary(finished: tuple[Project, str, str]) -> None:
    project, _, _ = finished
    shown = json.loads(project.run("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert list(shown) == ["reports/metrics.json"]
    metrics = shown["reports/metrics.json"]["data"]
    # Nobody gave truth, so that every figure is called agreement with the labels.
    assert metrics["judge"]["by"] == "labels"
    agreement = metrics["test"]["iou_labels"]
    assert set(agreement) == {"tiny"}
    summary = {
        model["name"]: model
        for model in json.loads(project.run("selfie-localizer", "summary", "--json").stdout)["models"]
    }
    (run,) = mlflow_runs.find_runs(project.root, "train", "tiny")
    assert run.data.metrics["test/iou_labels"] == agreement["tiny"] == summary["tiny"]["test"]["iou_labels"]
    assert run.data.metrics["validation/best_iou"] == summary["tiny"]["val_iou"]
    assert run.data.tags["judge_images"] == str(metrics["judge"]["images"])
    baselines = {run.data.tags["backbone"]: run for run in mlflow_runs.find_runs(project.root, "baseline")}
    assert {f"baseline-{name}" for name in baselines} == set(summary) - {"tiny"}
    for name, baseline in baselines.items():
        assert baseline.data.metrics["test/iou_labels"] == summary[f"baseline-{name}"]["test"]["iou_labels"]
    promoted = read_json(project.root / "reports/promotion.json")["test_iou_labels"]
    assert promoted == pytest.approx(agreement["tiny"], abs=1e-4)


def test_what_the_first_model_alone_reaches_stands_beside_the_backbones(
    finished: tuple[Project, str, str], tmp_path: Path
) -> None:
    project = Project(tmp_path / "copy")
    shutil.copytree(finished[0].root, project.root, ignore=shutil.ignore_patterns(".git", ".dvc"), symlinks=True)
    said = pd.read_csv(project.root / "build/annotations.csv")
    rows = pd.read_csv(project.root / "build/store/test/index.csv")
    answers = rows[["image", "sha256", "x1", "y1", "x2", "y2", "width", "height"]].assign(
        annotator="starter", score=0.9
    )
    pd.concat([said[said["annotator"] != "starter"], answers]).to_csv(
        project.root / "build/annotations.csv", index=False
    )
    project.run("selfie-localizer", "evaluate")
    reached = read_json(project.root / "reports/evaluation/comparison.json")
    assert reached["models"]["baseline-first-model"]["iou_labels"] == pytest.approx(1)
    assert reached["best"] == "tiny"
    assert "first model" in project.run("selfie-localizer", "summary").stdout


class Repro:
    """A `dvc repro` under way, in a process group of its own."""

    def __init__(self, project: Project, *targets: str) -> None:
        self._log = project.root.parent / "repro.log"
        # A stage that outlives its DVC goes on writing to the old one.
        self._log.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["dvc", "repro", *targets],
                cwd=project.root,
                # A killed stage leaves its temporary files behind: let them go with the test's.
                env={**project.environment, "TMPDIR": str(project.root.parent)},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait(self, lines: int) -> None:
        """Waits until a stage has said so many lines, or until the end."""
        while self.process.poll() is None:
            _, _, said = self.read().partition("Running stage")
            if said.count("\n") > lines:
                return
            time.sleep(0.05)

    def read(self) -> str:
        return self._log.read_text()

    def kill(self, with_its_stage: bool) -> str:
        """Kills DVC, and its stage too or else leaves that running; returns the stage and what it had said last."""
        if with_its_stage:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()
        said = self.read()
        return f"{stages_run(said)[-1]}{'' if with_its_stage else ', DVC alone'}, after '{said.splitlines()[-1][:60]}'"


def forget_training(project: Project, empty_database: Path) -> None:
    """Takes away all that tune and train have made, also what DVC would bring back by its run cache."""
    for name in ("build/tuning", "models", "reports/training", ".state", "mlruns", ".dvc/cache/runs"):
        shutil.rmtree(project.root / name, ignore_errors=True)
    yaml = YAML()
    lock = yaml.load((project.root / "dvc.lock").read_text())
    for name in [name for name in lock["stages"] if name.split("@")[0] in ("tune", "train")]:
        del lock["stages"][name]
    yaml.dump(lock, (project.root / "dvc.lock").open("w"))
    shutil.copy(empty_database, project.root / "mlflow.db")


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.long)])
def test_killed_at_random_moments_and_repeated_it_ends_with_the_same_weights_and_runs(
    finished: tuple[Project, str, str], tmp_path: Path, empty_database: Path, kills: int
) -> None:
    expected = read_json(finished[0].root / "models/tiny/meta.json")
    project = Project(tmp_path / "project")
    shutil.copytree(finished[0].root, project.root)
    project.environment = finished[0].environment
    forget_training(project, empty_database)
    rng = random.Random(kills)
    killed: Counter[str] = Counter()
    while killed.total() < kills:
        repro = Repro(project, "train@tiny")
        # By what was said, and not by the clock: then slow and fast machines are killed in the same places.
        repro.wait(lines=rng.randint(0, 8))
        time.sleep(rng.uniform(0, 2))
        if repro.process.poll() is not None:
            # It came to its end in spite of all kills; from the start again.
            assert repro.process.returncode == 0, repro.read()
            check_end(project, expected)
            forget_training(project, empty_database)
            continue
        killed[repro.kill(with_its_stage=rng.random() < 0.7)] += 1
    print(f"killed {dict(killed)}")
    done = project.run("dvc", "repro", "train@tiny", check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    check_end(project, expected)


def check_end(project: Project, expected: dict[str, Any]) -> None:
    found = read_json(project.root / "models/tiny/meta.json")
    assert found["model_digest"] == expected["model_digest"]
    assert found == expected
    assert read_names(project.root) == expect_names()
    client = mlflow.MlflowClient(mlflow_runs.tracking_uri(project.root))
    (run,) = mlflow_runs.find_runs(project.root, "train", "tiny")
    for metric in ("train/loss", "validation/iou"):
        assert [point.step for point in client.get_metric_history(run.info.run_id, metric)] == [1, 2]
    models = client.search_logged_models([run.info.experiment_id])
    assert [(model.name, str(model.status)) for model in models] == [("model", "READY")]
    for folder in ("build/tuning", "models", "reports/training", ".state/tracking"):
        assert not [path.name for path in (project.root / folder).glob(".*")]
    assert not list((project.root / ".state/tracking").glob("*.jsonl"))


def test_a_line_in_truth_judges_anew_and_trains_nothing(finished: tuple[Project, str, str], tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    shutil.copytree(finished[0].root, project.root)
    project.environment = finished[0].environment
    labels = pd.read_csv(project.root / "build/labels.csv")
    test = labels[labels["split"] == "test"]
    stores = {path: path.read_bytes() for path in (project.root / "build/store").rglob("*.*")}
    test[["image", "x1", "y1", "x2", "y2"]].to_csv(project.root / "data/truth.csv", index=False)
    output = project.run("dvc", "repro").stdout
    # What depends on data/ looks at it again, and comes to the same.
    assert stages_run(output) == ["annotate", "validate", "label", "evaluate", "promote"]
    assert {path: path.read_bytes() for path in stores} == stores
    against = read_json(project.root / "reports/label.json")["against_truth"]["test"]
    assert against["images"] == len(test)


def test_the_page_of_plots_needs_no_internet_and_has_one_plot_for_all_backbones(
    finished: tuple[Project, str, str],
) -> None:
    project, _, _ = finished
    project.run("dvc", "plots", "show")
    page = (project.root / "dvc_plots/index.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", page)
    assert re.findall(r"vegaEmbed\('([^']+)'", page) == ["#reports_evaluation_comparison_csv"]
    curve = pd.read_csv(project.root / "reports/training/tiny.csv", dtype=str)
    assert re.findall(r'"val_iou": "([^"]+)"', page) == curve["val_iou"].tolist()


def test_a_fresh_clone_knows_the_metrics_of_its_commit(finished: tuple[Project, str, str], tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    # What git keeps, committed by the user.
    shutil.copytree(finished[0].root, project.root, ignore=shutil.ignore_patterns("build", "models", ".state", "cache"))
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "-m", "result")
    clone = Project(tmp_path / "clone")
    project.run("git", "clone", "--quiet", str(project.root), str(clone.root))
    shown = json.loads(clone.run("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert shown["reports/metrics.json"]["data"] == read_json(project.root / "reports/metrics.json")
    assert clone.run("dvc", "metrics", "diff").stdout == ""
    (clone.root / "reports/metrics.json").write_text(json.dumps({"test": {"iou_labels": {"tiny": 1.0}}}))
    changed = json.loads(clone.run("dvc", "metrics", "diff", "--json").stdout)["reports/metrics.json"]
    assert changed["test.iou_labels.tiny"]["new"] == 1.0


def test_only_what_changed_runs_again(finished: tuple[Project, str, str]) -> None:
    project, _, _ = finished
    again = project.run("dvc", "repro")
    assert stages_run(again.stdout) == ["promote"]
    assert "nothing to change" in again.stdout + again.stderr
    assert read_names(project.root) == expect_names()

    project.set_params({"backbones.other": make_row(12)})
    added = json.loads(project.run("dvc", "status", "--json").stdout)
    assert set(added) == {"tune@other", "train@other", "evaluate", "promote"}
    project.set_params({"backbones": {"tiny": make_row(12)}})
    changed = project.run("dvc", "repro", "--dry", "train@tiny")
    assert stages_run(changed.stdout) == ["tune@tiny", "train@tiny"]
