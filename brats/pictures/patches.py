"""A picture of a few patches, which the TensorBoard log shows during training.

In: an object that reads patches by index, such as `brats.patches.reader.PatchReader`. Out: a few
patches, and their picture: one row per patch with FLAIR, reference and prediction.
"""

import numpy as np

from brats.editions import MODALITIES
from brats.pictures.overlays import overlay
from brats.volumes.normalization import BACKGROUND

NUM_PATCHES = 4
MOST_READ = 64  # Candidates for each chosen patch; reading them takes 18 MB.
GAP = 4  # White pixels between panels.


def choose_patches(reader):
    """Reads at most four patches with much tumor from all parts of a set, always the same ones.

    The set is split into four parts of equal length, usually of different cases. In each part, at
    most 64 evenly spaced patches are read, and the one with most tumor is chosen.
    """
    chosen = []
    parts = np.array_split(np.arange(len(reader)), NUM_PATCHES)
    for part in filter(len, parts):
        places = np.linspace(0, len(part) - 1, min(MOST_READ, len(part)))
        candidates = part[places.astype(int)]
        _, classes = reader.read(candidates)
        chosen.append(candidates[np.count_nonzero(classes, axis=(1, 2)).argmax()])
    return reader.read(chosen)


def draw_patches(images, reference, predicted):
    """Draws one row per patch: FLAIR, FLAIR with reference, FLAIR with prediction.

    Args:
        images: Normalized patches, float `(N, H, W, M)`.
        reference: Reference class indices, uint8 `(N, H, W)`.
        predicted: Predicted class indices, uint8 `(N, H, W)`.

    Returns:
        Red, green and blue, uint8 `(N * (H + 4) - 4, 3 * W + 8, 3)`; the gaps are white.
    """
    flairs = images[..., MODALITIES.index("flair")].astype(np.float32)  # (N, H, W)
    num_patches, height, width = flairs.shape
    rows, columns = height + GAP, width + GAP
    picture = np.ones((num_patches * rows - GAP, 3 * columns - GAP, 3))
    for row, flair in enumerate(flairs):
        # The background is far below the brain and would leave few grays for it.
        flair[flair == BACKGROUND] = flair[flair != BACKGROUND].min(initial=0)
        panels = (np.zeros_like(reference[row]), reference[row], predicted[row])
        for column, classes in enumerate(panels):
            place = np.s_[row * rows :, column * columns :]
            picture[place][:height, :width] = overlay(flair, classes)
    return (255 * picture).round().astype(np.uint8)
