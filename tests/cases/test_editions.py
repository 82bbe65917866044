"""MSD and 2024 together through extraction and prediction: other labels, sizes, spacings, axes."""

import json
import shutil

import h5py
import numpy as np
import pytest
import SimpleITK

import extract_patches
import predict
from brats.cases.find import find_cases
from brats.editions import CLASSES as CLASS_NAMES
from brats.errors import InputError
from brats.phantom.cohort import write_cohort
from brats.volumes.files import read_volume
from tests.synthetic import write_constant_network

MSD, GLIOMA = "BRATS_001", "BraTS-GLI-90000-000"
# (z, y, x); slices smaller than a patch in one direction or in both, and odd.
SHAPES = {MSD: (9, 131, 97), GLIOMA: (7, 93, 61)}
# Class of each label: MSD has 1 edema, 2 necrosis; 2024 has 4, a cavity, which is background.
CLASSES = {MSD: (0, 2, 1, 3), GLIOMA: (0, 1, 2, 3, 0)}
EDEMA = {MSD: 1, GLIOMA: 2}
SPACING_MM, ORIGIN_MM = (0.97, 1.03, 3.0), (12.5, -200.0, 7.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder of both cases, moved to `SPACING_MM` and `ORIGIN_MM`, x reversed; read only."""
    root = tmp_path_factory.mktemp("editions")
    write_cohort(root / "2024", 1, 0, SHAPES[GLIOMA], "2023")
    (folder,) = write_cohort(tmp_path_factory.mktemp("2017"), 1, 0, SHAPES[MSD])
    *images, labels = (
        SimpleITK.ReadImage(str(folder / f"{folder.name}_{name}.nii.gz"))
        for name in ("flair", "t1", "t1ce", "t2", "seg")
    )
    msd = {"imagesTr": SimpleITK.JoinSeries(images)}
    msd["labelsTr"] = SimpleITK.ChangeLabel(labels, {1: 2, 2: 1, 4: 3})
    for name, image in msd.items():
        (root / name).mkdir()
        SimpleITK.WriteImage(image, str(root / name / f"{MSD}.nii.gz"))
    for path in root.rglob("*.nii.gz"):
        image = SimpleITK.ReadImage(str(path))
        if path.name.endswith("-seg.nii.gz"):
            image[30:34, 40:44, 3] = 4  # A cavity.
        more = (1.0,) * (image.GetDimension() - 3)
        image.SetSpacing(SPACING_MM + more)
        image.SetOrigin(ORIGIN_MM + more)
        direction = np.diag((-1.0, *(1.0,) * (image.GetDimension() - 1)))
        image.SetDirection(direction.ravel().tolist())
        SimpleITK.WriteImage(image, str(path))
    return root


@pytest.fixture(scope="module")
def cases(root):
    found = {case.id: case for case in find_cases(root, need_segmentation=True)[0]}
    assert list(found) == [MSD, GLIOMA]
    return found


def test_patches_hold_the_classes_of_the_edition(root, cases, tmp_path):
    extract_patches.main(["--data-root", str(root), "--output", str(tmp_path)])
    for case_id, case in cases.items():
        labels, _ = read_volume(case.segmentation)
        assert set(np.unique(labels)) == set(range(len(CLASSES[case_id])))
        # Beyond the slice there is background.
        reference = np.pad(np.array(CLASSES[case_id])[labels], [(0, 0), (128, 128), (128, 128)])
        with h5py.File(tmp_path / f"{case_id}.h5") as file:
            assert len(file["labels"])
            for (z, y, x), patch in zip(file["center"], file["labels"], strict=True):
                assert np.array_equal(patch, reference[z, y + 64 : y + 192, x + 64 : x + 192])


def test_the_flag_defines_the_labels_of_patches_and_changes_them_only_on_request(root, tmp_path):
    arguments = ["--data-root", str(root / "2024"), "--output", str(tmp_path)]
    labels = ["--labels", "necrosis=3", "edema=1,4", "enhancing=2"]
    extract_patches.main([*arguments, *labels])
    counts = {}
    for flag in (labels, []):
        with h5py.File(tmp_path / f"{GLIOMA}.h5") as file:
            description = json.loads(file.attrs["description"])
        counts[len(flag)] = description["class_counts"]
        if flag:
            assert description["labels"] == dict(zip(CLASS_NAMES, (0, 3, 1, 2), strict=True))
            assert description["merged"] == {"4": "edema"}
            message = r"labels \(--labels\) .*'edema': 1.*, not .*'edema': 2.*--overwrite"
            with pytest.raises(InputError, match=message):
                extract_patches.main(arguments)
            extract_patches.main([*arguments, "--overwrite"])
    _, one, two, three = counts[0]
    assert counts[4][1:] == [three, one + 16, two]  # The cavity has 16 voxels.


def test_four_files_become_one_with_the_labels_of_the_flag(root, cases, tmp_path, monkeypatch):
    network = write_constant_network(tmp_path / "constant.keras", [0.1, 0.2, 0.6, 0.1])
    paths = []
    for name, path in cases[GLIOMA].images.items():  # Names that no data set has.
        paths += [f"--{name}", str(shutil.copy(path, tmp_path / f"image of {name}.nii.gz"))]
    labels = ["--labels", "necrosis=3", "edema=7,8", "enhancing=2"]
    monkeypatch.chdir(tmp_path)
    command = [*paths, "--weights", str(network), "--output", "out/smith.nii.gz", *labels]
    for _ in range(2):
        predict.main(command)
    written, _ = read_volume(tmp_path / "out" / "smith.nii.gz")
    assert set(np.unique(written)) == {0, 7}
    assert {path.name for path in (tmp_path / "out").glob("*.*")} >= {"smith.json", "report.html"}


def test_predictions_have_the_labels_size_and_place_of_the_input(root, cases, tmp_path):
    # The network takes every pixel for edema.
    network = write_constant_network(tmp_path / "constant.keras", [0.1, 0.2, 0.6, 0.1])
    output = tmp_path / "predictions"
    predict.main(["--data-root", str(root), "--output", str(output), "--weights", str(network)])
    for case_id, case in cases.items():
        image = SimpleITK.ReadImage(str(output / f"{case_id}.nii.gz"))
        labels = SimpleITK.GetArrayFromImage(image)
        assert (labels.shape, labels.dtype.name) == (SHAPES[case_id], "uint8")
        np.testing.assert_allclose(image.GetSpacing(), SPACING_MM, atol=1e-5)
        np.testing.assert_allclose(image.GetOrigin(), ORIGIN_MM, atol=1e-4)
        assert image.GetDirection() == (-1, 0, 0, 0, 1, 0, 0, 0, 1)
        flair = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(case.images["flair"])))
        flair = flair[0] if flair.ndim == 4 else flair
        covered = (flair != 0).mean(axis=(1, 2)) > 0.01  # Less than 1 % brain is background.
        expected = np.where(flair[covered] != 0, EDEMA[case_id], 0)
        np.testing.assert_array_equal(labels[covered], expected)
        # Whole tumor is edema, necrosis and enhancing tumor: the cavity is none of them.
        tumor = np.isin(read_volume(case.segmentation)[0], [1, 2, 3])
        volume_ml = np.count_nonzero(tumor) * np.prod(SPACING_MM) / 1000
        scores = json.loads((output / f"{case_id}.json").read_text())["scores"]
        (whole,) = [row for row in scores if row["region"] == "whole"]
        assert float(whole["reference_ml"]) == pytest.approx(volume_ml, rel=1e-5)
