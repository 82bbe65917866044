"""The synthetic cohort: its anatomy, that no threshold solves it, and its command line."""

import numpy as np
import pytest
from scipy import ndimage

from brats.editions import MODALITIES
from brats.errors import InputError
from brats.phantom.__main__ import main
from brats.phantom.cohort import synthesize, write_cohort

SHAPE = (31, 72, 60)  # Neither cubic nor of the proportions of the real volumes.
NORMAL, NECROSIS, EDEMA, ENHANCING = range(4)


def draw(seed, shape=SHAPE, enhancing=True):
    return synthesize(shape, np.random.default_rng(seed), enhancing)


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


@pytest.mark.parametrize("shape", [SHAPE, (8, 48, 60), (40, 16, 24)])
def test_modalities_share_one_brain_and_are_zero_outside_it(shape):
    images, classes = draw(0, shape)
    assert tuple(images) == MODALITIES
    assert {(image.shape, image.dtype.name) for image in images.values()} == {(shape, "int16")}
    assert (classes.shape, classes.dtype.name) == (shape, "uint8")
    brain = images["flair"] != 0
    assert all(np.array_equal(image > 0, brain) for image in images.values())
    assert not classes[~brain].any()
    assert 0.08 < brain.mean() < 0.25  # Real brains: 1250 to 1730 ml of 8928, 0.14 to 0.19.


@pytest.mark.parametrize("seed", range(3))
def test_enhancing_rim_encloses_necrosis_and_edema_most_of_the_core(seed):
    _, classes = draw(seed, (52, 120, 120))
    assert set(np.unique(classes)) == {NORMAL, NECROSIS, EDEMA, ENHANCING}
    necrosis, core = classes == NECROSIS, (classes == NECROSIS) | (classes == ENHANCING)
    assert (classes[ndimage.binary_dilation(necrosis) & ~necrosis] == ENHANCING).all()
    around = ndimage.binary_dilation(core, iterations=2) & ~core
    assert np.mean(classes[around] == EDEMA) > 0.3


def test_tumor_volumes_span_the_range_of_real_ones():
    volumes_ml = [np.count_nonzero(draw(seed)[1]) for seed in range(24)]
    volumes_ml = np.divide(volumes_ml, np.prod(SHAPE)) * 155 * 240 * 240 / 1000
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


def test_no_threshold_on_one_modality_finds_the_tumor(full_size):
    for images, classes in (full_size, *(draw(seed, (31, 120, 96)) for seed in range(3))):
        assert max(best_threshold_dice(image, classes > 0) for image in images.values()) < 0.8


def test_a_case_depends_on_the_seed_and_not_on_the_number_of_cases(tmp_path):
    one, two, other = (
        write_cohort(tmp_path / f"{number}-{seed}", number, seed, (16, 32, 24))
        for number, seed in ((1, 7), (2, 7), (1, 8))
    )
    assert file_bytes(one[0]) == file_bytes(two[0]) != file_bytes(other[0])


def test_used_folder_is_refused_and_left_as_it_is(tmp_path, capsys):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(InputError, match="already holds files. Give a new or empty folder"):
        write_cohort(notes, 1, 0, SHAPE)
    assert main([str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [notes]


def test_command_line_prints_a_line_per_case_and_names_the_folder_last(tmp_path, capsys):
    flags = "--cases 2 --seed 7 --shape 16 32 24 --naming 2023"
    assert main([str(tmp_path / "cohort"), *flags.split()]) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert "BraTS-GLI-90000-000" in first and "BraTS-GLI-90001-000" in second
    assert last.endswith(str(tmp_path / "cohort"))


@pytest.mark.parametrize("flags", ["--cases 0", "--seed -1", "--shape 4 240 240"])
def test_wrong_flags_exit_with_2_and_write_nothing(flags, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "cohort"), *flags.split()])
    assert stop.value.code == 2
    assert list(tmp_path.iterdir()) == []
