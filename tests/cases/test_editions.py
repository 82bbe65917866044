"""MSD, 2024 and mixtures through extraction and prediction: other values, sizes, spacings."""

import csv

import h5py
import numpy as np
import pytest
import SimpleITK

import extract_patches
import predict
from brats.cases.find import find_cases
from brats.patches.file import read_settings
from brats.phantom.cohort import write_cohort
from brats.volumes.files import read_volume
from tests.synthetic import write_constant_network

# (z, y, x); slices smaller than a patch in one direction or in both, and odd.
SHAPES = {"msd": (9, 131, 97), "2024": (7, 93, 61)}
SPACING_MM, ORIGIN_MM = (0.9, 1.1, 3.0), (12.5, -200.0, 7.0)
CAVITY = 4


def place(path):
    """Moves an image of three or four dimensions to `SPACING_MM` and `ORIGIN_MM`, x reversed."""
    image = SimpleITK.ReadImage(str(path))
    more = (1.0,) * (image.GetDimension() - 3)
    image.SetSpacing(SPACING_MM + more)
    image.SetOrigin(ORIGIN_MM + more)
    direction = np.diag((-1.0, *(1.0,) * (image.GetDimension() - 1)))
    image.SetDirection(direction.ravel().tolist())
    SimpleITK.WriteImage(image, str(path))


