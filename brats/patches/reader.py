"""Random batches out of patch files, which stay on disk.

In: `CaseFile`s. Out: patches by index, in any order. Only patches that are asked for take memory.
"""

import os
import weakref
import zlib

import numpy as np

from brats.editions import CLASSES, MODALITIES
from brats.errors import InputError
from brats.volumes.network_input import PATCH_SIZE

MOST_OPEN = 256  # Files at a time; a process may usually have 1,024.
IMAGE, LABELS = (PATCH_SIZE, PATCH_SIZE, len(MODALITIES)), (PATCH_SIZE, PATCH_SIZE)


class PatchReader:
    """Reads random batches of several patch files as of one.

    The patches are numbered through the files in their order. The reader compares the checksum of
    a patch when it reads the patch for the first time.

    Args:
        case_files: List of `CaseFile`, with images of one type.
    """

    def __init__(self, case_files):
        self._files = list(case_files)
        self._starts = np.cumsum([0, *(each.num_patches for each in self._files)])
        self._is_checked = np.zeros(len(self), dtype=bool)
        self._dtype = self._files[0].dtype if self._files else np.dtype(np.float32)
        self._states = {}  # What tells a file from one that replaced it, by index of the file.
        self._open = {}  # File descriptors by index of the file, the last used at the end.
        weakref.finalize(self, _close, self._open)

    def __len__(self):
        """Returns the number of patches of all files."""
        return int(self._starts[-1])

    def read(self, indices):
        """Reads the patches with the given indices, in that order; from one thread at a time.

        Args:
            indices: Sequence of ints in [0, len), repeats allowed.

        Returns:
            `(images, classes)`: `(N, 128, 128, 4)` in the type of the files, float32 or float16,
            and uint8 `(N, 128, 128)`.

        Raises:
            InputError: If a patch is damaged, or its file ends before it; names the file.
            OSError: If a file cannot be read any more.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if ((indices < 0) | (indices >= len(self))).any():
            raise IndexError(f"{indices} are not all among {len(self)} patches.")
        images = np.empty((len(indices), *IMAGE), self._dtype)
        classes = np.empty((len(indices), *LABELS), np.uint8)
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        places = (indices - self._starts[owners]).tolist()
        for row, (owner, place) in enumerate(zip(owners.tolist(), places, strict=True)):
            self._read_patch(owner, place, images[row], classes[row])
        return images, classes

    def _read_patch(self, owner, place, image, labels):
        file = self._files[owner]
        descriptor = self._descriptor(owner)
        for array, offset in zip((image, labels), file.offsets, strict=True):
            if os.preadv(descriptor, [array], offset + place * array.nbytes) != array.nbytes:
                raise InputError(f"{file.path} ends before patch {place}. Copy it again.")
        index = self._starts[owner] + place
        if not self._is_checked[index]:
            checksum = zlib.crc32(labels, zlib.crc32(image))
            if checksum != file.checksums[place] or labels.max() >= len(CLASSES):
                raise InputError(
                    f"{file.path} is damaged at patch {place}: its checksum is wrong. Copy it "
                    "again, or remove it and run extract_patches.py again."
                )
            self._is_checked[index] = True

    def _descriptor(self, owner):
        """Returns the descriptor of an open file; closes the one that was not used for longest."""
        descriptor = self._open.pop(owner, None)
        if descriptor is None:
            if len(self._open) >= MOST_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            path = self._files[owner].path
            descriptor = os.open(path, os.O_RDONLY)
            status = os.fstat(descriptor)
            state = status.st_ino, status.st_mtime_ns
            if self._states.setdefault(owner, state) != state:
                raise InputError(f"{path} was replaced while it was in use. Start again.")
        self._open[owner] = descriptor
        return descriptor


def _close(descriptors):
    for descriptor in descriptors.values():
        os.close(descriptor)
