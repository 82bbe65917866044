"""The weighted class-imbalance loss and soft Dice: by hand, as the original, as properties."""

import json
import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from brats.editions import REGIONS
from losses import (
    LOSSES,
    ClassImbalanceLoss,
    SoftDice,
    build_loss,
    generalized_dice_loss,
    weighted_cross_entropy,
)

CASES = ("all_classes", "imbalanced", "necrosis_absent", "background_only", "perfect")
SEEDS = st.integers(0, 10_000)


def one_hot(classes, num_classes=4):
    return np.eye(num_classes, dtype=np.float32)[classes]


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def draw_batch(rng, shape=(3, 5, 6), num_classes=4):
    """Returns classes, all of them present, and probabilities that know little of them."""
    classes = rng.integers(0, num_classes, shape, dtype=np.uint8)
    classes.flat[:num_classes] = range(num_classes)
    logits = rng.normal(size=(*shape, num_classes)) + one_hot(classes, num_classes)
    return classes, softmax(logits)


def confident(classes, certainty):
    """Returns probabilities that give `certainty` to the classes and share out the rest."""
    return one_hot(classes) * (certainty - (1 - certainty) / 3) + np.float32((1 - certainty) / 3)


def value(tensor):
    return ops.convert_to_numpy(tensor)


def dice_of(metric, *batches):
    """Returns the result of a metric after the given batches and nothing else."""
    metric.reset_state()
    for batch in batches:
        metric.update_state(*batch)
    return float(metric.result())


@pytest.fixture
def reference(request, fixtures):
    """Classes, probabilities and the original's values of the case that the test names."""
    with np.load(fixtures / "loss.npz") as arrays:
        batch = [arrays[f"{request.param}_{part}"] for part in ("classes", "probabilities")]
    return *batch, json.loads((fixtures / "loss.json").read_text())[request.param]


@pytest.mark.parametrize("reference", CASES, indirect=True)
def test_each_term_and_their_sum_are_the_originals(reference):
    classes, probabilities, expected = reference
    arguments = one_hot(classes), probabilities
    cross_entropy = value(weighted_cross_entropy(*arguments)).mean()
    assert cross_entropy == pytest.approx(expected["weighted_cross_entropy"], rel=1e-5)
    dice_loss = float(generalized_dice_loss(*arguments))
    # The original's 0 of a perfect prediction is a difference of ones in float32.
    assert dice_loss == pytest.approx(expected["generalized_dice_loss"], rel=1e-5, abs=1e-7)
    total = float(ClassImbalanceLoss()(classes, probabilities))
    assert total == pytest.approx(expected["total"], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("reference", CASES, indirect=True)
def test_soft_dice_is_the_originals(reference):
    # In background_only it is about 1e-10: the relative tolerance alone must hold there.
    classes, probabilities, expected = reference
    for region in REGIONS:
        found = dice_of(SoftDice(REGIONS[region], "dice"), (classes, probabilities))
        assert found == pytest.approx(expected[f"dice_{region}"], rel=1e-5, abs=0)


def test_weighted_cross_entropy_of_two_pixels_by_hand():
    # Normal, weight 1, with probability 1/2; enhancing, weight 4, with probability 1/4.
    probabilities = np.array([[0.5, 0.1, 0.1, 0.3], [0.25, 0.25, 0.25, 0.25]])
    expected = [1 * math.log(2), 4 * math.log(4)]
    labels = one_hot(np.array([0, 3]))
    apart = weighted_cross_entropy(labels.reshape(2, 1, 1, 4), probabilities.reshape(2, 1, 1, 4))
    np.testing.assert_allclose(value(apart), expected, rtol=1e-6)
    together = weighted_cross_entropy(labels.reshape(1, 1, 2, 4), probabilities.reshape(1, 1, 2, 4))
    np.testing.assert_allclose(value(together), [sum(expected) / 2], rtol=1e-6)


def test_weighted_cross_entropy_takes_other_weights_for_other_classes():
    # Class 1 of 2, weight 7, with probability 1/8.
    probabilities = np.array([0.875, 0.125]).reshape(1, 1, 1, 2)
    labels = one_hot(np.array([[[1]]]), 2)
    loss = value(weighted_cross_entropy(labels, probabilities, (3.0, 7.0)))
    np.testing.assert_allclose(loss, [7 * math.log(8)], rtol=1e-6)


def test_weighted_cross_entropy_scales_and_clips_the_probabilities(rng):
    classes, probabilities = draw_batch(rng)
    scaled = weighted_cross_entropy(one_hot(classes), 3 * probabilities)
    expected = weighted_cross_entropy(one_hot(classes), probabilities)
    np.testing.assert_allclose(value(scaled), value(expected), rtol=1e-5)
    # Enhancing, weight 4, with probability 0, which is taken for 1e-7.
    loss = value(weighted_cross_entropy(one_hot([[[3]]]), one_hot([[[0]]])))
    np.testing.assert_allclose(loss, [4 * math.log(1e7)], rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 1, 1), (1, 3, 1)])
