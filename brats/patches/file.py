"""The patch file: HDF5 that describes itself, complete or absent.

In: patches of cases. Out: a file of them and its settings, for `brats.patches.reader` to read. The
layout is in `docs/data.md`.
"""

import contextlib
import errno
import json
import os

import h5py
import numpy as np

from brats.editions import CLASSES, MODALITIES
from brats.errors import InputError, shortened
from brats.files import parse_json
from brats.hdf5 import open_hdf5
from brats.layout_file import LayoutFile
from brats.patches.centers import cut_patch
from brats.unfinished import StaleError
from brats.volumes.network_input import PATCH_SIZE, PUBLISHED_SHAPE, PUBLISHED_WINDOW
from brats.volumes.normalization import BACKGROUND, NORMALIZATION

FORMAT = "brats-patches"
VERSION = 1
SPLITS = ("train", "validation")
# What training and prediction take from extraction: the file carries it, and each stage compares.
AGREEMENT = {
    "format": FORMAT,
    "version": VERSION,
    "patch_size": PATCH_SIZE,
    "modalities": list(MODALITIES),
    "classes": list(CLASSES),
    "crop": {
        "shape": list(PUBLISHED_SHAPE),
        "window": [[part.start, part.stop] for part in PUBLISHED_WINDOW],
        "other_shapes": "bounding box of the brain",
    },
    "normalization": NORMALIZATION,
}


@contextlib.contextmanager
def laying_out(path, dtype, num_patches=0):
    """Lays a patch file out from its first byte, in a new file or over an unfinished one.

    The same calls put the same bytes in the same places. So the patches in an unfinished file stay
    where they are if its cases are given to `keep_case` first, in their order; all else is written
    again. Until the `LayoutFile` is released, no error costs what the unfinished file holds; after
    that, the file ends where what has been laid out does.

    Args:
        path: Path of the file.
        dtype: Type of the stored images, "float32" or "float16".
        num_patches: Patches to reserve disk space for, int; what is not needed is given back.

    Yields:
        `(file, disk)`: the open `h5py.File` and the `LayoutFile` below it.

    Raises:
        OSError: If the file cannot be written.
    """
    patch = (PATCH_SIZE, PATCH_SIZE)
    shapes = {
        "images": ((*patch, len(MODALITIES)), dtype),
        "labels": (patch, "uint8"),
        "case": ((), "int32"),
        "center": ((3,), "int32"),
    }
    with LayoutFile(path) as disk:
        try:
            _reserve(disk, stored_bytes(num_patches, dtype))
            with h5py.File(disk, "w") as file, disk.muted_after_error():
                for split in SPLITS:
                    for name, (shape, kind) in shapes.items():
                        # One patch is one chunk, so that a random read touches nothing else.
                        chunk = (1, *shape) if len(shape) > 1 else (4096, *shape)
                        file.create_dataset(
                            f"{split}/{name}",
                            (0, *shape),
                            kind,
                            chunks=chunk,
                            maxshape=(None, *shape),
                        )
                yield file, disk
            disk.check_written()
        finally:
            disk.give_back()


def stored_bytes(num_patches, dtype):
    """Returns the disk space of patches, images of type `dtype` and labels, in bytes."""
    return num_patches * PATCH_SIZE**2 * (len(MODALITIES) * np.dtype(dtype).itemsize + 1)


def _reserve(file, num_bytes):
    """Reserves disk space, where the system can: faster to write to, and surely there."""
    if num_bytes and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


def append_case(group, case_index, patches):
    """Cuts the patches of a case out and appends them to a split of an open patch file.

    Args:
        group: The `h5py.Group` of the split.
        case_index: Index of the case in the attribute `cases` of the file.
        patches: A `CasePatches`.
    """
    append_patches(
        group, case_index, patches.centers + patches.origin, *cut(patches, group["images"].dtype)
    )


