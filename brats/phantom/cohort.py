"""A synthetic cohort in the layout of BraTS.

In: a new or empty folder, a number of cases and a seed. Out: case folders with four skull-stripped
modalities and a segmentation each, which are read like real cases.

The head is drawn in reference millimeters, so it fits any shape. The tumor is bright in FLAIR and
in T2. Healthy patches that are bright in only one of them keep a threshold from finding it.
"""

from pathlib import Path

import numpy as np
from scipy import ndimage

from brats.editions import MODALITIES
from brats.errors import InputError
from brats.phantom.files import write_case
from brats.volumes.network_input import PUBLISHED_SHAPE

EXTENT_MM = PUBLISHED_SHAPE  # Voxels of 1 mm.
# Typical intensity of each tissue in the order of MODALITIES (white matter is 1), and its relative
# variation within a brain, similar to BraTS cases. The last three are in the order of CLASSES.
TISSUES = {
    "csf": ((0.30, 0.45, 0.45, 3.20), 0.10),
    "gray": ((1.22, 0.80, 0.86, 1.35), 0.10),
    "white": ((1.00, 1.00, 1.00, 1.00), 0.08),
    "vessel": ((0.70, 0.80, 2.10, 0.80), 0.10),
    "flair_patch": ((1.75, 0.94, 0.95, 1.08), 0.20),
    "t2_patch": ((1.05, 0.94, 0.95, 1.85), 0.20),
    "necrosis": ((0.95, 0.58, 0.60, 2.40), 0.20),
    "edema": ((1.75, 0.82, 0.84, 1.85), 0.25),
    "enhancing": ((1.50, 0.86, 1.95, 1.65), 0.25),
}
CODES = {name: code for code, name in enumerate(TISSUES)}


def synthesize(shape, rng, enhancing=True):
    """Draws one case: the images by modality, int16, 0 outside the brain; and the classes."""
    axes = _brain_axes(shape, rng)
    depth = _depth_mm(axes, shape, rng)
    brain = depth > 0
    tissue, hollow = _draw_anatomy(axes, depth, shape, rng)
    classes = _draw_tumor(axes, depth, brain & ~hollow, enhancing, rng)
    _draw_distractors(tissue, classes, brain & ~hollow, rng)
    tissue[classes > 0] = classes[classes > 0] - 1 + CODES["necrosis"]
    return _render(tissue, brain, rng), classes


def write_cohort(root, num_cases, seed, shape=PUBLISHED_SHAPE, naming="2017", report=None):
    """Writes synthetic cases as NIfTI files, and returns their folders.

    One case in four is of low grade. Two in three of those have no enhancing tumor. The bytes of
    case `i` depend only on `(seed, i)`. `naming` is a key of `NAMINGS`. `report`, if there is one,
    is called with the path of each complete case.
    """
    root, folders = Path(root), []
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        raise InputError(f"{root} already holds files. Give a new or empty folder.")
    for index in range(num_cases):
        grade = "LGG" if index % 4 == 3 else "HGG"
        enhancing = grade == "HGG" or index % 12 == 11
        images, classes = synthesize(shape, np.random.default_rng([seed, index]), enhancing)
        folders.append(write_case(root, index, grade, images, classes, naming))
        if report:
            report(folders[-1])
    return folders


def _brain_axes(shape, rng):
    """Returns z, y and x of the voxels in mm from the brain's center, shaped to broadcast."""
    middle_mm = (74, 124, 119.5) + rng.uniform(-1, 1, 3) * (0.5, 3, 1)
    head_size = rng.uniform(0.93, 1, 3)
    entries = zip(shape, EXTENT_MM, middle_mm, head_size, strict=True)
    axes = [((np.arange(n) + 0.5) * extent / n - mid) / size for n, extent, mid, size in entries]
    return np.ix_(*map(np.float32, axes))


def _smooth_noise(shape, wavelength_mm, rng):
    """Returns float32 noise in [-1, 1] that varies over about `wavelength_mm`."""
    field = np.float32(rng.uniform(-1, 1, [int(mm / wavelength_mm) + 3 for mm in EXTENT_MM]))
    for axis in (2, 1, 0):  # The largest copies come last, along the slowest axis.
        along_mm = (np.arange(shape[axis]) + 0.5) * EXTENT_MM[axis] / shape[axis]
        position = along_mm / wavelength_mm + rng.random()
        lower = position.astype(int)
        weight = np.float32(position - lower).reshape([-1] + [1] * (2 - axis))
        weight = weight * weight * (3 - 2 * weight)
        field, upper = field.take(lower, axis), field.take(lower + 1, axis)
        upper -= field
        upper *= weight
        field += upper
    return field


def _ellipsoid(axes, center_mm, half_axes_mm):
    """Returns the distance from a center in units of the half axes; 1 is the surface."""
    entries = zip(axes, np.float32(center_mm), np.float32(half_axes_mm), strict=True)
    return np.sqrt(sum(((axis - middle) / half) ** 2 for axis, middle, half in entries))


def _depth_mm(axes, shape, rng):
    """Returns the approximate depth of each voxel below the brain's surface, in mm."""
    depth = 70 * (1 - _ellipsoid(axes, (0, 0, 0), (69, 86, 70)))
    depth += 2.5 * _smooth_noise(shape, 18, rng)
    depth[(np.abs(axes[2]) < 1.6) & (axes[0] > -20) & (depth < 5)] = -1
    return depth


