"""Files named exactly as in each data set: their edition, modalities, reference, id and patient."""

import json

import pytest

from brats.cases.find import find_cases
from brats.editions import EDITIONS, MODALITIES
from brats.errors import InputError
from tests.cases.folders import touch, touch_case

OLD, NEW, NNUNET = "flair t1 t1ce t2 seg", "t2f t1n t1c t2w seg", "0003 0000 0001 0002"
UPENN, PED, UCSF = "UPENN-GBM-00003_11", "BraTS-PED-00030-000", "UCSF-PDGM-0429_FU003d"
PACKAGE, STRUCTURAL = "PKG/UPENN-GBM/NIfTI-files", "PKG/UPENN-GBM/NIfTI-files/images_structural"
MU, AS_2023 = "PatientID_0003_Timepoint_1", "{id}/{id}-{}.nii.gz"
CAPTK = "FL_to_SRI_brain T1_to_SRI_brain T1CE_to_SRI_brain T2_to_SRI_brain brainTumorMask_SRI"
# Per row: edition, id, patient ("" for the id), the pattern of the paths and what it holds of
# FLAIR, T1, T1ce, T2 and perhaps the reference and files that are none of these; further paths.
# fmt: off
ROWS = [
    ("2017", "Brats18_2013_20_1", "", "HGG/{id}/{id}_{}.nii.gz", OLD),
    ("2017", "BraTS20_Training_001", "", "{id}/{id}_{}.nii", OLD),
    ("2023", "BraTS-GLI-00005-101", "BraTS-GLI-00005", AS_2023, NEW),
    ("2023", "BraTS-GLI-00005-101", "BraTS-GLI-00005", "{id}/{id}_{}.nii.gz", NEW),
    ("2023", "BraTS-SSA-00002-000", "BraTS-SSA-00002", AS_2023, NEW),
    ("2023", "BraTS-GoAT-02610", "", AS_2023, NEW),
    ("2023", PED, "BraTS-PED-00030", f"X-BraTS2023-PED-Y/{AS_2023}", NEW),
    ("2023-men", "BraTS-MEN-00004-000", "BraTS-MEN-00004", AS_2023, NEW),
    ("2023-met", "BraTS-MET-00086-000", "BraTS-MET-00086", AS_2023, NEW),
    ("2024-ped", PED, "BraTS-PED-00030", AS_2023, NEW),
    ("2023-unknown", "BraTS-MEN-RT-0000-1", "BraTS-MEN-RT-0000", AS_2023, NEW),
    ("2023-unknown", "BraTS-XYZ-00001-000", "BraTS-XYZ-00001", AS_2023, NEW),
    *((edition, f"BraTS-{name}-000", f"BraTS-{name}", "{id}/{id}_{}.nii.gz", OLD)
      for edition, name in (("2024-ped", "PED-00030"), ("2023-met", "MET-00086"),
                            ("2023", "GLI-00005"), ("2023-unknown", "XYZ-00001"))),
    ("2024-ped", "p7", "", f"{{id}}/{PED}_{{}}.nii.gz", OLD),
    ("2024-ped", PED, "BraTS-PED-00030", "{id}/images/{}.nii.gz", OLD),
    ("upenn-gbm", UPENN, "UPENN-GBM-00003", STRUCTURAL + "/{id}/{id}_{}.nii.gz", "FLAIR T1 T1GD T2",
     f"{PACKAGE}/images_segm/{UPENN}_segm.nii.gz",
     f"{PACKAGE}/automated_segm/{UPENN}_automated_approx_segm.nii.gz",
     f"{STRUCTURAL}_unstripped/{UPENN}/{UPENN}_T1_unstripped.nii.gz"),
    ("ucsf-pdgm", f"{UCSF}_nifti", "UCSF-PDGM-0429", f"PKG/{{id}}/{UCSF}_{{}}.nii.gz",
     "FLAIR T1 T1c T2 tumor_segmentation T1_bias FLAIR_bias SWI brain_segmentation"),
    ("tcga", "TCGA-02-0006", "", "{id}/{id}_1996.08.23_{}.nii.gz",
     "flair t1 t1Gd t2 GlistrBoost_ManuallyCorrected GlistrBoost"),
    ("tcga", "TCGA-CS-4941", "", "{id}/{id}_1996.09.09_{}.nii.gz", "flair t1 t1Gd t2 GlistrBoost"),
    ("brats-toolkit", "TCGA-DU-7294", "", "{id}/hdbet_brats-space/{id}_hdbet_brats_{}.nii.gz",
     "fla t1 t1c t2"),
    ("captk", "CP_pnt_07", "", "{id}/outputDir/{}.nii.gz", f"{CAPTK} T1_to_SRI FL_raw"),
    ("bare", "smith", "", "{id}/{}.nii.gz", OLD),
    ("bare", "EGD-0001", "", "{id}/{}.nii.gz", "FLAIR T1 T1c T2"),
    ("bids", "sub-01", "", "{id}/anat/{id}_{}.nii.gz", "FLAIR T1w ce-gadolinium_T1w T2w"),
    ("bids", "sub-01_ses-1", "sub-01", "sub-01/ses-1/anat/{id}_{}.nii.gz",
     "FLAIR T1w ce-GADOLINIUM_T1w T2w dseg"),
    ("lumiere", "Patient-001_week-000-1", "Patient-001", "Imaging/Patient-001/week-000-1/{}.nii.gz",
     "FLAIR T1 CT1 T2"),
    ("mu-glioma-post", MU, "PatientID_0003", "PatientID_0003/Timepoint_1/{id}_{}.nii.gz",
     "brain_t2f brain_t1n brain_t1c brain_t2w tumorMask"),
    ("nnunet", "BraTS2021_00000", "", "imagesTr/{id}_{}.nii.gz", NNUNET,
     "labelsTr/BraTS2021_00000.nii.gz"),
    ("nnunet", "p_7", "", "any/{id}_{}.nii.gz", NNUNET),
    ("nnunet", "p_7", "", "{id}_{}.nii.gz", NNUNET),  # One case for inference.
    ("msd", "BRATS_001", "", "imagesTr/{id}.nii.gz", "1 2 3 4", "labelsTr/BRATS_001.nii.gz"),
    ("mixed", "p7", "", "{id}/{id}_{}.nii.gz", "FLAIR T1w t1gd T2 seg"),
]
# fmt: on


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_files_named_as_in_a_data_set_are_found(tmp_path, row):
    edition, case_id, patient, pattern, words, *further = row
    root = tmp_path / "data"
    names = [pattern.format(word, id=case_id) for word in words.split()]
    paths = [root / name for name in (*names, *further)]
    touch(*paths)
    ((case,), failures) = find_cases(root, need_segmentation=False, need_labels=False)
    assert (case.edition.name, case.id, case.patient) == (edition, case_id, patient or case_id)
    assert not failures
    assert [case.images[name] for name in MODALITIES] == paths[:4]
    reference = paths[4] if len(paths) > 4 and EDITIONS[edition].labels else None
    assert case.segmentation == reference
    if len(paths) > 4 and not reference:
        with pytest.raises(InputError, match="are unknown .* --labels necrosis=1"):
            find_cases(root, need_segmentation=True)
        flag = ("necrosis=1", "edema=2", "enhancing=3")
        ((case,), _) = find_cases(root, need_segmentation=True, labels=flag)
        assert (case.segmentation, case.edition.labels) == (paths[4], (0, 1, 2, 3))


