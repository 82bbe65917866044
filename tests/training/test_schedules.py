"""Learning rates: the published ones step by step, the others at their ends."""

import csv
from dataclasses import fields

import keras
import numpy as np
import pytest

from config import TrainConfig
from engine.training.schedules import (
    OPTIMIZERS,
    SCHEDULES,
    PublishedSchedule,
    build_optimizer,
    build_schedule,
)
from losses import LOSSES

EPOCHS, STEPS = 3, 6


class RecordedRates(keras.callbacks.Callback):
    """Reads the rate off the optimizer before every batch."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def rates_in_fit(schedule):
    """Returns the rates of a fit of one weight, in 3 epochs of 6 steps."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(schedule, momentum=0.9), "mse", jit_compile=False)
    samples, recorded = np.zeros((STEPS, 1), dtype=np.float32), RecordedRates()
    model.fit(samples, samples, batch_size=1, epochs=EPOCHS, callbacks=[recorded], verbose=0)
    return recorded.rates


def test_the_published_rates_are_those_of_the_original_at_every_step(fixtures):
    with open(fixtures / "learning_rate.csv", newline="") as file:
        expected = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert len(expected) == EPOCHS * STEPS
    rates = rates_in_fit(build_schedule("published", 0.08, EPOCHS, STEPS))
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_the_published_rate_of_one_step_by_hand():
    # Epoch 2 of 6 steps begins with step 6: 0.08 / 10^2 / (1 + 5e-6 * 10^2 * 6)
    schedule = PublishedSchedule(0.08, STEPS)
    assert float(schedule(6)) == pytest.approx(0.0008 / 1.003, rel=1e-6)
    assert float(schedule(5)) == pytest.approx(0.008 / 1.00025, rel=1e-6)


def test_the_constant_rate_is_a_number():
    assert build_schedule("constant", 0.08, EPOCHS, STEPS) == 0.08


def test_the_cosine_falls_from_the_initial_rate_over_half_of_it_to_0():
    schedule = build_schedule("cosine", 0.08, EPOCHS, STEPS)
    rates = [float(schedule(step)) for step in (0, 9, 18)]  # Begin, middle, end of 18 steps.
    np.testing.assert_allclose(rates, [0.08, 0.04, 0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("setting", "built"), [("loss", LOSSES), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)]
)
def test_the_names_of_the_configuration_are_those_that_are_built(setting, built):
    (names,) = [item.metadata["check"][0] for item in fields(TrainConfig) if item.name == setting]
    assert names == f"one of {', '.join(built)}"


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_that_was_serialized_has_the_same_rates(name, optimizer):
    optimizer = build_optimizer(optimizer, build_schedule(name, 0.05, EPOCHS, STEPS), 0.7)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    for step in (0, 7, 17):
        for each in (optimizer, copy):
            each.iterations.assign(step)
        assert float(copy.learning_rate) == float(optimizer.learning_rate) > 0
    # The momentum is Adam's beta 1.
    assert 0.7 in (getattr(copy, "momentum", None), getattr(copy, "beta_1", None))


def test_a_serialized_published_schedule_keeps_all_arguments():
    schedule = PublishedSchedule(0.05, 7, decay=1e-3)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert isinstance(restored, PublishedSchedule)
    assert restored.get_config() == {"initial_rate": 0.05, "steps_per_epoch": 7, "decay": 1e-3}