def test_generalized_dice_of_three_pixels_by_hand(shape):
    # reference  0 0 1          v_0 = 1/4   overlap 1 + 1/2   sums 2 + 3/2
    # p_0        1 1/2 0        v_1 = 1     overlap 1         sums 1 + 3/2
    # 1 - 2 (3/8 + 1) / (7/8 + 5/2) = 1 - 22/27
    # The sums run over the whole batch: one image of three pixels is three images of one.
    labels = one_hot(np.array([0, 0, 1]).reshape(shape), 2)
    probabilities = np.array([[1, 0], [0.5, 0.5], [0, 1]]).reshape(*shape, 2)
    for leave_out_absent in (False, True):
        loss = generalized_dice_loss(labels, probabilities, leave_out_absent)
        assert float(loss) == pytest.approx(5 / 27, rel=1e-5)


@pytest.mark.parametrize("absent", [0, 3])
def test_published_dice_loss_is_1_for_good_and_bad_predictions_if_a_class_is_absent(absent, rng):
    present = [index for index in range(4) if index != absent]
    classes = rng.choice(present, size=(2, 8, 6))
    good, bad = confident(classes, 0.97), confident(classes, 0.01)
    labels = one_hot(classes)
    assert float(generalized_dice_loss(labels, good)) == pytest.approx(1, abs=1e-5)
    assert float(generalized_dice_loss(labels, bad)) == pytest.approx(1, abs=1e-5)
    # Left out, the class takes no part: about 1 - 0.97 for the good one, 1 - 0.01 for the bad.
    assert float(generalized_dice_loss(labels, good, leave_out_absent=True)) < 0.05
    assert 0.95 < float(generalized_dice_loss(labels, bad, leave_out_absent=True)) < 1


def test_the_losses_differ_only_where_a_class_is_absent(rng):
    classes, probabilities = draw_batch(rng)
    for is_absent in (False, True):
        classes[classes == 3] *= not is_absent
        losses = [value(build_loss(name).call(classes, probabilities)) for name in LOSSES]
        assert np.array_equal(*losses) != is_absent
    assert build_loss("published").get_config() == ClassImbalanceLoss().get_config()
    assert build_loss("present-classes", (1, 2, 3, 4)).class_weights == (1, 2, 3, 4)


@given(SEEDS, st.permutations(range(4)))
def test_permuting_the_batch_permutes_the_cross_entropy_and_keeps_the_dice_loss(seed, order):
    classes, probabilities = draw_batch(np.random.default_rng(seed), (4, 5, 6))
    before = one_hot(classes), probabilities
    after = one_hot(classes)[order], probabilities[order]
    losses = [value(weighted_cross_entropy(*batch)) for batch in (before, after)]
    np.testing.assert_allclose(losses[1], losses[0][order], rtol=1e-5)
    expected = float(generalized_dice_loss(*before))
    assert float(generalized_dice_loss(*after)) == pytest.approx(expected, rel=1e-5)


@given(SEEDS, st.sampled_from(sorted(LOSSES)))
def test_the_loss_is_finite_and_not_negative(seed, name):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, rng.integers(1, 5), (2, 4, 6))  # Often without some class.
    probabilities = softmax(rng.normal(size=(2, 4, 6, 4)) * rng.uniform(0, 30))
    losses = value(build_loss(name).call(classes, probabilities))
    assert np.isfinite(losses).all()
    assert (losses >= -1e-6).all()  # A difference of ones, rounded in float32.


