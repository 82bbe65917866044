"""A synthetic cohort in the layout of BraTS, to try the whole chain without real patients.

In: a folder that does not exist or is empty, a number of cases and a seed. Out: case folders
with four skull-stripped modalities and a segmentation each, to be read like real ones:

    python -m brats.phantom DIR --cases 6 --seed 0

A brain is drawn from ellipsoids and smooth noise in reference millimeters, so that other
shapes show the same head at another sampling. Patches that are bright in FLAIR only or in T2
only keep a threshold from finding the tumor: it is what is bright in both.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from brats.cases import MODALITIES, SCHEMES, classes_to_labels
from brats.errors import InputError, exit_code
from brats.volumes import Geometry, write_volume

SHAPE = (155, 240, 240)  # (Z, Y, X) of every BraTS volume, in voxels of 1 mm.
GEOMETRY = Geometry(
    spacing_mm=(1.0, 1.0, 1.0),
    origin_mm=(0.0, -239.0, 0.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
CENTER_MM = (74.0, 124.0, 119.5)  # Of the brain: z, y, x from the first voxel's outer corner.
HALF_AXES_MM = (69.0, 86.0, 70.0)
SMALLEST_SIDE = 8  # Below it nothing of the brain is left to draw.

# Typical intensity of each tissue in the order of MODALITIES, white matter being 1, and how
# far it wanders within one brain. Ratios follow what BraTS cases show.
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
    """Draws one case: a brain with a tumor, in four modalities.

    Args:
        shape: Shape of the volume `(Z, Y, X)`, at least 8 each. The head is fitted to it.
        rng: `np.random.Generator`; the case is a function of its state.
        enhancing: Whether the tumor has an enhancing part.

    Returns:
        `(images, classes)`: a dict of modality to int16 array `(Z, Y, X)`, positive in the
        brain and 0 outside; and the class indices, uint8 `(Z, Y, X)`.

    Raises:
        InputError: If the shape is too small.
    """
    if len(shape) != 3 or min(shape) < SMALLEST_SIDE:
        raise InputError(
            f"A phantom of shape {tuple(shape)} cannot be drawn. Give three sides of at least "
            f"{SMALLEST_SIDE} voxels."
        )
    axes = _brain_axes(shape, rng)
    depth = _depth_mm(axes, shape, rng)
    brain = depth > 0
    tissue, hollow = _draw_anatomy(axes, depth, shape, rng)
    classes = _draw_tumor(axes, depth, brain & ~hollow, enhancing, rng)
    _draw_distractors(tissue, classes, brain & ~hollow, rng)
    for index, name in enumerate(("necrosis", "edema", "enhancing"), start=1):
        tissue[classes == index] = CODES[name]
    return _render(tissue, brain, rng), classes


def write_cohort(root, num_cases, seed, shape=SHAPE, naming="2017"):
    """Writes synthetic cases as NIfTI files, the same bytes for the same arguments.

    One case in four is of low grade, and most of those have no enhancing tumor. Case `i`
    depends on `(seed, i)` only.

    Args:
        root: Folder to write into; it does not exist or is empty.
        num_cases: Number of cases, at least 1.
        seed: Seed of the cohort, a non-negative int.
        shape: Shape of the volumes `(Z, Y, X)`; voxels are written as 1 mm in any case.
        naming: "2017" (grade folders, labels 0, 1, 2, 4) or "2023" (labels 0, 1, 2, 3).

    Returns:
        List of the case folders, in the order of the cases.

    Raises:
        InputError: If `root` holds anything, or the shape is too small.
    """
    return list(_write_cases(root, num_cases, seed, shape, naming))


def main(argv=None):
    """Runs the command line and returns its exit code."""
    arguments = _parse_arguments(argv)
    return exit_code(lambda: _write_and_report(arguments))


def _write_and_report(arguments):
    settings = (arguments.cases, arguments.seed, arguments.shape, arguments.naming)
    for number, folder in enumerate(_write_cases(arguments.folder, *settings), start=1):
        print(f"{number:>4} of {arguments.cases}  {folder}", flush=True)
    print(f"Wrote {arguments.cases} synthetic cases to {arguments.folder}")


def _write_cases(root, num_cases, seed, shape, naming):
    root = Path(root)
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise InputError(
            f"{root} already holds files. Give an empty or new folder for the synthetic cases."
        )
    for index in range(num_cases):
        low_grade = index % 4 == 3
        enhancing = not low_grade or index % 12 == 11
        images, classes = synthesize(shape, np.random.default_rng([seed, index]), enhancing)
        folder = _case_folder(root, index, low_grade, naming)
        _write_case(folder, images, classes, SCHEMES[naming])
        yield folder


def _case_folder(root, index, low_grade, naming):
    if naming == "2023":
        return root / f"BraTS-GLI-{90000 + index}-000"
    return root / ("LGG" if low_grade else "HGG") / f"Brats17_PHANTOM_{index:04d}_1"


def _write_case(folder, images, classes, scheme):
    folder.mkdir(parents=True, exist_ok=True)
    for modality in MODALITIES:
        path = folder / f"{folder.name}{scheme.suffixes[modality]}.nii.gz"
        write_volume(path, images[modality], GEOMETRY)
    path = folder / f"{folder.name}{scheme.segmentation}.nii.gz"
    write_volume(path, classes_to_labels(classes, scheme), GEOMETRY)


def _brain_axes(shape, rng):
    """Returns z, y, x of the voxels in mm from the brain's center, each shaped to broadcast."""
    shift = rng.uniform(-1, 1, 3) * (0.5, 3, 1)
    scale = rng.uniform(0.93, 1, 3)
    along = [
        ((np.arange(n) + 0.5) * extent / n - center - move) / size
        for n, extent, center, move, size in zip(shape, SHAPE, CENTER_MM, shift, scale, strict=True)
    ]
    return np.ix_(*(axis.astype(np.float32) for axis in along))


