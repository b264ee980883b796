"""A stage killed at any moment and repeated ends with the bytes of one that ran through.

`KILLS=20 pytest tests/pipeline/test_kill.py` kills more often than the suite does.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project

KILLS = int(os.environ.get("KILLS", "3"))
RESULTS = {
    "annotate": ["build/annotations.csv", "build/images.csv", "reports/annotate.json"],
    "prepare": ["build/store/images.npy", "build/store/index.csv", "build/store/store.json", "reports/prepare.json"],
}


def read_results(root: Path, stage: str) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in RESULTS[stage]}


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
    project.run("selfie-localizer", "render", "--count", "200", "--seed", "3", "--out", "data")
    project.run("selfie-localizer", "annotate")
    if stage == "prepare":
        project.run("selfie-localizer", "validate")
    begin = time.monotonic()
    project.run("rm", "-rf", ".state", *RESULTS[stage])
    project.run("selfie-localizer", stage, "--workers", "2")
    seconds = time.monotonic() - begin
    expected = read_results(project.root, stage)

    rng = random.Random(1)
    killed = 0
    for _ in range(KILLS):
        project.run("rm", "-rf", ".state", *RESULTS[stage])
        killed += run_and_kill(project, stage, rng.uniform(0.2, 1.0) * seconds)
        project.run("selfie-localizer", stage, "--workers", "2")
        assert read_results(project.root, stage) == expected
    assert killed > 0
    left = [path.name for path in (project.root / "build").iterdir() if path.name.startswith(".")]
    assert left == [], "a killed run's unfinished files must go with the next run"
