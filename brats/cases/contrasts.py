"""Images that are not what their name says: exchanged, copied, inverted; references of other cases.

In: a sample of the voxels of a case, as of `repair.sampled`. Out: sentences, none if all is well.

The rank of a voxel is the share of the brain that is darker, so it does not depend on the scanner.
The ranges below are those of 47 real cases of BraTS 2018, 2021 and 2023.
"""

import itertools

import numpy as np
from scipy import ndimage, stats

MIN_BRAIN = 1000  # Voxels. Shares of fewer voxels mean nothing.
MIN_TUMOR = 20
# Edge of the brain: voxels beside the background. Its median, divided by that of the image, is 0.38
# to 1.8 in the real images, and below 0.1 if an interpolation with splines left a seam.
MIN_EDGE = 0.2
# Mean rank of the edge in FLAIR, T1 and T1ce: 0.23 to 0.45, so 0.55 to 0.77 in inverted images.
MAX_EDGE_RANK = 0.5
# Correlation of the ranks of two images: at most 0.81.
MAX_CORRELATION = 0.99
# Mean rank of the second image minus that of the third, in the darkest or brightest voxels of the
# first. The real images stay 0.02 away from each limit. The relations find each exchange of two
# images, and each image that is inverted inside the brain, in 46 or 47 of 47 cases.
DARK, BRIGHT = 0.1, 0.98
RELATIONS = (  # image, its brightest voxels?, second, third, lowest, highest
    ("flair", False, "t1", "t1ce", -0.3, 0.015),
    ("flair", True, "t1ce", "t2", -1, 0.33),
    ("t1", True, "t1", "t2", 0.24, 1),
    ("t1ce", False, "flair", "t1", -0.15, 0.43),
    ("t2", False, "flair", "t1ce", -0.65, 0.05),
    ("t2", True, "t1", "t1ce", -0.18, 0.25),
    ("t2", True, "t1ce", "t2", -1, -0.47),
)
# Mean rank of the reference's tumor, in FLAIR and T2: 0.74 to 0.95. Mirrored, it loses 0.06 at
# least. This limit and the mirroring find 91 % of the references of other cases (2,070 pairs).
MIN_TUMOR_RANK = 0.65
DARK_AT_THE_EDGE = ("flair", "t1", "t1ce")
MIRRORINGS = [axes for count in range(4) for axes in itertools.combinations(range(3), count)]
AXES = ("z (feet to head)", "y (front to back)", "x (left to right)")


def image_faults(images):
    """Compares the images of a case, a dict by modality; returns lists of errors and warnings."""
    brain, ranks = brain_ranks(images)
    if np.count_nonzero(brain) < MIN_BRAIN:
        return [], []
    errors, warnings = _seams(images), []
    edge = _edge(brain)[brain]
    for one, other in itertools.combinations(ranks, 2):
        if abs(np.corrcoef(ranks[one], ranks[other])[0, 1]) > MAX_CORRELATION:
            errors.append(f"{one} and {other} are the same image. Replace the wrong one.")
    if np.mean([ranks[name][edge].mean() for name in DARK_AT_THE_EDGE]) > MAX_EDGE_RANK:
        errors.append(
            "The edge of the brain is brighter than its inside: the intensities are inverted, "
            "scalp is left, or the images have wrong names. Export the images again."
        )
    if not errors and not _is_usual(ranks):
        guess = f" ({' or '.join(found)}?)" if (found := _explanations(ranks)) else ""
        warnings.append(f"The contrasts do not fit the names{guess}. Look at all four images.")
    return errors, warnings


def reference_warnings(images, classes):
    """Warns if a reference, class indices `(Z, Y, X)`, belongs to a mirrored or to another case."""
    brain, ranks = brain_ranks({name: images[name] for name in ("flair", "t2")})
    brightness = np.zeros(brain.shape)
    brightness[brain] = (ranks["flair"] + ranks["t2"]) / 2
    tumor = classes > 0
    if np.count_nonzero(brain) < MIN_BRAIN or np.count_nonzero(tumor) < MIN_TUMOR:
        return []
    as_given, *mirrored = (brightness[np.flip(tumor, axes)].mean() for axes in MIRRORINGS)
    if max(mirrored) > as_given:
        axes = MIRRORINGS[1 + int(np.argmax(mirrored))]
        return [
            f"The reference would lie on brighter FLAIR and T2 if it were mirrored along "
            f"{' and '.join(AXES[axis] for axis in axes)}: it is mirrored, or of another case."
        ]
    if as_given < MIN_TUMOR_RANK:
        return ["The tumor of the reference is not bright in FLAIR and T2: it is of another case?"]
    return []


def brain_ranks(images):
    """Returns the mask of the brain in all images, and each image's ranks there, `(V,)`, 0 to 1."""
    brain = np.logical_and.reduce([image != 0 for image in images.values()])
    last = max(np.count_nonzero(brain) - 1, 1)
    return brain, {n: (stats.rankdata(image[brain]) - 1) / last for n, image in images.items()}


def _edge(mask):
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def _seams(images):
    """Returns a sentence if values near 0 lie around the brain of some images."""
    names = []
    for name, image in images.items():
        size = np.abs(image)
        if np.median(size[_edge(image != 0)]) < MIN_EDGE * np.median(size[image != 0]):
            names.append(name)
    if not names:
        return []
    return [
        f"{', '.join(names)}: the background is not 0: low values lie around the brain, as "
        "interpolation with splines leaves them. Multiply the image by its brain mask."
    ]


def _is_usual(ranks):
    for name, bright, one, other, low, high in RELATIONS:
        rank = ranks[name]  # Many voxels may share the first or the last.
        place = rank >= min(BRIGHT, rank.max()) if bright else rank <= max(DARK, rank.min())
        if not low <= (ranks[one] - ranks[other])[place].mean() <= high:
            return False
    return True


def _explanations(ranks):
    """Returns each single mistake whose correction makes the images usual."""
    corrected = {
        f"{one} and {other} exchanged": ranks | {one: ranks[other], other: ranks[one]}
        for one, other in itertools.combinations(ranks, 2)
    }
    corrected |= {f"{name} inverted": ranks | {name: 1 - ranks[name]} for name in ranks}
    return [mistake for mistake, images in corrected.items() if _is_usual(images)]