def _smooth_noise(shape, wavelength_mm, rng):
    """Returns float32 noise in [-1, 1] that varies over about `wavelength_mm`."""
    sides = [int(extent / wavelength_mm) + 3 for extent in SHAPE]
    field = rng.uniform(-1, 1, sides).astype(np.float32)
    for axis in (2, 1, 0):  # The longest copies come last, where they are contiguous.
        position = (np.arange(shape[axis]) + 0.5) * SHAPE[axis] / shape[axis] / wavelength_mm
        position += rng.random()
        lower = position.astype(int)
        weight = position - lower
        weight = (weight * weight * (3 - 2 * weight)).astype(np.float32)
        weight = weight.reshape([-1 if other == axis else 1 for other in range(3)])
        below = field.take(lower, axis)
        field = field.take(lower + 1, axis)
        field -= below
        field *= weight
        field += below
    return field


def _ellipsoid(axes, center_mm, half_axes_mm):
    """Returns the distance from a center in units of the half axes: 1 is the surface."""
    terms = (
        ((axis - middle) / half) ** 2
        for axis, middle, half in zip(axes, center_mm, half_axes_mm, strict=True)
    )
    return np.sqrt(sum(terms))


def _depth_mm(axes, shape, rng):
    """Returns how deep below the brain's surface a voxel lies, about in mm."""
    depth = 70 * (1 - _ellipsoid(axes, (0, 0, 0), HALF_AXES_MM))
    depth += 2.5 * _smooth_noise(shape, 18, rng)
    notch = (np.abs(axes[2]) < 1.6) & (axes[0] > -20)
    depth[notch & (depth < 5)] = -1
    return depth


def _draw_anatomy(axes, depth, shape, rng):
    """Returns the tissue codes, uint8, and the mask of ventricles and midline fissure."""
    z, y, x = axes
    side = np.abs(x)
    folds, branches = (_smooth_noise(shape, 13, rng) for _ in range(2))
    sulcus = np.abs(folds) < 0.07
    width = rng.uniform(0.7, 1.3)
    lateral = _ellipsoid((z, y, side - y * y / 110), (8, 2, 8), (9, 32, 5 * width)) < 1
    third = _ellipsoid(axes, (-8, 4, 0), (9, 13, 2 * width)) < 1
    fissure = (side < 2) & (z > -20) & (depth < 24)
    hollow = lateral | third | fissure
    nuclei = _ellipsoid((z, y, side), (0, 0, 25), (13, 19, 8)) < 1
    tissue = np.full(depth.shape, CODES["white"], dtype=np.uint8)
    tissue[nuclei | (depth < 3.5) | ((np.abs(folds) < 0.28) & (depth < 19))] = CODES["gray"]
    tissue[hollow | (depth < 1) | (sulcus & (depth < 16))] = CODES["csf"]
    tissue[sulcus & (np.abs(branches) < 0.12) & (depth < 16)] = CODES["vessel"]
    return tissue, hollow