def _draw_anatomy(axes, depth, shape, rng):
    """Returns the tissue codes, uint8, and the mask of the ventricles and the midline fissure."""
    z, y, x = axes
    side = np.abs(x)
    folds, branches = (_smooth_noise(shape, 11, rng) for _ in range(2))
    width = rng.uniform(0.7, 1.3)
    lateral = _ellipsoid((z, y, side - y * y / 120), (6, 2, 10), (13, 34, 7 * width)) < 1
    third = _ellipsoid(axes, (-8, 4, 0), (9, 13, 2.5 * width)) < 1
    hollow = lateral | third | ((side < 2) & (z > -20) & (depth < 24))
    nuclei = _ellipsoid((z, y, side), (-2, 0, 27), (13, 19, 8)) < 1
    sulcus = (np.abs(folds) < 0.06) & (depth < 15)
    tissue = np.full(shape, CODES["white"], dtype=np.uint8)
    tissue[nuclei | (depth < 3.5) | ((np.abs(folds) < 0.27) & (depth < 19))] = CODES["gray"]
    tissue[hollow | (depth < 1) | sulcus] = CODES["csf"]
    tissue[sulcus & (np.abs(branches) < 0.12)] = CODES["vessel"]
    return tissue, hollow


def _draw_tumor(axes, depth, allowed, enhancing, rng):
    """Returns class indices: edema around an enhancing rim around necrosis."""
    seat = rng.choice(np.argwhere(allowed & (depth > 16) & (np.abs(axes[0]) < 42)))
    center_mm = [axis.flat[index] for axis, index in zip(axes, seat, strict=True)]
    volume_mm3 = 1000 * np.clip(65 * np.exp(rng.normal(0, 0.6)), 12, 190)
    radius_mm = np.cbrt(volume_mm3 * 0.75 / np.pi)
    ragged = 0.5 * _smooth_noise(depth.shape, 0.8 * radius_mm, rng)
    ragged += 0.25 * _smooth_noise(depth.shape, 0.3 * radius_mm, rng)
    reach = _ellipsoid(axes, center_mm, radius_mm * rng.uniform(0.8, 1.25, 3)) + ragged
    reach += 0.3 * ((axes[2] * center_mm[2]) < 0)  # The falx keeps most tumors on one side.
    inner_mm = center_mm + radius_mm * rng.uniform(-0.15, 0.15, 3)
    inner = _ellipsoid(axes, inner_mm, radius_mm * rng.uniform(0.85, 1.15, 3)) + 0.6 * ragged
    num_voxels = volume_mm3 * np.prod(np.divide(depth.shape, EXTENT_MM))
    whole = _lowest(reach, allowed, num_voxels)
    core = _lowest(inner, whole, num_voxels * rng.uniform(0.25, 0.55))
    enclosed = ndimage.binary_erosion(core)  # The rim has at least one voxel everywhere.
    enclosed = enclosed if enclosed.any() else core
    necrosis = _lowest(inner, enclosed, np.count_nonzero(core) * rng.uniform(0.25, 0.55))
    classes = 2 * whole.astype(np.uint8)
    classes[core], classes[necrosis] = 3 if enhancing else 1, 1
    return classes


def _lowest(field, candidates, count):
    """Returns the mask of the `count` candidates with the lowest values, of at least one."""
    values = field[candidates]
    last = int(np.clip(count, 1, values.size)) - 1
    return candidates & (field <= np.partition(values, last)[last])


def _draw_distractors(tissue, classes, allowed, rng):
    """Marks healthy patches, at least as large as the tumor in total, as bright in one modality."""
    patches = _smooth_noise(tissue.shape, 20, rng)
    patches += 0.2 * _smooth_noise(tissue.shape, 7, rng)
    healthy = allowed & (classes == 0) & (tissue != CODES["csf"])
    num_voxels = np.count_nonzero(classes) * rng.uniform(0.8, 1.2)
    tissue[_lowest(patches, healthy, num_voxels)] = CODES["flair_patch"]
    tissue[_lowest(-patches, healthy, 0.6 * num_voxels)] = CODES["t2_patch"]


def _render(tissue, brain, rng):
    """Returns the images, with texture, partial volume, bias field, noise and a random scale."""
    shape = tissue.shape
    case_scale = np.exp(rng.uniform(np.log(250), np.log(4000)))
    wander = np.array([spread for _, spread in TISSUES.values()], dtype=np.float32)[tissue]
    images = {}
    for channel, modality in enumerate(MODALITIES):
        typical = np.array([values[channel] for values, _ in TISSUES.values()])
        typical *= rng.uniform(0.93, 1.07, typical.shape)
        image = typical.astype(np.float32)[tissue]
        image *= 1 + wander * _smooth_noise(shape, 9, rng)
        image = ndimage.gaussian_filter(image, 0.7, truncate=2)[brain]
        image *= np.exp(0.15 * _smooth_noise(shape, 90, rng)[brain])
        image += 0.05 * rng.standard_normal(image.shape, dtype=np.float32)
        image *= case_scale * rng.uniform(0.6, 1.6)
        images[modality] = np.zeros(shape, dtype=np.int16)
        images[modality][brain] = np.clip(np.rint(image), 1, np.iinfo(np.int16).max)
    return images
