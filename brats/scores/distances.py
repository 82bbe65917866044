"""Distances between the surfaces of two masks, in mm.

In: a predicted and a reference mask, and the size of a voxel. Out: the Hausdorff distance and its
95th percentile.
"""

import surface_distance

ONE_EMPTY_MM = 374.0  # The challenge's distance if one mask is empty.


def hausdorff_distances(predicted, reference, spacing_mm):
    """Returns the Hausdorff distance of two masks and its 95th percentile (HD95).

    The surface of a mask lies between its voxels and those outside: one element of known area at
    every corner of voxels that has both around it. Formula, where d(P, R) are the distances from
    the elements of the predicted surface to the nearest element of the reference:

        hausdorff_mm    = max(max(d(P, R)), max(d(R, P)))
        hausdorff95_mm  = max(q95(d(P, R)), q95(d(R, P)))

    q95 is the smallest distance within which 95 % of the surface's area lie. HD95 is that of
    BraTS 2023, by the same library.

    Both distances are 0 if both masks are empty, and 374 if only one is. `spacing_mm` is in the
    order of the arrays, `(z, y, x)`.

    Reference:
        DeepMind, https://github.com/google-deepmind/surface-distance, 2018.
    """
    if not (predicted.any() and reference.any()):
        distance_mm = ONE_EMPTY_MM if predicted.any() or reference.any() else 0.0
        return distance_mm, distance_mm
    # Departure: the original measures between the backgrounds, so a missed lesion is 0 mm away.
    found = surface_distance.compute_surface_distances(reference, predicted, spacing_mm)
    farthest, q95 = (surface_distance.compute_robust_hausdorff(found, q) for q in (100, 95))
    return float(farthest), float(q95)
