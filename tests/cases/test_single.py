"""A case of four files of any name: its id, its folder, and what is refused."""

from pathlib import Path

import pytest

from brats.cases.single import build_case
from brats.editions import MODALITIES
from brats.errors import InputError
from tests.cases.folders import touch


def images(folder, *names):
    touch(*(folder / name for name in names))
    return {name: str(folder / file) for name, file in zip(MODALITIES, names, strict=True)}


@pytest.mark.parametrize(
    ("names", "output", "case_id", "folder"),
    [
        (("p1_fl.nii.gz", "p1_t1.nii", "p1_t1c.nii.gz", "p1_t2.mha"), "out", "p1", "out"),
        (("A-0-t2f.nii", "A-0-t1n.nii", "A-0-t1c.nii", "A-0-t2w.nii"), "out", "A-0", "out"),
        (("Fl.nii.gz", "T1.nii.gz", "T1C.nii.gz", "T2.nii.gz"), "out", "Fl", "out"),
        (("Fl.nii.gz", "T1.nii.gz", "T1C.nii.gz", "T2.nii.gz"), "out/smith.NII.GZ", "smith", "out"),
        (("Fl.nii.gz", "T1.nii.gz", "T1C.nii.gz", "T2.nii.gz"), "smith.nii.gz", "smith", "."),
    ],
)
def test_the_id_is_the_outputs_name_or_what_the_names_share(
    tmp_path, names, output, case_id, folder
):
    paths = images(tmp_path, *names)
    case, where = build_case(paths, output)
    assert (case.id, where) == (case_id, Path(folder))
    assert {name: str(path) for name, path in case.images.items()} == paths
    assert case.segmentation is case.edition.labels is None


def test_a_file_that_does_not_exist_or_would_be_replaced_is_named_with_its_flag(tmp_path):
    paths = images(tmp_path, "a_1.nii.gz", "a.nii.gz", "a_2.nii.gz", "a_3.nii.gz")
    with pytest.raises(InputError, match="would replace .*a.nii.gz. Give another --output"):
        build_case(paths, tmp_path / "a.nii.gz")
    with pytest.raises(FileNotFoundError, match="--t1ce .*b.nii.gz is not a file"):
        build_case(paths | {"t1ce": str(tmp_path / "b.nii.gz")}, tmp_path)
