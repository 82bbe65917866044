"""Random batches out of patch files, which stay on disk.

In: one file of `brats.patches.file`, or several that are read as one. Out: patches by index, in any
order. Memory is taken for the patches that are asked for, and little for the others' places.
"""

import io
import weakref
from array import array
from pathlib import Path

import h5py
import numpy as np

from brats.editions import CLASSES, MODALITIES
from brats.errors import InputError
from brats.hdf5 import open_hdf5
from brats.patches.file import SPLITS
from brats.volumes.network_input import PATCH_SIZE

# Shape of a patch and types that it is stored in.
CONTENT = {
    "images": ((PATCH_SIZE, PATCH_SIZE, len(MODALITIES)), ("float32", "float16")),
    "labels": ((PATCH_SIZE, PATCH_SIZE), ("uint8",)),
}


class PatchReader:
    """Reads random batches of one split of a patch file, which stays on disk.

    Every patch is one piece of the file, uncompressed, so it is read from its place without
    HDF5, several times as fast (`docs/results.md`).

    Attributes:
        path: Path of the file.
        kinds: Shape and type of a patch, of images and of labels.

    Args:
        path: Path of a patch file.
        split: "train" or "validation".

    Raises:
        InputError: If the file does not hold the split in full, one patch per chunk.
    """

    def __init__(self, path, split):
        self.path = path
        with open_hdf5(path) as file:
            images, labels = (_dataset(file, f"{split}/{name}", path) for name in CONTENT)
            if len(images) != len(labels):
                raise InputError(
                    f"{path} holds {len(images)} images but {len(labels)} labels for {split}. "
                    "Make it again with extract_patches.py."
                )
            self._length = len(images)
            self.kinds = [(each.shape[1:], each.dtype) for each in (images, labels)]
            self._runs = [_runs(dataset, path) for dataset in (images, labels)]
        self._file = io.FileIO(path)
        weakref.finalize(self, self._file.close)

    def __len__(self):
        """Returns the number of patches."""
        return self._length

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
        batch = self.empty(len(indices))
        self.fill(batch, range(len(indices)), indices)
        return batch

    def empty(self, num_patches):
        """Returns images and classes of so many patches, as of `read`, with any content."""
        return tuple(np.empty((num_patches, *shape), dtype) for shape, dtype in self.kinds)

    def fill(self, batch, rows, indices):
        """Reads the patches with the given indices into rows of a batch; see `read`.

        Args:
            batch: `(images, classes)` as of `empty`.
            rows: Sequence of ints, the row of each patch.
            indices: Sequence of ints.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if ((indices < 0) | (indices >= self._length)).any():
            raise IndexError(f"{indices} are not all among {self._length} patches.")
        for patches, (firsts, starts) in zip(batch, self._runs, strict=True):
            runs = np.searchsorted(firsts, indices, side="right") - 1
            size = patches[:1].nbytes
            places = starts[runs] + (indices - firsts[runs]) * size
            for row, index, place in zip(rows, indices, places.tolist(), strict=True):
                self._file.seek(place)
                if self._file.readinto(patches[row]) != size:
                    raise InputError(f"{self.path} ends before patch {index}. Copy it again.")
        highest = max((batch[1][row].max() for row in rows), default=0)
        if highest >= len(CLASSES):
            raise InputError(
                f"{self.path} has a pixel of class {highest}; expected 0 to {len(CLASSES) - 1}. "
                "It is damaged: copy it again."
            )


class JoinedReader:
    """Reads random batches of several readers as of one: the patches of the first, then on.

    Args:
        readers: List of `PatchReader`s of one split, whose images have one type.
    """

    def __init__(self, readers):
        self._readers = readers
        self._ends = np.cumsum([len(reader) for reader in readers])

    def __len__(self):
        """Returns the number of patches of all readers."""
        return int(self._ends[-1])

    def read(self, indices):
        """Reads the patches with the given indices, in that order; see `PatchReader.read`."""
        indices = np.asarray(indices, dtype=np.int64)
        owners = np.searchsorted(self._ends, indices, side="right")
        batch = self._readers[0].empty(len(indices))
        for owner in np.unique(owners).tolist():
            reader, (rows,) = self._readers[owner], np.nonzero(owners == owner)
            reader.fill(batch, rows, indices[rows] - (self._ends[owner] - len(reader)))
        return batch


def open_readers(paths):
    """Opens patch files as one set.

    Args:
        paths: Paths of patch files.

    Returns:
        Dict of a reader by split, see `join_readers`.

    Raises:
        InputError: As `PatchReader`.
    """
    return {split: join_readers([PatchReader(path, split) for path in paths]) for split in SPLITS}


def join_readers(readers):
    """Returns one reader of the patches of all `readers`, in order: itself if there is one.

    Raises:
        InputError: If they give images of different types; names both files.
    """
    for reader in readers:
        if reader.kinds != readers[0].kinds:
            (_, dtype), (_, first) = reader.kinds[0], readers[0].kinds[0]
            raise InputError(
                f"{reader.path} holds {dtype} images, and {readers[0].path} {first}; expected one "
                "type. Make them again with the same --dtype of extract_patches.py."
            )
    return readers[0] if len(readers) == 1 else JoinedReader(readers)


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


def _runs(dataset, path):
    """Returns where the patches lie in the file, as runs of patches that follow on each other.

    A case's patches were written one after the other, so that runs are far fewer than patches;
    any other order of the file is told as truly, in more runs.

    Args:
        dataset: Images or labels, an `h5py.Dataset`.
        path: Path of the file.

    Returns:
        `(firsts, starts)`: index of the first patch of every run, ascending, and its first byte in
        the file, both int64 `(R,)`.

    Raises:
        InputError: If a patch is not one chunk without a filter, or is not in the file.
    """
    num_filters = dataset.id.get_create_plist().get_nfilters()
    if dataset.chunks != (1, *dataset.shape[1:]) or num_filters:
        raise InputError(
            f"{path} keeps {dataset.name} in chunks of {dataset.chunks} with {num_filters} filters "
            "such as compression; expected one patch per chunk and no filter. Make it again with "
            "extract_patches.py."
        )
    if dataset.nbytes > Path(path).stat().st_size:
        raise InputError(
            f"{path} is too short for the {len(dataset)} patches of {dataset.name}. Copy it again."
        )
    size = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
    firsts, stops, starts = array("q"), array("q"), array("q")
    next_index, next_byte = 0, None

    def note(chunk):
        nonlocal next_index, next_byte
        (index, *_), _, byte, _ = chunk
        if index != next_index or byte != next_byte:
            firsts.append(index)
            starts.append(byte)
            stops.append(next_index)  # Of the run before; 0 before the first.
        next_index, next_byte = index + 1, byte + size

    dataset.id.chunk_iter(note)
    stops.append(next_index)
    firsts, stops, starts = (np.array(each, dtype=np.int64) for each in (firsts, stops, starts))
    order = np.argsort(firsts)
    firsts, stops, starts = firsts[order], stops[1:][order], starts[order]
    check_all_are_there(firsts, stops, dataset, path)
    return firsts, starts


def check_all_are_there(firsts, stops, dataset, path):
    """Checks that runs hold every patch of a data set once.

    Raises:
        InputError: If they do not.
    """
    if np.array_equal(np.append(0, stops), np.append(firsts, len(dataset))):
        return
    missing = len(dataset) - (stops - firsts).sum()
    if missing > 0:
        raise InputError(
            f"{path} lacks {missing} of {len(dataset)} patches of {dataset.name}. Make it again "
            "with extract_patches.py."
        )
    raise InputError(
        f"{path} has a damaged index of the patches of {dataset.name}: it names some twice, or "
        f"others than the {len(dataset)} that there are. Copy it again."
    )
