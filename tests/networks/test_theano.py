"""Weight files written under Theano: held to Keras 2 on Theano, and to its convolution in NumPy."""

import json
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
from scipy import signal

import predict
import train
from brats.cases.find import find_cases
from brats.errors import InputError
from brats.flags import parse
from brats.volumes.case import read_case
from brats.volumes.files import read_volume
from brats.volumes.network_input import PATCH_SIZE, crop_window
from brats.volumes.normalization import BACKGROUND, brain_mask, normalize_case
from config import TrainConfig
from engine.devices.backend import build_predictor
from engine.devices.one import ONE_DEVICE
from engine.networks.choose import read_network
from engine.networks.files import pads_before, read_network_settings, read_original_settings
from engine.networks.weights import choose_padding, load_weights
from engine.prediction.segment import build_segmenter
from engine.runs.folder import read_record, write_record
from model import build_resunet
from tests.synthetic import write_noise

SETTINGS = {"input_shape": (None, None, 4), "num_classes": 4, "base_filters": 2, "depth": 2}
FLAGS = ("--base-filters", "2", "--depth", "2", "--steps-per-epoch", "1", "--batch-size", "2")

where_keras_trains = pytest.mark.skipif(
    keras.backend.backend() == "openvino", reason="openvino does not train"
)


