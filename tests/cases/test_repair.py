"""Backgrounds that are not 0: networks see the same as without them, or the case has an error."""

import numpy as np
import pytest
from scipy import ndimage

from brats.cases.repair import repair_backgrounds
from brats.cases.voxels import find_faults
from brats.editions import MODALITIES
from brats.volumes.network_input import network_input

VOXEL_ML = 0.01  # Of the phantom, whose brain then has about 800 ml.


def tiny_noise(image, signed):
    noise = np.random.default_rng(1).normal(0, 1e-6, image.shape)
    return (image + (noise if signed else abs(noise))).astype(np.float32)


def scalp(image):
    """Adds a ring of scalp, and noise in the air."""
    brain = image != 0
    inner = ndimage.binary_dilation(brain, iterations=2)
    ring = ndimage.binary_dilation(inner, iterations=2) & ~inner
    noise = abs(np.random.default_rng(1).normal(0, 5, image.shape))
    return np.where(ring, 1.3 * np.median(image[brain]), image + noise * ~brain)


def channels(images):
    return network_input([images[name] for name in MODALITIES]).channels


@pytest.mark.parametrize(
    ("change", "atol", "sentence"),
    [
        (lambda a: a + 1, 0, "the background was 1 instead of 0. It was subtracted."),
        (lambda a: a - 1024.0, 0, "the background was -1024 instead of 0. It was subtracted."),
        # Without a wider type, the brain would overflow.
        (lambda a: (a.astype(int) - 32768).astype(np.int16), 0, "the background was -3.277e+04 "),
        (lambda a: ((a - a.mean()) / a.std()).astype(np.float32), 1e-4, "the background was -0."),
        (lambda a: tiny_noise(a, signed=False), 1e-4, "the background was noise, tiny compared"),
        (lambda a: tiny_noise(a, signed=True), 1e-4, "the background was noise, tiny compared"),
        (lambda a: tiny_noise(a, signed=True) - 5, 1e-4, "the background was -5 instead of 0."),
    ],
)
def test_a_background_that_has_one_value_or_is_tiny_becomes_0(phantom, change, atol, sentence):
    images, _ = phantom
    repaired, sentences = repair_backgrounds({name: change(a) for name, a in images.items()})
    assert sentences[0].startswith("flair, t1, t1ce, t2: ") and sentence in sentences[0]
    for name, image in images.items():
        np.testing.assert_array_equal(repaired[name] == 0, image == 0)
    np.testing.assert_allclose(channels(repaired), channels(images), rtol=0, atol=atol)
    assert not find_faults(repaired, None, VOXEL_ML)


def test_only_the_images_that_need_it_are_repaired_and_named(phantom):
    images, _ = phantom
    repaired, sentences = repair_backgrounds(images | {"t2": images["t2"] + 7})
    assert sentences == ["t2: the background was 7 instead of 0. It was subtracted."]
    assert all(repaired[name] is images[name] for name in ("flair", "t1", "t1ce"))


def test_an_image_with_one_value_everywhere_is_left(phantom):
    image = np.full((9, 9, 9), 5)
    repaired, sentences = repair_backgrounds({"t1": image})
    assert repaired["t1"] is image and sentences == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda a: ndimage.shift(a.astype(np.float32), 0.4), "low values lie around the brain"),
        (scalp, "not skull-stripped"),
        (lambda a: a.max() - a, "the brain is darker than the background"),
        (lambda a: np.where(a, a.max() + 1 - a, 0), "The edge of the brain is brighter"),
    ],
)
def test_what_cannot_be_repaired_is_an_error(phantom, change, error):
    images, _ = phantom
    repaired, _ = repair_backgrounds({name: change(image) for name, image in images.items()})
    (found,) = find_faults(repaired, None, VOXEL_ML).errors
    assert error in found


def test_images_that_were_interpolated_linearly_or_normalized_in_the_brain_are_no_errors(phantom):
    images, _ = phantom
    for change in (
        lambda a: ndimage.shift(a.astype(np.float32), 0.4, order=1),
        lambda a: np.where(a, (a - a[a != 0].mean()) / a[a != 0].std(), 0),
    ):
        repaired, sentences = repair_backgrounds({name: change(a) for name, a in images.items()})
        assert (sentences, find_faults(repaired, None, VOXEL_ML).errors) == ([], [])
