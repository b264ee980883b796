"""The loop of a training: epochs, moving average, validation, early stopping, and going on after an interruption."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from selfie_localizer import boxes, files, params
from selfie_localizer.dataset import feed
from selfie_localizer.dataset.store import Store
from selfie_localizer.errors import UserError
from selfie_localizer.network import localizer
from selfie_localizer.network.losses import LocalizerLoss
from selfie_localizer.network.metrics import MeanIoU
from selfie_localizer.progress import Progress, duration, say
from selfie_localizer.training.checkpoint import Checkpoint, saving
from selfie_localizer.training.schedule import Schedule, momentum

Indices = NDArray[np.int64]
OnEpoch = Callable[[int, Mapping[str, float]], None]
# Folder of the checkpoints that `train.keep_every_epoch` keeps.
EPOCHS = "checkpoints"
# Reading the loss makes a GPU wait.
STEPS_BETWEEN_LOOKS = 20
# What `begin_anew` may change: it is no part of the graph that is traced.
PER_RUN = {
    "epochs",
    "max_minutes",
    "patience",
    "learning_rate",
    "schedule",
    "warmup_epochs",
    "decay_steps",
    "decay_rate",
}


class FitError(UserError):
    """A training came to nothing for reasons that lie in its parameters; with others it may come to something."""


@dataclass(frozen=True)
class FitResult:
    """What a training came to.

    Attributes:
        model: With the weights that were best on the validation split, averaged where `train.ema` asks for it.
        val_iou: Its mean IoU on the validation split.
        epoch: The epoch (from 1) that it is of.
        history: For each epoch: `epoch`, `loss`, `iou`, `val_loss`, `val_iou`, `learning_rate`, `images_per_second`.
        minutes: Time of fitting, that of interrupted processes included.
        val_ious: IoU of each image of the validation split, whose mean is `val_iou`.
    """

    model: keras.Model
    val_iou: float
    epoch: int
    history: list[dict[str, float]]
    minutes: float
    val_ious: NDArray[np.float64]


class Training:
    """A training under way; `epoch`, `step`, `history` and `spent` are what has been done."""

    def __init__(
        self,
        model: keras.Model,
        store: Store,
        settings: params.Params,
        batch_size: int,
        pretrained: bool,
        state: Path | None,
        label: str,
    ) -> None:
        self.model, self.store, self.settings, self.label = model, store, settings, label
        self.batch_size, self.train = batch_size, settings.train
        self.frozen_epochs = settings.train.frozen_epochs if pretrained else 0
        self.frozen_stride = settings.train.frozen_stride if pretrained else 0
        self.checkpoint = Checkpoint(state) if state else None
        with model.distribute_strategy.scope():
            # A model of its own for the average needs no swapping, and is saved without an optimizer.
            self.averaged = keras.models.clone_model(model)
            # Shares all its layers with the model; only what the loss sees is more.
            self._fitted = localizer.with_cells(model) if self._dense() else model
        self._blend = tf.function(self._blend_eagerly, jit_compile=False)
        self._first = [] if state else [variable.numpy() for variable in model.variables]
        self._begin()

    def _begin(self) -> None:
        self.epoch = self.step = self.best_epoch = 0
        self.best: list[NDArray[Any]] = []
        self.best_ious: NDArray[np.float64] | None = None
        self.history: list[dict[str, float]] = []
        self.earlier = 0.0
        self.start = time.monotonic()
        self._validation_seconds = 0.0

    def begin_anew(self, settings: params.Params, label: str) -> None:
        """Takes the model back to its first weights, to be run once more; only for a training without a state.

        Args:
            settings: As those before, up to what `PER_RUN` lists.
            label: What lines begin with from now on.
        """
        for variables in (self.model.variables, self.averaged.variables):
            for variable, value in zip(variables, self._first, strict=True):
                variable.assign(value)
        self.settings, self.train, self.label = settings, settings.train, label
        self._begin()

    def run(self, train_indices: Indices, validation_indices: Indices, on_epoch: OnEpoch | None) -> FitResult:
        images = len(train_indices)
        self.schedule = Schedule(self.train, -(-images // self.batch_size))
        self._resume()
        for row in self.history:
            if on_epoch:
                on_epoch(int(row["epoch"]), row)
        if self._end():
            say(f"{self.label}: this very training was finished before; its result is taken from {self._folder()}")
        begin = self._progress()
        with Progress(self.label, self.train.epochs * images, done=self.epoch * images) as progress:
            while not self._end():
                row = self._one_epoch(train_indices, validation_indices, progress)
                better = not self.best or row["val_iou"] >= self._best_iou() + self.train.min_change
                self.history.append(row)
                self.epoch += 1
                self._keep(better)
                self._tell(row, better, begin)
                if on_epoch:
                    on_epoch(self.epoch, row)
        for variable, value in zip(self.averaged.variables, self.best, strict=True):
            variable.assign(value)
        if self.best_ious is None:
            self._judge(validation_indices)
            self.best_ious = self._ious
        minutes = self.spent / 60
        return FitResult(self.averaged, self._best_iou(), self.best_epoch, self.history, minutes, self.best_ious)

    @property
    def spent(self) -> float:
        """Seconds of fitting so far, those of earlier processes included."""
        return self.earlier + time.monotonic() - self.start

    def time_share(self) -> float:
        """How much of the time cap is used up by now, leaving time for one more validation; 0 without a cap."""
        if not self.train.max_minutes:
            return 0.0
        return self.spent / max(60 * self.train.max_minutes - self._validation_seconds, 1e-9)

    def _progress(self) -> float:
        return self.schedule.progress(self.step, self.time_share())

    def _folder(self) -> Path | None:
        return self.checkpoint.folder if self.checkpoint else None

    def _best_iou(self) -> float:
        return self.history[self.best_epoch - 1]["val_iou"]

    def _end(self) -> str:
        """Returns why the training is over, or an empty text."""
        if self.epoch >= self.train.epochs:
            return "all epochs are done"
        if self.train.patience and self.epoch - self.best_epoch >= self.train.patience:
            return f"no better validation IoU for {self.train.patience} epochs"
        # A result is owed, so that one epoch is begun whatever the cap.
        if self.epoch and self.time_share() >= 1:
            return f"the time cap of {self.train.max_minutes:g} min is reached"
        return ""

    def _one_epoch(self, train_indices: Indices, validation_indices: Indices, progress: Progress) -> dict[str, float]:
        if self.epoch == self.frozen_epochs > 0:
            self._compile(frozen=False)
        batches = feed.training_feed(
            self.store, train_indices, self.settings.augment, self.batch_size, self.settings.seed, self.epoch
        )
        watch = Watch(self, progress, len(train_indices))
        begin = time.monotonic()
        logs = self._fitted.fit(batches, shuffle=False, verbose=0, callbacks=[watch]).history
        seconds = time.monotonic() - begin
        begin = time.monotonic()
        if not self.train.ema:
            self._blend(tf.constant(0.0))
        val_loss, val_iou = self._judge(validation_indices)
        self._validation_seconds = time.monotonic() - begin
        self.check_loss(val_loss)
        return {
            "epoch": self.epoch + 1,
            "loss": float(logs["loss"][-1]),
            "iou": float(logs["iou"][-1]),
            "val_loss": val_loss,
            "val_iou": val_iou,
            "learning_rate": self.schedule.rate(self.step - 1, self.time_share()),
            "images_per_second": watch.images / max(seconds, 1e-9),
        }

    def _judge(self, indices: Indices) -> tuple[float, float]:
        """Returns mean loss and mean IoU of the averaged weights on labelled images."""
        # The one function that calibration and pictures ask as well: tracing it takes longer than such a split.
        parts = np.split(indices, range(self.batch_size, len(indices), self.batch_size))
        # Several devices would each answer the whole batch.
        answers = np.concatenate(
            [self.averaged.predict_on_batch(self.store.images[part])[: len(part)] for part in parts]
        )
        truth = self.store.boxes[indices]
        self._ious = boxes.iou(answers[:, :4].astype(np.float64), truth.astype(np.float64))
        return float(self._loss()(truth, answers)), float(self._ious.mean())

    def before_step(self) -> None:
        self._fitted.optimizer.learning_rate = self.schedule.rate(self.step, self.time_share())

    def after_step(self) -> None:
        self.step += 1
        if self.train.ema:
            self._blend(tf.constant(momentum(self.train.ema, self.step), tf.float32))

    def check_loss(self, loss: float) -> None:
        if not np.isfinite(loss):
            raise FitError(
                f"{self.label}: the loss is no longer a number in epoch {self.epoch + 1}; "
                f"set train.learning_rate to less than {self.train.learning_rate:g}"
            )

    def _blend_eagerly(self, weight: tf.Tensor) -> None:
        # The statistics of BatchNormalization are averaged with the weights: the current ones would not suit them.
        for average, current in zip(self.averaged.variables, self.model.variables, strict=True):
            if average.dtype == "float32":
                average.assign(current + weight * (average - current))
            else:
                average.assign(current)

    def _loss(self) -> LocalizerLoss:
        train = self.train
        return LocalizerLoss(train.loss, dense_boxes=train.dense_boxes, dense_attention=train.dense_attention)

    def _dense(self) -> bool:
        return bool(self.train.dense_boxes or self.train.dense_attention)

    def _compile(self, frozen: bool) -> None:
        """Begins with a new optimizer: moments of a frozen backbone would be zeros that Adam takes for measured."""
        if self._fitted.compiled and not frozen and not self.frozen_epochs:
            for variable in self._fitted.optimizer.variables:
                variable.assign(tf.zeros_like(variable))
            return
        localizer.freeze(self.model, frozen, self.frozen_stride)
        with self.model.distribute_strategy.scope():
            if self.train.optimizer == "adamw":
                optimizer = keras.optimizers.AdamW(weight_decay=self.train.weight_decay)
                # Biases and the scales of norms, as in Loshchilov and Hutter's and later recipes, are not decayed.
                plain = [variable for variable in self._fitted.trainable_variables if len(variable.shape) < 2]
                optimizer.exclude_from_weight_decay(var_list=plain)
            else:
                optimizer = keras.optimizers.Adam()
            self._fitted.compile(optimizer, self._loss(), metrics=[MeanIoU()], jit_compile=False)
            optimizer.build(self._fitted.trainable_variables)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.averaged.variables, *self._fitted.optimizer.variables]

    def _resume(self) -> None:
        found = self.checkpoint.load() if self.checkpoint else None
        epoch = found[2]["epoch"] if found else 0
        # As for the last epoch, whose optimizer the checkpoint holds.
        self._compile(frozen=max(epoch - 1, 0) < self.frozen_epochs)
        if not found:
            self._blend(tf.constant(0.0))
            return
        arrays, self.best, progress = found
        # A finished training is kept without what only going on needs.
        for variable, value in zip(self._variables() if arrays else [], arrays, strict=True):
            variable.assign(value)
        self.epoch, self.step, self.earlier = epoch, progress["step"], progress["spent"]
        self.best_epoch, self.history = progress["best_epoch"], progress["history"]
        say(f"{self.label}: going on after epoch {epoch} of {self.train.epochs}")
        self.start = time.monotonic()

    def _keep(self, better: bool) -> None:
        """Makes the epoch the one that an interrupted process goes on from."""
        if better:
            self.best = [variable.numpy() for variable in self.averaged.variables]
            self.best_epoch, self.best_ious = self.epoch, self._ious
        if self.checkpoint is None:
            return
        if better:
            self.checkpoint.save_best(self.best, self.epoch)
        if self.train.keep_every_epoch:
            save_model(self.averaged, self.checkpoint.folder / EPOCHS / f"epoch-{self.epoch:03d}.keras")
        progress = {"epoch": self.epoch, "step": self.step, "best_epoch": self.best_epoch, "history": self.history}
        # Weights and moments of a finished training are of no more use and several times the size of the best.
        variables = [] if self._end() else self._variables()
        self.checkpoint.save((variable.numpy() for variable in variables), {**progress, "spent": self.spent})
        self.checkpoint.prune(self.best_epoch)

    def _tell(self, row: Mapping[str, float], better: bool, begin: float) -> None:
        done = self._progress()
        left = (time.monotonic() - self.start) * (1 - done) / max(done - begin, 1e-9)
        say(
            f"{self.label}: epoch {self.epoch}/{self.train.epochs}: loss {row['loss']:.4f}, IoU {row['iou']:.3f}, "
            f"validation IoU {row['val_iou']:.3f}{' (best)' if better else ''}, "
            f"learning rate {row['learning_rate']:.2g}, {row['images_per_second']:.1f} images/s, "
            + (self._end() or f"{duration(left)} left")
        )

    def tell_interrupted(self) -> None:
        """Says what is kept after Ctrl-C, as a model that can be used."""
        if self.checkpoint is None:
            return
        if not self.best:
            say(f"{self.label}: interrupted before the first epoch was over; the same command begins anew")
            return
        path = self.checkpoint.folder / "best.keras"
        for variable, value in zip(self.averaged.variables, self.best, strict=True):
            variable.assign(value)
        save_model(self.averaged, path)
        say(
            f"{self.label}: interrupted in epoch {self.epoch + 1}; the best so far (epoch {self.best_epoch}, "
            f"validation IoU {self._best_iou():.3f}) is in {path}; the same command goes on after epoch {self.epoch}"
        )


class Watch(keras.callbacks.Callback):
    """Ties Keras' loop over the batches of one epoch to a training."""

    def __init__(self, training: Training, progress: Progress, images: int) -> None:
        super().__init__()
        self._training, self._progress, self._total = training, progress, images
        self.images = 0

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._training.before_step()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        training = self._training
        training.after_step()
        count = min(training.batch_size, self._total - self.images)
        self.images += count
        self._progress.update(count)
        if logs and (batch % STEPS_BETWEEN_LOOKS == 0 or self.images >= self._total):
            training.check_loss(float(logs["loss"]))
        if training.time_share() >= 1:
            self.model.stop_training = True


def save_model(model: keras.Model, path: Path) -> None:
    """Writes a `.keras` file, whole or not at all.

    Raises:
        UserError: The disk is full.
    """
    with saving(str(path)), files.atomic_write(path) as temporary:
        model.save(temporary)
