"""Files named exactly as in each data set: their edition, modalities, reference, id and patient."""

import json

import pytest

from brats.cases.find import find_cases
from brats.editions import EDITIONS, MODALITIES
from brats.errors import InputError
from tests.cases.folders import touch, touch_case

# Per row: edition, id, patient, and the paths of FLAIR, T1, T1ce, T2, the reference if there is
# one, and files beside them that are none of these.
BRATS = "BraTS-{0}/BraTS-{0}-{1}.nii.gz"
NEW = ("t2f", "t1n", "t1c", "t2w", "seg")
PATIENT_3 = "MU-Glioma-Post/PatientID_0003/Timepoint_1/PatientID_0003_Timepoint_1_{}.nii.gz"
ROWS = [
    (
        ("2017", "Brats18_2013_20_1", "Brats18_2013_20_1"),
        [f"HGG/Brats18_2013_20_1/Brats18_2013_20_1_{end}.nii.gz" for end in (*MODALITIES, "seg")],
    ),
    (
        ("2017", "BraTS20_Training_001", "BraTS20_Training_001"),
        [f"BraTS20_Training_001/BraTS20_Training_001_{end}.nii" for end in (*MODALITIES, "seg")],
    ),
    *(
        ((edition, f"BraTS-{name}", patient), [BRATS.format(name, end) for end in NEW])
        for edition, name, patient in (
            ("2023", "GLI-00005-101", "BraTS-GLI-00005"),
            ("2023", "SSA-00002-000", "BraTS-SSA-00002"),
            ("2023", "GoAT-02610", "BraTS-GoAT-02610"),
            ("2023-men", "MEN-00004-000", "BraTS-MEN-00004"),
            ("2023-met", "MET-00086-000", "BraTS-MET-00086"),
            ("2024-ped", "PED-00030-000", "BraTS-PED-00030"),
            ("2023-unknown", "MEN-RT-0000-1", "BraTS-MEN-RT-0000"),
            ("2023-unknown", "XYZ-00001-000", "BraTS-XYZ-00001"),
        )
    ),
    (
        ("2023", "BraTS-PED-00030-000", "BraTS-PED-00030"),
        [f"BraTS2023-PED-Training/{BRATS.format('PED-00030-000', end)}" for end in NEW],
    ),
    (
        ("2023", "BraTS-GLI-00005-101", "BraTS-GLI-00005"),
        [f"BraTS-GLI-00005-101/BraTS-GLI-00005-101_{end}.nii.gz" for end in NEW],
    ),
    (
        ("msd", "BRATS_001", "BRATS_001"),
        [*["imagesTr/BRATS_001.nii.gz"] * 4, "labelsTr/BRATS_001.nii.gz"],
    ),
    (
        ("upenn-gbm", "UPENN-GBM-00003_11", "UPENN-GBM-00003"),
        [
            *(
                f"PKG/UPENN-GBM/NIfTI-files/images_structural/UPENN-GBM-00003_11/{name}.nii.gz"
                for name in (f"UPENN-GBM-00003_11_{end}" for end in ("FLAIR", "T1", "T1GD", "T2"))
            ),
            "PKG/UPENN-GBM/NIfTI-files/images_segm/UPENN-GBM-00003_11_segm.nii.gz",
            "PKG/UPENN-GBM/NIfTI-files/automated_segm/UPENN-GBM-00003_11_automated_approx_segm.nii.gz",
            "PKG/UPENN-GBM/NIfTI-files/images_structural_unstripped/UPENN-GBM-00003_11/"
            "UPENN-GBM-00003_11_T1_unstripped.nii.gz",
        ],
    ),
    (
        ("ucsf-pdgm", "UCSF-PDGM-0429_FU003d_nifti", "UCSF-PDGM-0429"),
        [
            f"UCSF-PDGM-v5/UCSF-PDGM-0429_FU003d_nifti/UCSF-PDGM-0429_FU003d_{end}.nii.gz"
            for end in ("FLAIR", "T1", "T1c", "T2", "tumor_segmentation", "FLAIR_bias", "T1_bias")
            + ("T1c_bias", "T2_bias", "brain_segmentation", "brain_parenchyma_segmentation", "SWI")
        ],
    ),
    (
        ("tcga", "TCGA-02-0006", "TCGA-02-0006"),
        [
            f"TCGA-02-0006/TCGA-02-0006_1996.08.23_{end}.nii.gz"
            for end in ("flair", "t1", "t1Gd", "t2", "GlistrBoost_ManuallyCorrected", "GlistrBoost")
        ],
    ),
    (
        ("tcga", "TCGA-CS-4941", "TCGA-CS-4941"),
        [
            f"TCGA-CS-4941/TCGA-CS-4941_1996.09.09_{end}.nii.gz"
            for end in ("flair", "t1", "t1Gd", "t2", "GlistrBoost")
        ],
    ),
    (
        ("brats-toolkit", "TCGA-DU-7294", "TCGA-DU-7294"),
        [
            f"TCGA-DU-7294/hdbet_brats-space/TCGA-DU-7294_hdbet_brats_{end}.nii.gz"
            for end in ("fla", "t1", "t1c", "t2")
        ],
    ),
    (
        ("captk", "CP_pnt_07", "CP_pnt_07"),
        [
            f"CP_pnt_07/outputDir/{name}.nii.gz"
            for name in ("FL_to_SRI_brain", "T1_to_SRI_brain", "T1CE_to_SRI_brain")
            + ("T2_to_SRI_brain", "brainTumorMask_SRI", "T1_to_SRI", "FL_raw", "brainMask_SRI")
        ],
    ),
    (
        ("bare", "smith", "smith"),
        [f"smith/{name}.nii.gz" for name in ("flair", "t1", "t1ce", "t2", "seg")],
    ),
    (
        ("bare", "EGD-0001", "EGD-0001"),
        [f"EGD-0001/{name}.nii.gz" for name in ("FLAIR", "T1", "T1c", "T2")],
    ),
    (
        ("bids", "sub-01", "sub-01"),
        [
            f"sub-01/anat/sub-01_{end}.nii.gz"
            for end in ("FLAIR", "T1w", "ce-gadolinium_T1w", "T2w")
        ],
    ),
    (
        ("bids", "sub-01_ses-1", "sub-01"),
        [
            f"sub-01/ses-1/anat/sub-01_ses-1_{end}.nii.gz"
            for end in ("FLAIR", "T1w", "ce-GADOLINIUM_T1w", "T2w", "dseg")
        ],
    ),
    (
        ("lumiere", "Patient-001_week-000-1", "Patient-001"),
        [f"Imaging/Patient-001/week-000-1/{name}.nii.gz" for name in ("FLAIR", "T1", "CT1", "T2")],
    ),
    (
        ("mu-glioma-post", "PatientID_0003_Timepoint_1", "PatientID_0003"),
        [
            PATIENT_3.format(end)
            for end in ("brain_t2f", "brain_t1n", "brain_t1c", "brain_t2w", "tumorMask")
        ],
    ),
    (
        ("nnunet", "BraTS2021_00000", "BraTS2021_00000"),
        [
            *(f"imagesTr/BraTS2021_00000_000{index}.nii.gz" for index in (3, 0, 1, 2)),
            "labelsTr/BraTS2021_00000.nii.gz",
        ],
    ),
    (
        ("nnunet", "p_7", "p_7"),
        [f"p_7_000{index}.nii.gz" for index in (3, 0, 1, 2)],  # One case for inference.
    ),
    (
        ("nnunet", "BraTS2021_00000", "BraTS2021_00000"),
        [
            *(f"imagesTr/BraTS2021_00000/BraTS2021_00000_000{i}.nii.gz" for i in (3, 0, 1, 2)),
            "labelsTr/BraTS2021_00000.nii.gz",
        ],
    ),
    (
        ("mixed", "p7", "p7"),
        [f"p7/p7_{end}.nii.gz" for end in ("FLAIR", "T1w", "t1gd", "T2", "seg")],
    ),
]


