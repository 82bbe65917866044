"""Distances between the surfaces of two masks, in mm.

In: a predicted and a reference mask, and the size of a voxel. Out: the Hausdorff distance and its
95th percentile.
"""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

# The challenge's distance if one mask is empty: the diagonal of 240 x 240 x 155 voxels of 1 mm.
ONE_EMPTY_MM = 373.12866


def hausdorff_distances(predicted, reference, spacing_mm):
    """Returns the Hausdorff distance of two masks and its 95th percentile.

    Formula, where S(M) is the surface of a mask: its voxels with at least one of six neighbors
    outside the mask (or outside the volume):

        d(P, R)         = {distance from p to the nearest voxel center of S(R), for p in S(P)}
        hausdorff_mm    = max(max(d(P, R)), max(d(R, P)))
        hausdorff95_mm  = max(q95(d(P, R)), q95(d(R, P)))

    q95 is the smallest distance that is at least as large as 95 % of the distances. BraTS
    (Menze et al.) takes it in each direction and then the larger one. Other tools differ:
    surface-distance places the surface between the voxels and weights it by area; MedPy takes
    one percentile over both directions and interpolates. The Hausdorff distance equals MedPy's.

    Both distances are 0 if both masks are empty, and 373.12866 if only one is (the rules of BraTS
    for the percentile). `spacing_mm` is in the order of the arrays, `(z, y, x)`.

    Reference:
        Menze et al., "The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS)", 2015.
    """
    if not (predicted.any() and reference.any()):
        distance_mm = ONE_EMPTY_MM if predicted.any() or reference.any() else 0.0
        return distance_mm, distance_mm
    # Departure: the original measures between the backgrounds, so a missed lesion is 0 mm away.
    masks = crop_to_both(predicted, reference)
    surfaces = [_surface_points(mask, spacing_mm) for mask in masks]
    directed = [_nearest(*surfaces), _nearest(*surfaces[::-1])]
    farthest = max(distances.max() for distances in directed)
    q95 = max(np.percentile(distances, 95, method="inverted_cdf") for distances in directed)
    return float(farthest), float(q95)


def crop_to_both(predicted, reference):
    """Returns both masks cut to their common bounding box; one voxel if both are empty."""
    boxes = ndimage.find_objects((predicted | reference).astype(np.uint8))
    box = boxes[0] if boxes else (slice(1),) * 3
    return predicted[box], reference[box]


def _surface_points(mask, spacing_mm):
    return np.argwhere(mask & ~ndimage.binary_erosion(mask)) * np.asarray(spacing_mm, np.float64)


def _nearest(points, others):
    # Searching neighbors takes half the time of a distance transform, and an eighth if a false
    # component makes the box large. An unbalanced tree is faster if the masks differ much.
    tree = cKDTree(others, balanced_tree=False, compact_nodes=False)
    return tree.query(points)[0]