def make_2024(root):
    """Turns a cohort of 2023 into one of 2024: time points 1xx, and resection cavities.

    In the first case the left half of the volume holds no necrosis, but a cavity.
    """
    for folder in sorted(root.iterdir()):
        name = folder.name.removesuffix("-000") + "-101"
        for path in folder.iterdir():
            path.rename(folder / path.name.replace(folder.name, name))
        folder.rename(root / name)
    path = root / "BraTS-GLI-90000-101" / "BraTS-GLI-90000-101-seg.nii.gz"
    image = SimpleITK.ReadImage(str(path))
    labels = SimpleITK.GetArrayFromImage(image)
    half = labels[..., : labels.shape[2] // 2]
    half[half == 1] = CAVITY
    labels[3, 40:44, 30:34] = CAVITY
    cavity = SimpleITK.GetImageFromArray(labels)
    cavity.CopyInformation(image)
    SimpleITK.WriteImage(cavity, str(path))


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Two cases of each edition; read only."""
    roots = {edition: tmp_path_factory.mktemp(edition) for edition in SHAPES}
    write_cohort(roots["msd"], 2, 0, SHAPES["msd"], "msd")
    write_cohort(roots["2024"], 2, 0, SHAPES["2024"], "2023")
    make_2024(roots["2024"])
    for root in roots.values():
        for path in root.rglob("*.nii.gz"):
            place(path)
    return roots


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network that takes every pixel for edema."""
    path = tmp_path_factory.mktemp("network") / "constant.keras"
    return write_constant_network(path, [0.1, 0.2, 0.6, 0.1])


def extract(root, output, *more):
    extract_patches.main(["--data-root", str(root), "--output", str(output), *more])
    with h5py.File(output, "r") as file:
        splits = [file["train"], file["validation"]]
        return {name: np.concatenate([s[name] for s in splits]) for name in splits[0]}


def read_array(path):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


# Class of each label value: MSD has 1 edema, 2 necrosis; 2024 has 4, a cavity.
@pytest.mark.parametrize(("edition", "classes"), [("msd", (0, 2, 1, 3)), ("2024", (0, 1, 2, 3, 0))])
def test_patches_hold_the_classes_of_the_edition(cohorts, tmp_path, edition, classes):
    patches = extract(cohorts[edition], tmp_path / "patches.h5")
    cases = find_cases(cohorts[edition], need_segmentation=True)
    assert set(patches["case"]) == {0, 1}
    for case, (z, y, x), labels in zip(
        patches["case"], patches["center"], patches["labels"], strict=True
    ):
        truth = np.array(classes)[read_volume(cases[case].segmentation)[0][z]]
        padded = np.pad(truth, 128)  # Beyond the slice there is background.
        assert np.array_equal(labels, padded[y + 64 : y + 192, x + 64 : x + 192])


def test_resection_cavity_is_trained_as_background_and_said_once(cohorts, tmp_path, capsys):
    truth = np.concatenate(
        [read_array(case.segmentation) for case in find_cases(cohorts["2024"], True)]
    )
    assert set(np.unique(truth)) == {0, 1, 2, 3, CAVITY}
    extract(cohorts["2024"], tmp_path / "patches.h5")
    output = capsys.readouterr().out
    assert output.count("label 4 of 2023 (resection cavity)") == 1
    settings = read_settings(tmp_path / "patches.h5")
    assert settings["trained_as_background"] == {"label 4 of 2023": "(resection cavity)"}
    assert settings["label_schemes"] == {"2023": [0, 1, 2, 3]}
    assert settings["class_shares"][0] == pytest.approx(np.isin(truth, [0, CAVITY]).mean())


@pytest.mark.parametrize(("edition", "edema"), [("msd", 1), ("2024", 2)])
def test_predictions_have_the_values_size_and_place_of_the_input(
    cohorts, network, tmp_path, edition, edema
):
    root = cohorts[edition]
    arguments = ["--data-root", str(root), "--output", str(tmp_path), "--weights", str(network)]
    predict.main(arguments)
    for case in find_cases(root, need_segmentation=True):
        image = SimpleITK.ReadImage(str(tmp_path / f"{case.id}.nii.gz"))
        labels = SimpleITK.GetArrayFromImage(image)
        assert (labels.shape, labels.dtype.name) == (SHAPES[edition], "uint8")
        np.testing.assert_allclose(image.GetSpacing(), SPACING_MM, atol=1e-5)
        np.testing.assert_allclose(image.GetOrigin(), ORIGIN_MM, atol=1e-4)
        assert image.GetDirection() == (-1, 0, 0, 0, 1, 0, 0, 0, 1)
        flair = read_array(case.images["flair"])
        flair = flair[0] if flair.ndim == 4 else flair
        covered = (flair != 0).mean(axis=(1, 2)) > 0.01  # Less than 1 % brain is background.
        np.testing.assert_array_equal(labels[covered], np.where(flair[covered] != 0, edema, 0))
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["region"] == "whole"]
    # Whole tumor is edema, necrosis and enhancing tumor: the cavity is none of them.
    for row, case in zip(rows, find_cases(root, need_segmentation=True), strict=True):
        tumor = np.isin(read_array(case.segmentation), [1, 2, 3])
        volume_ml = np.count_nonzero(tumor) * np.prod(SPACING_MM) / 1000
        assert float(row["reference_ml"]) == pytest.approx(volume_ml, rel=1e-5)
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert report.count("<tr data-case=") == 2 and 'class="failed"' not in report


def test_editions_mix_in_one_patch_file(cohorts, tmp_path):
    for edition, root in cohorts.items():
        (tmp_path / edition).symlink_to(root, target_is_directory=True)
    write_cohort(tmp_path / "2020", 1, 0, (5, 140, 133), "2020")
    alone = {
        edition: extract(root, tmp_path / f"{edition}.h5") for edition, root in cohorts.items()
    }
    patches = extract(tmp_path, tmp_path / "mixed.h5")
    settings = read_settings(tmp_path / "mixed.h5")
    assert settings["cases"] == [
        "BRATS_001",
        "BRATS_002",
        "BraTS-GLI-90000-101",
        "BraTS-GLI-90001-101",
        "BraTS20_Training_001",
    ]
    editions = {"msd": [0, 2, 1, 3], "2023": [0, 1, 2, 3], "2017": [0, 1, 2, 4]}
    assert settings["label_schemes"] == editions
    # All centers of the small slices are taken, so the same patches come, in another order.
    for edition, first in (("msd", 0), ("2024", 2)):
        chosen = np.isin(patches["case"], [first, first + 1])
        for name in ("images", "labels"):
            mixed = {patch.tobytes() for patch in patches[name][chosen]}
            assert mixed == {patch.tobytes() for patch in alone[edition][name]}
