"""The residual U-Net: its size, derived by hand, its shapes, names, first values and errors."""

import collections
import math
import re

import keras
import numpy as np
import pytest
from keras import layers, ops

from losses import build_loss
from model import NOISE_DEVIATION, build_resunet, mirror


def convolution(size, inputs, outputs, bias=True):
    return size * size * inputs * outputs + bias * outputs


def activation(channels):
    """Scale and offset of the batch norm and the slope of the PReLU, per channel."""
    return 3 * channels


def encoder_unit(d):
    return 2 * activation(d) + 2 * convolution(3, d, d)


def decoder_unit(d):
    convolutions = convolution(3, 2 * d, d) + convolution(3, d, d)
    return activation(2 * d) + activation(d) + convolutions + convolution(1, 2 * d, d, bias=False)


def derived_counts(base_filters, depth, num_classes, num_modalities):
    """Returns the trainable parameters and the batch norm statistics (2 per channel)."""
    # The published network, 64 filters and depth 3:
    #   stem              2*2*4*64 + 64                            =     1,088
    #   encoder unit d    2 (9 d d + d) + 2 * 3 d, d = 64          =    74,240    128 =   295,936
    #                                              d = 256         = 1,181,696    512 = 4,722,688
    #   down              4 * d * 2 d + 2 d     32,896 + 131,328 + 524,800        =   689,024
    #   up                4 * 2 d * d + d       32,832 + 131,200 + 524,544        =   688,576
    #   decoder unit d    29 d d + 11 d        119,488 + 476,544 + 1,903,360      = 2,499,392
    #   head              3 * 64 + 64 * 4 + 4                      =       452
    #   together                                                     10,153,092 trainable
    #   statistics        encoder units 4 d: 3,840; decoder units 6 d: 2,688; head 2 * 64: 128
    filters = [base_filters * 2**level for level in range(depth + 1)]
    trainable = convolution(2, num_modalities, base_filters)
    trainable += sum(map(encoder_unit, filters))
    for d in filters[:-1]:
        trainable += convolution(2, d, 2 * d) + convolution(2, 2 * d, d) + decoder_unit(d)
    trainable += activation(base_filters) + convolution(1, base_filters, num_classes)
    statistics = 4 * sum(filters) + 6 * sum(filters[:-1]) + 2 * base_filters
    return trainable, statistics


def counts(network):
    trainable = sum(math.prod(weight.shape) for weight in network.trainable_weights)
    return trainable, network.count_params() - trainable


def layers_of(network, kind):
    return [layer for layer in network.layers if isinstance(layer, kind)]


def small_network(input_shape=(None, None, 4), **settings):
    keras.utils.set_random_seed(1)
    return build_resunet(input_shape, **({"base_filters": 4, "depth": 1} | settings))


def random_images(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def published():
    keras.utils.set_random_seed(0)
    return build_resunet()


@pytest.fixture
def bfloat16_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


def test_the_default_network_has_the_published_parameters(published):
    assert published.count_params() == 10_159_748
    assert counts(published) == (10_153_092, 6_656)
    assert derived_counts(64, depth=3, num_classes=4, num_modalities=4) == (10_153_092, 6_656)


def test_the_default_network_has_71_layers_of_the_published_kinds(published):
    # Units: 4 encoder, 3 decoder. Convolutions: stem, 4 * 2, 3 down, 3 up, 3 * 3, head.
    # Normalizations, with a PReLU each: 7 units * 2, head.
    expected = {"InputLayer": 1, "GaussianNoise": 1, "Conv2D": 25, "BatchNormalization": 15}
    expected |= {"PReLU": 15, "Add": 7, "UpSampling2D": 3, "Concatenate": 3, "Activation": 1}
    kinds = collections.Counter(type(layer).__name__ for layer in published.layers)
    assert kinds == expected
    assert len(published.layers) == 71


@pytest.mark.parametrize(("base_filters", "depth"), [(2, 2), (6, 1)])
def test_other_settings_have_the_derived_parameters(base_filters, depth):
    settings = {"base_filters": base_filters, "depth": depth, "num_classes": 5}
    expected = derived_counts(**settings, num_modalities=3)
    assert counts(build_resunet((None, None, 3), **settings)) == expected


def test_output_is_a_distribution_per_pixel_of_a_slice_that_is_not_square(rng):
    network = small_network(num_classes=5, input_shape=(None, None, 3))
    probabilities = network.predict_on_batch(random_images(rng, 2, 32, 48, 3))
    assert probabilities.shape == (2, 32, 48, 5)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)
    assert np.all(probabilities >= 0)
    assert probabilities.std(axis=(1, 2)).min() > 1e-3  # It depends on the pixel.


def test_shifted_slices_give_shifted_probabilities(rng):
    # Rows and columns move by different even amounts: swapped axes would be noticed.
    # A pixel of a network of depth 1 sees less than 14 pixels to each side.
    network, margin = small_network(), 14
    images = random_images(rng, 1, 40, 56, 4)
    before = network.predict_on_batch(images)
    after = network.predict_on_batch(np.roll(images, (2, 6), axis=(1, 2)))
    inner = before[:, margin : -margin - 2, margin : -margin - 6]
    moved = after[:, margin + 2 : -margin, margin + 6 : -margin]
    np.testing.assert_allclose(moved, inner, atol=1e-5)
    assert np.abs(after - before).max() > 1e-2