@pytest.mark.parametrize(("row", "names"), ROWS, ids=[f"{row[0]}-{row[1]}" for row, _ in ROWS])
def test_files_named_as_in_a_data_set_are_found(tmp_path, row, names):
    root = tmp_path / "data"
    paths = [root / name for name in names]
    touch(*paths)
    ((case,), failures) = find_cases(root, need_segmentation=False, need_labels=False)
    assert (case.edition.name, case.id, case.patient) == row and not failures
    assert [case.images[name] for name in MODALITIES] == paths[:4]
    reference = paths[4] if len(paths) > 4 and EDITIONS[row[0]].labels else None
    assert case.segmentation == reference
    if len(paths) > 4 and not reference:
        with pytest.raises(InputError, match="are unknown .* --labels necrosis=1"):
            find_cases(root, need_segmentation=True)
        flag = ("necrosis=1", "edema=2", "enhancing=3")
        ((case,), _) = find_cases(root, need_segmentation=True, labels=flag)
        assert (case.segmentation, case.edition.labels) == (paths[4], (0, 1, 2, 3))


def test_every_row_of_the_table_is_tested():
    assert {row[0] for row, _ in ROWS} == set(EDITIONS)


@pytest.mark.parametrize("extension", [".NII.GZ", ".nii", ".mha", ".NRRD"])
def test_every_readable_format_is_found_whatever_its_capitals(tmp_path, extension):
    touch_case(tmp_path / "p7", extension=extension)
    ((case,), _) = find_cases(tmp_path, need_segmentation=True)
    assert case.images["t1ce"] == tmp_path / "p7" / f"p7_t1ce{extension}"


