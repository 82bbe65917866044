"""Label values become classes and back, as the edition of the file names says."""

import re

import numpy as np
import pytest

from brats.editions import (
    EDITIONS,
    classes_to_labels,
    count_classes,
    labels_to_classes,
    region_mask,
)
from brats.errors import InputError

# Labels of normal, necrosis, edema, enhancing: in MSD 1 is edema, and 2 is necrosis.
LABELS = {"2017": [0, 1, 2, 4], "2023": [0, 1, 2, 3], "msd": [0, 2, 1, 3]}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("edition", EDITIONS)
def test_every_edition_has_its_own_label_of_each_class(edition, dtype):
    labels = classes_to_labels(np.arange(4), EDITIONS[edition])
    assert labels.dtype == np.uint8 and labels.tolist() == LABELS[edition]
    classes = labels_to_classes(labels[::-1].reshape(2, 2).astype(dtype), EDITIONS[edition])
    assert classes.dtype == np.uint8 and classes.tolist() == [[3, 2], [1, 0]]


def test_a_resection_cavity_of_2024_is_normal_and_never_comes_back():
    classes = labels_to_classes(np.array([4, 0, 1, 2, 3], dtype=np.uint8), EDITIONS["2023"])
    assert classes.tolist() == [0, 0, 1, 2, 3]
    assert classes_to_labels(classes, EDITIONS["2023"]).tolist() == [0, 0, 1, 2, 3]


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
