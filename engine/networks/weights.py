"""Weights from files: ours (`.keras`, `.weights.h5`) and the original's (`.hdf5`, Keras 2).

In: a network and a file. Out: the network with the weights of the file, or an error that says why
they do not go together.
"""

import contextlib
import json
import re
import warnings

import numpy as np
from keras import layers

from brats.errors import ZIP_ERRORS, InputError, shortened
from brats.flags import as_typed
from engine.networks.files import PAD_BEFORE, is_original, read_known_settings
from engine.runs.folder import read_record


def load_weights(model, path):
    """Copies weights from a file into a network of the same shape.

    An original `.hdf5` file, whole model or weights only, is read by position, as its layers have
    other names. If it was written under Theano, all kernels are turned by 180 degrees:

        convolution(x, kernel) = correlation(x, kernel[::-1, ::-1])

    Theano computes the convolution, the backends of Keras 3 the correlation.

    Args:
        model: A `ResUNet`.
        path: Path of a `.keras`, `.weights.h5` or original `.h5`/`.hdf5` file.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file is of another kind, its weights do not have the shapes of the
            network, or its network pads on the other side.

    Reference:
        Keras 2, `keras/engine/saving.py`, `_need_convert_kernel`, which Keras 3 no longer has.
    """
    there = read_known_settings(path)
    sizes = {name: there[name] for name in ("base_filters", "depth") if name in there}
    if not sizes.items() <= model.settings.items():
        flags = " ".join(as_typed(*item) for item in sizes.items())
        raise InputError(f"{path} is a network of {flags}. Give these flags, or another file.")
    pad_before = there.get(PAD_BEFORE, False)
    if pad_before != model.settings.get(PAD_BEFORE, False):
        side = "above and left" if pad_before else "below and right"
        raise InputError(
            f"The 2x2 convolutions of {path} pad {side} of a slice, those of the network do not. "
            "Build the network with the settings of the file."
        )
    try:
        with _refusing_to_skip():
            model.load_weights(path)
    except ZIP_ERRORS as error:
        raise InputError(
            f"The weights in {path} are not those of a network of {model.count_params():,} "
            f"parameters ({_first_line(error)}). Check --base-filters and --depth."
        ) from error
    # Departure: Keras 3 ignores the backend that a file names, and would not turn the kernels.
    if is_original(path) and pad_before:
        for layer in model.layers:
            if isinstance(layer, layers.Conv2D):
                kernel, *bias = layer.get_weights()
                layer.set_weights([np.flip(kernel, axis=(0, 1)), *bias])


def choose_padding(run_dir, weights, resume, devices):
    """Returns `pad_before` of host 0: as in the run to resume, or as in the file of weights."""
    pad_before = False
    if devices.is_first and resume:
        pad_before = read_record(run_dir).get(PAD_BEFORE, False)
    elif devices.is_first and weights:
        pad_before = read_known_settings(weights).get(PAD_BEFORE, False)
    return json.loads(devices.first_text(json.dumps(pad_before)))


@contextlib.contextmanager
def _refusing_to_skip():
    """Raises a ValueError where Keras only warns that a file has no weights for some layers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Skipping nested container", UserWarning)
        try:
            yield
        except UserWarning as warning:
            raise ValueError("its weights are those of other layers") from warning


def _first_line(error):
    """Returns the first line of an error of Keras, without advice for programmers."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return shortened(re.split(" If you | Please | Make sure ", lines[0])[0].rstrip(".:"))
