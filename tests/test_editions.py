"""Label values become classes and classes label values, by the naming of the edition."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brats.editions import EDITIONS, classes_to_labels, labels_to_classes
from brats.errors import InputError


@pytest.mark.parametrize(
    ("edition", "labels"),  # Of normal, necrosis, edema, enhancing: MSD has 1 edema, 2 necrosis.
    [("2017", [0, 1, 2, 4]), ("2023", [0, 1, 2, 3]), ("msd", [0, 2, 1, 3])],
)
def test_every_edition_has_its_own_values_of_the_classes(edition, labels):
    assert classes_to_labels(np.arange(4), EDITIONS[edition]).tolist() == labels
    assert labels_to_classes(np.array(labels), EDITIONS[edition]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("edition", EDITIONS.values(), ids=EDITIONS)
@given(classes=arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3)))
def test_classes_to_labels_to_classes_is_the_identity(edition, classes):
    labels = classes_to_labels(classes, edition)
    assert labels.dtype == np.uint8
    for dtype in (np.uint8, np.int16, np.float32):
        back = labels_to_classes(labels.astype(dtype), edition)
        assert back.dtype == np.uint8
        assert np.array_equal(back, classes)


def test_resection_cavity_of_2024_is_normal_and_never_comes_back():
    classes = labels_to_classes(np.array([4, 0, 1, 2, 3], dtype=np.uint8), EDITIONS["2023"])
    assert classes.tolist() == [0, 0, 1, 2, 3]
    assert classes_to_labels(classes, EDITIONS["2023"]).tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("edition", "value", "shown", "known"),
    [
        ("2017", 3, "3", "(0, 1, 2, 4)"),  # Enhancing tumor in 2023, nothing in 2017.
        ("msd", 4, "4", "(0, 2, 1, 3)"),
        ("2017", -1, "-1", "(0, 1, 2, 4)"),
        ("2023", 1.5, "1.5", "(0, 1, 2, 3, 4)"),
        ("2023", 5, "5", "(0, 1, 2, 3, 4)"),
        ("2017", 260, "260", "(0, 1, 2, 4)"),  # 4 in eight bits.
        ("2017", 0.9999, "0.9999", "(0, 1, 2, 4)"),
        ("2017", np.nan, "nan", "(0, 1, 2, 4)"),
    ],
)
def test_unknown_label_is_named_and_not_converted(edition, value, shown, known):
    labels = np.array([[0, 1, value]])
    expected = re.escape(f"Unknown label values {shown}; expected only {known}")
    with pytest.raises(InputError, match=expected):
        labels_to_classes(labels, EDITIONS[edition])
