"""The learning rate rises, falls and ends as its names say."""

import keras
import pytest

from selfie_localizer import params
from selfie_localizer.training.schedule import Schedule, momentum


def test_cosine_rises_linearly_to_its_peak_and_falls_to_zero() -> None:
    schedule = Schedule(params.Train(epochs=10, learning_rate=0.1, warmup_epochs=2), steps_per_epoch=5)
    rates = [schedule.rate(step) for step in range(51)]
    assert rates[:10] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    # Half of what follows the warm-up is over at step 30.
    assert rates[30] == pytest.approx(0.05)
    assert rates[50] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_cosine_ends_with_the_time_cap_where_that_comes_first() -> None:
    schedule = Schedule(params.Train(epochs=100, learning_rate=0.1, warmup_epochs=0), steps_per_epoch=5)
    assert schedule.rate(10, time_share=0.5) == pytest.approx(0.05)
    assert schedule.rate(20, time_share=1.2) == pytest.approx(0)
    assert schedule.rate(250, time_share=0.1) == pytest.approx(0.05)


def test_a_warm_up_longer_than_the_training_never_divides_by_zero() -> None:
    schedule = Schedule(params.Train(epochs=1, learning_rate=0.1, warmup_epochs=5), steps_per_epoch=4)
    assert [schedule.rate(step) for step in range(3)] == pytest.approx([0.005, 0.01, 0.015])


def test_exponential_is_that_of_keras() -> None:
    train = params.Train(schedule="exponential", learning_rate=1e-3, decay_steps=3600, decay_rate=0.8, warmup_epochs=3)
    theirs = keras.optimizers.schedules.ExponentialDecay(1e-3, 3600, 0.8)
    for step in (0, 1, 1000, 3600, 20_000):
        assert Schedule(train, 100).rate(step) == pytest.approx(float(theirs(step)), rel=1e-4)


def test_the_average_forgets_the_first_weights_soon() -> None:
    assert momentum(0.99, 1) == pytest.approx(2 / 11)
    assert momentum(0.99, 10_000) == 0.99
    share = 1.0
    for step in range(1, 31):
        share *= momentum(0.99, step)
    assert share < 1e-6
