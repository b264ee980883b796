"""A stage killed at any moment and repeated ends with the bytes of one that ran through."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.faces import draw_face, encode, write_image
from tests.pipeline.conftest import PROJECT, Project

STORED = ("images.npy", "index.csv", "store.json")
RESULTS = {
    "annotate": ["build/annotations.csv", "build/images.csv", "reports/annotate.json"],
    "label": ["build/labels.csv", "reports/label.json", "reports/label/suspicious.csv"],
    "prepare": [f"build/store/{part}/{name}" for part in ("fit", "test") for name in STORED],
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder with nothing but parameters and drawn faces, before noise that keeps them from being near duplicates."""
    for index in range(96):
        image = draw_face(240, (100 + index % 9, 130), 60, index)
        noise = np.random.default_rng(index).integers(0, 255, (6, 6, 3), np.uint8)
        image[:, 170:] = cv2.resize(noise, (70, 240), interpolation=cv2.INTER_NEAREST)
        write_image(tmp_path, f"{index:03d}.jpg", encode(image))
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    project = Project(tmp_path)
    project.set_params({"annotate.annotators": {"haar": {}}, "label.convention": "auto"})
    return project


def command_of(stage: str) -> list[str]:
    return ["selfie-localizer", stage, *(() if stage == "label" else ("--workers", "2"))]


def read_results(root: Path, stage: str) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in RESULTS[stage]}


def run_anew(project: Project, stage: str) -> tuple[dict[str, bytes], float]:
    """Runs a stage from the start to the end; returns its results and its seconds."""
    project.run("rm", "-rf", ".state", ".cache", *RESULTS[stage])
    begin = time.monotonic()
    project.run(*command_of(stage))
    return read_results(project.root, stage), time.monotonic() - begin


def run_and_kill(project: Project, stage: str, after: float) -> bool:
    """Starts a stage and kills it after some seconds, its workers too; tells whether it was still running."""
    command = command_of(stage)
    process = subprocess.Popen(
        command, cwd=project.root, env=project.environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(after)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("stage", RESULTS)
def test_killed_at_random_moments_and_repeated_a_stage_gives_the_same_bytes(
    project: Project, stage: str, kills: int
) -> None:
    project.run("selfie-localizer", "annotate")
    for earlier in {"label": ["validate"], "prepare": ["validate", "label"]}.get(stage, []):
        project.run("selfie-localizer", earlier)
    expected, seconds = run_anew(project, stage)
    rng = random.Random(1)
    killed = 0
    for _ in range(10 * kills):
        project.run("rm", "-rf", ".state", ".cache", *RESULTS[stage])
        was_running = run_and_kill(project, stage, rng.uniform(0.2, 1.0) * seconds)
        killed += was_running
        # A run that was over before the kill came: the machine has become faster since it was timed.
        seconds *= 1.0 if was_running else 0.8
        project.run(*command_of(stage))
        assert read_results(project.root, stage) == expected
        if killed == kills:
            break
    assert killed == kills
    left = [path.name for path in (project.root / "build").iterdir() if path.name.startswith(".")]
    assert left == [], "a killed run's unfinished files must go with the next run"
