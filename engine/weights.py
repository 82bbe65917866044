"""Weights from files: ours (`.keras`, `.weights.h5`) and the original's (`.hdf5`, Keras 2).

In: a network and a file. Out: the network with the weights of the file, or an error that says
why they do not fit.
"""

import contextlib
import re
import warnings

from brats.errors import ZIP_ERRORS, InputError, shortened
from engine.network_files import check_network_file


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
    check_network_file(path)
    try:
        with _refusing_to_skip():
            model.load_weights(path)
    except ZIP_ERRORS as error:
        raise InputError(
            f"The weights in {path} do not fit a network of {model.count_params():,} parameters "
            f"({_first_line(error)}). Check --base-filters and --depth."
        ) from error


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
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return shortened(re.split(" If you | Please | Make sure ", lines[0])[0].rstrip(".:"))