def test_noise_of_a_hundredth_is_added_in_training_only(rng):
    noise = layers_of(small_network(), layers.GaussianNoise)[0]
    images = random_images(rng, 2, 64, 48, 4)
    added = ops.convert_to_numpy(noise(images, training=True)) - images
    assert added.std() == pytest.approx(0.01, rel=0.05)
    assert NOISE_DEVIATION == 0.01
    np.testing.assert_array_equal(ops.convert_to_numpy(noise(images, training=False)), images)


def test_mirror_turns_columns_of_the_marked_patches_and_of_their_classes():
    # As stored  0 1 2   mirrored  2 1 0
    #            3 4 5             5 4 3
    stored, mirrored = [[0, 1, 2], [3, 4, 5]], [[2, 1, 0], [5, 4, 3]]
    classes = np.array(3 * [stored], np.uint8)
    images, classes = mirror(
        np.stack([classes, 10.0 + classes], axis=-1), classes, np.array([False, True, False])
    )
    assert classes.shape == (3, 2, 3)
    assert np.asarray(classes).tolist() == [stored, mirrored, stored]
    assert np.asarray(images[..., 0]).tolist() == [stored, mirrored, stored]
    assert np.asarray(images[..., 1] - 10).tolist() == [stored, mirrored, stored]


def test_a_training_step_mirrors_what_is_marked(rng):
    images = random_images(rng, 2, 8, 16, 4)
    classes = rng.integers(0, 4, (2, 8, 16), dtype=np.uint8)
    mirrored = [np.stack([batch[0], batch[1, :, ::-1]]) for batch in (images, classes)]
    network = small_network()
    network.compile("sgd", build_loss("published"))
    network.optimizer.build(network.trainable_variables)
    variables = [*network.variables, *network.optimizer.variables]
    values = [ops.convert_to_numpy(variable) for variable in variables]
    marked, unmarked, weights = np.array([False, True]), np.array([False, False]), []
    batches = (images, classes, marked), (*mirrored, unmarked), (images, classes, unmarked)
    for batch in batches:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        network.train_on_batch(*batch)
        weights.append(np.concatenate([value.ravel() for value in network.get_weights()]))
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-6)
    assert np.abs(weights[0] - weights[2]).max() > 1e-4


def test_16_bit_computation_ends_in_float32_probabilities(rng, bfloat16_policy):
    network = small_network()
    probabilities = network.predict_on_batch(random_images(rng, 1, 16, 24, 4))
    assert network.get_layer("stem").compute_dtype == "bfloat16"
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)


def test_a_size_that_cannot_be_halved_is_refused_when_built_and_when_called():
    with pytest.raises(ValueError, match="36 x 40 .* 3 times; expected multiples of 8. Pad them"):
        build_resunet((36, 40, 4), base_filters=4)
    network = small_network()
    for method in (network, network.predict_on_batch):
        with pytest.raises(ValueError, match="18 x 15 .* multiples of 2"):
            method(np.zeros((1, 18, 15, 4), dtype=np.float32))


def test_layer_names_say_stage_level_and_role():
    unit = ["norm1", "prelu1", "conv1", "norm2", "prelu2", "conv2", "add"]
    expected = ["images", "noise", "stem", "down1", "up1_nearest", "up1", "join1"]
    expected += [f"{stage}_{role}" for stage in ("encoder1", "bottom") for role in unit]
    expected += [f"decoder1_{role}" for role in [*unit, "shortcut"]]
    expected += ["head_norm", "head_prelu", "head", "probabilities"]
    assert sorted(layer.name for layer in small_network().layers) == sorted(expected)


def test_convolutions_begin_glorot_uniform_without_offset():
    for layer in layers_of(small_network(), layers.Conv2D):
        height, width, inputs, outputs = layer.kernel.shape
        limit = math.sqrt(6 / (height * width * (inputs + outputs)))
        kernel = ops.convert_to_numpy(layer.kernel)
        # The largest of 32 values or more falls below 0.8 of the limit once in 1,300 kernels.
        assert 0.8 * limit < np.abs(kernel).max() <= limit, layer.name
        assert kernel.min() < -0.5 * limit, layer.name
        assert kernel.max() > 0.5 * limit, layer.name
        assert not layer.use_bias or not ops.convert_to_numpy(layer.bias).any()


def test_kernels_strides_and_biases_are_those_of_the_figure(published):
    for layer in layers_of(published, layers.Conv2D):
        side = 2 if re.fullmatch(r"stem|(down|up)\d", layer.name) else 3
        side = 1 if re.fullmatch(r"head|decoder\d_shortcut", layer.name) else side
        stride = 2 if layer.name.startswith("down") else 1
        assert (layer.kernel_size, layer.strides) == ((side, side), (stride, stride)), layer.name
        assert layer.use_bias != layer.name.endswith("shortcut")


def test_prelu_begins_with_one_slope_of_0_per_channel_and_batch_norm_as_published(published):
    for layer in layers_of(published, layers.PReLU):
        assert layer.alpha.shape == (1, 1, layer.input.shape[-1])
        assert not ops.convert_to_numpy(layer.alpha).any()
    for layer in layers_of(published, layers.BatchNormalization):
        assert (layer.momentum, layer.epsilon) == (0.99, 1e-3)


@pytest.mark.parametrize("more", [{}, {"pad_before": True, "input_format": {"modalities": ["t1"]}}])
def test_a_saved_network_predicts_the_same_and_contains_its_settings(rng, tmp_path, more):
    settings = {"input_shape": (None, 16, 4), "num_classes": 4, "base_filters": 4, "depth": 1}
    network = small_network(**settings, **more)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    images = random_images(rng, 1, 8, 16, 4)
    np.testing.assert_array_equal(loaded.predict_on_batch(images), network.predict_on_batch(images))
    assert loaded.settings == settings | more