def test_the_loss_is_one_value_per_example_and_the_dice_term_the_same_in_each(rng):
    classes, probabilities = draw_batch(rng)
    losses = value(ClassImbalanceLoss().call(classes, probabilities))
    assert losses.shape == (3,)
    cross_entropy = value(weighted_cross_entropy(one_hot(classes), probabilities))
    dice_loss = float(generalized_dice_loss(one_hot(classes), probabilities))
    np.testing.assert_allclose(losses, cross_entropy + dice_loss, rtol=1e-6)
    assert np.ptp(cross_entropy) > 1e-3


def test_a_perfect_prediction_has_no_loss_and_full_overlap(rng):
    classes, _ = draw_batch(rng)
    assert float(ClassImbalanceLoss()(classes, one_hot(classes))) == pytest.approx(0, abs=2e-6)
    for region in REGIONS.values():
        assert dice_of(SoftDice(region, "dice"), (classes, one_hot(classes))) == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_inputs_are_summed_in_float32(dtype, rng):
    # 5 x 128 x 128 pixels are more than 65504, the largest float16.
    classes, probabilities = draw_batch(rng, (5, 128, 128))
    labels, rounded = (ops.cast(each, dtype) for each in (one_hot(classes), probabilities))
    for term in (weighted_cross_entropy, generalized_dice_loss):
        loss = term(labels, rounded)
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"
        # The last bit of bfloat16 is 1/256 of a value.
        expected = value(term(one_hot(classes), probabilities))
        np.testing.assert_allclose(value(loss), expected, rtol=5e-3)
    metric = SoftDice((0, 1, 2, 3), "dice")
    # Every pixel is in the region and its probabilities sum to 1, up to rounding.
    assert dice_of(metric, (classes, rounded)) == pytest.approx(1, rel=5e-3)
    assert keras.backend.standardize_dtype(metric.result().dtype) == "float32"


def test_soft_dice_of_three_pixels_by_hand():
    # reference 1 2 3, region (1, 3), p_1 + p_3 = 1/2, 1/4, 1: 2 (1/2 + 1) / (2 + 7/4)
    probabilities = [[0.25, 0.5, 0.25, 0], [0.25, 0.125, 0.5, 0.125], [0, 0.25, 0, 0.75]]
    batch = np.array([[[1, 2, 3]]]), np.array([[probabilities]], dtype=np.float32)
    assert dice_of(SoftDice((1, 3), "core"), batch) == pytest.approx(3 / 3.75, rel=1e-6)


def test_soft_dice_of_unequal_batches_is_that_of_everything_and_not_their_mean(rng):
    classes, probabilities = draw_batch(rng, (7, 5, 6))
    classes[5:] = 0  # The last, smaller batch has no tumor: its own overlap is 0.
    parts = [(classes[:5], probabilities[:5]), (classes[5:], probabilities[5:])]
    metric = SoftDice((1, 3), "core")
    everything = dice_of(metric, (classes, probabilities))
    # The metric is reset before.
    assert dice_of(metric, *parts) == pytest.approx(everything, rel=1e-6)
    mean_of_batches = np.mean([dice_of(metric, part) for part in parts])
    assert abs(everything - mean_of_batches) > 0.05


def test_soft_dice_of_a_region_that_never_occurred_is_1():
    metric = SoftDice((3,), "enhancing")
    assert float(metric.result()) == 1
    classes = np.zeros((1, 2, 3), dtype=np.uint8)
    assert dice_of(metric, (classes, one_hot(classes))) == 1


@pytest.mark.parametrize(
    "original",
    [
        ClassImbalanceLoss((1.0, 2.0, 3.0, 4.5), leave_out_absent=True, name="mine"),
        SoftDice((1, 3), "core"),
    ],
    ids=["loss", "metric"],
)
def test_a_serialized_copy_has_all_arguments_and_gives_the_same_value(original, rng):
    text = json.dumps(keras.saving.serialize_keras_object(original))
    restored = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(restored) is type(original)
    assert restored.get_config() == original.get_config()
    batch = draw_batch(rng)
    assert float(restored(*batch)) == float(original(*batch))
