"""What a file says of the network in it, read without Keras: ours and the original's.

In: a `.keras` file, or an `.hdf5` file of Keras 2. Out: the settings to build that network with, or
an error. Nothing else in a `.keras` file is followed: Keras would run the functions and build the
layers, of any size, that it describes.
"""

import zipfile
from pathlib import Path

from brats.errors import HDF5_ERRORS, ZIP_ERRORS, InputError, shortened
from brats.files import parse_json
from brats.hdf5 import open_hdf5

NETWORK = "brats>ResUNet"  # The name that `model.ResUNet` is saved under.
NAMES = ("module", "class_name", "registered_name")
SETTINGS = ("input_shape", "num_classes", "base_filters", "depth")
PAD_BEFORE = "pad_before"  # A setting as well, in the files of networks that have it.
# Where Keras computes the same from the same weights: Keras 2 wrote the first, Keras 3 all.
BACKENDS = ("tensorflow", "jax", "torch")
THEANO = "theano"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # In a `.keras` file.
MOST_CONFIG_BYTES = 2**20  # Our own has less than 1 kB.
ZIP_MAGIC = b"PK"


def read_network_settings(path):
    """Reads the settings of the network that a file holds.

    Args:
        path: Path of a `.keras` file of `train.py`, or of an `.hdf5` file of the original.

    Returns:
        Dict of the arguments of `model.build_resunet`.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If it does not hold a residual U-Net.
    """
    if is_original(path):
        return read_original_settings(path)
    _check_exists(path)
    _check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            num_bytes = archive.getinfo(WEIGHTS).file_size
            with archive.open(CONFIG) as file:
                config = parse_json(file.read(MOST_CONFIG_BYTES))
    except ZIP_ERRORS as error:
        raise InputError(
            f"{path} is not a network of train.py: {shortened(error)}. Give another, or copy it "
            "again."
        ) from error
    names = [config.get(name) for name in NAMES] if isinstance(config, dict) else []
    if NETWORK not in names[-1:]:
        raise InputError(
            f"{path} holds a Keras object of another kind, {shortened(names)}; expected the "
            f"residual U-Net of train.py, {NETWORK}. Give another."
        )
    settings = config.get("config")
    _check_settings(path, settings, num_bytes)
    return dict(settings)


def pads_before(path):
    """Reads on which side the 2x2 convolutions of the network in a file of weights pad.

    Args:
        path: Path of a `.keras`, `.weights.h5` or original `.h5`/`.hdf5` file.

    Returns:
        `pad_before` of `model.build_resunet`.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If it is of another kind, damaged, or of another network.
    """
    if not str(path).endswith(".weights.h5"):
        return read_network_settings(path).get(PAD_BEFORE, False)
    _check_exists(path)
    with open_hdf5(path) as file:  # Keras names a group for every layer, also without weights.
        layers = file.get("layers", ())
        return any(name.startswith("zero_padding2d") for name in layers)


def is_original(path):
    """Returns whether a file name is that of a Keras 2 HDF5 file."""
    name = str(path)
    return name.endswith((".h5", ".hdf5")) and not name.endswith(".weights.h5")


def read_original_settings(path):
    """Reads the settings of the network that an original `.hdf5` file holds.

    Args:
        path: Path of a Keras 2 HDF5 file, whole model or weights only.

    Returns:
        Dict with `input_shape`, `num_classes`, `base_filters` and `depth`, and a true `pad_before`
        if the file was written under Theano.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file is not of that kind, or was written under a backend of which it is
            not known how it pads.

    Reference:
        Keras 2, `keras/engine/saving.py`: layers in the order of the attribute `layer_names`.
        `keras/backend/theano_backend.py`: "same" is Theano's "half", a zero on each side of a 2x2
        convolution's input, of whose output the last row and column beyond the size are cut off.
    """
    _check_exists(path)
    with open_hdf5(path) as file:
        try:
            group = file.get("model_weights", file)
            backend = _text(group.attrs["backend"])
            kernels = [shape for shape in _weight_shapes(group) if len(shape) == 4]
        except (*HDF5_ERRORS, AttributeError) as error:  # The latter, of a group without a shape.
            raise InputError(
                f"{path} is not a Keras 2 weight file. Give a .keras file of train.py, or an "
                ".hdf5 file of the original."
            ) from error
    if backend not in (*BACKENDS, THEANO):
        raise InputError(
            f"{path} was written under {shortened(backend)}, of which it is not known how its "
            f"even-sized convolutions pad; expected {', '.join(BACKENDS)} or {THEANO}. Save it "
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
    shape = (None, None, kernels[0][2])
    settings = dict(zip(SETTINGS, (shape, kernels[-1][3], kernels[0][3], depth), strict=True))
    _check_settings(path, settings, Path(path).stat().st_size)
    return settings | ({PAD_BEFORE: True} if backend == THEANO else {})


def _check_settings(path, settings, num_bytes):
    """Checks that settings are those of a network whose weights fit into so many bytes.

    Raises:
        InputError: If a setting is missing or impossible, or the network larger than its file.
    """
    counts = [settings.get(name) for name in SETTINGS[1:]] if isinstance(settings, dict) else [None]
    shape = settings.get("input_shape") if isinstance(settings, dict) else None
    if (
        not all(type(count) is int and count > 0 for count in counts)
        or not (isinstance(shape, list | tuple) and len(shape) == 3)
        or not all(side is None or type(side) is int and side > 0 for side in shape)
        or type(settings.get(PAD_BEFORE, False)) is not bool
        or settings.keys() - {*SETTINGS, PAD_BEFORE}
    ):
        raise InputError(
            f"{path} is not a network of train.py: its settings are {shortened(settings)}; "
            f"expected {', '.join(SETTINGS)}. Give another."
        )
    _, base_filters, depth = counts
    # The two 3x3 convolutions of the bottom unit, float32.
    if depth > 20 or 2 * 4 * 9 * (base_filters * 2**depth) ** 2 > num_bytes:
        raise InputError(
            f"{path} is damaged: its {num_bytes:,} bytes cannot hold a network of {base_filters} "
            f"filters and depth {depth}. Copy it again."
        )


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
            lacking = [name for name in (CONFIG, WEIGHTS) if name not in archive.namelist()]
    except ZIP_ERRORS as error:
        if isinstance(error, OSError) and error.filename:
            raise
        with open(path, "rb") as file:
            was_archive = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        if was_archive:
            raise InputError(f"{path} is damaged or cut short: {error}. Copy it again.") from error
        raise InputError(f"{path} is not a network: {error}. {advice}") from error
    if damaged:
        raise InputError(f"{path} is damaged: the checksum of {damaged} is wrong. Copy it again.")
    if lacking:
        raise InputError(
            f"{path} is not a network of train.py: it has no {' and no '.join(lacking)}. {advice}"
        )