def nnunet(folder, **dataset):
    touch(*(folder / "imagesTr" / f"{name}_000{i}.nii.gz" for name in "ab" for i in range(4)))
    touch(*(folder / "labelsTr" / f"{name}.nii.gz" for name in "ab"))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return find_cases(folder, need_segmentation=True)


def test_the_channels_and_labels_of_dataset_json_count(tmp_path):
    # Version 2, in the order of MSD, with other labels than its; 4 is a cavity.
    channels = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    labels = {"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}
    (a, b), _ = nnunet(tmp_path / "2", channel_names=channels, labels=labels)
    assert [a.images[name].name for name in MODALITIES] == [f"a_000{i}.nii.gz" for i in range(4)]
    assert b.segmentation == tmp_path / "2" / "labelsTr" / "b.nii.gz"
    assert (a.edition.labels, a.edition.background) == ((0, 1, 2, 3), {4: "not tumor"})
    # Version 1 has the values first.
    labels = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
    (a, _), _ = nnunet(tmp_path / "1", modality=channels, labels=labels)
    assert a.edition.labels == (0, 2, 1, 3)
    # Regions, as of the converter for BraTS: necrosis is what core has more than enhancing.
    channels = {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"}
    labels = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}
    (a, _), _ = nnunet(tmp_path / "regions", channel_names=channels, labels=labels)
    assert a.edition.labels == (0, 2, 1, 3)
    assert [a.images[name].name[-8] for name in MODALITIES] == list("3012")


def test_labels_that_dataset_json_does_not_explain_are_unknown(tmp_path):
    channels = {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"}
    with pytest.raises(InputError, match="are unknown .* --labels"):
        nnunet(tmp_path / "a", channel_names=channels, labels={"background": 0, "tumor": 1})
    message = (
        "b/dataset.json names the channels T1, ADC, T2, Flair; expected FLAIR, T1, T1ce and T2"
    )
    with pytest.raises(InputError, match=message):
        nnunet(tmp_path / "b", channel_names=channels | {"1": "ADC"}, labels={})
    with pytest.raises(InputError, match="c/dataset.json does not define channel_names"):
        nnunet(tmp_path / "c")
