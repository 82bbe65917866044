"""Networks to segmenters: averages over networks and mirror images, boxes or not; failures."""

import keras
import numpy as np
import pytest

from brats.cases.find import find_cases
from brats.errors import Failed, InputError
from brats.volumes.case import read_case
from brats.volumes.normalization import BACKGROUND
from engine.prediction.segment import build_segmenter, segment_cases
from model import build_resunet

SHAPE = (3, 96, 88)
BRAIN = np.s_[:, 30:61, 28:59]


def random_network(seed, depth=1):
    keras.utils.set_random_seed(seed)
    return build_resunet((None, None, 4), base_filters=2, depth=depth)


@pytest.fixture
def channels(rng):
    channels = np.full((*SHAPE, 4), BACKGROUND, dtype=np.float32)
    channels[BRAIN] = rng.normal(size=channels[BRAIN].shape)
    return channels


def say(network, slices):
    return keras.ops.convert_to_numpy(network(slices, training=False))


# Boxes with random weights, which see far: the margin is 2 and 4 pixels here.
both_forms = pytest.mark.parametrize(("full_slices", "atol"), [(True, 1e-5), (False, 0.05)])


@both_forms
def test_several_networks_are_averaged_and_the_largest_mean_wins(full_slices, atol, channels):
    networks = [random_network(1), random_network(2, depth=2)]
    segment = build_segmenter(networks, 2, full_slices, probabilities=True)
    classes, probabilities = segment(channels)
    expected = (say(networks[0], channels) + say(networks[1], channels)) / 2
    np.testing.assert_allclose(probabilities[BRAIN], expected[BRAIN], rtol=0, atol=atol)
    np.testing.assert_array_equal(classes, probabilities.argmax(axis=-1))
    assert len(np.unique(classes[BRAIN])) > 1


@both_forms
def test_flips_average_with_what_is_said_of_the_mirror_image(full_slices, atol, channels):
    network = random_network(1)
    segment = build_segmenter([network], 2, full_slices, flips=True, probabilities=True)
    _, probabilities = segment(channels)
    plain, mirrored = (say(network, channels[:, :, ::step])[:, :, ::step] for step in (1, -1))
    assert np.abs(plain - mirrored)[BRAIN].max() > 0.1
    expected = ((plain + mirrored) / 2)[BRAIN]
    np.testing.assert_allclose(probabilities[BRAIN], expected, rtol=0, atol=atol)


def test_classes_are_the_same_without_probabilities(channels):
    networks = [random_network(1), random_network(2)]
    classes, nothing = build_segmenter(networks, 2)(channels)
    assert nothing is None
    with_probabilities, _ = build_segmenter(networks, 2, probabilities=True)(channels)
    np.testing.assert_array_equal(classes, with_probabilities)
    assert classes.dtype == with_probabilities.dtype == np.uint8


def test_a_case_that_cannot_be_read_fails_in_its_place(cohort):
    cases = find_cases(cohort, need_segmentation=False)[0]

    def read_all_but_the_second(case):
        if case is cases[1]:
            raise InputError("torn")
        return read_case(case)

    results = segment_cases(
        lambda channels: (channels.shape,),
        cases,
        write=lambda case, raw, shape: (case.id, shape),
        read=read_all_but_the_second,
    )
    failed = Failed(cases[1].id, "torn")
    written = [(case.id, (20, 160, 144, 4)) for case in cases]
    assert list(results) == [written[0], failed, *written[2:]]
