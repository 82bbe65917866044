"""The synthetic cohort: its files, its anatomy, and that no threshold solves it."""

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from brats import phantom
from brats.cases.find import find_cases
from brats.editions import MODALITIES
from brats.errors import InputError
from brats.phantom.files import NAMINGS
from brats.volumes.case import read_case
from brats.volumes.files import read_volume

SHAPE = (31, 72, 60)  # Neither cubic nor of the proportions of the real volumes.
NORMAL, NECROSIS, EDEMA, ENHANCING = range(4)


def draw(seed, shape=SHAPE, enhancing=True):
    return phantom.synthesize(shape, np.random.default_rng(seed), enhancing)


def file_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def best_threshold_dice(image, tumor):
    """Returns the highest Dice that marking everything above some intensity can reach."""
    inside = image > 0
    values, tumor = image[inside], tumor[inside]
    order = np.argsort(-values.astype(int), kind="stable")
    values, hits = values[order], np.cumsum(tumor[order])
    marked = np.arange(1, values.size + 1)
    last_of_value = np.append(values[1:] != values[:-1], True)
    return (2 * hits / (marked + tumor.sum()))[last_of_value].max()


@pytest.fixture(scope="module")
def full_size():
    return draw([0, 0], (155, 240, 240))


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Five cases in each naming: `{naming: (root, folders)}`."""
    written = {}
    for naming in NAMINGS:
        root = tmp_path_factory.mktemp(naming)
        written[naming] = root, phantom.write_cohort(root, 5, 3, SHAPE, naming)
    return written


def test_best_threshold_dice_of_a_drawn_example():
    # image  5 4 3 0     above 4: 2 marked, 1 hit, 2 tumor voxels: 2 * 1 / (2 + 2)
    # tumor  . # # .     above 3: 3 marked, 2 hits:                2 * 2 / (3 + 2) = 0.8
    image, tumor = np.array([5, 4, 3, 0]), np.array([False, True, True, False])
    assert best_threshold_dice(image, tumor) == pytest.approx(0.8)


@pytest.mark.parametrize("shape", [SHAPE, (20, 160, 144), (8, 48, 60), (40, 16, 24)])
def test_images_and_classes_have_the_shape_and_types_asked_for(shape):
    images, classes = draw(0, shape)
    assert tuple(images) == MODALITIES
    assert {(image.shape, image.dtype.name) for image in images.values()} == {(shape, "int16")}
    assert (classes.shape, classes.dtype.name) == (shape, "uint8")


@pytest.mark.parametrize("seed", range(4))
def test_modalities_share_one_brain_and_are_zero_outside_it(seed):
    images, classes = draw(seed)
    brain = images["flair"] > 0
    for image in images.values():
        assert np.array_equal(image > 0, brain)
        assert not image[~brain].any()
    assert not classes[~brain].any()
    assert 0.08 < brain.mean() < 0.25  # Real brains: 1250 to 1730 ml of 8928, 0.14 to 0.19.


def test_full_size_brain_lies_inside_the_published_crop_and_fills_most_of_it(full_size):
    slices, rows, columns = np.nonzero(full_size[0]["t1"])
    assert 1 <= slices.min() < 20 and 130 < slices.max() < 147
    assert 29 <= rows.min() < 50 and 200 < rows.max() < 221
    assert 42 <= columns.min() < 60 and 180 < columns.max() < 194


def test_brain_narrows_upwards_and_downwards_and_has_a_fissure_between_two_halves():
    brain = draw(2, (155, 120, 120))[0]["t2"] > 0
    area = brain.sum(axis=(1, 2))
    assert area[20] < 0.8 * area[75] and area[125] < 0.8 * area[75]
    # Rows of a slice: the foremost brain rows have a gap in the middle columns.
    first_row = np.argmax(brain[90].any(axis=1)) + 1
    assert brain[90, first_row, :59].any() and brain[90, first_row, 61:].any()
    assert not brain[90, first_row, 59:61].any()


@pytest.mark.parametrize("seed", range(4))
def test_enhancing_rim_encloses_necrosis_and_edema_most_of_the_core(seed):
    _, classes = draw(seed, (52, 120, 120))
    assert set(np.unique(classes)) == {NORMAL, NECROSIS, EDEMA, ENHANCING}
    necrosis, core = classes == NECROSIS, (classes == NECROSIS) | (classes == ENHANCING)
    assert (classes[ndimage.binary_dilation(necrosis) & ~necrosis] == ENHANCING).all()
    around = ndimage.binary_dilation(core, iterations=2) & ~core
    assert np.mean(classes[around] == EDEMA) > 0.3


def test_tumor_without_enhancing_part_has_only_necrosis_and_edema():
    assert set(np.unique(draw(0, enhancing=False)[1])) == {NORMAL, NECROSIS, EDEMA}


def test_tumor_volumes_span_the_range_of_real_ones():
    volumes_ml = [
        np.count_nonzero(draw(seed)[1]) / np.prod(SHAPE) * 155 * 240 * 240 / 1000
        for seed in range(24)
    ]
    assert 10 < min(volumes_ml) < 40
    assert 45 < np.median(volumes_ml) < 95
    assert 110 < max(volumes_ml) < 200


def test_each_class_has_the_contrast_of_its_modality(full_size):
    images, classes = full_size
    median = {
        (name, index): np.median(image[(image > 0) & (classes == index)])
        for name, image in images.items()
        for index in range(4)
    }
    assert median["flair", EDEMA] > 1.25 * median["flair", NORMAL]
    assert median["flair", NECROSIS] < 0.9 * median["flair", EDEMA]
    assert median["t1", NECROSIS] < median["t1", EDEMA] < median["t1", NORMAL]
    assert median["t1ce", ENHANCING] > 1.4 * median["t1ce", NORMAL]
    assert median["t1ce", NECROSIS] < 0.9 * median["t1ce", NORMAL]
    assert median["t2", NECROSIS] > 1.5 * median["t2", NORMAL]
    assert median["t2", EDEMA] > 1.2 * median["t2", NORMAL]


def test_intensity_scales_differ_tenfold_between_cases_and_twofold_between_modalities():
    medians = np.array(
        [[np.median(image[image > 0]) for image in draw(seed)[0].values()] for seed in range(12)]
    )  # (cases, modalities)
    assert (medians.max(axis=0) > 10 * medians.min(axis=0)).all()
    assert (medians.max(axis=1) / medians.min(axis=1)).max() > 2


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_threshold_on_one_modality_finds_the_tumor(modality):
    for seed in range(5):
        images, classes = draw(seed, (31, 120, 96))
        assert best_threshold_dice(images[modality], classes > 0) < 0.8


def test_no_threshold_on_full_size_flair_finds_the_tumor(full_size):
    images, classes = full_size
    assert 0.1 < best_threshold_dice(images["flair"], classes > 0) < 0.8


def test_what_is_bright_in_flair_alone_is_as_large_as_the_tumor_and_dark_in_t2():
    images, classes = draw(4, (52, 120, 120))
    edema, healthy = classes == EDEMA, (images["flair"] > 0) & (classes == NORMAL)
    bright = healthy & (images["flair"] > np.percentile(images["flair"][edema], 25))
    assert bright.sum() > 0.3 * np.count_nonzero(classes)
    assert np.median(images["t2"][bright]) < 0.8 * np.median(images["t2"][edema])


def test_same_seed_gives_the_same_bytes_whatever_the_number_of_cases(tmp_path, cohorts):
    _, folders = cohorts["2017"]
    again = phantom.write_cohort(tmp_path / "again", 2, 3, SHAPE)
    other = phantom.write_cohort(tmp_path / "other", 1, 4, SHAPE)
    assert [file_bytes(folder) for folder in again] == [file_bytes(f) for f in folders[:2]]
    assert file_bytes(other[0]) != file_bytes(folders[0])


def test_files_of_2017_lie_in_grade_folders_one_case_in_four_of_low_grade(cohorts):
    root, folders = cohorts["2017"]
    names = [f"Brats17_PHANTOM_{index:04d}_1" for index in range(5)]
    grades = ["HGG", "HGG", "HGG", "LGG", "HGG"]
    assert folders == [root / grade / name for grade, name in zip(grades, names, strict=True)]
    expected = {f"{names[3]}_{end}.nii.gz" for end in ("flair", "t1", "t1ce", "t2", "seg")}
    assert {path.name for path in folders[3].iterdir()} == expected


def test_files_of_2023_have_hyphens_and_no_grade_folders(cohorts):
    root, folders = cohorts["2023"]
    assert folders == [root / f"BraTS-GLI-9000{index}-000" for index in range(5)]
    ends = ("t2f", "t1n", "t1c", "t2w", "seg")
    expected = {f"BraTS-GLI-90004-000-{end}.nii.gz" for end in ends}
    assert {path.name for path in folders[4].iterdir()} == expected


def test_files_of_2020_are_plain_and_a_table_tells_the_grades(cohorts):
    root, folders = cohorts["2020"]
    assert folders == [root / f"BraTS20_Training_00{number}" for number in range(1, 6)]
    expected = {f"{folders[4].name}_{end}.nii" for end in ("flair", "t1", "t1ce", "t2", "seg")}
    assert {path.name for path in folders[4].iterdir()} == expected
    assert (root / "name_mapping.csv").read_text().split() == [
        "Grade,BraTS_2020_subject_ID",
        "HGG,BraTS20_Training_001",
        "HGG,BraTS20_Training_002",
        "HGG,BraTS20_Training_003",
        "LGG,BraTS20_Training_004",
        "HGG,BraTS20_Training_005",
    ]
    cases = find_cases(root, need_segmentation=True)
    assert [case.grade for case in cases] == ["HGG", "HGG", "HGG", "LGG", "HGG"]


def test_files_of_msd_hold_all_modalities_with_the_labels_beside_them(cohorts):
    root, images = cohorts["msd"]
    names = [f"BRATS_00{number}.nii.gz" for number in range(1, 6)]
    assert images == [root / "imagesTr" / name for name in names]
    assert sorted(path.name for path in (root / "labelsTr").iterdir()) == names
    # FLAIR, T1w, T1gd, T2w along the last axis of the file, the first of the array.
    series = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(images[1])))
    drawn, classes = phantom.synthesize(SHAPE, np.random.default_rng([3, 1]))
    assert np.array_equal(series, [drawn[name] for name in ("flair", "t1", "t1ce", "t2")])
    # 1 edema, 2 necrosis, 3 enhancing.
    labels = read_volume(root / "labelsTr" / names[1])[0]
    assert np.array_equal(labels, np.array([0, 2, 1, 3])[classes])


def test_every_naming_holds_the_same_cases(cohorts):
    cases = {naming: find_cases(cohorts[naming][0], need_segmentation=True) for naming in NAMINGS}
    for case_in_each_naming in zip(
        *(sorted(found, key=lambda case: case.id[-6:]) for found in cases.values()), strict=True
    ):
        raw, *others = map(read_case, case_in_each_naming)
        for other in others:
            assert np.array_equal(other.classes, raw.classes)
            assert np.array_equal(other.volumes, raw.volumes)
            assert other.geometry.is_close_to(raw.geometry)


@pytest.mark.parametrize(
    ("naming", "labels"),
    [
        ("2017", {0, 1, 2, 4}),
        ("2020", {0, 1, 2, 4}),
        ("2021", {0, 1, 2, 4}),
        ("2023", {0, 1, 2, 3}),
        ("msd", {0, 1, 2, 3}),
    ],
)
def test_cohort_reads_as_complete_cases_with_and_without_enhancing_tumor(naming, labels, cohorts):
    cases = find_cases(cohorts[naming][0], need_segmentation=True)
    segmentations = [SimpleITK.ReadImage(str(case.segmentation)) for case in cases]
    found = [set(np.unique(SimpleITK.GetArrayViewFromImage(image))) for image in segmentations]
    assert {case.edition.name for case in cases} == {NAMINGS[naming][0]}
    assert found[:3] + found[4:] == [labels] * 4
    assert found[3] == {0, 1, 2}


def test_most_low_grade_cases_lack_enhancing_tumor_but_not_all(tmp_path):
    folders = phantom.write_cohort(tmp_path, 12, 0, (16, 32, 24))
    labels = {
        folder.name[-6:-2]: SimpleITK.ReadImage(str(next(folder.glob("*_seg.nii.gz"))))
        for folder in folders
        if folder.parent.name == "LGG"
    }
    enhancing = {key: 4 in SimpleITK.GetArrayViewFromImage(image) for key, image in labels.items()}
    assert enhancing == {"0003": False, "0007": False, "0011": True}


def test_files_keep_type_and_axes_and_have_the_geometry_of_brats(cohorts):
    images, _ = phantom.synthesize(SHAPE, np.random.default_rng([3, 1]))
    case = find_cases(cohorts["2017"][0], need_segmentation=True)[1]
    for modality, path in case.images.items():
        image = SimpleITK.ReadImage(str(path))
        assert image.GetPixelID() == SimpleITK.sitkInt16
        assert np.array_equal(SimpleITK.GetArrayViewFromImage(image), images[modality])
        assert image.GetOrigin() == (0, -239, 0)
        assert image.GetSpacing() == (1, 1, 1)
        assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert SimpleITK.ReadImage(str(case.segmentation)).GetPixelID() == SimpleITK.sitkUInt8


def test_used_folder_is_refused_and_left_as_it_is(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="already holds files"):
        phantom.write_cohort(tmp_path, 1, 0, SHAPE)
    with pytest.raises(InputError, match="already holds files"):
        phantom.write_cohort(tmp_path / "notes.txt", 1, 0, SHAPE)
    assert phantom.main([str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_command_line_prints_a_line_per_case_and_names_the_folder_last(tmp_path, capsys):
    root = tmp_path / "cohort"
    flags = "--cases 2 --seed 7 --shape 16 32 24 --naming 2023"
    assert phantom.main([str(root), *flags.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "BraTS-GLI-90000-000" in lines[0] and "BraTS-GLI-90001-000" in lines[1]
    assert lines[2].endswith(str(root))
    same = phantom.write_cohort(tmp_path / "same", 1, 7, (16, 32, 24), "2023")
    assert file_bytes(root / "BraTS-GLI-90000-000") == file_bytes(same[0])


@pytest.mark.parametrize(
    "flags", ["--cases 0", "--seed -1", "--shape 4 240 240", "--shape 9 9", "--naming 2024"]
)
def test_wrong_flags_exit_with_2_and_write_nothing(flags, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        phantom.main([str(tmp_path / "cohort"), *flags.split()])
    assert stop.value.code == 2
    assert not (tmp_path / "cohort").exists()
