"""Patches: where they lie in a case.

In: a case on disk. Out: its normalized channels and the centers of the patches to cut out of them.
"""

from dataclasses import dataclass

import numpy as np

from brats.cases.check import read_checked_case
from brats.editions import CLASSES, count_classes
from brats.volumes.network_input import PATCH_SIZE, network_input
from brats.volumes.normalization import BACKGROUND

CENTERS = ("published", "balanced")


@dataclass(frozen=True)
class CasePatches:
    """The patches of one case, not yet cut out.

    Attributes:
        channels: Normalized window of the case, float32 `(Z, Y, X, M)`, padded with background
            to the size of a patch where its slices are smaller.
        classes: Reference in the window, uint8 class indices `(Z, Y, X)`, padded likewise.
        centers: Patch centers in the window, int32 `(K, 3)` as (z, y, x).
        origin: First voxel of the window in the uncropped (and resampled) volume, int32 `(3,)`;
            negative where the window begins with padding.
        class_counts: Voxels of each class in the reference's file, int64 `(4,)`.
        warnings: List of sentences on what is odd about the case.
    """

    channels: np.ndarray
    classes: np.ndarray
    centers: np.ndarray
    origin: np.ndarray
    class_counts: np.ndarray
    warnings: list


def sample_case(case, num_patches, rng, centers=CENTERS[0], force=False):
    """Reads, checks and normalizes a case, and draws the centers of its patches.

    Returns a `CasePatches`, with fewer than `num_patches` centers where fewer are admissible.
    """
    raw = read_checked_case(case, force)
    spacing_mm = raw.geometry.spacing_mm[::-1]
    seen = network_input(raw.volumes, raw.classes, crop=True, spacing_mm=spacing_mm)
    channels, classes = seen.channels, seen.classes
    flair = channels[..., 0]
    # Departure: the original pools the centers of all cases, which then have to be in memory.
    if centers == "balanced":
        drawn = sample_balanced_centers(flair, classes, num_patches, rng)
    else:
        drawn = sample_centers(admissible_centers(flair), num_patches, rng)
    return CasePatches(
        channels=channels,
        classes=classes,
        centers=drawn,
        origin=seen.origin,
        class_counts=count_classes(raw.classes),
        warnings=raw.warnings,
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


def sample_balanced_centers(flair, classes, num_patches, rng):
    """Draws centers all over the brain, as many on each tumor class as on the brain as a whole.

    A class that the case does not have is left out. If a class has too few voxels, the brain gives
    the rest. Within a class, and within the brain, no voxel is drawn twice. The centers are like
    those of `admissible_centers`, but in random order.
    """
    tumor = [classes == index for index in range(1, len(CLASSES))]
    tumor = [np.argwhere(mask) for mask in tumor if mask.any()]
    share = num_patches // (1 + len(tumor))
    drawn = [sample_centers(places, share, rng) for places in tumor]
    brain = np.argwhere((flair != 0) & (flair != BACKGROUND))
    drawn.append(sample_centers(brain, num_patches - sum(map(len, drawn)), rng))
    return rng.permutation(np.concatenate(drawn).astype(np.int32), axis=0)


def cut_patch(volume, center, beyond=0):
    """Returns the patch around (z, y, x), `(128, 128, ...)`; a view where it lies in the volume.

    `beyond` is what stands in a patch beyond the volume.
    """
    z, *center = center
    half = PATCH_SIZE // 2
    places = [slice(max(at - half, 0), at + half) for at in center]
    patch = volume[(z, *places)]
    if patch.shape[:2] == (PATCH_SIZE, PATCH_SIZE):
        return patch
    before = [max(half - at, 0) for at in center]
    widths = [
        (width, PATCH_SIZE - width - length)
        for width, length in zip(before, patch.shape, strict=False)
    ]
    return np.pad(patch, widths + [(0, 0)] * (patch.ndim - 2), constant_values=beyond)