def test_every_row_of_the_table_is_tested():
    assert {row[0] for row in ROWS} == set(EDITIONS)


@pytest.mark.parametrize("extension", [".NII.GZ", ".nii", ".mha", ".NRRD"])
def test_every_readable_format_is_found_whatever_its_capitals(tmp_path, extension):
    touch_case(tmp_path / "p7", extension=extension)
    ((case,), _) = find_cases(tmp_path, need_segmentation=True)
    assert case.images["t1ce"] == tmp_path / "p7" / f"p7_t1ce{extension}"


OF_MSD = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
CONVERTED = {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"}
VALUES = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
REGIONS = {"whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}


@pytest.mark.parametrize(
    ("dataset", "order", "labels"),
    [
        ({"modality": OF_MSD, "labels": VALUES}, "0123", (0, 2, 1, 3)),
        ({"channel_names": CONVERTED, "labels": {"background": 0} | REGIONS}, "3012", (0, 2, 1, 3)),
        ({"channel_names": CONVERTED, "labels": {"background": 0, "tumor": 1}}, "3012", None),
    ],
)
def test_the_channels_and_labels_of_dataset_json_count(tmp_path, dataset, order, labels):
    images = [tmp_path / "imagesTr" / f"a_000{index}.nii.gz" for index in order]
    touch(*images, tmp_path / "labelsTr" / "a.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    ((case,), _) = find_cases(tmp_path, need_segmentation=False, need_labels=False)
    assert [case.images[name] for name in MODALITIES] == images
    assert case.edition.labels == labels


@pytest.mark.parametrize("text", ["", "{}", '{"modality": {"0": "T1"}, "labels": {}}'])
def test_a_wrong_dataset_json_is_named(tmp_path, text):
    touch(tmp_path / "a_0000.nii.gz")
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match="dataset.json must define labels and the channel_names"):
        find_cases(tmp_path, need_segmentation=False)
