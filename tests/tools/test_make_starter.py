"""Starter weights are made in parts that begin with one another, whatever stops the process in between."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tools.starter_training import Phase, smaller, train

from selfie_localizer import params
from selfie_localizer.dataset.store import Store
from selfie_localizer.photos.decode import resize
from selfie_localizer.training import loop
from tests.training import conftest
from tests.training.conftest import make_settings, make_store

ROOT = Path(__file__).parents[2]
TOOL = [sys.executable, str(ROOT / "tools/make_starter.py")]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(conftest, "SIZE", 64)
    return make_store(tmp_path / "blobs", train=32, validation=8, test=0)


def test_a_phase_is_its_size_its_epochs_and_its_rate() -> None:
    assert Phase.parse("96:6") == Phase(96, 6, 1e-3)
    assert Phase.parse("128:4:5e-4") == Phase(128, 4, 5e-4)


def test_a_smaller_store_has_the_same_boxes_on_the_images_as_the_project_resizes_them(
    store: Store, tmp_path: Path
) -> None:
    half = smaller(store, 32, tmp_path)
    assert half.images.shape == (40, 32, 32, 3)
    np.testing.assert_array_equal(half.images[7], resize(np.asarray(store.images[7]), 32))
    np.testing.assert_array_equal(half.boxes, store.boxes)
    made = (tmp_path / "store-32/images.npy").stat().st_mtime_ns
    assert smaller(store, 32, tmp_path).digest == half.digest
    assert (tmp_path / "store-32/images.npy").stat().st_mtime_ns == made, "it is kept"
    assert smaller(store, 64, tmp_path) is store


def test_each_part_begins_with_what_the_one_before_left_and_the_backbone_is_the_same_under_every_head(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[dict[str, np.ndarray]] = []
    run = loop.Training.run

    def record(training: loop.Training, *args: object) -> loop.FitResult:
        first.append({variable.path: variable.numpy() for variable in training.model.variables})
        return run(training, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.Training, "run", record)
    space = params.Tune(space={"network.head_width": params.Search(choices=(8, 16))})
    settings = make_settings().model_copy(update={"tune": space})
    work = tmp_path / "work"
    trained = train(settings, store, [Phase(32, 1), Phase(64, 1)], 1, work)
    assert list(trained.models) == list(trained.iou) == [16, 8]

    main, narrow = ({v.path: v.numpy() for v in trained.models[width].variables} for width in (16, 8))
    backbone = [path for path in main if path.startswith("block")]
    assert backbone
    for path in backbone:
        np.testing.assert_array_equal(main[path], narrow[path], err_msg=path)
        np.testing.assert_array_equal(main[path], first[2][path], err_msg=path)
        assert not np.array_equal(main[path], first[1][path]), "the second phase moved it"
    assert not np.array_equal(narrow["vectorizer_conv1/kernel"], first[2]["vectorizer_conv1/kernel"])

    # Finished parts are taken as they were, also into a phase that is new: here the first two are the phases above.
    again = train(settings, store, [Phase(32, 1), Phase(64, 1), Phase(64, 1)], 0, work)
    for path, values in main.items():
        # The score was calibrated after the training.
        if not path.startswith("head_score"):
            np.testing.assert_array_equal(first[-1][path], values, err_msg=path)
    assert list(again.models) == [16]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "7"], "seeds below 1000 are left to samples and tests"),
        (["--phases", "96"], "each is SIZE:EPOCHS or SIZE:EPOCHS:RATE"),
        (["--phases", "96:1", "160:1"], "the images are rendered at 128 pixels; raise --size"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_rendered(
    options: list[str], message: str, tmp_path: Path
) -> None:
    done = subprocess.run([*TOOL, *options, "--work", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_killed_at_any_point_the_tool_comes_to_the_same_bytes(tmp_path: Path) -> None:
    def command(name: str) -> list[str]:
        sizes = ["--count", "160", "--scenes", "32", "--size", "64", "--phases", "32:2", "64:1", "--head-epochs", "1"]
        return [*TOOL, *sizes, "--work", str(tmp_path / name), "--out", str(tmp_path / name / "out")]

    def kill(seen: str) -> None:
        """Kills the tool, its workers too, once a line or a file that is there tells how far it is."""
        log = tmp_path / "log"
        with log.open("w") as stream:
            process = subprocess.Popen(command("killed"), cwd=ROOT, stderr=stream, start_new_session=True)
        while seen not in log.read_text() and not list((tmp_path / "killed").glob(seen)):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    subprocess.run(command("whole"), cwd=ROOT, check=True)
    for seen in ("rendered-*/*.npz", "phase 1 of 2: epoch 1/2", "phase 2 of 2: epoch 1/1", "width 64: epoch 1/1"):
        kill(seen)
    subprocess.run(command("killed"), cwd=ROOT, check=True)
    whole, killed = tmp_path / "whole/out", tmp_path / "killed/out"
    assert (whole / "resnet18.npz").read_bytes() == (killed / "resnet18.npz").read_bytes()
    first, second = (json.loads((folder / "resnet18.json").read_text()) for folder in (whole, killed))
    for card in (first, second):
        assert card.pop("rendering_minutes_of_one_core") >= 0
        assert card.pop("training_minutes") > 0
    assert first == second
    assert first["head_widths"] == [128, 64, 256]
