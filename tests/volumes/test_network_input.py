"""The window, the padding, and the statistics that training and prediction share."""

import numpy as np
import pytest

from brats.volumes.network_input import PUBLISHED_SHAPE, crop_window, network_input
from brats.volumes.normalization import BACKGROUND, normalize


def volumes_of(rng, shape):
    """Returns two modalities of a brain that leaves two slices, rows and columns free."""
    volumes = [np.zeros(shape, dtype=np.int16) for _ in range(2)]
    for volume in volumes:
        brain = volume[2:-2, 2:-2, 2:-2]
        brain[...] = rng.integers(1, 500, brain.shape)
    return volumes


def box(shape, *ends):
    """Returns a volume that is 1 between first and last of each axis, last excluded."""
    volume = np.zeros(shape, dtype=np.int16)
    volume[tuple(slice(*end) for end in ends)] = 1
    return volume


def test_volumes_of_the_published_shape_get_the_published_window():
    volumes = [np.zeros(PUBLISHED_SHAPE, dtype=np.uint8)]
    expected = slice(1, 147), slice(29, 221), slice(42, 194)  # 146 x 192 x 152.
    assert crop_window(volumes) == expected
    axes_exchanged = [np.ones((240, 155, 240), dtype=np.uint8)]
    assert crop_window(axes_exchanged) == (slice(0, 240), slice(0, 155), slice(0, 240))


@pytest.mark.parametrize(
    ("shape", "brain", "expected"),
    [
        # As large as a patch in the plane: the box of the brain.
        ((5, 150, 160), ((1, 3), (4, 140), (9, 139)), ((1, 3), (4, 140), (9, 139))),
        # Ten rows grow by 59 before and 59 after. 127 columns grow by one.
        ((5, 200, 160), ((2, 3), (60, 70), (8, 135)), ((2, 3), (1, 129), (7, 135))),
        # At the border the window is moved inside; slices of 90 columns have no more.
        ((2, 200, 90), ((0, 1), (190, 200), (0, 5)), ((0, 1), (72, 200), (0, 90))),
        # A volume without brain.
        ((5, 6, 7), ((0, 0), (0, 0), (0, 0)), ((0, 5), (0, 6), (0, 7))),
    ],
)
def test_other_volumes_get_the_box_of_the_brain_widened_to_a_patch(shape, brain, expected):
    assert crop_window([box(shape, *brain)]) == tuple(slice(*end) for end in expected)


def test_the_window_holds_the_brain_of_every_modality():
    shape = (4, 150, 160)
    first, second = box(shape, (0, 1), (0, 130), (20, 150)), box(shape, (1, 3), (9, 140), (10, 20))
    assert crop_window([first, -second]) == (slice(0, 3), slice(0, 140), slice(10, 150))


def test_training_and_prediction_see_the_same_values(rng):
    volumes = volumes_of(rng, (7, 150, 140))
    classes = rng.integers(0, 4, volumes[0].shape, dtype=np.uint8)
    cropped, whole = network_input(volumes, classes, crop=True), network_input(volumes, classes)
    assert (cropped.channels.shape, cropped.channels.dtype) == ((3, 146, 136, 2), np.float32)
    assert cropped.origin.tolist() == [2, 2, 2] and whole.origin.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(cropped.classes, classes[2:5, 2:148, 2:138])
    np.testing.assert_array_equal(whole.classes, classes)
    seen = whole.channels[2:5, 2:148, 2:138]
    np.testing.assert_allclose(cropped.channels, seen, rtol=0, atol=1e-6)
    for index, volume in enumerate(volumes):
        expected = normalize(volume, slice(2, 148), slice(2, 138))
        np.testing.assert_array_equal(whole.channels[..., index], expected)


def test_small_slices_are_padded_with_background_after_normalization(rng):
    # 121 rows miss 7: 3 before and 4 after. 130 columns are enough.
    volumes = volumes_of(rng, (3 + 2, 121, 140))
    classes = np.ones(volumes[0].shape, dtype=np.uint8)
    seen = network_input(volumes, classes, crop=True)
    assert seen.channels.shape == (1, 128, 136, 2)
    assert seen.origin.tolist() == [2, -3, 2]
    assert (seen.channels[:, :3] == BACKGROUND).all() and (
        seen.channels[:, -4:] == BACKGROUND
    ).all()
    unpadded = normalize(volumes[1][2:3, :, 2:138])
    np.testing.assert_array_equal(seen.channels[:, 3:-4, :, 1], unpadded)
    assert seen.classes.shape == (1, 128, 136)
    assert seen.classes[:, 3:-4].all() and not seen.classes[:, :3].any()
    assert network_input(volumes, crop=True).classes is None
