"""What is wrong with the voxels of a case: clipped, normalized, with skull, cut off, mixed up.

In: arrays `(Z, Y, X)` of one case. Out: errors, with which no network can segment the case, and
warnings, which a person has to judge: lists of sentences, empty if nothing is wrong.

The thresholds were set on 47 real cases of BraTS 2018, 2021 and 2023. None has an error. Three have
warnings: BraTS2021_01482, Brats18_2013_20_1, Brats18_2013_3_1.
"""

import functools
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from brats.cases import contrasts
from brats.cases.repair import sampled

# Clipped if this share of the brain has the largest value: in the real images at most 2 voxels of
# 1.2 million have it. In small images a few voxels have it by chance.
CLIPPED_SHARE = 1e-4
MIN_CLIPPED = 10
# Half of all standardized intensities are negative. Interpolation makes a few negative ones.
NORMALIZED_SHARE = 0.05
INVERTED_SHARE = 0.9
# The real brains fill 14 to 19 % of their volume; an ellipsoid fills 52 % of its bounding box.
MIN_ZERO_SHARE = 0.1
# The real brains have 1,169 to 1,731 ml; a head with skull and scalp has 3 to 5 liters. A spacing
# that is wrong by a factor of 10 gives 1.4 ml.
MAX_BRAIN_ML = 2000
MIN_BRAIN_ML, UNLIKELY_BRAIN_ML = 3, 500
# Cut off if this share of the brain has one low value. The real images have at most 0.2 %, but the
# T1 of BraTS2021_01482, whose field of view ends within the brain, has 7 %.
CUT_OFF_SHARE = 0.01
LOW = 0.1  # Of the median. At most 2 % of the brain lies below it in the real images.
# Cut off if the last plane has this share of the largest section. The real brains end in caps of at
# most 2 %, or 13 % in 6 of 17, where the box of the atlas cuts the brain stem.
FLAT_SHARE = 0.25
MIN_PLANES = 16  # In fewer planes, the end of an ellipsoid has 12 % of its section and more.
# The real images have at most 15 % of the brain in their three most frequent values.
FEW_VALUES, FEW_VALUES_SHARE = 3, 0.5
# Of what is not 0; at most 1e-4 in the real images. A ring of scalp around the brain has 10 %.
APART_SHARE = 0.01
STRIP = "not skull-stripped, or noise around the brain. Set all but the brain to 0, as HD-BET does"
# Of the tumor. Three real references have 1 or 21 voxels outside the brain, at most 1e-4.
OUTSIDE_SHARE = 1e-3
SAMPLE = 100_000  # The median of an image comes from this many voxels, up to twice as many.


@dataclass(frozen=True)
class Faults:
    """What is wrong with a case, as sentences."""

    errors: list = field(default_factory=list)  # With these, no network can segment the case.
    warnings: list = field(default_factory=list)  # About the images, for a person to judge.
    reference: list = field(default_factory=list)  # Warnings about the reference.

    def __bool__(self):
        return bool(self.errors or self.warnings or self.reference)


def find_faults(images, classes, voxel_ml, every_voxel=False):
    """Returns the `Faults` of a case, whose images, a dict by modality, are not 0 everywhere.

    Checks about every fourth voxel along each axis, and all voxels if these give a warning or
    `every_voxel` is set. `classes` is the reference or None.
    """
    sample = {name: sampled(image) for name, image in images.items()}
    some_classes = None if classes is None else sampled(classes)
    thinned = next(iter(images.values())).size / next(iter(sample.values())).size
    shows_brain = all(image.any() for image in sample.values())
    found = Faults()
    if every_voxel or not shows_brain or case_faults(sample, some_classes, voxel_ml * thinned):
        found = case_faults(images, classes, voxel_ml)
    if not shows_brain or found.errors:
        return found
    # Its thresholds are those of the sample.
    errors, warnings = contrasts.image_faults(sample)
    reference = [] if classes is None else contrasts.reference_warnings(sample, some_classes)
    return Faults(errors, found.warnings + warnings, found.reference + reference)


def case_faults(images, classes, voxel_ml):
    """Returns the `Faults` that need no comparison of images."""
    masks = {name: image != 0 for name, image in images.items()}
    values = {name: image[masks[name]] for name, image in images.items()}
    brain = functools.reduce(np.logical_or, masks.values())
    brain_size = np.count_nonzero(brain)
    errors, warnings = defaultdict(list), defaultdict(list)  # Names of images, by sentence.
    for name, found in values.items():
        for sentence in image_errors(found, brain.size, voxel_ml):
            errors[sentence].append(name)
        for sentence in intensity_warnings(found) + cut_off_warnings(found, brain_size):
            warnings[sentence].append(name)
    errors, warnings = (
        [f"{', '.join(names)}: {sentence}." for sentence, names in found.items()]
        for found in (errors, warnings)
    )
    if (brain_ml := brain_size * voxel_ml) < UNLIKELY_BRAIN_ML:
        kind = errors if brain_ml < MIN_BRAIN_ML else warnings
        kind.append(
            f"The brain has {brain_ml:.3g} ml, which is unlikely: the voxel size in the header may "
            "be wrong."
        )
    warnings += flat_end_warnings(brain) + apart_warnings(brain)
    reference = [] if classes is None else tumor_warnings(brain, classes)
    # With an error, most warnings are about the same.
    return Faults(errors, [] if errors else warnings, reference)


