"""What the voxels of a case tell that no header does: clipped, normalized, with skull, cut off.

In: arrays `(Z, Y, X)` of one case. Out: lists of sentences for a person to judge, empty where
nothing is odd.

The thresholds are set against 17 real cases of BraTS 2021 and 2023, of which one is odd.
"""

import functools
from collections import defaultdict

import numpy as np

# Clipping at the 99.99th percentile or below. In the real images at most 2 voxels of 1.2 to 1.7
# million share the largest value. In small images, a few voxels do by chance.
CLIPPED_SHARE = 1e-4
FEWEST_CLIPPED = 10
# Standardized intensities are negative about half of the time, an overshoot of interpolation
# rarely.
NORMALIZED_SHARE = 0.05
# The real brains fill 14 to 19 % of their volume; an ellipsoid fills 52 % of its bounding box.
LEAST_ZERO_SHARE = 0.1
# The largest real brain has 1,731 ml; a head with skull and scalp has 3 to 5 liters.
LARGEST_BRAIN_ML = 2000
# One low value in this share of the brain: at most 0.2 % in the real images, but 7 % in the T1 of
# BraTS2021_01482, whose field of view ends within the brain.
CUT_OFF_SHARE = 0.01
LOW = 0.1  # Of the median: below lies next to nothing of a brain, at most 2 % in the real images.
# The real brains end in caps of at most 2 % of their largest section, or, where the box of the
# atlas cuts the brain stem and the cerebellum, which it does in 6 of 17, of 13 %. A quarter is
# 7 % of the diameter of an ellipsoid.
FLAT_SHARE = 0.25
FEWEST_PLANES = 16  # Thinner, the end of an ellipsoid is 12 % of its section and more.
SAMPLE_STEP = 4  # Along each axis: 1.5 % of the time of an extraction, the whole look 13 %.
SAMPLE = 100_000  # Voxels, or up to twice as many, that give the median of an image.


def case_warnings(brain, values, classes, voxel_ml):
    """Tells what is odd about the voxels of a case.

    Args:
        brain: Where any image is not 0, bool `(Z, Y, X)`.
        values: Dict from modality to the voxels of its image that are not 0, `(V,)`, at least one.
        classes: Ground truth, uint8 class indices `(Z, Y, X)`, or None.
        voxel_ml: Volume of a voxel.

    Returns:
        List of str; what several images have in common is said once.
    """
    names = defaultdict(list)  # Of the images, by what is odd about them.
    stripped = True
    for name, found in values.items():
        skull = skull_warnings(found.size, brain.size, voxel_ml)
        stripped &= not skull
        for sentence in intensity_warnings(found) + skull:
            names[sentence].append(name)
    if stripped:  # Of a head, any slice may be the last.
        brain_size = np.count_nonzero(brain)
        for name, found in values.items():
            for sentence in cut_off_warnings(found, brain_size):
                names[sentence].append(name)
    warnings = [f"{', '.join(odd)}: {sentence}." for sentence, odd in names.items()]
    warnings += flat_end_warnings(brain) if stripped else []
    return warnings + ([] if classes is None else tumor_warnings(brain, classes))


def sampled_warnings(images, classes, voxel_ml):
    """Tells what is odd about the voxels of a case, where a sample of them is odd.

    Args:
        images: Dict from modality to its image, `(Z, Y, X)`, not 0 everywhere.
        classes: Ground truth, uint8 class indices `(Z, Y, X)`, or None.
        voxel_ml: Volume of a voxel.

    Returns:
        List of str: none where none are about every fourth voxel along each axis, or else those
        about all voxels.
    """
    every_fourth = (slice(None, None, SAMPLE_STEP),) * 3
    # Copied: looked at several times, and scattered over all of memory.
    sample = {name: np.ascontiguousarray(volume[every_fourth]) for name, volume in images.items()}
    some_classes = None if classes is None else classes[every_fourth]
    shows_brain = all(volume.any() for volume in sample.values())
    if shows_brain and not _image_warnings(sample, some_classes, voxel_ml * SAMPLE_STEP**3):
        return []
    return _image_warnings(images, classes, voxel_ml)


def _image_warnings(images, classes, voxel_ml):
    masks = {name: volume != 0 for name, volume in images.items()}
    values = {name: volume[masks[name]] for name, volume in images.items()}
    brain = functools.reduce(np.logical_or, masks.values())
    return case_warnings(brain, values, classes, voxel_ml)


