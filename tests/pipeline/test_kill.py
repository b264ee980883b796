"""A stage killed at any moment and repeated ends with the bytes of one that ran through.

`KILLS=20 pytest tests/pipeline/test_kill.py` kills more often than the suite does.
"""

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

KILLS = int(os.environ.get("KILLS", "1"))
RESULTS = {
    "annotate": ["build/annotations.csv", "build/images.csv", "reports/annotate.json"],
    "prepare": ["build/store/images.npy", "build/store/index.csv", "build/store/store.json", "reports/prepare.json"],
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
    return Project(tmp_path)


def read_results(root: Path, stage: str) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in RESULTS[stage]}


def run_anew(project: Project, stage: str) -> tuple[dict[str, bytes], float]:
    """Runs a stage from the start to the end; returns its results and its seconds."""
    project.run("rm", "-rf", ".state", *RESULTS[stage])
    begin = time.monotonic()
    project.run("selfie-localizer", stage, "--workers", "2")
    return read_results(project.root, stage), time.monotonic() - begin


def run_and_kill(project: Project, stage: str, after: float) -> bool:
    """Starts a stage and kills it after some seconds, its workers too; tells whether it was still running."""
    command = ["selfie-localizer", stage, "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=project.root, env=project.environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(after)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


@pytest.mark.parametrize("stage", ["annotate", "prepare"])
def test_killed_at_random_moments_and_repeated_a_stage_gives_the_same_bytes(project: Project, stage: str) -> None:
    project.run("selfie-localizer", "annotate")
    if stage == "prepare":
        project.run("selfie-localizer", "validate")
    expected, seconds = run_anew(project, stage)
    rng = random.Random(1)
    killed = 0
    for _ in range(10 * KILLS):
        project.run("rm", "-rf", ".state", *RESULTS[stage])
        was_running = run_and_kill(project, stage, rng.uniform(0.2, 1.0) * seconds)
        killed += was_running
        # A run that was over before the kill came: the machine has become faster since it was timed.
        seconds *= 1.0 if was_running else 0.8
        project.run("selfie-localizer", stage, "--workers", "2")
        assert read_results(project.root, stage) == expected
        if killed == KILLS:
            break
    assert killed == KILLS
    left = [path.name for path in (project.root / "build").iterdir() if path.name.startswith(".")]
    assert left == [], "a killed run's unfinished files must go with the next run"
