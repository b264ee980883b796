"""Fits a localizer: what the train stage and every trial of the tune stage call."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import tensorflow as tf

from selfie_localizer import dependencies, files, params
from selfie_localizer.dataset.store import Store
from selfie_localizer.errors import UserError
from selfie_localizer.network import localizer
from selfie_localizer.training import loop
from selfie_localizer.training.hardware import Hardware, choose
from selfie_localizer.training.loop import FitError, FitResult, Indices, OnEpoch, Training


class Fitter:
    """Fits the localizer of one backbone, again and again.

    Where the settings differ in `loop.PER_RUN` alone, the network and its traced graph are used again, since
    making them takes longer than a short training.

    Args:
        backbone: Key of the backbone in `settings.backbones`.
        store: The images.
    """

    def __init__(self, backbone: str, store: Store) -> None:
        self.backbone, self.store = backbone, store
        self._training: Training | None = None
        self._made_for: object = None

    def fit(
        self,
        settings: params.Params,
        train_indices: Indices,
        validation_indices: Indices,
        *,
        hardware: Hardware | None = None,
        state: Path | None = None,
        on_epoch: OnEpoch | None = None,
        label: str | None = None,
    ) -> FitResult:
        """Builds the localizer and fits it.

        Args:
            settings: All parameters; `seed` decides everything random.
            train_indices: As for `fit`, as all that follow.
            hardware: What to run on; None looks at the machine.

        Raises:
            UserError: As `fit` and `localizer.build`, or a split has no labelled face.
        """
        label = label or f"fit {self.backbone}"
        check_splits(train_indices, validation_indices)
        hardware = hardware or choose(settings.train, len(train_indices), self.store.size, label)
        wanted = settings.model_dump(exclude={"train": loop.PER_RUN}), hardware.policy, hardware.batch_size
        if self._training and self._made_for == wanted and not state and not settings.train.frozen_epochs:
            self._training.begin_anew(settings, label)
        else:
            row = settings.backbones[self.backbone]
            pretrained = row.weights != "none"
            # Layers of an earlier training would shift the names and random numbers of this one's, and stay in memory.
            self._training = None
            keras.backend.clear_session()
            keras.utils.set_random_seed(settings.seed)
            # That each trial of a search has a graph of its own is no mistake, which TensorFlow would warn of.
            tf.get_logger().setLevel("ERROR")
            # A rerun must come to the same weights; without this the order of some sums hangs on the threads.
            tf.config.experimental.enable_op_determinism()
            with _policy(hardware.policy), hardware.strategy.scope():
                model = localizer.build(row, settings.network, self.store.size)
            self._training = Training(model, self.store, settings, hardware.batch_size, pretrained, state, label)
            self._made_for = wanted
        return _run(self._training, train_indices, validation_indices, on_epoch)


def fit(
    model: keras.Model,
    store: Store,
    train_indices: Indices,
    validation_indices: Indices,
    settings: params.Params,
    *,
    batch_size: int,
    pretrained: bool = False,
    state: Path | None = None,
    on_epoch: OnEpoch | None = None,
    label: str = "fit",
) -> FitResult:
    """Fits a localizer and returns its best weights by validation IoU.

    Without a time cap, on the same CPU and threads, the weights depend on the arguments alone, however often the
    process was killed and started again with the same `state`. A time cap ends the training within an epoch.

    Args:
        model: As `localizer.build` returns it, built under the strategy to train under; its weights change.
        store: The images.
        train_indices: Positions of the labelled images to train on.
        validation_indices: Positions of the labelled images to judge on.
        settings: `seed`, `augment` and `train` are used.
        batch_size: Images in a step, over all devices.
        pretrained: Whether the backbone has weights worth freezing for `train.frozen_epochs`.
        state: A folder of this very training's own, to which each epoch is saved and from which it goes on; None
            saves nothing.
        on_epoch: Is called after each epoch with its number from 1 and its row of the history, also for epochs of
            an earlier process; may raise to end the training.
        label: What the lines that are shown begin with.

    Raises:
        FitError: The loss is no longer a number, or memory ran out.
        UserError: The disk is full.
        KeyboardInterrupt: Ctrl-C; what is there is kept in `state`.
    """
    training = Training(model, store, settings, batch_size, pretrained, state, label)
    return _run(training, train_indices, validation_indices, on_epoch)


def _run(
    training: Training, train_indices: Indices, validation_indices: Indices, on_epoch: OnEpoch | None
) -> FitResult:
    try:
        return training.run(train_indices, validation_indices, on_epoch)
    except tf.errors.ResourceExhaustedError:
        raise FitError(
            f"{training.label}: out of memory with batches of {training.batch_size}; "
            "set train.batch_size to less than that"
        ) from None
    except KeyboardInterrupt:
        training.tell_interrupted()
        raise


def check_splits(train_indices: Indices, validation_indices: Indices) -> None:
    """Makes sure that there is something to train on and to judge by.

    Raises:
        UserError: A split has no labelled face.
    """
    for name, indices in (("train", train_indices), ("validation", validation_indices)):
        if len(indices) == 0:
            raise UserError(
                f"the {name} split has no labelled face; add images to data/images, or see reports/label.json "
                "and reports/validation.json for where they went"
            )


def code(stage: str) -> str:
    """Returns a digest of the code that decides what `train` or `tune` comes to."""
    return files.digest(dependencies.code_digest(stage), keras.__version__, tf.__version__)


@contextmanager
def _policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