def append_patches(group, case_index, centers, images, labels):
    """Appends patches of a case that are cut out already, as `append_case` does.

    Args:
        group: The `h5py.Group` of the split.
        case_index: Index of the case in the attribute `cases` of the file.
        centers: Patch centers in the uncropped volume, int `(K, 3)`.
        images: Iterable of K images `(128, 128, M)`, in the type of the file and in C order.
        labels: Iterable of K labels, uint8 `(128, 128)`.
    """
    start = _add_places(group, case_index, centers)
    for name, patches in (("images", images), ("labels", labels)):
        for index, patch in enumerate(patches, start):
            _write_patch(group[name], index, patch)


def cut(patches, dtype):
    """Cuts the patches of a case out, one by one, in the form that the file holds them in.

    Args:
        patches: A `CasePatches`.
        dtype: Type of the stored images.

    Returns:
        `(images, labels)`: iterators over arrays `(128, 128, M)` and uint8 `(128, 128)`.
    """

    def cut_all(volume, dtype, beyond):
        for center in patches.centers:
            patch = cut_patch(volume, center, beyond).astype(dtype, order="C", copy=False)
            yield np.ascontiguousarray(patch)

    return cut_all(patches.channels, dtype, BACKGROUND), cut_all(patches.classes, np.uint8, 0)


def keep_case(disk, group, case_index, centers):
    """Appends a case whose patches an unfinished file holds in their places already.

    Args:
        disk: The `LayoutFile` of the file.
        group: The `h5py.Group` of the split.
        case_index: Index of the case in the attribute `cases` of the file.
        centers: The centers that `append_case` has stored, int `(K, 3)`.

    Raises:
        StaleError: If the unfinished file ends before the patches.
    """
    start = _add_places(group, case_index, np.asarray(centers))
    for dataset in (group["images"], group["labels"]):
        nothing = np.empty(dataset.shape[1:], dataset.dtype)
        with disk.keeping(nothing.nbytes):
            for index in range(start, len(dataset)):
                _write_patch(dataset, index, nothing)
    if disk.end > disk.kept_bytes:
        raise StaleError(f"{disk.path} was cut short.")


def _add_places(group, case_index, centers):
    """Makes room for the patches around `centers`, notes them; returns the first one's index."""
    start = len(group["case"])
    stop = start + len(centers)
    for name in ("images", "labels", "case", "center"):
        group[name].resize(stop, axis=0)
    group["case"][start:stop] = case_index
    group["center"][start:stop] = centers
    return start


def _write_patch(dataset, index, patch):
    # Past HDF5's cache of chunks, so that a full disk raises here and not on closing.
    dataset.id.write_direct_chunk((index,) + (0,) * patch.ndim, patch)


def write_settings(file, settings):
    """Writes the attributes of a patch file, each as JSON text: `AGREEMENT` and `settings`."""
    for name, value in (AGREEMENT | settings).items():
        file.attrs[name] = json.dumps(value)


def read_settings(path):
    """Reads the attributes of a patch file.

    Args:
        path: Path of a patch file.

    Returns:
        Dict of the attributes, those of `AGREEMENT` included.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If it is not a patch file, or was made in another way than here.
    """
    try:
        with open_hdf5(path) as file:
            stored = dict(file.attrs)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The patch file {path} does not exist. Make it with extract_patches.py, or give "
            "another with --patches."
        ) from error
    if str(stored.get("format")) != json.dumps(FORMAT):
        raise InputError(
            f"{path} is not a patch file: no attribute gives its format as {FORMAT}, among "
            f"{shortened(', '.join(stored) or 'none')}. Give one of extract_patches.py with "
            "--patches."
        )
    try:
        settings = {name: parse_json(value) for name, value in stored.items()}
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path} has an attribute that is not JSON: {error}. Make it again with "
            "extract_patches.py."
        ) from error
    check_agreement(settings, path)
    return settings


def check_agreement(settings, source):
    """Checks that patches were made the way that this version makes them.

    Args:
        settings: Attributes of a patch file.
        source: Where they come from, for the message.

    Raises:
        InputError: If a value of `AGREEMENT` differs or is missing; names both values.
    """
    for name, expected in AGREEMENT.items():
        if settings.get(name) != expected:
            found = f"{name} {shortened(settings[name])}" if name in settings else f"no {name}"
            raise InputError(
                f"{source} has {found}; expected {expected}. "
                "Make the patches again with extract_patches.py, and train again."
            )
