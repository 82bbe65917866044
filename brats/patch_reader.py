"""Random batches out of a patch file, which stays on disk.

In: a file of `brats.patch_file`. Out: patches by index, in any order.
"""

import io
import weakref
from pathlib import Path

import h5py
import numpy as np

from brats.errors import InputError
from brats.hdf5 import open_hdf5
from brats.patches import PATCH_SIZE
from brats.schemes import CLASSES, MODALITIES

# Shape of a patch and types that it is stored in.
CONTENT = {
    "images": ((PATCH_SIZE, PATCH_SIZE, len(MODALITIES)), ("float32", "float16")),
    "labels": ((PATCH_SIZE, PATCH_SIZE), ("uint8",)),
}


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
        with open_hdf5(path) as file:
            images, labels = (_dataset(file, f"{split}/{name}", path) for name in CONTENT)
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
            InputError: If the file ends before a patch, or a class is none of `CLASSES`.
        """
        batch = []
        for shape, dtype, places in zip(self._shapes, self._dtypes, self._places, strict=True):
            patches = np.empty((len(indices), *shape), dtype)
            for patch, index in zip(patches, indices, strict=True):
                self._file.seek(places[index])
                if self._file.readinto(patch) != patch.nbytes:
                    raise InputError(f"{self._path} ends before patch {index}. Copy it again.")
            batch.append(patches)
        highest = batch[1].max(initial=0)
        if highest >= len(CLASSES):
            raise InputError(
                f"{self._path} has a pixel of class {highest}; expected 0 to {len(CLASSES) - 1}. "
                "It is damaged: copy it again."
            )
        return tuple(batch)


def _dataset(file, name, path):
    """Returns images or labels of a split, of the shape and a type that patches have."""
    shape, dtypes = CONTENT[name.rpartition("/")[2]]
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{path} has no {name}. Make it again with extract_patches.py.")
    if (found.shape or ())[1:] != shape or found.dtype not in dtypes:
        raise InputError(
            f"{path} has {name} of {found.shape} {found.dtype}; expected (N, "
            f"{', '.join(map(str, shape))}) {' or '.join(dtypes)}. Make it again with "
            "extract_patches.py."
        )
    return found


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
