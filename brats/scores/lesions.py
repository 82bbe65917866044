"""Lesion-wise scores of BraTS 2023: large and small lesions count the same.

In: a predicted and a reference mask, and the size of a voxel. Out: mean Dice and HD95 over the
lesions, and the numbers of lesions, of missed lesions and of false components.
"""

import numpy as np
from scipy import ndimage

from brats.scores.distances import crop_to_both, hausdorff_distances
from brats.scores.overlap import dice

LARGEST_IGNORED = 50  # Voxels.
MISSED_MM = 374.0  # HD95 of a missed lesion and of a false component.
FACES_AND_EDGES = ndimage.generate_binary_structure(3, 2)  # 18 neighbors.
CORNERS_TOO = ndimage.generate_binary_structure(3, 3)  # 26 neighbors.


def lesion_scores(predicted, reference, spacing_mm):
    """Returns the lesion-wise scores of two masks, by the rules of BraTS 2023 for gliomas.

    1. The reference is dilated three times with the 18-neighborhood and split into 26-connected
       components. All reference voxels inside one dilated component form one lesion.
    2. The prediction is split into 26-connected components. All components that touch the
       dilated lesion are compared, together, with the undilated lesion: Dice and HD95. A
       component that touches several lesions is compared with each of them.
    3. A lesion that no component touches is missed: Dice 0, HD95 374 mm.
    4. Lesions of up to 50 voxels are ignored, found or missed.
    5. A component that touches no lesion, ignored ones included, is false: Dice 0, HD95 374 mm.
       Its size does not matter.
    6. The scores are means over the lesions and the false components.

    Dilation and size are counted in voxels (1 mm in the challenge). Distances are in mm; HD95 is
    that of `hausdorff_distances`. Dice is 1 and HD95 0 if there are neither lesions nor false
    components, as with two empty masks. "num_lesions" does not count ignored lesions.

    Reference:
        Saluja, https://github.com/rachitsaluja/BraTS-2023-Metrics, 2023.
    """
    pairs, num_missed, num_false = _match(predicted, reference)
    scores = [(dice(*pair), hausdorff_distances(*pair, spacing_mm)[1]) for pair in pairs]
    num_lesions = len(scores) + num_missed
    scores += [(0.0, MISSED_MM)] * (num_missed + num_false)
    mean_dice, mean_mm = np.mean(scores, axis=0) if scores else (1, 0)
    return {
        "lesion_dice": float(mean_dice),
        "lesion_hausdorff95_mm": float(mean_mm),
        "num_lesions": num_lesions,
        "num_missed": num_missed,
        "num_false": num_false,
    }


def _match(predicted, reference):
    """Returns an iterator of masks `(found, lesion)`, and the numbers of missed and false ones."""
    # Dilated parts that meet outside the box also meet inside it, so the box needs no margin.
    predicted, reference = crop_to_both(predicted, reference)
    dilated = ndimage.binary_dilation(reference, FACES_AND_EDGES, iterations=3)
    zones, num_zones = ndimage.label(dilated, CORNERS_TOO)
    components, num_components = ndimage.label(predicted, CORNERS_TOO)
    touches = np.zeros((num_zones + 1, num_components + 1), dtype=bool)
    touches[zones, components] = True
    touches[0] = touches[:, 0] = False  # The background.
    sizes = np.bincount(zones[reference], minlength=num_zones + 1)
    lesions = np.flatnonzero(sizes > LARGEST_IGNORED)
    found = lesions[touches[lesions].any(axis=1)]
    pairs = ((touches[lesion][components], reference & (zones == lesion)) for lesion in found)
    num_false = num_components - np.count_nonzero(touches.any(axis=0))
    return pairs, len(lesions) - len(found), int(num_false)
