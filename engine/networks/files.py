"""What a file says about the network in it, read without Keras: our files and the original's.

In: a `.keras` file, or an `.hdf5` file of Keras 2. Out: the settings to build that network with, or
an error. Nothing else in a `.keras` file is used: Keras would run functions that it contains.
"""

import zipfile
from pathlib import Path

from brats.errors import HDF5_ERRORS, ZIP_ERRORS, InputError, shortened
from brats.files import parse_json
from brats.hdf5 import open_hdf5
from brats.volumes.network_input import INPUT_FORMAT

NETWORK = "brats>ResUNet"  # The name that Keras saves `model.ResUNet` under.
COUNTS = ("num_classes", "base_filters", "depth")
PAD_BEFORE, FORMAT = "pad_before", "input_format"
# Under these, Keras computes the same from the same weights. Keras 2 only wrote the first.
BACKENDS = ("tensorflow", "jax", "torch")
THEANO = "theano"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # In a `.keras` file.
ADVICE = "Give a .keras file of train.py, or an .hdf5 file of the original."


def read_network_settings(path):
    """Returns the arguments of `model.build_resunet` that the network in a file was built with.

    Raises a `FileNotFoundError`, or an `InputError` if the file holds another kind of network, or
    one for other images than `INPUT_FORMAT`.
    """
    if is_original(path):
        return read_original_settings(path)
    check_exists(path)
    config = _read_config(path)
    kind = config.get("registered_name") if isinstance(config, dict) else None
    if kind != NETWORK:
        raise InputError(
            f"{path} holds a Keras object of another kind, {shortened(kind)}; expected the "
            f"residual U-Net of train.py, {NETWORK}. Give another."
        )
    settings = config.get("config")
    _check_settings(path, settings)
    _check_format(path, settings.get(FORMAT))
    return settings


def read_known_settings(path):
    """Returns the settings that a file names; a `.weights.h5` file only shows `pad_before`."""
    if not str(path).endswith(".weights.h5"):
        return read_network_settings(path)
    check_exists(path)
    with open_hdf5(path) as file:  # Keras names a group for every layer, also without weights.
        names = list(file.get("layers", ()))
    return {PAD_BEFORE: any(name.startswith("zero_padding2d") for name in names)}


def is_original(path):
    """Returns whether a file name is that of a Keras 2 HDF5 file."""
    name = str(path)
    return name.endswith((".h5", ".hdf5")) and not name.endswith(".weights.h5")


def read_original_settings(path):
    """Reads the settings of the network in an original `.hdf5` file, whole model or weights only.

    `pad_before` is true, and otherwise missing, if the file was written under Theano.

    Reference:
        Keras 2, `keras/engine/saving.py`: layers in the order of the attribute `layer_names`.
        `keras/backend/theano_backend.py`: "same" is Theano's "half". It pads the input of a 2x2
        convolution with a zero on each side, and cuts off the last row and column of the output.
    """
    check_exists(path)
    with open_hdf5(path) as file:
        try:
            group = file.get("model_weights", file)
            backend = _text(group.attrs["backend"])
            kernels = [shape for shape in _weight_shapes(group) if len(shape) == 4]
        except (*HDF5_ERRORS, AttributeError) as error:
            raise InputError(f"{path} is not a Keras 2 weight file. {ADVICE}") from error
    if backend not in (*BACKENDS, THEANO):
        raise InputError(
            f"{path} was written under {shortened(backend)}, whose padding of even-sized "
            f"convolutions is not known; expected {', '.join(BACKENDS)} or {THEANO}. Save it "
            "again under one of them."
        )
    # A network of depth d has 4 + 7 d convolutions: stem, head and two in the bottom unit, and
    # per level two in the encoder, three in the decoder, one down and one up.
    depth, rest = divmod(len(kernels) - 4, 7)
    if rest or depth < 1:
        raise InputError(
            f"{path} holds {len(kernels)} convolutions; the residual U-Net has 4 + 7 per level. "
            "It is another network."
        )
    settings = {"input_shape": (None, None, kernels[0][2]), "num_classes": kernels[-1][3]}
    settings |= {"base_filters": kernels[0][3], "depth": depth}
    # The file does not name its input: it is FLAIR, T1, T1ce, T2 with the published normalization.
    settings[FORMAT] = INPUT_FORMAT
    return settings | ({PAD_BEFORE: True} if backend == THEANO else {})


def check_exists(path):
    """Raises a FileNotFoundError if a path of weights is not a file."""
    if not Path(path).is_file():
        problem = "is not a file" if Path(path).exists() else "does not exist"
        raise FileNotFoundError(
            f"The file of weights {path} {problem}. Give a .keras file of train.py, or an .hdf5 "
            "file of the original, with --weights."
        )


def _read_config(path):
    """Reads the configuration in a `.keras` file, after a check that the archive is complete."""
    if not str(path).endswith(".keras"):
        raise InputError(f"{path} is not a network: it ends in neither .keras nor .hdf5. {ADVICE}")
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            was_archive = file.read(2) == b"PK"
        if was_archive:
            raise InputError(f"{path} is cut short. Copy it again.")
        raise InputError(f"{path} is not a network. {ADVICE}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            missing = {CONFIG, WEIGHTS} - set(archive.namelist())
            config = None if damaged or missing else parse_json(archive.read(CONFIG))
    except ZIP_ERRORS as error:
        raise InputError(f"{path} is damaged: {shortened(error)}. Copy it again.") from error
    if damaged:
        raise InputError(f"{path} is damaged: the checksum of {damaged} is wrong. Copy it again.")
    if missing:
        raise InputError(f"{path} is not a network: it has no {' and no '.join(missing)}. {ADVICE}")
    return config


def _check_settings(path, settings):
    values = settings if isinstance(settings, dict) else {}
    shape = values.get("input_shape")
    is_known = values.keys() <= {"input_shape", *COUNTS, PAD_BEFORE, FORMAT}
    has_shape = isinstance(shape, list) and len(shape) == 3 and type(shape[-1]) is int
    if not (is_known and has_shape and all(type(values.get(name)) is int for name in COUNTS)):
        raise InputError(
            f"{path} is not a network of train.py: its settings are {shortened(settings)}; "
            f"expected input_shape, {', '.join(COUNTS)}. Give another."
        )


def _check_format(path, found):
    found = found if isinstance(found, dict) else {}
    for name, expected in INPUT_FORMAT.items():
        if found.get(name) != expected:
            raise InputError(
                f"{path} is for images with {name} "
                f"{shortened(found.get(name, 'unknown'))}; expected {expected}. Give another, or "
                "train again with train.py."
            )


def _weight_shapes(group):
    for layer in group.attrs["layer_names"]:
        layer_group = group[_text(layer)]
        for weight in layer_group.attrs["weight_names"]:
            yield layer_group[_text(weight)].shape


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
