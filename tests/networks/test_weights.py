"""Weights from files: the original's, ours, and those that are refused."""

import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from brats.errors import InputError
from engine.networks.choose import read_network
from engine.networks.files import is_original, read_network_settings, read_original_settings
from engine.networks.weights import load_weights
from model import build_resunet

ORIGINALS = ("resunet_8_filters.hdf5", "resunet_8_filters_weights.hdf5")


def network_of(base_filters, depth=3):
    return build_resunet((None, None, 4), base_filters=base_filters, depth=depth)


def weights_group(file):
    """The group of the weights: inside a whole model, or the file itself."""
    return file.get("model_weights", file)


def write_keras_2_file(path, kernels, backend="tensorflow"):
    """Writes the weights of convolutions without bias as Keras 2 does."""
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = backend
        file.attrs["layer_names"] = [f"conv{index}" for index in range(len(kernels))]
        for index, kernel in enumerate(kernels):
            layer = file.create_group(f"conv{index}")
            layer.attrs["weight_names"] = [f"conv{index}/kernel:0"]
            layer[f"conv{index}/kernel:0"] = kernel


@pytest.fixture(scope="module")
def network():
    return network_of(8)


@pytest.fixture(scope="module")
def reference(fixtures):
    with np.load(fixtures / "resunet_8_filters.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def copy_of_original(request, tmp_path, fixtures):
    """A copy, to be damaged, of the file that the test names."""
    return Path(shutil.copyfile(fixtures / request.param, tmp_path / request.param))


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_originals_weights_give_the_originals_probabilities(name, fixtures, reference):
    network = network_of(8)
    load_weights(network, fixtures / name)
    probabilities = network.predict_on_batch(reference["images"])
    expected = reference["probabilities"]
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(probabilities.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_originals_file_tells_its_settings(name, fixtures):
    expected = {"input_shape": (None, None, 4), "num_classes": 4, "base_filters": 8, "depth": 3}
    assert read_original_settings(fixtures / name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ResUnet.epoch_02.hdf5", True),
        ("old.h5", True),
        ("ours.weights.h5", False),
        ("best.keras", False),
    ],
)
def test_the_extension_tells_the_originals_files_from_ours(name, expected):
    assert is_original(Path("folder.h5") / name) is expected


@pytest.mark.parametrize("copy_of_original", ORIGINALS, indirect=True)
@pytest.mark.parametrize("backend", ["theano", b"theano"])
def test_whole_models_and_weights_alone_tell_that_theano_wrote_them(copy_of_original, backend):
    with h5py.File(copy_of_original, "r+") as file:
        weights_group(file).attrs["backend"] = backend
    expected = {"input_shape": (None, None, 4), "num_classes": 4, "base_filters": 8, "depth": 3}
    assert read_original_settings(copy_of_original) == expected | {"pad_before": True}


def test_a_network_of_other_filters_is_refused_and_both_are_named(fixtures):
    # The first kernels, 2 x 2 of 4 modalities: 16 filters in the network, 8 in the file.
    with pytest.raises(InputError, match="--base-filters") as error:
        load_weights(network_of(16), fixtures / ORIGINALS[0])
    assert ORIGINALS[0] in str(error.value)
    assert "(2, 2, 4, 16)" in str(error.value)
    assert "(2, 2, 4, 8)" in str(error.value)


def test_a_network_of_another_depth_is_refused(fixtures):
    with pytest.raises(InputError, match="--depth"):
        load_weights(network_of(8, depth=2), fixtures / ORIGINALS[0])


@pytest.mark.parametrize("copy_of_original", ORIGINALS[:1], indirect=True)
def test_a_truncated_file_is_refused(copy_of_original, network):
    content = copy_of_original.read_bytes()
    copy_of_original.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="is a damaged HDF5 file: truncated"):
        load_weights(network, copy_of_original)


