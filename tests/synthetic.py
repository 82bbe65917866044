"""Made-up cases, patches and networks, and what is in a folder, for several test files."""

from pathlib import Path

import numpy as np
import SimpleITK

from brats.cases.find import Case
from brats.cases.patients import patient_of
from brats.editions import EDITIONS, classes_to_labels
from brats.patches.centers import CasePatches
from brats.patches.file import case_file_path, write_case_file
from brats.volumes.files import write_volume


def make_case(case_id, grade=None, edition="2017"):
    """Returns a case without files."""
    patient = patient_of(case_id, EDITIONS[edition])
    return Case(case_id, Path(case_id), EDITIONS[edition], {}, None, grade, patient)


def make_cases(num_high, num_low=0):
    """Returns cases of high grade, then of low grade."""
    high = [make_case(f"high{index:02d}", "HGG") for index in range(num_high)]
    return high + [make_case(f"low{index:02d}", "LGG") for index in range(num_low)]


def case_ids(cases):
    """Returns the id of each case."""
    return [case.id for case in cases]


def contents(folder):
    """Returns the bytes of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def noise_patches(num_centers, rng):
    """Returns patches of noise, with every class, in a window of 3 x 131 x 130."""
    shape = (3, 131, 130)
    centers = [(index % 3, 64 + index % 4, 64 + index % 2) for index in range(num_centers)]
    return CasePatches(
        channels=rng.normal(size=(*shape, 4)).astype(np.float32),
        classes=rng.integers(0, 4, shape).astype(np.uint8),
        centers=np.array(centers, dtype=np.int32).reshape(-1, 3),
        origin=np.array([1, 29, 42], dtype=np.int32),
        class_counts=np.zeros(4, dtype=np.int64),
        warnings=[],
    )


def describe_noise(case_id, **changes):
    """Returns the description of a patch file of noise."""
    description = {"case": case_id, "patient": case_id, "grade": None, "dtype": "float32"}
    description |= {"patches_per_case": 5, "centers": "published", "seed": 0}
    return description | {"class_counts": [1, 1, 1, 1], "warnings": [], "inputs": {}} | changes


def write_noise(folder, rng, num_patches=(5, 2), **changes):
    """Writes patch files of noise for cases a, b and so on; returns their `CasePatches`."""
    written = []
    for case_id, number in zip("abcdefgh", num_patches, strict=False):
        written.append(noise_patches(number, rng))
        path = case_file_path(folder, case_id)
        write_case_file(path, written[-1], describe_noise(case_id, **changes))
    return written


def write_case(folder, geometry, image, reference=None, t1ce=None):
    """Writes a case of 2017 with one image as every modality, but perhaps T1ce; returns it."""
    edition = EDITIONS["2017"]
    paths = {
        name: folder / f"{folder.name}{end}.nii.gz" for name, (end,) in edition.suffixes.items()
    }
    for name, path in paths.items():
        other = name == "t1ce" and t1ce is not None
        write_volume(path, t1ce if other else image, geometry)
    segmentation = folder / f"{folder.name}{edition.segmentation[0]}.nii.gz"
    if reference is not None:
        write_volume(segmentation, classes_to_labels(reference, edition), geometry)
    segmentation = None if reference is None else segmentation
    return Case(folder.name, folder, edition, paths, segmentation, None, folder.name)


def build_image(volume, geometry):
    """Returns the SimpleITK image of an array `(Z, Y, X)`."""
    image = SimpleITK.GetImageFromArray(volume)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    return image


def write_constant_network(path, probabilities):
    """Writes a small network that gives every pixel the same probability of each class."""
    import keras  # Here, so that tests of the data side do without.

    from brats.volumes.network_input import INPUT_FORMAT
    from model import build_resunet

    keras.utils.set_random_seed(0)
    network = build_resunet((None, None, 4), base_filters=2, depth=1, input_format=INPUT_FORMAT)
    head = network.get_layer("head")
    head.set_weights([np.zeros(head.kernel.shape), np.log(probabilities)])
    network.save(path)
    return path