def intensity_warnings(values):
    """Tells whether intensities were clipped or normalized before.

    Args:
        values: Voxels of one image that are not 0, `(V,)`, at least one.

    Returns:
        List of str.
    """
    warnings = []
    largest = values.max()
    count = np.count_nonzero(values == largest)
    clipped = count >= max(CLIPPED_SHARE * values.size, FEWEST_CLIPPED)
    if values.dtype.kind in "iu" and largest == np.iinfo(values.dtype).max:
        how = "clipped" if clipped else "clipped, or stretched to fill the type"
        warnings.append(
            f"{_voxels(count)} at {largest}, the largest value of {values.dtype}: {how}"
        )
    elif clipped:
        warnings.append(
            f"{_voxels(count)} ({_percent(count, values.size)} of the brain) at {largest:g}, its "
            "largest value: clipped"
        )
    negative = np.count_nonzero(values < 0) if values.dtype.kind != "u" else 0
    if negative > NORMALIZED_SHARE * values.size:
        warnings.append(
            f"{_percent(negative, values.size)} of the brain is negative, its mean is "
            f"{values.mean(dtype=np.float64):.3g}: already normalized"
        )
    elif negative:
        warnings.append(f"{_voxels(negative)} negative; expected intensities of at least 0")
    return warnings


def skull_warnings(num_nonzero, num_voxels, voxel_ml):
    """Tells whether an image shows more than a brain.

    Args:
        num_nonzero: Voxels of the image that are not 0.
        num_voxels: All of them.
        voxel_ml: Volume of a voxel.

    Returns:
        List of str, at most one.
    """
    if num_nonzero > (1 - LEAST_ZERO_SHARE) * num_voxels:
        share = _percent(num_voxels - num_nonzero, num_voxels)
        return [f"{share} of the volume is 0: not skull-stripped"]
    if num_nonzero * voxel_ml > LARGEST_BRAIN_ML:
        return [
            f"{num_nonzero * voxel_ml:,.0f} ml are not 0; a brain has up to "
            f"{LARGEST_BRAIN_ML:,}: not skull-stripped"
        ]
    return []


def cut_off_warnings(values, brain_size):
    """Tells whether an image shows one low value where other images show brain.

    That is how a field of view looks that ends within the brain: 0, or what 0 became when the
    intensities were scaled.

    Args:
        values: Voxels of the image that are not 0, `(V,)`, at least one.
        brain_size: Voxels that are not 0 in any image of the case, at least V.

    Returns:
        List of str, at most one.
    """
    value, count = 0, brain_size - values.size
    if count <= CUT_OFF_SHARE * brain_size:
        sample = values[:: max(values.size // SAMPLE, 1)]
        low = sample[sample < LOW * np.median(sample)]
        if low.size <= CUT_OFF_SHARE / 2 * sample.size:  # Half: it is but a sample.
            return []
        found, counts = np.unique(low, return_counts=True)
        value = found[counts.argmax()]
        count = np.count_nonzero(values == value)
    if count <= CUT_OFF_SHARE * brain_size:
        return []
    return [f"one value, {value:g}, in {_percent(count, brain_size)} of the brain: cut off"]


def flat_end_warnings(brain):
    """Tells whether the brain ends in a flat plane instead of a cap.

    Args:
        brain: Mask of the brain, bool `(Z, Y, X)`.

    Returns:
        List of str, one for each end.
    """
    warnings = []
    areas = [np.count_nonzero(brain, axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    occupied = [np.flatnonzero(area) for area in areas]
    if min(map(len, occupied)) < FEWEST_PLANES:
        return []
    for name, area, planes in zip("zyx", areas, occupied, strict=True):
        for plane, side in ((planes[0], 0), (planes[-1], len(area) - 1)):
            if area[plane] > FLAT_SHARE * area.max():
                where = "a side of the volume" if plane == side else "within the volume"
                warnings.append(
                    f"The brain ends in a flat plane at {name} = {plane}, {where}: cut off."
                )
    return warnings


def tumor_warnings(brain, classes):
    """Tells whether there is no tumor, or some outside the brain.

    Args:
        brain: Mask of the brain, bool `(Z, Y, X)`.
        classes: uint8 class indices `(Z, Y, X)`.

    Returns:
        List of str, at most one.
    """
    tumor = classes > 0
    num_tumor, num_outside = np.count_nonzero(tumor), np.count_nonzero(tumor & ~brain)
    if not num_tumor:
        return ["The segmentation holds no tumor."]
    if num_outside:
        return [f"{num_outside:,} of {_voxels(num_tumor)} of tumor outside the brain."]
    return []


def _voxels(count):
    return "1 voxel" if count == 1 else f"{count:,} voxels"


def _percent(count, total):
    return f"{100 * count / total:.2g} %"
