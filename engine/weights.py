"""Weights from files: ours (`.keras`, `.weights.h5`) and the original's (`.hdf5`, Keras 2).

In: a network and a file. Out: the network with the weights of the file, or an error that says
why they do not fit.
"""

import contextlib
import re
import warnings
import zipfile
import zlib
from pathlib import Path

import keras

from brats.errors import InputError
from brats.hdf5 import open_hdf5

ZIP_MAGIC = b"PK"


def load_network(path):
    """Loads a whole network from a `.keras` file, without loss, metrics and optimizer.

    Args:
        path: Path of a file that `train.py` wrote.

    Returns:
        A Keras model.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file is not a Keras model, or one with layers unknown here.
    """
    _check_exists(path)
    _check_archive(path)
    try:
        with _refusing_to_skip():
            return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise InputError(
            f"{path} is not a network of train.py: {_first_line(error)}. Give another, or "
            "copy it again."
        ) from error


def load_weights(model, path):
    """Copies weights from a file into a network of the same shape.

    An original `.hdf5` file, whole model or weights only, is read by position, as its layer
    names mean nothing here.

    Args:
        model: A built Keras model.
        path: Path of a `.keras`, `.weights.h5` or original `.h5`/`.hdf5` file.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file is of another kind, was written under Theano, or its weights do
            not have the shapes of the network.
    """
    _check_exists(path)
    if is_original(path):
        read_original_settings(path)
    elif str(path).endswith(".weights.h5"):
        open_hdf5(path).close()
    else:
        _check_archive(path)
    try:
        with _refusing_to_skip():
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(
            f"The weights in {path} do not fit a network of {model.count_params():,} parameters "
            f"({_first_line(error)}). Check --base-filters and --depth."
        ) from error


def is_original(path):
    """Returns whether a file name is that of a Keras 2 HDF5 file."""
    name = str(path)
    return name.endswith((".h5", ".hdf5")) and not name.endswith(".weights.h5")


def read_original_settings(path):
    """Reads the settings of the network that an original `.hdf5` file holds.

    Args:
        path: Path of a Keras 2 HDF5 file, whole model or weights only.

    Returns:
        Dict with `input_shape`, `num_classes`, `base_filters` and `depth`.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file is not of that kind, or was written under Theano.

    Reference:
        Keras 2, `keras/engine/saving.py`: layers in the order of the attribute `layer_names`.
    """
    _check_exists(path)
    try:
        with open_hdf5(path) as file:
            group = file.get("model_weights", file)
            backend = _text(group.attrs["backend"])
            kernels = [shape for shape in _weight_shapes(group) if len(shape) == 4]
    except KeyError as error:
        raise InputError(
            f"{path} is not a Keras 2 weight file. Give a .keras file of train.py, or an .hdf5 "
            "file of the original."
        ) from error
    # Departure: Keras 3 ignores this attribute and would read such a file without a word.
    if backend == "theano":
        raise InputError(
            f"{path} was written under Theano, whose convolutions flip their kernels and pad on "
            "the other side: read here, it would give nonsense. Save it again under TensorFlow."
        )
    # A network of depth d has 4 + 7 d convolutions: stem, head and two in the bottom unit, and
    # per level two in the encoder, three in the decoder, one down and one up.
    depth, rest = divmod(len(kernels) - 4, 7)
    if rest or depth < 1:
        raise InputError(
            f"{path} holds {len(kernels)} convolutions; the residual U-Net has 4 + 7 per level. "
            "It is another network."
        )
    return {
        "input_shape": (None, None, kernels[0][2]),
        "num_classes": kernels[-1][3],
        "base_filters": kernels[0][3],
        "depth": depth,
    }


def _weight_shapes(group):
    for layer in group.attrs["layer_names"]:
        layer_group = group[_text(layer)]
        for weight in layer_group.attrs["weight_names"]:
            yield layer_group[_text(weight)].shape


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def _check_exists(path):
    if not Path(path).is_file():
        problem = "is not a file" if Path(path).exists() else "does not exist"
        raise FileNotFoundError(
            f"The file of weights {path} {problem}. Give a .keras file of train.py, or an .hdf5 "
            "file of the original, with --weights."
        )


def _check_archive(path):
    """Checks that a path is a whole `.keras` archive."""
    advice = "Give a .keras file of train.py, or an .hdf5 file of the original."
    if not str(path).endswith(".keras"):
        raise InputError(f"{path} is not a network: it ends in neither .keras nor .hdf5. {advice}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        with open(path, "rb") as file:
            was_archive = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        if was_archive:
            raise InputError(f"{path} is damaged or cut short: {error}. Copy it again.") from error
        raise InputError(f"{path} is not a network: {error}. {advice}") from error
    if damaged:
        raise InputError(f"{path} is damaged: the checksum of {damaged} is wrong. Copy it again.")


@contextlib.contextmanager
def _refusing_to_skip():
    """Makes an error of Keras' warning that it leaves random weights where a file has none.

    Raises:
        ValueError: If Keras warned of that.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Skipping nested container", UserWarning)
        try:
            yield
        except UserWarning as warning:
            raise ValueError("its weights are those of other layers") from warning


def _first_line(error):
    """Returns the first line of an error of Keras, without its advice for programmers."""
    return re.split(" If you | Please | Make sure ", str(error).strip().splitlines()[0])[0].rstrip(
        ".:"
    )