def test_a_file_that_is_not_hdf5_is_refused(tmp_path, network):
    path = tmp_path / "page.hdf5"
    path.write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"page\.hdf5 is not an HDF5 file"):
        load_weights(network, path)


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "patches.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((2, 3))
    with pytest.raises(InputError, match=r"patches\.h5 is not a Keras 2 weight file"):
        read_original_settings(path)


def test_the_weights_of_another_network_are_refused_by_their_number_of_convolutions(tmp_path):
    path = tmp_path / "other.hdf5"
    write_keras_2_file(path, [np.zeros((3, 3, 4, 5))] * 3)
    with pytest.raises(InputError, match="3 convolutions; .* 4 \\+ 7 per level"):
        read_original_settings(path)


def test_settings_are_those_of_the_first_and_the_last_of_4_plus_7_convolutions(tmp_path):
    # Depth 1, 6 filters, 3 modalities, 5 classes; what lies between does not count.
    path = tmp_path / "small.hdf5"
    between = [np.zeros((3, 3, 7, 9))] * 9
    write_keras_2_file(path, [np.zeros((2, 2, 3, 6)), *between, np.zeros((1, 1, 6, 5))])
    expected = {"input_shape": (None, None, 3), "num_classes": 5, "base_filters": 6, "depth": 1}
    assert read_original_settings(path) == expected


@pytest.mark.parametrize("name", ["absent.hdf5", "absent.keras", "absent.weights.h5"])
def test_a_missing_file_is_named(tmp_path, name, network):
    with pytest.raises(FileNotFoundError, match=f"{name} does not exist"):
        load_weights(network, tmp_path / name)


@pytest.mark.parametrize("read", [read_network_settings, read_original_settings])
def test_a_missing_network_is_named(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"absent\.h5 does not exist"):
        read(tmp_path / "absent.h5")


def test_a_file_of_another_kind_is_refused_with_the_kinds_that_are_read(tmp_path, network):
    path = tmp_path / "weights.npy"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"Give a \.keras file of train\.py, or an \.hdf5"):
        load_weights(network, path)


@pytest.mark.parametrize("name", ["ours.keras", "ours.weights.h5"])
def test_our_own_weights_give_the_same_probabilities(name, tmp_path, reference):
    keras.utils.set_random_seed(2)
    saved, other = network_of(4, depth=1), network_of(4, depth=1)
    save = saved.save_weights if name.endswith(".weights.h5") else saved.save
    save(tmp_path / name)
    expected = saved.predict_on_batch(reference["images"])
    assert np.abs(other.predict_on_batch(reference["images"]) - expected).max() > 1e-2
    load_weights(other, tmp_path / name)
    np.testing.assert_array_equal(other.predict_on_batch(reference["images"]), expected)


@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")  # By Keras.
def test_our_own_weights_do_not_fit_a_network_of_other_filters(tmp_path):
    network_of(4, depth=1).save(tmp_path / "small.keras")
    with pytest.raises(InputError, match=r"small\.keras do not fit .*--base-filters"):
        load_weights(network_of(6, depth=1), tmp_path / "small.keras")


def test_a_whole_network_is_loaded_without_its_optimizer(tmp_path, reference):
    saved = network_of(4, depth=1)
    saved.compile(optimizer="sgd", loss="mse")
    saved.save(tmp_path / "best.keras")
    loaded = read_network(tmp_path / "best.keras", build_resunet)
    np.testing.assert_array_equal(
        loaded.predict_on_batch(reference["images"]), saved.predict_on_batch(reference["images"])
    )
    assert not loaded.compiled
    assert loaded.settings["base_filters"] == 4


@pytest.mark.parametrize(
    "load", [read_network_settings, lambda path: load_weights(network_of(4, 1), path)]
)
def test_a_keras_file_that_is_not_one_is_refused(tmp_path, load):
    path = tmp_path / "page.keras"
    path.write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"page\.keras"):
        load(path)
