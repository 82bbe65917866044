"""Defects of segmentations, of cases and of the folders that hold them. See defects.py."""

import os
import shutil

import numpy as np
import SimpleITK

from tests.defects import CASE, DATA, EXTRACT, OTHER, defect, image_path
from tests.defects_of_images import (
    FLAIR,
    edit_image,
    edit_voxels,
    set_first,
    unpack,
    without_permission,
)

SEGMENTATION = image_path(CASE, "seg")
DEFECTS = []


def segmentation_defect(title):
    """Declares the decorated function, which spoils the ground truth, as a defect."""
    return defect(DEFECTS, "Segmentations", title, EXTRACT, SEGMENTATION.name)


def folder_defect(title, names, command=EXTRACT):
    """Declares the decorated function, which spoils the data folder, as a defect."""
    return defect(DEFECTS, "Cases and folders", title, command, names)


@segmentation_defect("a label of 0.9999")
def _():
    edit_voxels(SEGMENTATION, set_first(0.9999), np.float32)


@segmentation_defect("a negative label")
def _():
    edit_voxels(SEGMENTATION, set_first(-1), np.int16)


@segmentation_defect("the label 3 of 2023 in the naming of 2017")
def _():
    edit_voxels(SEGMENTATION, set_first(3), np.uint8)


@segmentation_defect("a label that 8 bits would turn into 4")
def _():
    edit_voxels(SEGMENTATION, set_first(260), np.int32)


@segmentation_defect("a label that is NaN")
def _():
    edit_voxels(SEGMENTATION, set_first(np.nan), np.float32)


@segmentation_defect("a segmentation of another case's size")
def _():
    edit_voxels(SEGMENTATION, lambda volume: volume[:, :, 1:], np.uint8)


@segmentation_defect("a segmentation with one volume per class")
def _():
    edit_image(
        SEGMENTATION, lambda image: SimpleITK.JoinSeries([image == 1, image == 2, image == 4])
    )


@segmentation_defect("an image of intensities as segmentation")
def _():
    shutil.copy(FLAIR, SEGMENTATION)


@folder_defect("a data folder that does not exist", "nowhere", (*EXTRACT, "--data-root", "nowhere"))
def _():
    pass


@folder_defect("a data folder that is a file", "data")
def _():
    shutil.rmtree(DATA)
    DATA.write_text("")


@folder_defect("an empty data folder", "data")
def _():
    shutil.rmtree(DATA)
    DATA.mkdir()


@folder_defect("a data folder of other files", "data")
def _():
    shutil.rmtree(DATA)
    DATA.mkdir()
    (DATA / "IM0001.dcm").write_text("")


@folder_defect("a case as data folder", str(CASE), (*EXTRACT, "--data-root", str(CASE)))
def _():
    pass


@folder_defect("a data folder without permission to read it", "data")
def _():
    return without_permission(DATA)


@folder_defect("a case folder without permission to read it", CASE.name)
def _():
    return without_permission(CASE)


@folder_defect("an empty case folder", CASE.name)
def _():
    shutil.rmtree(CASE)
    CASE.mkdir()


@folder_defect("a case without one modality", CASE.name)
def _():
    image_path(CASE, "t1ce").unlink()


@folder_defect("a case without segmentation", CASE.name)
def _():
    SEGMENTATION.unlink()


@folder_defect("a modality twice, as `.nii` and `.nii.gz`", CASE.name)
def _():
    FLAIR.with_suffix("").write_bytes(unpack(FLAIR))


@folder_defect("two files that end as the segmentation", CASE.name)
def _():
    shutil.copy(SEGMENTATION, CASE / "second_seg.nii.gz")


@folder_defect("files that end in no known way", CASE.name)
def _():
    for path in list(CASE.iterdir()):
        path.rename(path.with_name(path.name.replace("_", "-")))


@folder_defect("two cases of one name", CASE.name)
def _():
    for grade in ("HGG", "LGG"):
        shutil.copytree(CASE, DATA / grade / CASE.name)
    shutil.rmtree(CASE)


@folder_defect(
    "two patients, and three folds", "--num-folds", (*EXTRACT, "--num-folds", "3", "--fold", "0")
)
def _():
    pass


@folder_defect("one case, a share of which is to validate on", "--validation-fraction")
def _():
    shutil.rmtree(OTHER)


@folder_defect("a table of grades that is no text", "name_mapping.csv")
def _():
    (DATA / "name_mapping.csv").write_bytes(b"Grade\xff\xfe")


@folder_defect("a page to log in at as the table of grades", "name_mapping.csv")
def _():
    (DATA / "name_mapping.csv").write_text("<html><body>Please log in</body></html>\n" * 2)


@folder_defect("a table of grades separated by semicolons", "name_mapping.csv")
def _():
    (DATA / "name_mapping.csv").write_text(f"Grade;BraTS_2020_subject_ID\nHGG;{CASE.name}\n")


@folder_defect("a table of grades of another scale", "name_mapping.csv")
def _():
    (DATA / "name_mapping.csv").write_text(f"Grade,BraTS_2020_subject_ID\nIV,{CASE.name}\n")


@folder_defect("a table that gives a case both grades", "name_mapping.csv")
def _():
    rows = f"HGG,{CASE.name}\nLGG,{CASE.name}\n"
    (DATA / "name_mapping.csv").write_text(f"Grade,BraTS_2020_subject_ID\n{rows}")


@folder_defect("a pipe as the table of grades", "name_mapping.csv")
def _():
    os.mkfifo(DATA / "name_mapping.csv")


@folder_defect("a link to a case on a disk that is not mounted", "BraTS2021_00003")
def _():
    (DATA / "BraTS2021_00003").symlink_to("/mnt/nowhere/BraTS2021_00003")


@folder_defect("files that end in capitals", CASE.name)
def _():
    for path in list(CASE.iterdir()):
        path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))


@folder_defect("the images of all cases in one folder", "data")
def _():
    for case in (CASE, OTHER):
        for path in list(case.iterdir()):
            path.rename(DATA / path.name)
        case.rmdir()


@folder_defect(
    "a 4-D image of three modalities", "BRATS_001.nii.gz", (*EXTRACT, "--validation-fraction", "0")
)
def _():
    images = [SimpleITK.ReadImage(str(image_path(CASE, name))) for name in ("flair", "t1", "t2")]
    shutil.rmtree(DATA)
    for folder in ("imagesTr", "labelsTr"):
        (DATA / folder).mkdir(parents=True)
        SimpleITK.WriteImage(SimpleITK.JoinSeries(images), str(DATA / folder / "BRATS_001.nii.gz"))


@folder_defect("a case whose name has a line break", "line\\nbreak")
def _():
    CASE.rename(DATA / "line\nbreak")


@folder_defect("a case whose name is not UTF-8", "caf\\udce9")
def _():
    CASE.rename(DATA / os.fsdecode(b"caf\xe9"))
