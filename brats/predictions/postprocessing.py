"""Optional cleanup of a segmentation: holes, small lesions, scarce enhancing tumor.

In: predicted class indices `(Z, Y, X)`. Out: the same with some voxels changed. All steps are off
by default.
"""

import numpy as np
from scipy import ndimage

from brats.editions import CLASSES, region_mask

NECROSIS, ENHANCING = CLASSES.index("necrosis"), CLASSES.index("enhancing")
TOUCHING = np.ones((3, 3, 3), dtype=bool)  # Voxels that share a face, an edge or a corner.


def postprocess(classes, voxel_ml, fill_holes=False, min_lesion_ml=0, min_enhancing_ml=0):
    """Applies the steps that are switched on, in the order of the arguments.

    Args:
        classes: Class indices, uint8 `(Z, Y, X)`; not changed.
        voxel_ml: Volume of a voxel.
        fill_holes: Whether to apply `fill_tumor_holes`.
        min_lesion_ml: Least volume for `remove_small_lesions`; 0 switches it off.
        min_enhancing_ml: Least volume for `replace_scarce_enhancing`; 0 switches it off.

    Returns:
        uint8 class indices `(Z, Y, X)`.
    """
    if fill_holes:
        classes = fill_tumor_holes(classes)
    if min_lesion_ml:
        classes = remove_small_lesions(classes, min_lesion_ml / voxel_ml)
    return replace_scarce_enhancing(classes, min_enhancing_ml / voxel_ml)


def fill_tumor_holes(classes):
    """Gives background that is enclosed by tumor the class of the nearest tumor voxel.

    A background voxel is enclosed if no path over faces of background voxels leads from it to the
    border of the volume.
    """
    tumor = region_mask(classes, "whole")
    if not tumor.any():
        return classes.copy()
    # Nothing outside the tumor's box is enclosed.
    window = ndimage.find_objects(tumor.astype(np.uint8))[0]
    filled, tumor = classes.copy(), tumor[window]
    holes = ndimage.binary_fill_holes(tumor) & ~tumor
    if holes.any():
        nearest = ndimage.distance_transform_edt(
            ~tumor, return_distances=False, return_indices=True
        )
        filled[window][holes] = classes[window][tuple(nearest)][holes]
    return filled


def remove_small_lesions(classes, min_voxels):
    """Turns 26-connected whole-tumor components of fewer voxels into background."""
    components, _ = ndimage.label(region_mask(classes, "whole"), TOUCHING)
    sizes = np.bincount(components.ravel())
    return np.where((sizes >= min_voxels)[components], classes, 0).astype(np.uint8)


def replace_scarce_enhancing(classes, min_voxels):
    """Turns all enhancing tumor into necrosis if it has fewer than `min_voxels` voxels.

    A case without enhancing tumor scores Dice 0 in the challenge if only a few such voxels are
    predicted. As necrosis they stay in the tumor core.

    Reference:
        Isensee et al., "nnU-Net for Brain Tumor Segmentation", BrainLes 2020.
    """
    enhancing = classes == ENHANCING
    if np.count_nonzero(enhancing) >= min_voxels:
        return classes.copy()
    return np.where(enhancing, NECROSIS, classes).astype(np.uint8)
