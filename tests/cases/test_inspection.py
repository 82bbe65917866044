"""What is found in the files of a case, one defect at a time, and in the real cases."""

import gzip
import re
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from brats import volumes as reading
from brats.cases.check import inspect_case, inspect_headers
from brats.cases.find import Case, find_cases
from brats.cases.findings import compare_cases
from brats.editions import EDITIONS
from brats.phantom.cohort import write_cohort
from brats.volumes.files import build_image, read_case
from brats.volumes.geometry import Geometry

SHAPE = (18, 20, 22)  # (Z, Y, X)
GEOMETRY = Geometry((1.0, 2.0, 3.0), (0.0, -239.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
SCHEME = EDITIONS["2017"]
NAMES = ("flair", "t1", "t1ce", "t2", "seg")


def case_files():
    """Returns the volumes of a case: ellipsoids of noise, and 4 voxels of tumor."""
    z, y, x = np.indices(SHAPE)
    brain = ((z - 8.5) / 8) ** 2 + ((y - 9.5) / 9) ** 2 + ((x - 10.5) / 10) ** 2 <= 1
    rng = np.random.default_rng(0)
    volumes = {
        name: np.where(brain, rng.integers(500, 1500, SHAPE), 0).astype(np.int16)
        for name in NAMES[:4]
    }
    volumes["seg"] = np.zeros(SHAPE, dtype=np.uint8)
    volumes["seg"][8, 9, 8:12] = (1, 2, 4, 4)
    return volumes


def write(folder, volumes, geometries=None, extension=".nii.gz"):
    """Writes the volumes as a case of 2017."""
    suffixes = SCHEME.suffixes | {"seg": SCHEME.segmentation}
    paths = {name: folder / f"{folder.name}{suffixes[name]}{extension}" for name in volumes}
    folder.mkdir()
    for name, volume in volumes.items():
        image = build_image(volume, (geometries or {}).get(name, GEOMETRY))
        SimpleITK.WriteImage(image, str(paths[name]))
    segmentation = paths.pop("seg", None)
    return Case(folder.name, folder, SCHEME, paths, segmentation, None)


def both_looks(case):
    return headers(case), inspect_case(case)


def headers(case):
    return inspect_headers([case])[0]


def test_a_good_case_has_facts_and_nothing_else(tmp_path):
    volumes = case_files()
    quick, full = both_looks(write(tmp_path / "good", volumes))
    assert (quick.errors, quick.warnings, quick.facts) == ([], [], {})
    assert (full.errors, full.warnings) == ([], [])
    values = np.concatenate([volumes[name][volumes["t1"] != 0] for name in NAMES[:4]])
    num_voxels = 18 * 20 * 22  # 7,920, of which one is 0.0126 %.
    assert full.facts == {
        "files": "5",
        "size": "22 x 20 x 18",
        "spacing mm": "1 x 2 x 3",
        "orientation": "LPS",
        "grid": "same",
        "type": "int16",
        "intensities": f"{values.min()} to {values.max()}",
        "brain %": f"{100 * np.count_nonzero(volumes['t1']) / num_voxels:.2f}",
        "necrosis %": "0.01",
        "edema %": "0.01",
        "enhancing %": "0.03",
    }


def test_a_case_to_predict_has_no_classes_and_says_so(tmp_path):
    volumes = case_files()
    del volumes["seg"]
    full = inspect_case(write(tmp_path / "case", volumes))
    assert (full.errors, full.warnings) == ([], ["No segmentation: good for prediction only."])
    assert full.facts["files"] == "4" and "edema %" not in full.facts


def test_types_and_turned_axes_are_told(tmp_path):
    volumes = case_files()
    volumes["t2"] = volumes["t2"].astype(np.float32)
    turned = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    facts = inspect_case(write(tmp_path / "case", volumes, dict.fromkeys(NAMES, turned))).facts
    assert (facts["type"], facts["orientation"]) == ("float32, int16", "RAS")


def test_files_on_other_grids_are_errors_each_with_what_differs(tmp_path):
    volumes = case_files()
    volumes["t1"] = volumes["t1"][1:]
    moved = Geometry(GEOMETRY.spacing_mm, (0.0, 0.0, 0.0), GEOMETRY.direction)
    case = write(tmp_path / "case", volumes, {"seg": moved})
    for look in both_looks(case):
        assert look.errors == [
            "The files of case case do not lie on one grid: case_t1.nii.gz has size (22, 20, 17), "
            "case_flair.nii.gz has size (22, 20, 18). Resample them to one grid.",
            "The files of case case do not lie on one grid: case_seg.nii.gz has origin (0, 0, 0), "
            "case_flair.nii.gz has origin (0, -239, 0). Resample them to one grid.",
        ]
    assert look.facts["grid"] == "differs"


def test_every_file_that_cannot_be_read_is_named(tmp_path):
    case = write(tmp_path / "case", case_files())
    case.images["t1"].write_bytes(case.images["t1"].read_bytes()[:-500])
    case.images["t2"].write_text("not an image")
    for look in both_looks(case):
        assert len(look.errors) == 2
        cut, text = look.errors
        assert cut.startswith(f"Cannot decompress {case.images['t1']}: Compressed file ended")
        assert text.startswith(f"{case.images['t2']} begins with b'not '")


def test_a_file_of_two_dimensions_is_an_error(tmp_path):
    case = write(tmp_path / "case", case_files())
    slice_of_it = SimpleITK.GetImageFromArray(np.ones((20, 22), dtype=np.int16))
    SimpleITK.WriteImage(slice_of_it, str(case.images["t1"]))
    for look in both_looks(case):
        (error,) = look.errors
        assert error.startswith(f"{case.images['t1']} has size (22, 20)")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_values_that_are_not_finite_are_errors_that_headers_do_not_show(tmp_path, value):
    volumes = case_files()
    volumes["t1"] = volumes["t1"].astype(np.float32)
    volumes["t1"][8, 9, 10] = value
    quick, full = both_looks(write(tmp_path / "case", volumes))
    assert quick.errors == []
    (error,) = full.errors
    assert re.search("case_t1.nii.gz holds (NaN|infinity) in 1 of ", error)


def test_labels_outside_the_scheme_are_errors(tmp_path):
    volumes = case_files()
    volumes["seg"][8, 9, 8] = 3
    full = inspect_case(write(tmp_path / "case", volumes))
    (error,) = full.errors
    assert error.startswith(f"{tmp_path}/case/case_seg.nii.gz: Unknown label values 3; expected")
    assert full.warnings == [] and full.facts["brain %"]


def test_an_empty_image_is_an_error_and_the_others_are_looked_at(tmp_path):
    volumes = case_files()
    volumes["t1"][:] = 0
    volumes["t2"][8, 9, 10] = 32767
    full = inspect_case(write(tmp_path / "case", volumes))
    assert full.errors == [
        f"{tmp_path}/case/case_t1.nii.gz is 0 everywhere. Replace the image, or remove the case."
    ]
    assert [warning[:19] for warning in full.warnings] == ["t2: 1 voxel at 3276"]


def test_tumor_outside_the_brain_is_a_warning(tmp_path):
    volumes = case_files()
    volumes["seg"][0, 0, 0] = 1
    full = inspect_case(write(tmp_path / "case", volumes))
    assert full.warnings == ["1 of 5 voxels of tumor outside the brain."]


@pytest.mark.parametrize("look", [headers, inspect_case])
@pytest.mark.parametrize("extension", [".nii.gz", ".nii"])
def test_two_modalities_that_are_the_same_file_are_a_warning(tmp_path, look, extension):
    case = write(tmp_path / "case", case_files(), extension=extension)
    case.images["t1ce"].write_bytes(case.images["t1"].read_bytes())
    (found,) = compare_cases([look(case)])
    assert found.warnings == ["t1 and t1ce are the same image."]


@pytest.mark.parametrize("look", [headers, inspect_case])
def test_one_patient_under_two_ids_is_a_warning_in_both(tmp_path, look):
    volumes = case_files()
    others = {name: 2 * volume for name, volume in volumes.items() if name != "seg"}
    cases = [
        write(tmp_path / "first", volumes),
        write(tmp_path / "other", volumes | others),
        write(tmp_path / "second", volumes | {"t2": others["t2"] + (volumes["t2"] > 0)}),
    ]
    found = compare_cases(list(map(look, cases)))
    text = "flair, t1, t1ce: the same as of {}: one patient under two ids."
    assert [look.warnings for look in found] == [
        [text.format("second")],
        [],
        [text.format("first")],
    ]


def test_an_image_saved_anew_in_another_type_is_the_same_to_the_full_look_only(tmp_path):
    volumes = case_files()
    anew = {name: volume.astype(np.float32) for name, volume in volumes.items()}
    cases = [write(tmp_path / "first", volumes), write(tmp_path / "second", anew)]
    quick, full = (compare_cases(list(map(look, cases))) for look in (headers, inspect_case))
    assert quick[0].warnings == []
    assert full[0].warnings[0].startswith("flair, t1, t1ce, t2: the same as of second")


def test_files_compressed_in_blocks_are_told_apart_by_more_than_the_last_block(tmp_path):
    case = write(tmp_path / "case", case_files(), extension=".nii")
    blocks = {}
    for name, path in case.images.items():
        content = path.read_bytes()
        blocks[name] = path.with_suffix(".nii.gz")
        # The last one is the same in all images: there is no brain.
        blocks[name].write_bytes(gzip.compress(content[:-700]) + gzip.compress(content[-700:]))
        path.unlink()
    (found,) = compare_cases([headers(replace(case, images=blocks))])
    assert not found.warnings


def test_a_file_of_all_modalities_is_read_once(tmp_path, monkeypatch):
    write_cohort(tmp_path, 1, 0, (20, 40, 44), "msd")
    (case,) = find_cases(tmp_path, need_segmentation=True)
    read, paths = reading.read_stored_voxels, []
    monkeypatch.setattr(
        reading, "read_stored_voxels", lambda path, *more: paths.append(path) or read(path, *more)
    )
    found = inspect_case(case)
    assert not found.errors and len(found.contents) == 4
    assert sorted(paths) == sorted((case.images["t1"], case.segmentation))


def test_enhancing_tumor_of_an_earlier_edition_under_names_of_2023_is_a_warning(tmp_path):
    volumes = case_files()  # With 4 as enhancing tumor.
    case = replace(write(tmp_path / "case", volumes), edition=EDITIONS["2023"])
    assert inspect_case(case).warnings == [
        "2 voxels of label 4 (resection cavity, trained as background), and none of label 3 "
        "(enhancing): files of an earlier edition, renamed?"
    ]
    assert read_case(case).label_warnings == inspect_case(case).warnings
    volumes["seg"][8, 9, 8] = 3
    image = build_image(volumes["seg"], GEOMETRY)
    SimpleITK.WriteImage(image, str(case.segmentation))
    assert not inspect_case(case).warnings and not read_case(case).label_warnings


def test_headers_of_the_real_cases_show_nothing_odd(real_cases):
    found = compare_cases(inspect_headers(find_cases(real_cases, True)))
    assert len(found) == 16
    assert not any(look.errors or look.warnings for look in found)


def test_of_the_real_cases_one_is_odd(real_cases):
    # BraTS2021_01482: the largest value of every image is 32767, once; and in the T1, sagittal
    # slices, the background within the brain is 99 beyond two slanted planes, 127,929 voxels of
    # 1,730,506 (seen in pictures and counted with NumPy).
    found = compare_cases(list(map(inspect_case, find_cases(real_cases, True))))
    assert not any(look.errors for look in found)
    assert {look.case_id: look.warnings for look in found if look.warnings} == {
        "BraTS2021_01482": [
            "flair, t1, t1ce, t2: 1 voxel at 32767, the largest value of int16: clipped, or "
            "stretched to fill the type.",
            "t1: one value, 99, in 7.4 % of the brain: cut off.",
        ]
    }


def test_the_real_case_without_ground_truth_is_good_for_prediction(real_cases):
    unlabelled = real_cases.parent / "brats-unlabelled"
    if not unlabelled.is_dir():
        pytest.skip("needs ../shared/brats-unlabelled")
    (case,) = find_cases(unlabelled, need_segmentation=False)
    full = inspect_case(case)
    assert (full.errors, full.warnings) == ([], ["No segmentation: good for prediction only."])
