"""Made-up cases and patches that several test files share."""

from pathlib import Path

import numpy as np

from brats.cases.find import Case
from brats.editions import EDITIONS, classes_to_labels
from brats.patches.centers import CasePatches
from brats.patches.file import append_case, laying_out, write_settings
from brats.volumes.files import write_volume


def make_case(case_id, grade=None, edition="2017"):
    """Returns a case without files."""
    return Case(case_id, Path(case_id), EDITIONS[edition], {}, None, grade)


def make_cases(num_high, num_low=0):
    """Returns cases of high grade, then of low grade."""
    high = [make_case(f"high{index:02d}", "HGG") for index in range(num_high)]
    return high + [make_case(f"low{index:02d}", "LGG") for index in range(num_low)]


def case_ids(cases):
    """Returns the id of each case."""
    return [case.id for case in cases]


def noise_patches(num_centers, rng):
    """Returns patches of noise, with every class, in a window of 3 x 131 x 130."""
    shape = (3, 131, 130)
    centers = [(index % 3, 64 + index % 4, 64 + index % 2) for index in range(num_centers)]
    return CasePatches(
        channels=rng.normal(size=(*shape, 4)).astype(np.float32),
        classes=rng.integers(0, 4, shape).astype(np.uint8),
        centers=np.array(centers, dtype=np.int32),
        origin=np.array([1, 29, 42], dtype=np.int32),
        class_counts=np.zeros(4, dtype=np.int64),
        warnings=[],
    )


def write_noise(path, rng, dtype="float32", num_train=5, num_validation=2):
    """Writes patches to train and to validate on; returns the training ones."""
    train = noise_patches(num_train, rng)
    with laying_out(path, dtype) as (file, _):
        append_case(file["train"], 0, train)
        append_case(file["validation"], 1, noise_patches(num_validation, rng))
        write_settings(file, {"seed": 3})
    return train


def write_case(folder, geometry, image, reference=None, t1ce=None):
    """Writes a case of 2017 with one image as every modality, but perhaps T1ce; returns it."""
    edition = EDITIONS["2017"]
    paths = {name: folder / f"{folder.name}{end}.nii.gz" for name, end in edition.suffixes.items()}
    for name, path in paths.items():
        other = name == "t1ce" and t1ce is not None
        write_volume(path, t1ce if other else image, geometry)
    segmentation = folder / f"{folder.name}{edition.segmentation}.nii.gz"
    if reference is not None:
        write_volume(segmentation, classes_to_labels(reference, edition), geometry)
    return Case(
        folder.name, folder, edition, paths, None if reference is None else segmentation, None
    )


def write_constant_network(path, probabilities):
    """Writes a small network that gives every pixel the same probability of each class."""
    import keras  # Here, so that tests of the data side do without.

    from model import build_resunet

    keras.utils.set_random_seed(0)
    network = build_resunet((None, None, 4), base_filters=2, depth=1)
    head = network.get_layer("head")
    head.set_weights([np.zeros(head.kernel.shape), np.log(probabilities)])
    network.save(path)
    return path
