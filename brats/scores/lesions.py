"""Lesion-wise scores of BraTS 2023: large and small lesions count the same.

In: a predicted and a reference mask, and the size of a voxel. Out: mean Dice and HD95 over the
lesions, and the numbers of lesions, of missed lesions and of false components.
"""

import math

import numpy as np
from scipy import ndimage

from brats.scores.distances import ONE_EMPTY_MM, hausdorff_distances
from brats.scores.overlap import dice

FACES_AND_EDGES = ndimage.generate_binary_structure(3, 2)  # 18 neighbors.
CORNERS_TOO = ndimage.generate_binary_structure(3, 3)  # 26 neighbors.


def lesion_scores(predicted, reference, spacing_mm, dilation=3, ignored_mm3=50):
    """Returns the lesion-wise scores of two masks, by the rules of BraTS 2023.

    1. The reference is dilated `dilation` times with the 18-neighborhood and split into
       26-connected components. All reference voxels inside one of these form one lesion.
    2. The prediction is split into 26-connected components. All components that touch the
       dilated lesion are compared, together, with the undilated lesion: Dice and HD95. A
       component that touches several lesions is compared with each of them.
    3. A lesion that no component touches is missed: Dice 0, HD95 374 mm.
    4. Lesions of up to `ignored_mm3` are ignored, found or missed.
    5. A component that touches no lesion, ignored ones included, is false: Dice 0, HD95 374 mm.
       Its size does not matter.
    6. The scores are means over the lesions and the false components.

    Dilation is counted in voxels (1 mm in the challenge). HD95 is that of `hausdorff_distances`.
    Dice is 1 and HD95 0 if there are neither lesions nor false components, as with two empty masks.
    "num_lesions" does not count ignored lesions. The defaults are the rules for gliomas.

    Reference:
        Saluja, https://github.com/rachitsaluja/BraTS-2023-Metrics, commit 43c9052, 2023.
    """
    ignored = ignored_mm3 / math.prod(spacing_mm)  # Voxels.
    pairs, num_missed, num_false = _match(predicted, reference, dilation, ignored)
    scores = [(dice(*pair), hausdorff_distances(*pair, spacing_mm)[1]) for pair in pairs]
    num_lesions = len(scores) + num_missed
    scores += [(0.0, ONE_EMPTY_MM)] * (num_missed + num_false)
    mean_dice, mean_mm = np.mean(scores, axis=0) if scores else (1, 0)
    return {
        "lesion_dice": float(mean_dice),
        "lesion_hausdorff95_mm": float(mean_mm),
        "num_lesions": num_lesions,
        "num_missed": num_missed,
        "num_false": num_false,
    }


def _crop_to_both(predicted, reference):
    """Returns both masks cut to their common bounding box; one voxel if both are empty."""
    boxes = ndimage.find_objects((predicted | reference).astype(np.uint8))
    box = boxes[0] if boxes else (slice(1),) * 3
    return predicted[box], reference[box]


def _match(predicted, reference, dilation, ignored):
    """Returns an iterator of masks `(found, lesion)`, and the numbers of missed and false ones."""
    # Dilated parts that meet outside the box also meet inside it, so the box needs no margin.
    predicted, reference = _crop_to_both(predicted, reference)
    dilated = ndimage.binary_dilation(reference, FACES_AND_EDGES, iterations=dilation)
    zones, num_zones = ndimage.label(dilated, CORNERS_TOO)
    components, num_components = ndimage.label(predicted, CORNERS_TOO)
    touches = np.zeros((num_zones + 1, num_components + 1), dtype=bool)
    touches[zones, components] = True
    touches[0] = touches[:, 0] = False  # The background.
    sizes = np.bincount(zones[reference], minlength=num_zones + 1)
    lesions = np.flatnonzero(sizes > ignored)
    found = lesions[touches[lesions].any(axis=1)]
    pairs = ((touches[lesion][components], reference & (zones == lesion)) for lesion in found)
    num_false = num_components - np.count_nonzero(touches.any(axis=0))
    return pairs, len(lesions) - len(found), int(num_false)
