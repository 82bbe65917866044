"""Patches: where they lie in a case, and the HDF5 file they live in.

In: cases. Out: a self-describing file of patches, complete or absent, and random batches read
from it. The layout of the file is in `docs/data.md`.
"""

import contextlib
import json
import os
from dataclasses import dataclass

import h5py
import numpy as np

from brats.cases import CLASSES, MODALITIES
from brats.errors import InputError
from brats.files import replacing
from brats.volumes import (
    BACKGROUND,
    NORMALIZATION,
    PUBLISHED_SHAPE,
    PUBLISHED_WINDOW,
    crop_window,
    normalize_case,
    read_case,
)

PATCH_SIZE = 128
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


@dataclass(frozen=True)
class CasePatches:
    """The patches of one case, not yet cut out.

    Attributes:
        channels: Normalized window of the case, float32 `(Z, Y, X, M)`.
        classes: Ground truth in the window, uint8 class indices `(Z, Y, X)`.
        centers: Patch centers in the window, int32 `(K, 3)` as (z, y, x).
        origin: First voxel of the window in the uncropped volume, int32 `(3,)`.
        class_counts: Voxels of each class in the uncropped volume, int64 `(4,)`.
    """

    channels: np.ndarray
    classes: np.ndarray
    centers: np.ndarray
    origin: np.ndarray
    class_counts: np.ndarray


def sample_case(case, num_patches, rng):
    """Reads and normalizes a case and draws the centers of its patches.

    Args:
        case: A `Case` with ground truth.
        num_patches: Patches to draw, int.
        rng: `numpy.random.Generator`.

    Returns:
        A `CasePatches`, with fewer centers where fewer are admissible.

    Raises:
        InputError: If the case cannot be read or is smaller than a patch in the plane.
    """
    raw = read_case(case)
    window = crop_window(raw.volumes, PATCH_SIZE)
    cropped = [volume[window] for volume in raw.volumes]
    height, width = cropped[0].shape[1:]
    if min(height, width) < PATCH_SIZE:
        raise InputError(
            f"Case {case.id} has axial slices of {height} x {width}; expected at least "
            f"{PATCH_SIZE} x {PATCH_SIZE} to cut patches from."
        )
    everything = (slice(None),) * 3
    channels = normalize_case(cropped, everything)
    # Departure: the original pools the centers of all cases, which then have to be in memory.
    return CasePatches(
        channels=channels,
        classes=raw.classes[window],
        centers=sample_centers(admissible_centers(channels[..., 0]), num_patches, rng),
        origin=np.array([part.start for part in window], dtype=np.int32),
        class_counts=np.bincount(raw.classes.ravel(), minlength=4),
    )


def admissible_centers(flair):
    """Returns the brain voxels around which a whole patch lies in the window.

    A patch around (z, y, x) covers rows y - 64 to y + 64 and columns x - 64 to x + 64, the last
    excluded:

        window, 152 columns   |<--------- 152 --------->|
        centers                          64 ... 88          25 columns

    Args:
        flair: Normalized FLAIR of the window, float32 `(Z, Y, X)`.

    Returns:
        int32 array `(K, 3)` of (z, y, x) in the window, in scanning order.
    """
    half = PATCH_SIZE // 2
    height, width = flair.shape[1:]
    inner = flair[:, half : height - half + 1, half : width - half + 1]
    centers = np.argwhere((inner != 0) & (inner != BACKGROUND))
    return (centers + (0, half, half)).astype(np.int32)


def sample_centers(centers, num_patches, rng):
    """Draws `num_patches` of the centers in random order without repeats, or all if fewer."""
    return rng.permutation(centers, axis=0)[:num_patches]


def cut_patch(volume, center):
    """Returns the patch around (z, y, x): `(Z, Y, X, ...)` to a view `(128, 128, ...)`."""
    z, y, x = center
    half = PATCH_SIZE // 2
    return volume[z, y - half : y + half, x - half : x + half]


@contextlib.contextmanager
def creating_patch_file(path, dtype):
    """Makes an empty patch file that appears under its name only if the block succeeds.

    Args:
        path: Final path.
        dtype: Type of the stored images, "float32" or "float16".

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
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        try:
            for split in SPLITS:
                for name, (shape, kind) in shapes.items():
                    # One patch is one chunk, so that a random read touches nothing else.
                    chunk = (1, *shape) if len(shape) > 1 else (4096, *shape)
                    file.create_dataset(
                        f"{split}/{name}", (0, *shape), kind, chunks=chunk, maxshape=(None, *shape)
                    )
            yield file
            file.flush()
        except BaseException:
            # HDF5 flushes on closing, and crashes the process if the disk is full: make room.
            os.truncate(temporary, 0)
            raise


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

    Args:
        path: Path of a patch file.
        split: "train" or "validation".

    Raises:
        InputError: If the file does not hold the split in full.
    """

    def __init__(self, path, split):
        self._file = h5py.File(path, "r")
        try:
            self._images, self._labels = (self._file[split][name] for name in ("images", "labels"))
        except KeyError as error:
            raise InputError(f"{path} has no patches for {split}. Make it again.") from error
        if len(self._images) != len(self._labels):
            raise InputError(
                f"{path} holds {len(self._images)} images but {len(self._labels)} labels for "
                f"{split}. Make it again with extract_patches.py."
            )

    def __len__(self):
        """Returns the number of patches."""
        return len(self._images)

    def read(self, indices):
        """Reads the patches with the given indices, in that order.

        Args:
            indices: Sequence of ints, repeats allowed.

        Returns:
            `(images, classes)`: float32 `(N, 128, 128, 4)` and uint8 `(N, 128, 128)`.
        """
        images = np.empty((len(indices), *self._images.shape[1:]), dtype=np.float32)
        classes = np.empty((len(indices), *self._labels.shape[1:]), dtype=np.uint8)
        for position, index in enumerate(indices):
            # One read per patch: h5py's fancy indexing is far slower.
            self._images.read_direct(images, np.s_[index], np.s_[position])
            self._labels.read_direct(classes, np.s_[index], np.s_[position])
        return images, classes
