"""Training learns, judges and keeps the average, stops when told to, and goes on after any interruption."""

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from selfie_localizer import boxes, params
from selfie_localizer.dataset.store import Store
from selfie_localizer.errors import UserError
from selfie_localizer.network import backbones, localizer
from selfie_localizer.training import fit as fitting
from selfie_localizer.training import loop
from selfie_localizer.training.fit import Fitter
from selfie_localizer.training.schedule import momentum
from tests.conftest import PROJECT
from tests.training.conftest import TINY, get_weights, make_settings, make_store


class KilledError(BaseException):
    """Ends a training in the middle, as a kill would."""


def assert_equal(first: Any, second: Any) -> None:
    assert (first.epoch, first.val_iou) == (second.epoch, second.val_iou)
    for one, other in zip(get_weights(first.model), get_weights(second.model), strict=True):
        np.testing.assert_array_equal(one, other)
    for mine, theirs in zip(first.history, second.history, strict=True):
        assert {**mine, "images_per_second": 0} == {**theirs, "images_per_second": 0}


@pytest.fixture(scope="module")
def uninterrupted(store: Store) -> Any:
    return Fitter("tiny", store).fit(make_settings(), store.indices("train"), store.indices("validation"))


def test_it_learns(fit: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    result = fit(epochs=12)
    assert result.val_iou > result.history[0]["val_iou"] + 0.1
    assert result.history[-1]["loss"] < 0.8 * result.history[0]["loss"]
    lines = [line for line in capsys.readouterr().err.splitlines() if ": epoch " in line]
    assert len(lines) == 12
    for part in ("epoch 2/12", "loss", "IoU", "validation IoU", "learning rate", "images/s", "left"):
        assert part in lines[1]


def test_the_result_has_the_weights_that_were_judged_best(uninterrupted: Any, store: Store, tmp_path: Path) -> None:
    loop.save_model(uninterrupted.model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rows = store.indices("validation")
    predicted = loaded.predict(store.images[rows], verbose=0)[:, :4]
    assert boxes.iou(predicted, store.boxes[rows]).mean() == pytest.approx(uninterrupted.val_iou, abs=1e-5)
    assert uninterrupted.val_iou == max(row["val_iou"] for row in uninterrupted.history)
    assert not hasattr(loaded, "optimizer") or loaded.optimizer is None


def test_what_is_judged_is_the_moving_average_of_weights_and_statistics(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[list[np.ndarray]] = []
    original = loop.Training.after_step

    def record(training: loop.Training) -> None:
        steps.append(get_weights(training.model))
        original(training)

    monkeypatch.setattr(loop.Training, "after_step", record)
    result = fit(epochs=1, ema=0.8)
    assert len(steps) == 4
    names = [variable.path for variable in result.model.variables]
    average = steps[0]
    for number, weights in enumerate(steps, start=1):
        share = momentum(0.8, number)
        start = get_first_weights() if number == 1 else average
        average = [share * old + (1 - share) * new for old, new in zip(start, weights, strict=True)]
    for name, mine, theirs in zip(names, average, get_weights(result.model), strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-4, atol=1e-6, err_msg=name)
    assert any("moving_variance" in name for name in names)


def get_first_weights() -> list[np.ndarray]:
    keras.utils.set_random_seed(0)
    return get_weights(localizer.build(TINY, params.Network(head_width=16), 32))


def test_without_ema_the_last_weights_themselves_are_judged(fit: Callable[..., Any]) -> None:
    models = []
    original = loop.Training.after_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Training, "after_step", lambda t: (models.append(t.model), original(t)))
        result = fit(epochs=1, ema=0.0)
    for one, other in zip(get_weights(result.model), get_weights(models[-1]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_gives_another_training(uninterrupted: Any, store: Store) -> None:
    settings = make_settings(epochs=1).model_copy(update={"seed": 1})
    result = Fitter("tiny", store).fit(settings, store.indices("train"), store.indices("validation"))
    assert result.history[0]["loss"] != uninterrupted.history[0]["loss"]


def test_ended_at_any_moment_and_repeated_it_ends_with_the_same_weights(
    fit: Callable[..., Any], uninterrupted: Any, tmp_path: Path
) -> None:
    assert uninterrupted.epoch == 3, "the test needs an epoch 3 that is the best"
    after_step, save_best = loop.Training.after_step, loop.Checkpoint.save_best

    def end_in_an_epoch(training: loop.Training) -> None:
        after_step(training)
        if training.step == 6:
            raise KilledError

    def end_before_logging(epoch: int, row: Any) -> None:
        if epoch == 2:
            raise KilledError

    def end_between_best_and_last(checkpoint: loop.Checkpoint, arrays: Any, epoch: int) -> None:
        save_best(checkpoint, arrays, epoch)
        raise KilledError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(loop.Training, "after_step", end_in_an_epoch)
        fit(tmp_path)
    with pytest.raises(KilledError):
        fit(tmp_path, end_before_logging)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(loop.Checkpoint, "save_best", end_between_best_and_last)
        fit(tmp_path)
    seen: list[int] = []
    assert_equal(fit(tmp_path, lambda epoch, row: seen.append(epoch)), uninterrupted)
    # Epochs of the earlier processes are told again, since they may have died before logging them.
    assert seen == [1, 2, 3]


SCRIPT = """
import os, signal, sys
from pathlib import Path
from selfie_localizer.dataset.store import open_store
from selfie_localizer.training import loop
from selfie_localizer.training.fit import Fitter
from tests.training.conftest import make_settings

folder, state = map(Path, sys.argv[1:3])
at, end = map(int, sys.argv[3:])
original = loop.Training.after_step

def step(training):
    original(training)
    if training.step == at:
        os.kill(os.getpid(), end)

loop.Training.after_step = step
store = open_store(folder)
Fitter("tiny", store).fit(make_settings(), store.indices("train"), store.indices("validation"), state=state)
"""


def run_script(script: str, store: Store, *arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, str(Path(store.images.filename).parent), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)


def test_killed_then_interrupted_then_repeated_it_ends_with_the_same_weights(
    fit: Callable[..., Any], uninterrupted: Any, store: Store, tmp_path: Path
) -> None:
    done = run_script(SCRIPT, store, tmp_path, 6, int(signal.SIGKILL))
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = run_script(SCRIPT, store, tmp_path, 10, int(signal.SIGINT))
    # As Python ends on an interrupt that nobody catches; `cli.main` makes it 130.
    assert done.returncode == -signal.SIGINT, done.stderr
    assert "going on after epoch 1 of 3" in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "interrupted" in line]
    assert "interrupted in epoch 3; the best so far (epoch 2" in line
    assert str(tmp_path / "best.keras") in line
    assert keras.models.load_model(tmp_path / "best.keras").predict(store.images[:2], verbose=0).shape == (2, 5)
    assert_equal(fit(tmp_path), uninterrupted)


def test_a_finished_training_is_not_repeated(
    fit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fit(tmp_path, epochs=1)
    monkeypatch.setattr(loop.Training, "_one_epoch", None)
    assert_equal(fit(tmp_path, epochs=1), first)
    assert "finished before" in capsys.readouterr().err


def test_a_damaged_checkpoint_begins_anew(
    fit: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "last.npz").write_bytes(b"PK half a file")
    assert len(fit(tmp_path, epochs=1).history) == 1
    assert "damaged" in capsys.readouterr().err


def test_it_stops_when_the_validation_iou_no_longer_rises(fit: Callable[..., Any]) -> None:
    result = fit(epochs=20, patience=2, min_change=1.0)
    assert len(result.history) == 3
    assert result.epoch == 1


def test_the_time_cap_ends_it_with_the_learning_rate_near_zero(
    fit: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock of its own, so that a busy machine changes nothing.
    ticks = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks) * 0.05))
    result = fit(epochs=10_000, max_minutes=0.1)
    assert 1 < len(result.history) < 1000
    assert result.minutes == pytest.approx(0.1, abs=0.05)
    assert result.history[-1]["learning_rate"] < 1e-4
    assert "the time cap of 0.1 min is reached" in capsys.readouterr().err


def test_a_time_cap_shorter_than_an_epoch_still_gives_a_model(fit: Callable[..., Any]) -> None:
    result = fit(epochs=5, max_minutes=1e-4)
    assert len(result.history) == 1
    assert np.isfinite(result.val_iou)


def test_a_loss_that_is_no_number_is_one_line(fit: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"in epoch 1; set train.learning_rate to less than 1") as caught:
        explode(fit, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.npz"))


def explode(fit: Callable[..., Any], state: Path) -> None:
    original = loop.Training.before_step

    def poison(training: loop.Training) -> None:
        original(training)
        if training.step == 2:
            training.model.get_layer("head_distances").bias.assign([np.inf] * 4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Training, "before_step", poison)
        fit(state, learning_rate=1.0)


def test_a_pruned_trial_ends_at_once(fit: Callable[..., Any]) -> None:
    epochs = []

    def prune(epoch: int, row: Any) -> None:
        epochs.append(epoch)
        raise KilledError

    with pytest.raises(KilledError):
        fit(on_epoch=prune)
    assert epochs == [1]


def test_one_image_in_each_split_is_enough(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", train=1, validation=1, test=1)
    rows = store.indices("train"), store.indices("validation")
    assert np.isfinite(Fitter("tiny", store).fit(make_settings(epochs=2), *rows).val_iou)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_labelled_faces_is_one_line(split: str, store: Store) -> None:
    rows = {"train": store.indices("train"), "validation": store.indices("validation"), split: np.array([], np.int64)}
    with pytest.raises(UserError, match=f"the {split} split has no labelled face") as caught:
        Fitter("tiny", store).fit(make_settings(), rows["train"], rows["validation"])
    assert "\n" not in str(caught.value)


def test_a_pretrained_backbone_stays_as_it_is_while_frozen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(model: keras.Model, part: str) -> list[np.ndarray]:
        return [v.numpy() for v in model.variables if v.path.split("/")[0].startswith("block") == (part == "backbone")]

    seen: list[tuple[list[np.ndarray], list[np.ndarray]]] = []
    keep = loop.Training._keep

    def record(training: loop.Training, better: bool) -> None:
        seen.append((weights(training.model, "backbone"), weights(training.model, "head")))
        keep(training, better)

    monkeypatch.setattr(loop.Training, "_keep", record)
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    settings = make_settings(frozen_epochs=2)
    model = localizer.build(TINY, settings.network, 32)
    first = weights(model, "backbone"), weights(model, "head")
    fitting.fit(
        model, store, store.indices("train"), store.indices("validation"), settings, batch_size=16, pretrained=True
    )
    assert first[0]
    for old, new in zip(first[0], seen[1][0], strict=True):
        np.testing.assert_array_equal(old, new)
    assert not np.array_equal(first[1][0], seen[0][1][0])
    assert not np.array_equal(first[0][0], seen[2][0][0])


def test_blocks_up_to_the_frozen_stride_keep_pretrained_weights_to_the_end(store: Store) -> None:
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    settings = make_settings(epochs=1, frozen_stride=8)
    model = localizer.build(TINY, settings.network, 32)

    def changed(pretrained: bool) -> set[str]:
        before = {v.path: v.numpy() for v in model.variables}
        rows = store.indices("train"), store.indices("validation")
        fitting.fit(model, store, *rows, settings, batch_size=16, pretrained=pretrained)
        return {v.path.split("_")[0] for v in model.variables if not np.array_equal(v, before[v.path])}

    # The maps of block3 have a stride of 4 before its pooling, those of block4 one of 8.
    assert changed(pretrained=True) & {f"block{n}" for n in range(1, 6)} == {"block5"}
    assert "block1" in changed(pretrained=False)


def test_a_network_that_is_used_again_learns_what_a_new_one_would(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = store.indices("train"), store.indices("validation")
    alone = [Fitter("tiny", store).fit(make_settings(epochs=2, learning_rate=rate), *rows) for rate in (5e-3, 1e-3)]
    weights = [get_weights(result.model) for result in alone]
    built: list[keras.Model] = []
    build = localizer.build
    monkeypatch.setattr(localizer, "build", lambda *given: built.append(build(*given)) or built[-1])
    fitter = Fitter("tiny", store)
    for rate, fresh, expected in zip((5e-3, 1e-3, 5e-3), [*alone, alone[0]], [*weights, weights[0]], strict=True):
        again = fitter.fit(make_settings(epochs=2, learning_rate=rate), *rows)
        assert again.val_iou == fresh.val_iou
        np.testing.assert_array_equal(again.val_ious, fresh.val_ious)
        for one, other in zip(get_weights(again.model), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(built) == 1
    fitter.fit(make_settings(epochs=1, loss="l1"), *rows)
    assert len(built) == 2


MIRRORED = """
import json, sys
import tensorflow as tf
from pathlib import Path
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from selfie_localizer.dataset.store import open_store
from selfie_localizer.training.fit import Fitter
from selfie_localizer.training.hardware import Hardware
from tests.training.conftest import make_settings
store = open_store(Path(sys.argv[1]))
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
hardware = Hardware("float32", 16, 2, strategy)
class Stop(Exception): pass
def stop(epoch, row): raise Stop
def run(**k):
    rows = store.indices("train"), store.indices("validation")
    return Fitter("tiny", store).fit(make_settings(epochs=2, learning_rate=1e-3), *rows, hardware=hardware, **k)
try: run(state=Path(sys.argv[2]), on_epoch=stop)
except Stop: pass
print(json.dumps(run(state=Path(sys.argv[2])).history))
"""


def test_several_devices_train_together_and_resume(fit: Callable[..., Any], store: Store, tmp_path: Path) -> None:
    done = run_script(MIRRORED, store, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    alone = fit(epochs=2, learning_rate=1e-3, precision="float32").history
    # The mean over the devices' halves of a batch is that of the batch, but for BatchNormalization's statistics.
    for mirrored, one in zip(json.loads(done.stdout.splitlines()[-1]), alone, strict=True):
        assert mirrored["loss"] == pytest.approx(one["loss"], rel=0.05)
        assert mirrored["val_iou"] == pytest.approx(one["val_iou"], abs=0.05)


def test_training_begins_with_weights_and_normalisation_of_a_preset_folder(store: Store, tmp_path: Path) -> None:
    """What `weights: imagenet` fetches is such a folder; here one is made."""
    import keras_hub

    keras.utils.set_random_seed(1)
    original = backbones.load(TINY).backbone
    original.save_to_preset(str(tmp_path))
    converter = keras_hub.layers.VGGImageConverter(image_size=(32, 32), scale=1 / 64, offset=-2.0)
    converter.save_to_preset(str(tmp_path))

    def fit_from_preset(frozen_epochs: int) -> Any:
        settings = make_settings(epochs=1, frozen_epochs=frozen_epochs)
        table = {"tiny": params.Backbone(architecture="VGGBackbone", weights=str(tmp_path))}
        settings = settings.model_copy(update={"backbones": table})
        return Fitter("tiny", store).fit(settings, store.indices("train")[:16], store.indices("validation")).model

    first = get_weights(original)
    frozen = fit_from_preset(1)
    for mine, given in zip(get_weights(frozen.get_layer(localizer.BACKBONE)), first, strict=True):
        np.testing.assert_array_equal(mine, given)
    assert (frozen.get_layer("normalise").scale, frozen.get_layer("normalise").offset) == (1 / 64, -2.0)
    trained = get_weights(fit_from_preset(0).get_layer(localizer.BACKBONE))
    # One step of Adam moves a weight by about the learning rate, 0.005.
    moved = [np.abs(mine - given).max() for mine, given in zip(trained, first, strict=True)]
    assert 0 < max(moved) < 0.01