def convolve(images, kernel, bias=0, stride=1):
    """Convolves as Keras 2 does on Theano with `padding="same"`.

    Theano pads all sides by half the kernel, moves the turned kernel over them and keeps every
    stride-th place; Keras cuts off what lies beyond one output per stride.
    """
    height, width = (-(-side // stride) for side in images.shape[1:3])
    half = len(kernel) // 2
    output = np.zeros((len(images), height, width, kernel.shape[3]))
    padded = np.pad(images.astype(float), ((0, 0), (half, half), (half, half), (0, 0)))
    for index, source, target in np.ndindex(len(images), *kernel.shape[2:]):
        whole = signal.convolve2d(
            padded[index, ..., source], kernel[..., source, target].astype(float), mode="valid"
        )
        output[index, ..., target] += whole[::stride, ::stride][:height, :width]
    return output + bias


def activate(x, norm, slopes):
    scale, offset, mean, variance = norm
    x = (x - mean) / np.sqrt(variance + 1e-3) * scale + offset
    return np.where(x < 0, slopes[0] * x, x)


def run_in_numpy(weights, images, depth):
    """Returns what the network says under Theano.

    Args:
        weights: Dict from the name of a layer to its arrays, as Theano has them.
        images: Array `(N, H, W, 4)`.
        depth: Number of times that the resolution is halved.
    """

    def unit(x, name):
        for number in (1, 2):
            x = activate(x, weights[f"{name}_norm{number}"], weights[f"{name}_prelu{number}"])
            x = convolve(x, *weights[f"{name}_conv{number}"])
        return x

    x, skips = convolve(images, *weights["stem"]), []
    for level in range(1, depth + 1):
        skips.append(x + unit(x, f"encoder{level}"))
        x = convolve(skips[-1], *weights[f"down{level}"], stride=2)
    x = x + unit(x, "bottom")
    for level in range(depth, 0, -1):
        x = convolve(x.repeat(2, axis=1).repeat(2, axis=2), *weights[f"up{level}"])
        x = np.concatenate([skips[level - 1], x], axis=-1)
        shortcut = convolve(x, *weights[f"decoder{level}_shortcut"])
        x = shortcut + unit(x, f"decoder{level}")
    logits = convolve(activate(x, weights["head_norm"], weights["head_prelu"]), *weights["head"])
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def layer_names(base_filters, depth):
    """Returns the names of the layers with weights, in the order of the file."""
    network = build_resunet((None, None, 4), base_filters=base_filters, depth=depth)
    return [layer.name for layer in network.layers if layer.weights]


def read_theano_file(path, base_filters=2, depth=2):
    """Returns the arrays in a whole model of Keras 2, by the names of our layers."""
    with h5py.File(path) as file:
        groups = [
            file["model_weights"][name] for name in file["model_weights"].attrs["layer_names"]
        ]
        arrays = [[group[name][()] for name in group.attrs["weight_names"]] for group in groups]
    return dict(zip(layer_names(base_filters, depth), filter(None, arrays), strict=True))


def write_theano_file(path, base_filters, depth, rng):
    """Writes random weights as Keras 2 does under Theano; returns them as `read_theano_file`."""
    network = build_resunet((None, None, 4), base_filters=base_filters, depth=depth)
    written = {}
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["backend"] = b"theano"
        group.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        for layer in network.layers:
            arrays = [
                (weight + rng.uniform(-0.1, 0.1, weight.shape)).astype("float32")
                for weight in layer.get_weights()
            ]
            names = [f"{layer.name}/{index}".encode() for index in range(len(arrays))]
            place = group.create_group(layer.name)
            place.attrs["weight_names"] = np.array(names, dtype="S")
            for name, array in zip(names, arrays, strict=True):
                place[name] = array
            if arrays:
                written[layer.name] = arrays
    return written


def say(network, images):
    return np.asarray(build_predictor(lambda: network)(images))


def random_images(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def theano_file(fixtures):
    """What Keras 2.2.4 wrote on Theano 1.0.5, see `tests/theano_fixture.py`."""
    return fixtures / "theano_2_filters.hdf5"


@pytest.fixture(scope="module")
def reference(fixtures):
    """Images, and what that network said of them on Theano."""
    with np.load(fixtures / "theano_2_filters.npz") as arrays:
        return dict(arrays)


def test_a_pixel_goes_where_keras_2_on_theano_sends_it():
    # The kernel is 1 2 / 3 4, the pixel in row 2 and column 3 is 1. At stride 1 the kernel stands
    # as it is, to the right and below: the pixel is padded above and left. At stride 2 windows are
    # rows 1, 2 and columns 3, 4: only the output at row 1, column 2 sees it, at the kernel's 2.
    # Keras 2.2.4 on Theano 1.0.5 gave these numbers.
    image, kernel = np.zeros((1, 6, 8, 1)), np.array([[1, 2], [3, 4]]).reshape(2, 2, 1, 1)
    image[0, 2, 3] = 1
    at_1, at_2 = np.zeros((6, 8)), np.zeros((3, 4))
    at_1[2:4, 3:5] = [[1, 2], [3, 4]]
    at_2[1, 2] = 2
    np.testing.assert_array_equal(convolve(image, kernel)[0, ..., 0], at_1)
    np.testing.assert_array_equal(convolve(image, kernel, stride=2)[0, ..., 0], at_2)


def test_the_network_says_what_keras_2_on_theano_said(theano_file, reference):
    network = read_network(theano_file, build_resunet)
    probabilities, expected = (
        say(network, reference["images"]),
        reference["probabilities"],
    )
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(-1), expected.argmax(-1))
    assert np.ptp(expected) > 0.5


def test_numpy_says_what_keras_2_on_theano_said(theano_file, reference):
    probabilities = run_in_numpy(read_theano_file(theano_file), reference["images"], depth=2)
    np.testing.assert_allclose(probabilities, reference["probabilities"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("base_filters", "depth"), [(3, 1), (2, 3)])
def test_networks_of_other_sizes_say_what_numpy_says(base_filters, depth, rng, tmp_path):
    weights = write_theano_file(tmp_path / "theano.hdf5", base_filters, depth, rng)
    network = read_network(tmp_path / "theano.hdf5", build_resunet)
    images = random_images(rng, 2, 16, 24, 4)
    expected = run_in_numpy(weights, images, depth)
    np.testing.assert_allclose(say(network, images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["stem", "encoder1_conv1", "down1", "bottom_conv2", "up1", "decoder1_shortcut", "head"]
)
def test_every_kind_of_convolution_is_that_of_numpy(name, theano_file, rng):
    network = read_network(theano_file, build_resunet)
    layer = network.get_layer(name)
    images = random_images(rng, 1, 8, 12, layer.kernel.shape[2])
    output = images
    if layer.kernel_size == (2, 2):
        output = network.get_layer(f"{name}_pad")(output)
    output = keras.ops.convert_to_numpy(layer(output))
    expected = convolve(images, *read_theano_file(theano_file)[name], stride=layer.strides[0])
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("axes", [(), (0,), (1,)])
def test_kernels_turned_otherwise_are_far_off(axes, theano_file, reference):
    network = read_network(theano_file, build_resunet)
    for name, (kernel, *bias) in read_theano_file(theano_file).items():
        if kernel.ndim == 4:
            network.get_layer(name).set_weights([np.flip(kernel, axes), *bias])
    probabilities = say(network, reference["images"])
    assert np.abs(probabilities - reference["probabilities"]).max() > 0.01


def test_the_padding_of_tensorflow_is_far_off(theano_file, reference):
    network = build_resunet(**SETTINGS)
    network.set_weights(read_network(theano_file, build_resunet).get_weights())
    probabilities = say(network, reference["images"])
    assert np.abs(probabilities - reference["probabilities"]).max() > 0.01


def test_the_file_tells_that_it_was_written_under_theano(theano_file):
    assert read_original_settings(theano_file) == SETTINGS | {"pad_before": True}
    assert pads_before(theano_file)


def test_a_network_that_pads_before_has_a_padding_layer_per_2x2_convolution_and_no_weight_more():
    plain, before = build_resunet(**SETTINGS), build_resunet(**SETTINGS, pad_before=True)
    names = [layer.name for layer in before.layers]
    added = [f"{name}_pad" for name in ("stem", "down1", "down2", "up2", "up1")]
    assert [name for name in names if name.endswith("_pad")] == added
    assert [n for n in names if n not in added] == [layer.name for layer in plain.layers]
    assert [w.shape for w in before.weights] == [w.shape for w in plain.weights]


def test_the_default_network_is_saved_as_before():
    network = build_resunet(**SETTINGS)
    assert network.get_config() == SETTINGS
    assert network.get_layer("stem").padding == "same"


def test_a_saved_network_keeps_its_padding_and_its_kernels(theano_file, reference, tmp_path):
    read_network(theano_file, build_resunet).save(tmp_path / "ours.keras")
    assert read_network_settings(tmp_path / "ours.keras")["pad_before"] is True
    network = read_network(tmp_path / "ours.keras", build_resunet)
    probabilities = say(network, reference["images"])
    np.testing.assert_allclose(probabilities, reference["probabilities"], rtol=0, atol=1e-5)


def test_weights_do_not_go_into_a_network_that_pads_on_the_other_side(theano_file, tmp_path):
    with pytest.raises(InputError, match=r"theano_2_filters\.hdf5 pad above and left"):
        load_weights(build_resunet(**SETTINGS), theano_file)
    build_resunet(**SETTINGS).save(tmp_path / "plain.keras")
    with pytest.raises(InputError, match=r"plain\.keras pad below and right"):
        load_weights(build_resunet(**SETTINGS, pad_before=True), tmp_path / "plain.keras")


@pytest.mark.parametrize("pad_before", [False, True])
def test_weights_alone_tell_on_which_side_their_network_pads(pad_before, tmp_path):
    path = tmp_path / "ours.weights.h5"
    build_resunet(**SETTINGS, pad_before=pad_before).save_weights(path)
    assert pads_before(path) is pad_before
    load_weights(build_resunet(**SETTINGS, pad_before=pad_before), path)
    with pytest.raises(InputError, match=r"ours\.weights\.h5 pad"):
        load_weights(build_resunet(**SETTINGS, pad_before=not pad_before), path)


def test_boxes_say_what_whole_slices_do(theano_file, rng):
    channels = np.full((4, 112, 120, 4), BACKGROUND, np.float32)
    channels[:, 40:70, 50:76] = rng.normal(size=(4, 30, 26, 4))
    whole, boxes = (
        build_segmenter([read_network(theano_file, build_resunet)], 2, full, probabilities=True)
        for full in (True, False)
    )
    (_, expected), (_, found) = (each(channels) for each in (whole, boxes))
    # The weights are random, which see farther than a box reaches.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.05)
    assert np.ptp(expected[:, 40:70, 50:76]) > 0.5


@pytest.mark.parametrize("backend", [b"cntk", "mxnet", ""])
def test_a_backend_whose_padding_is_not_known_is_refused_by_name(backend, tmp_path, rng):
    path = tmp_path / "other.hdf5"
    write_theano_file(path, 2, 1, rng)
    with h5py.File(path, "r+") as file:
        file["model_weights"].attrs["backend"] = backend
    name = backend.decode() if isinstance(backend, bytes) else backend
    with pytest.raises(InputError, match=rf"other\.hdf5 was written under '?{name}.* or theano"):
        read_original_settings(path)


def test_a_padding_that_is_no_truth_value_is_refused(tmp_path):
    network = build_resunet(**SETTINGS)
    network.settings["pad_before"] = 1
    network.save(tmp_path / "odd.keras")
    with pytest.raises(InputError, match=r"odd\.keras is not a network of train\.py: its settings"):
        read_network(tmp_path / "odd.keras", build_resunet)


@where_keras_trains
@pytest.mark.parametrize("name", ["theano_2_filters.hdf5", "ours.keras"])
def test_training_starts_from_the_network_of_the_file(name, theano_file, reference, tmp_path):
    read_network(theano_file, build_resunet).save(tmp_path / "ours.keras")
    path = theano_file if name == theano_file.name else tmp_path / name
    settings = parse(TrainConfig, [*FLAGS, "--weights", str(path)], "")
    network = train.build_compiled(settings, steps=1)
    probabilities = say(network, reference["images"])
    np.testing.assert_allclose(probabilities, reference["probabilities"], rtol=0, atol=1e-5)


@where_keras_trains
def test_a_run_from_such_a_file_pads_as_it_does_to_the_end(theano_file, tmp_path, rng):
    write_noise(tmp_path / "patches.h5", rng)
    arguments = ["--patches", str(tmp_path / "patches.h5"), "--run-dir", str(tmp_path), *FLAGS]
    arguments += ["--learning-rate", "1e-9"]  # The network stays what it was, but for statistics.
    train.main([*arguments, "--epochs", "1", "--weights", str(theano_file)])
    assert read_record(tmp_path)["pad_before"] is True
    train.main([*arguments, "--epochs", "2", "--resume"])
    before = read_network(theano_file, build_resunet).get_layer("down1").get_weights()
    for name in ("best.keras", "last.keras"):
        network = read_network(tmp_path / name, build_resunet)
        assert network.settings == SETTINGS | {"pad_before": True}
        after = network.get_layer("down1").get_weights()
        np.testing.assert_allclose(after[0], before[0], rtol=0, atol=1e-5)


def test_a_run_of_an_earlier_version_goes_on_with_the_padding_that_it_had(tmp_path):
    write_record(tmp_path, {"settings": {}, "extraction": {}})
    assert choose_padding(tmp_path, None, True, ONE_DEVICE) is False


@pytest.mark.parametrize("pad_before", [True, False])
def test_all_hosts_pad_as_host_0_does(pad_before, tmp_path):
    other = SimpleNamespace(is_first=False, first_text=lambda text: json.dumps(pad_before))
    assert choose_padding(tmp_path, None, False, other) is pad_before
    assert choose_padding(tmp_path, None, True, other) is pad_before


def test_a_case_is_segmented_as_numpy_says(cohort, theano_file, tmp_path):
    case = find_cases(cohort, need_segmentation=False)[0][0]
    arguments = ["--weights", theano_file, "--data-root", cohort, "--cases", case.id]
    arguments += ["--output", tmp_path, "--full-slices", "--probabilities"]
    predict.main(list(map(str, arguments)))
    volumes = read_case(case).volumes
    channels = normalize_case(volumes, crop_window(volumes, PATCH_SIZE))[10:11]
    expected = run_in_numpy(read_theano_file(theano_file), channels, depth=2)[0, ..., 2]
    found, _ = read_volume(tmp_path / "probabilities" / f"{case.id}-edema.nii.gz")
    brain = brain_mask(channels)[0]
    assert np.ptp(expected[brain]) > 0.01
    # Probabilities are written in steps of 1 / 4096.
    np.testing.assert_allclose(found[10][brain], expected[brain], rtol=0, atol=1 / 8192 + 1e-5)
