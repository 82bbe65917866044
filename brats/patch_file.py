"""The patch file: HDF5 that describes itself, complete or absent.

In: patches of cases. Out: a file of them, its settings, and random batches read from it. The
layout is in `docs/data.md`.
"""

import contextlib
import io
import json
import os
import weakref

import h5py
import numpy as np

from brats.cases import CLASSES, MODALITIES
from brats.errors import InputError
from brats.files import replacing
from brats.normalization import NORMALIZATION
from brats.patches import PATCH_SIZE, cut_patch
from brats.volumes import PUBLISHED_SHAPE, PUBLISHED_WINDOW

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
def creating_patch_file(path, dtype, num_patches=0):
    """Makes an empty patch file that appears under its name only if the block succeeds.

    Args:
        path: Final path.
        dtype: Type of the stored images, "float32" or "float16".
        num_patches: Patches to reserve disk space for, int; fewer or more may be written.

    Yields:
        The open `h5py.File`, to be given to `append_case` and `write_settings`.

    Raises:
        OSError: If the file cannot be written; names the path.
    """
    patch = (PATCH_SIZE, PATCH_SIZE)
    shapes = {
        "images": ((*patch, len(MODALITIES)), dtype),
        "labels": (patch, "uint8"),
        "case": ((), "int32"),
        "center": ((3,), "int32"),
    }
    with replacing(path) as temporary:
        with h5py.File(temporary, "w") as file, _emptied_on_error(temporary):
            _reserve(temporary, stored_bytes(num_patches, dtype))
            for split in SPLITS:
                for name, (shape, kind) in shapes.items():
                    # One patch is one chunk, so that a random read touches nothing else.
                    chunk = (1, *shape) if len(shape) > 1 else (4096, *shape)
                    file.create_dataset(
                        f"{split}/{name}", (0, *shape), kind, chunks=chunk, maxshape=(None, *shape)
                    )
            yield file
            file.flush()
            size = file.id.get_filesize()
        os.truncate(temporary, size)


def stored_bytes(num_patches, dtype):
    """Returns the disk space of patches, images of type `dtype` and labels, in bytes."""
    return num_patches * PATCH_SIZE**2 * (len(MODALITIES) * np.dtype(dtype).itemsize + 1)


@contextlib.contextmanager
def _emptied_on_error(path):
    """Empties a file that HDF5 is about to close, if the block raises.

    HDF5 flushes on closing, and crashes the process if the disk is full: this makes room.
    """
    try:
        yield
    except BaseException:
        os.truncate(path, 0)
        raise


def _reserve(path, num_bytes):
    """Reserves disk space, where the system can: faster to write to, and surely there."""
    if num_bytes and hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)


def append_case(group, case_index, patches):
    """Cuts the patches of a case out and appends them to a split of an open patch file.

    Args:
        group: The `h5py.Group` of the split.
        case_index: Index of the case in the attribute `cases` of the file.
        patches: A `CasePatches`.
    """
    start = len(group["case"])
    stop = start + len(patches.centers)
    for name in ("images", "labels", "case", "center"):
        group[name].resize(stop, axis=0)
    for name, volume in (("images", patches.channels), ("labels", patches.classes)):
        dataset = group[name]
        for index, center in enumerate(patches.centers, start):
            patch = cut_patch(volume, center).astype(dataset.dtype, order="C", copy=False)
            chunk = (index,) + (0,) * patch.ndim
            # Past HDF5's cache of chunks, so that a full disk raises here and not on closing.
            dataset.id.write_direct_chunk(chunk, np.ascontiguousarray(patch))
    group["case"][start:stop] = case_index
    group["center"][start:stop] = patches.centers + patches.origin


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
        with h5py.File(path, "r") as file:
            settings = {name: json.loads(file.attrs[name]) for name in file.attrs}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The patch file {path} does not exist. Make it with extract_patches.py, or give "
            "another with --patches."
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a patch file of extract_patches.py: {error}") from error
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
            raise InputError(
                f"{source} has {name} {settings.get(name, 'missing')}; expected {expected}. "
                "Make the patches again with extract_patches.py, and train again."
            )


class PatchReader:
    """Reads random batches of one split of a patch file, which stays on disk.

    Every patch is one piece of the file, uncompressed, so it is read from its place without
    HDF5, several times as fast (`docs/results.md`).

    Args:
        path: Path of a patch file.
        split: "train" or "validation".

    Raises:
        InputError: If the file does not hold the split in full, one patch per chunk.
    """

    def __init__(self, path, split):
        self._path = path
        with h5py.File(path, "r") as file:
            try:
                images, labels = (file[split][name] for name in ("images", "labels"))
            except KeyError as error:
                raise InputError(f"{path} has no patches for {split}. Make it again.") from error
            if len(images) != len(labels):
                raise InputError(
                    f"{path} holds {len(images)} images but {len(labels)} labels for {split}. "
                    "Make it again with extract_patches.py."
                )
            self._shapes = images.shape[1:], labels.shape[1:]
            self._dtypes = images.dtype, labels.dtype
            self._places = [_places(dataset, path) for dataset in (images, labels)]
        self._file = io.FileIO(path)
        weakref.finalize(self, self._file.close)

    def __len__(self):
        """Returns the number of patches."""
        return len(self._places[0])

    def read(self, indices):
        """Reads the patches with the given indices, in that order; from one thread at a time.

        Args:
            indices: Sequence of ints, repeats allowed.

        Returns:
            `(images, classes)`: `(N, 128, 128, 4)` in the type of the file, float32 or float16,
            and uint8 `(N, 128, 128)`.

        Raises:
            InputError: If the file ends before a patch.
        """
        batch = []
        for shape, dtype, places in zip(self._shapes, self._dtypes, self._places, strict=True):
            patches = np.empty((len(indices), *shape), dtype)
            for patch, index in zip(patches, indices, strict=True):
                self._file.seek(places[index])
                if self._file.readinto(patch) != patch.nbytes:
                    raise InputError(f"{self._path} ends before patch {index}. Copy it again.")
            batch.append(patches)
        return tuple(batch)


def _places(dataset, path):
    """Returns the first byte of every patch in the file, int64 `(N,)`."""
    num_filters = dataset.id.get_create_plist().get_nfilters()
    if dataset.chunks != (1, *dataset.shape[1:]) or num_filters:
        raise InputError(
            f"{path} keeps {dataset.name} in chunks of {dataset.chunks} with {num_filters} filters "
            "such as compression; expected one patch per chunk and no filter. Make it again with "
            "extract_patches.py."
        )
    places = np.zeros(len(dataset), dtype=np.int64)

    def note(chunk):
        places[chunk.chunk_offset[0]] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    return places
