"""Weights from files: the original's, ours, and those that are refused."""

import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from brats.errors import InputError
from brats.volumes.network_input import INPUT_FORMAT
from engine.networks.choose import read_network
from engine.networks.files import is_original, read_network_settings
from engine.networks.weights import load_weights
from model import build_resunet

ORIGINALS = ("resunet_8_filters.hdf5", "resunet_8_filters_weights.hdf5")
SETTINGS = {"input_shape": (None, None, 4), "num_classes": 4, "base_filters": 8, "depth": 3}
SETTINGS |= {"input_format": INPUT_FORMAT}


def network_of(base_filters, depth=3):
    return build_resunet(
        (None, None, 4), base_filters=base_filters, depth=depth, input_format=INPUT_FORMAT
    )


def write_keras_2_file(path, kernels, backend="tensorflow"):
    """Writes the weights of convolutions without bias as Keras 2 does."""
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = backend
        file.attrs["layer_names"] = [f"conv{index}" for index in range(len(kernels))]
        for index, kernel in enumerate(kernels):
            layer = file.create_group(f"conv{index}")
            layer.attrs["weight_names"] = [f"conv{index}/kernel:0"]
            layer[f"conv{index}/kernel:0"] = kernel
    return path


@pytest.fixture(scope="module")
def reference(fixtures):
    with np.load(fixtures / "resunet_8_filters.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_originals_weights_give_the_originals_probabilities(name, fixtures, reference):
    network = read_network(fixtures / name, build_resunet)
    assert network.settings == SETTINGS
    probabilities = network.predict_on_batch(reference["images"])
    expected = reference["probabilities"]
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(probabilities.argmax(-1), expected.argmax(-1))


def test_the_extension_tells_the_originals_files_from_ours():
    names = ("ResUnet.epoch_02.hdf5", "old.h5", "ours.weights.h5", "best.keras")
    assert [is_original(Path("folder.h5") / name) for name in names] == [True, True, False, False]


@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.parametrize("backend", ["theano", b"theano"])
def test_complete_models_and_weights_alone_say_that_theano_wrote_them(
    name, backend, fixtures, tmp_path
):
    path = shutil.copyfile(fixtures / name, tmp_path / name)
    with h5py.File(path, "r+") as file:
        file.get("model_weights", file).attrs["backend"] = backend
    assert read_network_settings(path) == SETTINGS | {"pad_before": True}


def test_settings_are_those_of_the_first_and_the_last_of_4_plus_7_convolutions(tmp_path):
    # Depth 1, 6 filters, 3 modalities, 5 classes; what lies between does not count.
    between = [np.zeros((3, 3, 7, 9))] * 9
    kernels = [np.zeros((2, 2, 3, 6)), *between, np.zeros((1, 1, 6, 5))]
    settings = read_network_settings(write_keras_2_file(tmp_path / "small.hdf5", kernels))
    expected = {"input_shape": (None, None, 3), "num_classes": 5, "base_filters": 6, "depth": 1}
    assert settings == SETTINGS | expected


@pytest.mark.parametrize(
    ("num_kernels", "backend", "message"),
    [
        (3, "tensorflow", "3 convolutions; .* 4 \\+ 7 per level"),
        (11, "cntk", "written under cntk, .* expected tensorflow, jax, torch or theano. Save it"),
    ],
)
def test_original_files_of_other_networks_and_backends_are_refused(
    tmp_path, num_kernels, backend, message
):
    path = tmp_path / "other.hdf5"
    write_keras_2_file(path, [np.zeros((3, 3, 4, 4))] * num_kernels, backend)
    with pytest.raises(InputError, match=f"other.hdf5 .*{message}"):
        read_network_settings(path)


@pytest.mark.parametrize(("base_filters", "depth"), [(16, 3), (8, 2)])
def test_a_network_of_other_filters_or_depth_is_refused(fixtures, base_filters, depth):
    message = f"{ORIGINALS[0]} is a network of --base-filters 8 --depth 3. Give these flags"
    with pytest.raises(InputError, match=message):
        load_weights(network_of(base_filters, depth), fixtures / ORIGINALS[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("page.hdf5", b"<html>404</html>", "is not an HDF5 file"),
        ("weights.npy", b"", "ends in neither .keras nor .hdf5. Give a .keras file of train.py"),
        ("absent.hdf5", None, "does not exist. Give"),
        ("absent.keras", None, "does not exist. Give"),
        ("absent.weights.h5", None, "does not exist. Give"),
    ],
)
def test_files_of_other_kinds_and_missing_ones_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((InputError, FileNotFoundError), match=f"{name} .*{message}"):
        load_weights(network_of(2, depth=1), tmp_path / name)


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "patches.h5", "w") as file:
        file["images"] = np.zeros((2, 3))
    with pytest.raises(InputError, match=r"patches\.h5 is not a Keras 2 weight file"):
        read_network_settings(tmp_path / "patches.h5")


@pytest.mark.parametrize("name", ["ours.keras", "ours.weights.h5"])
def test_our_own_weights_give_the_same_probabilities(name, tmp_path, reference):
    keras.utils.set_random_seed(2)
    saved, other = network_of(4, depth=1), network_of(4, depth=1)
    (saved.save_weights if name.endswith(".weights.h5") else saved.save)(tmp_path / name)
    expected = saved.predict_on_batch(reference["images"])
    assert np.abs(other.predict_on_batch(reference["images"]) - expected).max() > 1e-2
    load_weights(other, tmp_path / name)
    np.testing.assert_array_equal(other.predict_on_batch(reference["images"]), expected)


@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")  # By Keras.
def test_our_own_weights_do_not_go_into_a_network_of_other_filters(tmp_path):
    saved, other = network_of(4, depth=1), network_of(6, depth=1)
    saved.save(tmp_path / "small.keras")
    saved.save_weights(tmp_path / "small.weights.h5")
    message = r"small\.keras is a network of --base-filters 4 --depth 1. Give"
    with pytest.raises(InputError, match=message):
        load_weights(other, tmp_path / "small.keras")
    with pytest.raises(InputError, match="are not those of .* Check --base-filters and --depth"):
        load_weights(other, tmp_path / "small.weights.h5")


def test_a_network_is_loaded_without_its_optimizer(tmp_path):
    saved = network_of(4, depth=1)
    saved.compile(optimizer="sgd", loss="mse")
    saved.save(tmp_path / "best.keras")
    assert not read_network(tmp_path / "best.keras", build_resunet).compiled
