"""Images that are mixed up, and references of other cases. The phantom itself gives no warning."""

import itertools

import numpy as np
import pytest

from brats.cases.contrasts import brain_ranks, image_faults, reference_warnings
from brats.phantom.cohort import synthesize


def test_images_under_their_right_names_are_no_fault(phantom):
    images, classes = phantom
    assert image_faults(images) == ([], [])
    assert reference_warnings(images, classes) == []


@pytest.mark.parametrize(
    ("one", "other"), [*itertools.combinations(("flair", "t1", "t1ce", "t2"), 2)]
)
def test_two_exchanged_images_are_a_warning_that_names_them(phantom, one, other):
    images, _ = phantom
    errors, (warning,) = image_faults(images | {one: images[other], other: images[one]})
    assert errors == [] and f"{one} and {other} exchanged" in warning


@pytest.mark.parametrize("name", ["flair", "t1", "t1ce", "t2"])
def test_one_image_that_is_inverted_inside_the_brain_is_a_warning(phantom, name):
    images, _ = phantom
    image = images[name]
    inverted = np.where(image, image.max() + image.min() - image, 0)
    errors, (warning,) = image_faults(images | {name: inverted})
    assert errors == [] and f"{name} inverted" in warning


def test_voxels_of_one_value_have_one_rank():
    _, ranks = brain_ranks({"t1": np.array([7, 7, 7, 9, 8])})
    assert ranks["t1"].tolist() == [0.25, 0.25, 0.25, 1, 0.75]


@pytest.mark.parametrize("change", [lambda a: a, lambda a: 1.7 * a, np.sqrt])
def test_two_images_that_are_the_same_are_an_error_also_if_one_was_scaled(phantom, change):
    images, _ = phantom
    errors, _ = image_faults(images | {"t1ce": change(images["t1"])})
    assert errors == ["t1 and t1ce are the same image. Replace the wrong one."]


@pytest.mark.parametrize(
    "axes", [axes for number in (1, 2, 3) for axes in itertools.combinations(range(3), number)]
)
def test_a_mirrored_reference_is_a_warning_that_names_the_axes(phantom, axes):
    images, classes = phantom
    (warning,) = reference_warnings(images, np.flip(classes, axes))
    named = warning.partition("mirrored along ")[2].partition(":")[0]
    assert [each[0] for each in named.split(" and ")] == ["zyx"[axis] for axis in axes]


def test_the_reference_of_another_case_is_a_warning(phantom):
    images, _ = phantom
    _, other = synthesize((24, 144, 128), np.random.default_rng([0, 3]))
    (warning,) = reference_warnings(images, other)
    assert "of another case" in warning


def test_a_few_voxels_are_not_compared(phantom):
    images, classes = phantom
    few = {name: image[12:13, ::4, ::4] for name, image in images.items()}
    assert image_faults(few | {"t1": few["t2"]}) == ([], [])
    one = np.zeros_like(classes)
    one[0, 0, 0] = 1
    assert reference_warnings(images, one) == []
