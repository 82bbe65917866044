"""What may be mended in a segmentation after the network: holes, small lesions, stray voxels.

In: predicted class indices `(Z, Y, X)`. Out: the same with some voxels changed. Every step is at
rest by default, and doing it twice changes nothing more.
"""

import numpy as np
from scipy import ndimage

from brats.editions import CLASSES, region_mask

NECROSIS, ENHANCING = CLASSES.index("necrosis"), CLASSES.index("enhancing")
TOUCHING = np.ones((3, 3, 3), dtype=bool)  # Voxels that share a face, an edge or a corner.


def postprocess(classes, fill_holes=False, min_lesion_voxels=0, min_enhancing_voxels=0):
    """Applies the steps that are asked for, in the order of the arguments.

    Args:
        classes: Class indices, uint8 `(Z, Y, X)`; left as they are.
        fill_holes: Whether `fill_tumor_holes` is applied.
        min_lesion_voxels: Argument of `remove_small_lesions`; 0 for none.
        min_enhancing_voxels: Argument of `replace_scarce_enhancing`; 0 for none.

    Returns:
        uint8 class indices `(Z, Y, X)`.
    """
    if fill_holes:
        classes = fill_tumor_holes(classes)
    if min_lesion_voxels:
        classes = remove_small_lesions(classes, min_lesion_voxels)
    return replace_scarce_enhancing(classes, min_enhancing_voxels)


def fill_tumor_holes(classes):
    """Gives background that is wholly enclosed by tumor the class of the nearest tumor voxel.

    Enclosed is what no path over faces of background voxels joins to the border of the volume.

    Args:
        classes: Class indices, uint8 `(Z, Y, X)`.

    Returns:
        uint8 class indices `(Z, Y, X)`.
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
    """Makes whole-tumor components of fewer voxels than `min_voxels` background.

    Args:
        classes: Class indices, uint8 `(Z, Y, X)`.
        min_voxels: Least size of a 26-connected component, int.

    Returns:
        uint8 class indices `(Z, Y, X)`.
    """
    components, _ = ndimage.label(region_mask(classes, "whole"), TOUCHING)
    sizes = np.bincount(components.ravel())
    return np.where((sizes >= min_voxels)[components], classes, 0).astype(np.uint8)


def replace_scarce_enhancing(classes, min_voxels):
    """Makes all enhancing tumor necrosis if it has fewer voxels than `min_voxels`.

    A few enhancing voxels in a case without any score Dice 0 in the challenge; necrosis keeps
    the tumor core as it is.

    Args:
        classes: Class indices, uint8 `(Z, Y, X)`.
        min_voxels: Least number of enhancing voxels in the whole volume, int.

    Returns:
        uint8 class indices `(Z, Y, X)`.

    Reference:
        Isensee et al., "nnU-Net for Brain Tumor Segmentation", BrainLes 2020.
    """
    enhancing = classes == ENHANCING
    if np.count_nonzero(enhancing) >= min_voxels:
        return classes.copy()
    return np.where(enhancing, NECROSIS, classes).astype(np.uint8)
