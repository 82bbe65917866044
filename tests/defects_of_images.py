"""Defects of NIfTI files, of cases and of the folders that hold them. See defects.py."""

import contextlib
import gzip
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import SimpleITK

from brats.volumes import build_image, read_volume
from tests.defects import CASE, DATA, EXTRACT, OTHER, Defect, image_path

FLAIR, SEGMENTATION = image_path(), image_path(CASE, "seg")
DEFECTS = []
# Fields of the NIfTI-1 header: the first byte and the format.
AXES, DATATYPE, SPACING, OFFSET = (40, "<8h"), (70, "<2h"), (76, "<8f"), (108, "<f")
PLACE = (252, "<2h18f")
MAGIC = (344, "4s")
NOBODY = 65534


def image_defect(title, path=FLAIR, group="Images"):
    """Declares the decorated function, which spoils the file at `path`, as a defect."""

    def declare(spoil):
        DEFECTS.append(Defect(group, title, EXTRACT, path.name, lambda: spoil(path)))

    return declare


def folder_defect(title, names, command=EXTRACT):
    """Declares the decorated function, which spoils the data folder, as a defect."""

    def declare(spoil):
        DEFECTS.append(Defect("Cases and folders", title, command, names, spoil))

    return declare


def unpack(path):
    return gzip.decompress(path.read_bytes())


def pack(path, content):
    path.write_bytes(gzip.compress(content, mtime=0))


def edit_header(path, field, *values):
    """Replaces a field of the header, all of it or its first values."""
    start, form = field
    content = bytearray(unpack(path))
    whole = list(struct.unpack_from(form, content, start))
    whole[: len(values)] = values
    struct.pack_into(form, content, start, *whole)
    pack(path, bytes(content))


def edit_voxels(path, edit, dtype):
    """Gives a file other voxels, in another type: those that `edit` makes of its array."""
    volume, geometry = read_volume(path)
    image = build_image(edit(volume.astype(dtype)), geometry)
    SimpleITK.WriteImage(image, str(path))


def set_first(value):
    """Returns the function that sets the voxel (1, 2, 3)."""

    def edit(volume):
        volume[1, 2, 3] = value
        return volume

    return edit


def edit_image(path, edit):
    """Replaces an image by what `edit` makes of it, a SimpleITK.Image."""
    SimpleITK.WriteImage(edit(SimpleITK.ReadImage(str(path))), str(path))


@contextlib.contextmanager
def without_permission(path, mode=0):
    """Takes the permissions of a path away; the superuser, who needs none, becomes nobody."""
    is_superuser = os.getuid() == 0
    path.chmod(mode)
    Path().chmod(0o777)
    if is_superuser:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if is_superuser:
            os.setresuid(0, 0, 0)
        path.chmod(0o777)


@image_defect("a file of 0 bytes")
def _(path):
    path.write_bytes(b"")


@image_defect("a gzip stream that was cut short")
def _(path):
    path.write_bytes(path.read_bytes()[:-5000])


@image_defect("a gzip stream with a damaged byte in the middle")
def _(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@image_defect("a gzip stream whose checksum is wrong")
def _(path):
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)


@image_defect("text under the name of an image")
def _(path):
    path.write_text("<html>404 Not Found</html>")


@image_defect("an image that was not compressed, named `.nii.gz`")
def _(path):
    path.write_bytes(unpack(path))


@image_defect("a compressed image, named `.nii`", FLAIR.with_suffix(""))
def _(path):
    FLAIR.rename(path)


@image_defect("a `.nii` of 100 bytes", FLAIR.with_suffix(""))
def _(path):
    path.write_bytes(unpack(FLAIR)[:100])
    FLAIR.unlink()


@image_defect("a `.nii` without its last slice", FLAIR.with_suffix(""))
def _(path):
    path.write_bytes(unpack(FLAIR)[: -130 * 132 * 2])
    FLAIR.unlink()


@image_defect("a header without NIfTI's magic letters")
def _(path):
    edit_header(path, MAGIC, b"abc\0")


@image_defect("a header that claims twice the slices")
def _(path):
    edit_header(path, AXES, 3, 132, 130, 10)


@image_defect("a header that claims 17 TB")
def _(path):
    edit_header(path, AXES, 3, 32767, 32767, 8191)


@image_defect("a header with a negative length")
def _(path):
    edit_header(path, AXES, 3, 132, -130, 5)


@image_defect("a header with an axis of length 0")
def _(path):
    edit_header(path, AXES, 3, 132, 0, 5)