def _draw_tumor(axes, depth, allowed, enhancing, rng):
    """Returns class indices: edema around a core, whose rim enhances around necrosis."""
    shape = allowed.shape
    seats = np.flatnonzero(allowed & (depth > 16) & (np.abs(axes[0]) < 42))
    seat = np.unravel_index(rng.choice(seats), shape)
    center_mm = [axis.ravel()[index] for axis, index in zip(axes, seat, strict=True)]
    volume_ml = float(np.clip(65 * np.exp(rng.normal(0, 0.6)), 12, 190))
    radius_mm = 10 * (volume_ml * 0.75 / np.pi) ** (1 / 3)
    ragged = 0.35 * _smooth_noise(shape, 24, rng) + 0.15 * _smooth_noise(shape, 8, rng)
    reach = _ellipsoid(axes, center_mm, radius_mm * rng.uniform(0.8, 1.25, 3)) + ragged
    reach += 0.4 * ((axes[2] * center_mm[2]) < 0)  # The falx holds most tumors on their side.
    inner_mm = center_mm + radius_mm * rng.uniform(-0.15, 0.15, 3)
    inner = _ellipsoid(axes, inner_mm, radius_mm * rng.uniform(0.85, 1.15, 3)) + 0.6 * ragged
    num_voxels = volume_ml * 1000 * np.prod(np.divide(shape, SHAPE))
    whole = _lowest(reach, allowed, num_voxels)
    core = _lowest(inner, whole, num_voxels * rng.uniform(0.25, 0.55))
    necrosis = _lowest(inner, core, core.sum() * rng.uniform(0.25, 0.55))
    classes = np.where(whole, np.uint8(2), np.uint8(0))
    classes[core] = 3 if enhancing else 1
    classes[necrosis] = 1
    return classes


def _lowest(field, candidates, count):
    """Returns the mask of the `count` candidates with the lowest values, leaving one out."""
    values = field[candidates]
    count = int(np.clip(count, 1, values.size - 1))
    return candidates & (field < np.partition(values, count)[count])


def _draw_distractors(tissue, classes, allowed, rng):
    """Marks healthy patches, in all at least as large as the tumor, as bright in one modality."""
    patches = _smooth_noise(tissue.shape, 20, rng)
    patches += 0.2 * _smooth_noise(tissue.shape, 7, rng)
    healthy = allowed & (classes == 0) & (tissue != CODES["csf"])
    num_voxels = np.count_nonzero(classes) * rng.uniform(0.8, 1.2)
    tissue[_lowest(patches, healthy, num_voxels)] = CODES["flair_patch"]
    tissue[_lowest(-patches, healthy, 0.6 * num_voxels)] = CODES["t2_patch"]


def _render(tissue, brain, rng):
    """Returns the images: tissue intensities, partial volume, texture, bias, noise, scale."""
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
        image *= np.exp(0.25 * _smooth_noise(shape, 90, rng)[brain])
        image += 0.05 * rng.standard_normal(image.shape, dtype=np.float32)
        image *= case_scale * rng.uniform(0.6, 1.6)
        images[modality] = np.zeros(shape, dtype=np.int16)
        images[modality][brain] = np.clip(np.rint(image), 1, np.iinfo(np.int16).max)
    return images


def _parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="python -m brats.phantom",
        description="Writes a synthetic cohort in the layout of BraTS.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="new or empty folder")
    parser.add_argument("--cases", type=_integer_from(1), default=6, help="number of cases")
    parser.add_argument("--seed", type=_integer_from(0), default=0, help="seed of the cohort")
    parser.add_argument(
        "--shape",
        type=_integer_from(SMALLEST_SIDE),
        nargs=3,
        default=SHAPE,
        metavar=("Z", "Y", "X"),
        help="voxels of each volume",
    )
    parser.add_argument(
        "--naming", choices=sorted(SCHEMES), default="2017", help="edition to name files after"
    )
    return parser.parse_args(argv)


def _integer_from(smallest):
    """Returns an argparse type: an int that is at least `smallest`."""

    def integer(text):
        if int(text) < smallest:
            raise argparse.ArgumentTypeError(f"{text} is too small; expected {smallest} or more")
        return int(text)

    return integer


if __name__ == "__main__":
    sys.exit(main())
