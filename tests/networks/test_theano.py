"""Weight files written under Theano, compared with what Keras 2 on Theano computed."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import train
from brats.errors import InputError
from brats.flags import parse
from brats.volumes.network_input import INPUT_FORMAT
from config import TrainConfig
from engine.devices.backend import build_predictor
from engine.devices.one import ONE_DEVICE
from engine.networks.choose import read_network
from engine.networks.files import read_known_settings, read_network_settings
from engine.networks.weights import choose_padding, load_weights
from engine.runs.folder import read_record, write_record
from model import build_resunet
from tests.synthetic import write_noise

SHAPE = {"input_shape": (None, None, 4), "num_classes": 4, "base_filters": 2, "depth": 2}
SETTINGS = SHAPE | {"input_format": INPUT_FORMAT}
FLAGS = ("--base-filters", "2", "--depth", "2", "--steps-per-epoch", "1", "--batch-size", "2")

where_keras_trains = pytest.mark.skipif(
    keras.backend.backend() == "openvino", reason="openvino does not train"
)


@pytest.fixture(scope="module")
def theano_file(fixtures):
    """What Keras 2.2.4 wrote on Theano 1.0.5, see `tests/theano_fixture.py`."""
    return fixtures / "theano_2_filters.hdf5"


@pytest.fixture(scope="module")
def network(theano_file):
    return read_network(theano_file, build_resunet)


@pytest.fixture(scope="module")
def assert_theanos(fixtures):
    """Checks that a network gives the probabilities that Keras 2 gave on Theano."""
    with np.load(fixtures / "theano_2_filters.npz") as arrays:
        images, expected = arrays["images"], arrays["probabilities"]
    assert np.ptp(expected) > 0.5

    def check(network):
        found = np.asarray(build_predictor(lambda: network)(images))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))

    return check


def test_the_network_gives_the_probabilities_of_keras_2_on_theano(network, assert_theanos):
    assert_theanos(network)


def test_a_pixel_goes_where_keras_2_on_theano_sends_it():
    # The kernel is 1 2 / 3 4, the pixel in row 2 and column 3 is 1. At stride 1 the kernel stands
    # as it is, to the right and below: the pixel is padded above and left. At stride 2 windows are
    # rows 1, 2 and columns 3, 4: only the output at row 1, column 2 sees it, at the kernel's 2.
    # Keras 2.2.4 on Theano 1.0.5 gave these numbers.
    at_1, at_2 = np.zeros((6, 8)), np.zeros((3, 4))
    at_1[2:4, 3:5] = [[1, 2], [3, 4]]
    at_2[1, 2] = 2
    network = build_resunet(**SHAPE, pad_before=True)
    for name, expected in (("stem", at_1), ("down1", at_2)):
        layer = network.get_layer(name)
        kernel, bias = (np.zeros(weight.shape) for weight in layer.weights)
        image = np.zeros((1, 6, 8, kernel.shape[2]), dtype=np.float32)
        kernel[:, :, 0, 0] = [[4, 3], [2, 1]]  # Turned, as `load_weights` does.
        image[0, 2, 3, 0] = 1
        layer.set_weights([kernel, bias])
        found = keras.ops.convert_to_numpy(layer(network.get_layer(f"{name}_pad")(image)))
        np.testing.assert_array_equal(found[0, ..., 0], expected)


def test_a_saved_network_keeps_its_padding_and_its_kernels(network, assert_theanos, tmp_path):
    network.save(tmp_path / "ours.keras")
    settings = SETTINGS | {"input_shape": [None, None, 4], "pad_before": True}
    assert read_network_settings(tmp_path / "ours.keras") == settings
    assert_theanos(read_network(tmp_path / "ours.keras", build_resunet))


@pytest.mark.parametrize("name", ["ours.keras", "ours.weights.h5", "theano"])
def test_weights_do_not_go_into_a_network_that_pads_on_the_other_side(name, theano_file, tmp_path):
    path = theano_file if name == "theano" else tmp_path / name
    before = build_resunet(**SETTINGS, pad_before=True)
    if name != "theano":
        (before.save_weights if name.endswith(".h5") else before.save)(path)
    assert read_known_settings(path)["pad_before"]
    load_weights(before, path)
    with pytest.raises(InputError, match=f"{path.name} pad above and left .* settings of the file"):
        load_weights(build_resunet(**SETTINGS), path)


@where_keras_trains
def test_training_starts_from_the_network_of_the_file(theano_file, assert_theanos):
    settings = parse(TrainConfig, [*FLAGS, "--weights", str(theano_file)], "")
    assert_theanos(train.build_compiled(settings, steps=1))


@pytest.mark.nightly
@where_keras_trains
def test_a_run_from_such_a_file_pads_as_it_does_to_the_end(network, theano_file, tmp_path, rng):
    write_noise(tmp_path / "patches", rng, num_patches=(2, 2))
    arguments = ["--patches", str(tmp_path / "patches"), "--run-dir", str(tmp_path), *FLAGS]
    arguments += ["--num-folds", "2", "--fold", "0"]
    arguments += ["--learning-rate", "1e-9"]  # Only the statistics of the network change.
    train.main([*arguments, "--epochs", "1", "--weights", str(theano_file)])
    assert read_record(tmp_path)["pad_before"] is True
    train.main([*arguments, "--epochs", "2", "--resume"])
    trained = read_network(tmp_path / "last.keras", build_resunet)
    assert trained.settings["pad_before"] is True
    found, expected = (each.get_layer("down1").get_weights()[0] for each in (trained, network))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_run_pads_as_before_or_as_its_weights_and_all_hosts_as_host_0(theano_file, tmp_path):
    assert choose_padding(tmp_path, None, False, ONE_DEVICE) is False
    assert choose_padding(tmp_path, theano_file, False, ONE_DEVICE) is True
    record = {"settings": {}, "patches": {}, "split": {}, "pad_before": True}
    write_record(tmp_path, record)
    assert choose_padding(tmp_path, None, True, ONE_DEVICE) is True
    for pad_before in (True, False):
        other = SimpleNamespace(is_first=False, first_text=lambda _, x=pad_before: json.dumps(x))
        assert choose_padding(tmp_path, None, False, other) is pad_before
