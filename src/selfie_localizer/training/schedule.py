"""The learning rate over a training, and the warm-up of the weights' moving average."""

import math
from dataclasses import dataclass

from selfie_localizer import params


@dataclass(frozen=True)
class Schedule:
    """The learning rate at each step.

    Attributes:
        train: Kind and parameters.
        steps_per_epoch: Steps in an epoch.
    """

    train: params.Train
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Steps in all, unless something ends the training earlier."""
        return self.train.epochs * self.steps_per_epoch

    def progress(self, step: int, time_share: float = 0.0) -> float:
        """Returns how much of the training is over, in 0..1: by steps, or by time where that is further."""
        return min(1.0, max(step / self.steps, time_share))

    def rate(self, step: int, time_share: float = 0.0) -> float:
        """Returns the learning rate of a step.

        `cosine` rises linearly in the warm-up and falls to 0 at the end (Loshchilov and Hutter, "SGDR", ICLR 2017,
        equation 5; warm-up as in Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2). It follows the
        progress, so that it also comes down to 0 where a time cap ends the training. `exponential` follows the steps
        alone: rate x decay_rate ^ (step / decay_steps), as `keras.optimizers.schedules.ExponentialDecay`.

        Args:
            step: Number of the step, from 0.
            time_share: Share of the time cap that is used up; 0 where there is no cap.
        """
        peak = self.train.learning_rate
        if self.train.schedule == "exponential":
            return peak * self.train.decay_rate ** (step / self.train.decay_steps)
        warmup = self.train.warmup_epochs * self.steps_per_epoch
        rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
        begin = min(warmup / self.steps, 0.99)
        falling = max(0.0, self.progress(step, time_share) - begin) / (1 - begin)
        return peak * rising * 0.5 * (1 + math.cos(math.pi * falling))


def momentum(ema: float, step: int) -> float:
    """Returns the momentum of the moving average after a step (from 1): min(ema, (1 + step) / (10 + step)).

    Without this warm-up the random first weights would stay in the average for 1 / (1 - ema) steps.
    Source: `tf.train.ExponentialMovingAverage` with `num_updates`.
    """
    return min(ema, (1 + step) / (10 + step))