@image_defect("a header with 30 axes")
def _(path):
    edit_header(path, AXES, 30)


@image_defect("a header whose voxels begin beyond the file")
def _(path):
    edit_header(path, OFFSET, 1e9)


@image_defect("a header whose voxels begin within it")
def _(path):
    edit_header(path, OFFSET, 0.0)


@image_defect("a header with an unknown data type")
def _(path):
    edit_header(path, DATATYPE, 999)


@image_defect("complex numbers")
def _(path):
    edit_image(path, lambda image: SimpleITK.RealAndImaginaryToComplex(*2 * [to_float(image)]))


def to_float(image):
    return SimpleITK.Cast(image, SimpleITK.sitkFloat32)


@image_defect("colors")
def _(path):
    edit_image(path, lambda image: SimpleITK.Compose(*3 * [image]))


@image_defect("a 2-D image")
def _(path):
    edit_image(path, lambda image: image[:, :, 2])


@image_defect("a 4-D image in a folder of 3-D ones")
def _(path):
    edit_image(path, lambda image: SimpleITK.JoinSeries([image, image]))


@image_defect("a spacing of 0 mm")
def _(path):
    edit_header(path, SPACING, 1.0, 1.0, 0.0)


@image_defect("a spacing that is NaN")
def _(path):
    edit_header(path, SPACING, 1.0, float("nan"))


@image_defect("a position that is NaN")
def _(path):
    edit_header(path, PLACE, 0, 1, *18 * [float("nan")])


@image_defect("a voxel that is NaN")
def _(path):
    edit_voxels(path, set_first(np.nan), np.float32)


@image_defect("a voxel that is infinite")
def _(path):
    edit_voxels(path, set_first(-np.inf), np.float64)


@image_defect("an image that is 0 everywhere")
def _(path):
    edit_voxels(path, np.zeros_like, np.int16)


@image_defect("a modality of another size", image_path(CASE, "t1"))
def _(path):
    edit_voxels(path, lambda volume: volume[:, 1:], np.int16)


@image_defect("a modality of another spacing", image_path(CASE, "t1"))
def _(path):
    edit_header(path, SPACING, 1.0, 1.0, 1.0, 2.5)


@image_defect("a modality in another place", image_path(CASE, "t1"))
def _(path):
    def move(image):
        image.SetOrigin((5.0, -9.0, 3.0))
        return image

    edit_image(path, move)


@image_defect("a modality whose header alone is mirrored", image_path(CASE, "t1"))
def _(path):
    def mirror(image):
        image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
        return image

    edit_image(path, mirror)


@image_defect("a folder under the name of an image")
def _(path):
    path.unlink()
    path.mkdir()


@image_defect("a link to nowhere")
def _(path):
    path.unlink()
    path.symlink_to("nowhere.nii.gz")


@image_defect("a link to itself")
def _(path):
    path.unlink()
    path.symlink_to(path.name)


@image_defect("a link to an endless device")
def _(path):
    path.unlink()
    path.symlink_to("/dev/zero")


@image_defect("a pipe under the name of an image")
def _(path):
    path.unlink()
    os.mkfifo(path)


@image_defect("an image without permission to read it")
def _(path):
    return without_permission(path)


def segmentation_defect(title):
    """Declares the decorated function, which spoils the ground truth, as a defect."""
    return image_defect(title, SEGMENTATION, "Segmentations")


@segmentation_defect("a label of 0.9999")
def _(path):
    edit_voxels(path, set_first(0.9999), np.float32)


@segmentation_defect("a negative label")
def _(path):
    edit_voxels(path, set_first(-1), np.int16)


@segmentation_defect("the label 3 of 2023 in the naming of 2017")
def _(path):
    edit_voxels(path, set_first(3), np.uint8)


@segmentation_defect("a label that 8 bits would turn into 4")
def _(path):
    edit_voxels(path, set_first(260), np.int32)


@segmentation_defect("a label that is NaN")
def _(path):
    edit_voxels(path, set_first(np.nan), np.float32)


@segmentation_defect("a segmentation of another case's size")
def _(path):
    edit_voxels(path, lambda volume: volume[:, :, 1:], np.uint8)


@segmentation_defect("a segmentation with one volume per class")
def _(path):
    edit_image(path, lambda image: SimpleITK.JoinSeries([image == 1, image == 2, image == 4]))


@segmentation_defect("an image of intensities as segmentation")
def _(path):
    shutil.copy(FLAIR, path)


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
