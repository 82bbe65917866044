"""The patches that the TensorBoard log shows, and the panels of their picture."""

import numpy as np

from brats.pictures.overlays import overlay
from brats.pictures.patches import GAP, choose_patches, draw_patches


class TumorReader:
    """Patches of 6 x 10 pixels with given numbers of tumor pixels; FLAIR is the patch's index."""

    def __init__(self, num_tumor_pixels):
        self.num_tumor_pixels = np.array(num_tumor_pixels, dtype=int)
        self.num_read = 0

    def __len__(self):
        return len(self.num_tumor_pixels)

    def read(self, indices):
        self.num_read += len(indices)
        indices = np.array(indices, dtype=int)
        images = np.zeros((len(indices), 6, 10, 4), dtype=np.float32)
        images[..., 0] = indices.reshape(-1, 1, 1)
        tumor = np.arange(60) < self.num_tumor_pixels[indices].reshape(-1, 1)
        return images, 3 * tumor.reshape(-1, 6, 10).astype(np.uint8)


def chosen(reader):
    """Returns the indices of the chosen patches."""
    return choose_patches(reader)[0][:, 0, 0, 0].tolist()


def test_the_patch_with_most_tumor_in_every_quarter_is_chosen():
    #                            .        .           .           .
    assert chosen(TumorReader([0, 5, 4, 9, 9, 8, 0, 0, 0, 1, 7, 6])) == [1, 3, 6, 10]
    assert [chosen(TumorReader([1] * number)) for number in (0, 3)] == [[], [0, 1, 2]]


def test_a_large_set_is_not_read_in_full_but_up_to_the_ends_of_its_quarters():
    pixels = np.zeros(4000)
    pixels[[999, 1000, 3999]] = 1
    reader = TumorReader(pixels)
    assert chosen(reader) == [999, 1000, 2000, 3999]
    assert reader.num_read == 4 * 64 + 4


def test_rows_are_patches_and_columns_flair_reference_prediction(rng):
    images = rng.normal(size=(2, 6, 10, 4)).astype(np.float32)
    reference, predicted = (np.full((2, 6, 10), index, dtype=np.uint8) for index in (2, 1))
    reference[1] = 3
    picture = draw_patches(images, reference, predicted)
    assert (picture.dtype, picture.shape) == (np.uint8, (2 * 6 + GAP, 3 * 10 + 2 * GAP, 3))
    for row, flair in enumerate(images[..., 0]):
        for column, classes in enumerate((0 * reference[row], reference[row], predicted[row])):
            top, left = row * (6 + GAP), column * (10 + GAP)
            panel = picture[top : top + 6, left : left + 10]
            np.testing.assert_allclose(panel, 255 * overlay(flair, classes), atol=0.51)
    assert (picture[6 : 6 + GAP] == 255).all() and (picture[:, 10 : 10 + GAP] == 255).all()
