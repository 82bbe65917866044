"""One epoch of training and one validation of a tiny network on patches in memory."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from brats.editions import REGIONS
from brats.errors import InputError
from engine.devices.backend import training_compilation
from engine.runs.state import Progress
from engine.training.batches import training_batches
from engine.training.epochs import (
    check_depth,
    describe_epoch,
    describe_start,
    train_epoch,
    validate,
)
from losses import SoftDice, build_loss
from model import build_resunet

BATCH_SIZE = 4
METRICS = {"loss", "dice_whole", "dice_core", "dice_enhancing"}


class MemoryReader:
    """Random patches of 16 x 24 pixels, whose classes show in the first channel."""

    def __init__(self, num_patches, seed=0):
        rng = np.random.default_rng(seed)
        self.images = rng.normal(size=(num_patches, 16, 24, 4)).astype(np.float32)
        self.classes = rng.integers(0, 4, (num_patches, 16, 24), dtype=np.uint8)
        self.classes[num_patches // 2 :] = 0  # Half of the patches are healthy.
        self.images[..., 0] += self.classes

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        return self.images[list(indices)], self.classes[list(indices)]


class CountingReader(MemoryReader):
    """Counts the batches that are read."""

    num_reads = 0

    def read(self, indices):
        self.num_reads += 1
        return super().read(indices)


class BrokenReader(CountingReader):
    """Gives NaN from the second batch on."""

    def read(self, indices):
        images, classes = super().read(indices)
        return (images * np.nan if self.num_reads > 1 else images), classes


@pytest.fixture(scope="module")
def compiled():
    """A compiled network and the first values of all its variables."""
    keras.utils.set_random_seed(0)
    network = build_resunet((None, None, 4), base_filters=4, depth=1)
    network.compile(
        optimizer=keras.optimizers.SGD(0.025, momentum=0.9),
        loss=build_loss("published"),
        metrics=[SoftDice(classes, f"dice_{region}") for region, classes in REGIONS.items()],
        jit_compile=training_compilation(),
    )
    network.optimizer.build(network.trainable_variables)
    variables = [*network.variables, *network.optimizer.variables]
    return network, [(each, convert_to_numpy(each)) for each in variables]


@pytest.fixture
def restart(compiled):
    """Returns a function that makes the network untrained again, its noise included."""
    network, state = compiled

    def untrained():
        for variable, value in state:
            variable.assign(value)
        return network

    return untrained


@pytest.fixture
def network(restart):
    return restart()


def at_epoch(epoch):
    """The progress of a run that has finished `epoch` epochs."""
    return Progress(history=[{}] * epoch)


def flat_weights(network):
    return np.concatenate([weight.ravel() for weight in network.get_weights()])


def test_an_epoch_gives_its_row_of_the_history_and_takes_its_steps(network):
    row = train_epoch(network, MemoryReader(10), BATCH_SIZE, 2, seed=0, progress=at_epoch(4))
    assert set(row) == METRICS | {"epoch", "learning_rate", "iterations", "wait_s", "step_s"}
    assert row["learning_rate"] == pytest.approx(0.025)
    assert row["step_s"] > 0 and row["epoch"] == 5
    assert int(network.optimizer.iterations) == 2


def test_epochs_with_a_last_batch_to_fill_lower_the_loss_on_their_patches(network):
    reader = MemoryReader(10)
    # With the statistics of the batches, as the running ones need hundreds of steps to follow.
    losses = [
        train_epoch(network, reader, BATCH_SIZE, 3, 0, at_epoch(epoch))["loss"]
        for epoch in range(4)
    ]
    assert losses[-1] < losses[0] - 0.1


def test_one_seed_and_epoch_give_one_set_of_weights_and_others_another(restart):
    weights = {}
    for name, seed, epoch in [("first", 3, 0), ("same", 3, 0), ("seed", 4, 0), ("epoch", 3, 1)]:
        network = restart()
        train_epoch(network, MemoryReader(10), BATCH_SIZE, 3, seed, at_epoch(epoch))
        weights[name] = flat_weights(network)
    np.testing.assert_array_equal(weights["same"], weights["first"])
    assert not np.array_equal(weights["seed"], weights["first"])
    assert not np.array_equal(weights["epoch"], weights["first"])


def test_a_loss_that_is_not_finite_ends_training_and_names_epoch_and_batch(network):
    message = "The loss is nan in epoch 3, batch 2. .* lower --learning-rate"
    with pytest.raises(InputError, match=message):
        train_epoch(network, BrokenReader(12), BATCH_SIZE, 3, 0, at_epoch(2))


def test_every_step_is_reported_with_its_loss_and_the_mean_is_that_of_the_epoch(network):
    steps = []
    row = train_epoch(network, MemoryReader(10), BATCH_SIZE, 3, 0, Progress(), steps.append)
    assert len(steps) == 3 and np.mean(steps) == pytest.approx(row["loss"], rel=1e-6)


@pytest.mark.parametrize("num_steps", [1, 3])
def test_the_rest_of_an_epoch_reads_its_own_batches_and_ends_the_same(restart, num_steps):
    network = restart()
    complete = train_epoch(network, MemoryReader(10), BATCH_SIZE, 3, 0, Progress())
    expected = flat_weights(network)

    def stop(loss):
        if progress.step == num_steps:
            raise KeyboardInterrupt

    network, progress, reader = restart(), Progress(), CountingReader(10)
    with pytest.raises(KeyboardInterrupt):
        train_epoch(network, MemoryReader(10), BATCH_SIZE, 3, 0, progress, stop)
    rest = train_epoch(network, reader, BATCH_SIZE, 3, 0, progress)
    assert reader.num_reads == 3 - num_steps
    for name in complete.keys() - {"wait_s", "step_s"}:
        assert rest[name] == complete[name]
    np.testing.assert_array_equal(flat_weights(network), expected)


def test_a_depth_that_patches_do_not_allow_is_refused():
    check_depth(7)
    with pytest.raises(InputError, match="--depth is 8, but patches of 128 .* halved 7 times"):
        check_depth(8)


def test_a_training_starts_with_the_numbers_of_patches_cases_and_patients():
    split = {"train": ["a1", "a2", "b1"], "validation": ["c1"]}
    cases = {case: {"patient": case[0]} for case in ("a1", "a2", "b1", "c1")}
    record = {"split": split, "patches": {"cases": cases}, "num_parameters": 1, "device": ""}
    record |= {"num_devices": 1, "num_hosts": 1}
    readers = {"train": range(1314), "validation": range(438)}
    facts = describe_start(record, readers, 329, Progress())
    expected = "patches: 1,314, cases: 3, patients: 2, 329 batches per epoch"
    assert (facts["training"], facts["starts_after"]) == (expected, "no step")
    assert facts["validation"] == "patches: 438, cases: 1, patients: 1"


def test_a_row_of_the_history_is_described_in_a_line():
    row = {"epoch": 2, "loss": 1.25, "step_s": 3.0, "wait_s": 0.5}
    row |= {f"dice_{region}": place / 8 for place, region in enumerate(REGIONS)}
    assert describe_epoch(row, num_epochs=3, saving_s=0.25) == (
        "epoch 2/3  |  train loss 1.2500, Dice whole 0.000, core 0.125, enhancing 0.250  |  "
        "steps 3.0 s, waiting for batches 0.5 s, validation 0.0 s, saving 0.2 s"
    )


def test_validation_is_of_all_patches_the_short_batch_included(network):
    reader, calls, before = MemoryReader(10), [], flat_weights(network)
    probabilities = network.predict_on_batch(reader.images)
    row = validate(network, reader, BATCH_SIZE, on_batch=lambda: calls.append(1))
    np.testing.assert_array_equal(flat_weights(network), before)
    assert set(row) == {f"val_{name}" for name in METRICS} | {"validation_s"}
    batches = (slice(0, 4), slice(4, 8), slice(8, 10))
    assert len(calls) == len(batches)
    losses = []
    for batch in batches:
        loss = build_loss("published").call(reader.classes[batch], probabilities[batch])
        losses.extend(convert_to_numpy(loss))
    assert row["val_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    for region, classes in REGIONS.items():
        inside = np.isin(reader.classes, classes)  # (N, H, W)
        predicted = probabilities[..., list(classes)].sum(axis=-1)
        dice = [
            2 * (inside * predicted)[part].sum() / (inside + predicted)[part].sum()
            for part in (slice(None), *batches)
        ]
        assert row[f"val_dice_{region}"] == pytest.approx(dice[0], rel=1e-5)
        # The last two batches are healthy, or half so: the mean of the batches is another number.
        assert abs(np.mean(dice[1:]) - dice[0]) > 0.01


def test_validation_without_patches_is_empty(network):
    assert validate(network, MemoryReader(0), BATCH_SIZE) == {}


def test_mixed_precision_changes_the_losses_of_10_steps_by_less_than_a_hundredth():
    losses = {}
    for name in ("float32", "mixed_bfloat16", "mixed_float16"):
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(name)
        try:
            network = build_resunet((None, None, 4), base_filters=2, depth=1)
        finally:
            keras.config.set_dtype_policy("float32")
        optimizer = keras.optimizers.SGD(0.008, momentum=0.9)
        network.compile(optimizer, build_loss("published"), jit_compile=training_compilation())
        batches = training_batches(MemoryReader(40), 2, 10, np.random.default_rng(0))
        losses[name] = [network.train_on_batch(*batch) for batch in batches]
    expected = losses.pop("float32")
    for found in losses.values():
        np.testing.assert_allclose(found, expected, rtol=0.01)
        assert found != expected
