"""Label values become classes and back, as the edition of the file names says."""

import re

import numpy as np
import pytest

from brats.editions import (
    EDITIONS,
    classes_to_labels,
    count_classes,
    label_warnings,
    labels_to_classes,
    region_mask,
    relabel,
)
from brats.errors import InputError
from brats.labels import parse_labels

# The class (normal, necrosis, edema, enhancing) of each label. Of a class's labels, the first is
# written. In 2024, 4 is a cavity; in PED, 3 is a cyst. The labels of LUMIERE are unknown.
CLASSES = {
    "2017": {0: 0, 1: 1, 2: 2, 4: 3},
    "2023": {0: 0, 1: 1, 2: 2, 3: 3, 4: 0},
    "2024-ped": {0: 0, 2: 1, 4: 2, 1: 3, 3: 1},
    "msd": {0: 0, 2: 1, 1: 2, 3: 3},
    "lumiere": {0: 0, 1: 1, 2: 2, 4: 3},
}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("edition", CLASSES)
def test_every_edition_has_its_own_labels_of_each_class(edition, dtype):
    labels, expected = list(CLASSES[edition]), list(CLASSES[edition].values())
    classes = labels_to_classes(np.array([labels], dtype), EDITIONS[edition])
    assert classes.dtype == np.uint8 and classes.tolist() == [expected]
    written = classes_to_labels(np.arange(4), EDITIONS[edition])
    assert written.dtype == np.uint8 and written.tolist() == labels[:4]


def test_labels_saved_through_floats_are_rounded_within_a_hundredth():
    labels = np.array([1.00002, 3.99, 2.009, -0.004], dtype=np.float32)
    assert labels_to_classes(labels, EDITIONS["2017"]).tolist() == [1, 3, 2, 0]
    with pytest.raises(InputError, match="Unknown label values 1.02"):
        labels_to_classes(np.array([1.02]), EDITIONS["2017"])


def test_the_flag_defines_the_labels_of_every_edition():
    values = ("edema=1", "necrosis=2,5", "enhancing=7", "normal=4")
    for edition in EDITIONS.values():
        changed = relabel(edition, values)
        classes = labels_to_classes(np.array([0, 1, 2, 5, 7, 4]), changed)
        assert classes.tolist() == [0, 2, 1, 1, 3, 0]
        assert classes_to_labels(np.arange(4), changed).tolist() == [0, 2, 1, 7]
        assert relabel(edition, ()) == edition


@pytest.mark.parametrize(
    "values",
    [
        ("necrosis=1", "edema=2"),
        ("necrosis=1", "edema=2", "enhancing=2"),
        ("necrosis=1", "edema=2", "enhancing=3", "enhancing=4"),
        ("necrosis=1", "edema=2", "enhancing=3", "cyst=4"),
        ("necrosis=0", "edema=2", "enhancing=3"),
        ("necrosis=1", "edema=2", "enhancing=300"),
        ("necrosis=1", "edema=2", "enhancing=3.5"),
        ("necrosis=1", "edema=2", "enhancing"),
        ("1", "2", "3"),
    ],
)
def test_labels_that_are_missing_doubled_or_no_numbers_are_wrong(values):
    assert parse_labels(values) is None


def test_label_4_without_label_3_names_the_flag_that_makes_it_right():
    labels = np.array([0, 1, 4, 4], dtype=np.uint8)
    (warning,) = label_warnings(labels, EDITIONS["2023"])
    assert warning.startswith("2 voxels of label 4 (resection cavity, trained as background), and ")
    flag = ("necrosis=1", "edema=2", "enhancing=4")
    assert f"--labels {' '.join(flag)}" in warning
    assert not label_warnings(labels, relabel(EDITIONS["2023"], flag))
    assert not label_warnings(np.array([3, 4]), EDITIONS["2023"])


@pytest.mark.parametrize(
    ("edition", "value", "known"),
    [
        ("2017", 3, "(0, 1, 2, 4)"),  # Enhancing tumor in 2023, nothing in 2017.
        ("2017", -1, "(0, 1, 2, 4)"),
        ("2023", 1.5, "(0, 1, 2, 3, 4)"),
        ("2017", 260, "(0, 1, 2, 4)"),  # 4 in eight bits.
        ("2017", np.nan, "(0, 1, 2, 4)"),
    ],
)
def test_an_unknown_label_is_named_and_not_converted(edition, value, known):
    expected = re.escape(f"Unknown label values {value}; expected only {known}")
    with pytest.raises(InputError, match=expected):
        labels_to_classes(np.array([[0, 1, value]]), EDITIONS[edition])


def test_regions_are_made_of_classes():
    classes = np.array([[0, 1, 2], [3, 3, 0]], dtype=np.uint8)
    assert region_mask(classes, "whole").tolist() == [[0, 1, 1], [1, 1, 0]]
    assert region_mask(classes, "core").tolist() == [[0, 1, 0], [1, 1, 0]]
    assert region_mask(classes, "enhancing").tolist() == [[0, 0, 0], [1, 1, 0]]
    assert count_classes(classes).tolist() == [2, 1, 1, 2]
