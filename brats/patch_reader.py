"""Random batches out of a patch file, which stays on disk.

In: a file of `brats.patch_file`. Out: patches by index, in any order.
"""

import io
import weakref
from pathlib import Path

import h5py
import numpy as np

from brats.cases import MODALITIES
from brats.errors import HDF5_ERRORS, InputError
from brats.patches import PATCH_SIZE

SHAPES = {"images": (PATCH_SIZE, PATCH_SIZE, len(MODALITIES)), "labels": (PATCH_SIZE, PATCH_SIZE)}
DTYPES = {"images": ("float32", "float16"), "labels": ("uint8",)}


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
        try:
            with h5py.File(path, "r") as file:
                images, labels = (_dataset(file, split, name) for name in SHAPES)
                self._dtypes = images.dtype, labels.dtype
                self._places = [_places(dataset, path) for dataset in (images, labels)]
        except (InputError, FileNotFoundError):
            raise
        except HDF5_ERRORS as error:
            raise InputError(
                f"{path} is damaged: {error}. Make it again with extract_patches.py."
            ) from error
        num_images, num_labels = map(len, self._places)
        if num_images != num_labels:
            raise InputError(
                f"{path} holds {num_images} images but {num_labels} labels for {split}. Make it "
                "again with extract_patches.py."
            )
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
        for shape, dtype, places in zip(SHAPES.values(), self._dtypes, self._places, strict=True):
            patches = np.empty((len(indices), *shape), dtype)
            for patch, index in zip(patches, indices, strict=True):
                self._file.seek(places[index])
                if self._file.readinto(patch) != patch.nbytes:
                    raise InputError(f"{self._path} ends before patch {index}. Copy it again.")
            batch.append(patches)
        return tuple(batch)


def _dataset(file, split, name):
    """Returns a data set of patches of the shape and a type that `brats.patch_file` writes."""
    dataset = file.get(f"{split}/{name}")
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{file.filename} has no patches for {split}. Make it again.")
    if (dataset.shape or ())[1:] != SHAPES[name] or dataset.dtype not in DTYPES[name]:
        raise InputError(
            f"{file.filename} holds {name} of shape {dataset.shape} and type {dataset.dtype} for "
            f"{split}; expected {('N', *SHAPES[name])} and {' or '.join(DTYPES[name])}. Make it "
            "again with extract_patches.py."
        )
    return dataset


def _places(dataset, path):
    """Returns the first byte of every patch in the file, int64 `(N,)`."""
    num_filters = dataset.id.get_create_plist().get_nfilters()
    if dataset.chunks != (1, *dataset.shape[1:]) or num_filters:
        raise InputError(
            f"{path} keeps {dataset.name} in chunks of {dataset.chunks} with {num_filters} filters "
            "such as compression; expected one patch per chunk and no filter. Make it again with "
            "extract_patches.py."
        )
    if dataset.nbytes > Path(path).stat().st_size:  # Before memory is taken for their places.
        raise InputError(
            f"{path} is too short for the {len(dataset)} patches of {dataset.name}. Copy it again."
        )
    places = np.full(len(dataset), -1, dtype=np.int64)

    def note(chunk):
        places[chunk.chunk_offset[0]] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    missing = np.count_nonzero(places < 0)
    if missing:
        raise InputError(
            f"{path} lacks {missing} of {len(places)} patches of {dataset.name}. Make it again "
            "with extract_patches.py."
        )
    return places