def intensity_warnings(values):
    """Warns if the voxels of an image, `(V,)`, none of them 0, were clipped or normalized."""
    warnings = []
    largest = values.max()
    count = np.count_nonzero(values == largest)
    is_clipped = count >= max(CLIPPED_SHARE * values.size, MIN_CLIPPED)
    fills_type = values.dtype.kind in "iu" and largest == np.iinfo(values.dtype).max
    if is_clipped or fills_type:
        what = f"the largest value of {values.dtype}" if fills_type else "its largest value"
        how = "clipped" if is_clipped else "clipped, or stretched to fill the type"
        warnings.append(f"{_voxels(count)} at {largest:g}, {what}: {how}")
    negative = np.count_nonzero(values < 0)
    if negative > NORMALIZED_SHARE * values.size:
        warnings.append(
            "the brain has negative values: already normalized. Give the image before that, if "
            "you can"
        )
    elif negative:
        warnings.append(f"{_voxels(negative)} negative; expected intensities of at least 0")
    return warnings


def image_errors(values, num_voxels, voxel_ml):
    """Returns an error if an image shows no brain, more than it, or one darker than the rest."""
    counts = np.sort(np.unique(values, return_counts=True)[1])[-FEW_VALUES:]
    if counts.sum() > max(FEW_VALUES_SHARE * values.size, contrasts.MIN_BRAIN):
        what = "one value" if len(counts) == 1 else f"{len(counts)} values"
        share = _percent(counts.sum(), values.size)
        return [f"{what} in {share} of the brain: a mask or a segmentation. Give the image instead"]
    if np.count_nonzero(values < 0) > INVERTED_SHARE * values.size:
        return ["the brain is darker than the background: inverted intensities. Export it again"]
    if values.size > (1 - MIN_ZERO_SHARE) * num_voxels:
        return [f"less than {100 * MIN_ZERO_SHARE:.0f} % of the volume is 0: {STRIP}"]
    if values.size * voxel_ml > MAX_BRAIN_ML:
        return [f"over {MAX_BRAIN_ML:,} ml are not 0, which is more than a brain: {STRIP}"]
    return []


def cut_off_warnings(values, brain_size):
    """Warns if the field of view of an image ends within the brain.

    The image then has one low value where others show brain: 0, or what 0 became when the
    intensities were scaled. `values` are its voxels other than 0, `brain_size` is the number of
    voxels that are not 0 in any image.
    """
    value, count = 0, brain_size - values.size
    if count <= CUT_OFF_SHARE * brain_size:
        sample = values[:: max(values.size // SAMPLE, 1)]
        low = sample[sample < LOW * np.median(sample)]
        if low.size <= CUT_OFF_SHARE / 2 * sample.size:  # Half, because it is only a sample.
            return []
        found, counts = np.unique(low, return_counts=True)
        value = found[counts.argmax()]
        count = np.count_nonzero(values == value)
    if count <= CUT_OFF_SHARE * brain_size:
        return []
    why = "cut off" if value else "cut off, or masked more closely than other images"
    return [f"one value, {value:g}, in {_percent(count, brain_size)} of the brain: {why}"]


def flat_end_warnings(brain):
    """Warns for each end of a brain mask `(Z, Y, X)` that is a flat plane instead of a cap."""
    areas = [np.count_nonzero(brain, axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    occupied = [np.flatnonzero(area) for area in areas]
    if min(map(len, occupied)) < MIN_PLANES:
        return []
    warnings = []
    for name, area, planes in zip("zyx", areas, occupied, strict=True):
        for plane, side in ((planes[0], 0), (planes[-1], len(area) - 1)):
            if area[plane] > FLAT_SHARE * area.max():
                where = "a side of the volume" if plane == side else "within the volume"
                warnings.append(
                    f"The brain ends in a flat plane at {name} = {plane}, {where}: cut off."
                )
    return warnings


def apart_warnings(brain):
    """Warns if much of a brain mask `(Z, Y, X)` does not touch its largest part."""
    sizes = np.bincount(ndimage.label(brain)[0].ravel())[1:]
    if (apart := sizes.sum() - sizes.max()) <= APART_SHARE * sizes.sum():
        return []
    return [f"{_percent(apart, sizes.sum())} of what is not 0 lies apart from the brain: {STRIP}."]


def tumor_warnings(brain, classes):
    """Warns if the class indices `(Z, Y, X)` hold no tumor, or tumor outside the brain mask."""
    tumor = classes > 0
    num_tumor, num_outside = np.count_nonzero(tumor), np.count_nonzero(tumor & ~brain)
    if not num_tumor:
        return ["The segmentation holds no tumor."]
    if num_outside > OUTSIDE_SHARE * num_tumor:
        return [f"{num_outside:,} of {_voxels(num_tumor)} of tumor outside the brain."]
    return []


def _voxels(count):
    return "1 voxel" if count == 1 else f"{count:,} voxels"


def _percent(count, total):
    return f"{100 * count / total:.1f} %"
