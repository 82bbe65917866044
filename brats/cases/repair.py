"""Sets the background of images to 0, as in the images that networks are trained on.

In: the images of a case as their files have them. Out: images that are 0 outside the brain, and a
sentence about each repair. A background that varies, such as air with noise, stays as it is.
"""

import numpy as np

# The background is what lies along the twelve edges of the volume, where no brain reaches.
EDGE_SHARE = 0.9  # It has one value if this share of the edges has it. Real images: all of them.
TINY = 1e-3  # Of the brain's median. Noise below this is what computation leaves of a background.
# Noise is removed if this share of the volume has it. No voxel of the real images has such values.
NOISE_SHARE = 0.01


def sampled(volume):
    """Returns a copy of about every fourth voxel along each axis; all planes where there are few.

    The sample of a volume of 155 x 240 x 240 is 39 x 60 x 60.
    """
    steps = (min(max(length // 32, 1), 4) for length in volume.shape)
    # A copy is faster: the checks read it several times.
    return np.ascontiguousarray(volume[tuple(slice(None, None, step) for step in steps)])


def repair_backgrounds(images):
    """Sets a background that has one value, or that is tiny compared with the brain, to 0.

    A value is subtracted from the whole image. Networks see every image standardized, so the
    result is the same as without that value. Returns the dict of images by modality, with repaired
    ones in float, and sentences about what was done.
    """
    repaired, values, noisy = {}, {}, []
    for name, image in images.items():
        value, noise = find_background(image)
        if value or noise:
            # In a wider type, where integers do not overflow.
            image = image.astype(np.promote_types(image.dtype, np.float32))
            image -= value
            image[np.abs(image) <= noise] = 0
        values |= {name: f"{value:.4g}"} if value else {}
        noisy += [name] if noise else []
        repaired[name] = image
    sentences = []
    if values:
        sentences.append(
            f"{', '.join(values)}: the background was {', '.join(dict.fromkeys(values.values()))} "
            "instead of 0. It was subtracted."
        )
    if noisy:
        sentences.append(
            f"{', '.join(noisy)}: the background was noise, tiny compared with the brain, instead "
            "of 0. It was set to 0."
        )
    return repaired, sentences


def find_background(image):
    """Returns the value of the background, and the size of its noise; both are 0 in most images."""
    edges = _edges(image).astype(np.float64)
    value = np.percentile(edges, 50, method="lower")
    distances = np.abs(sampled(image) - value)
    brain = distances[distances > np.percentile(distances, 99) / 10]
    tiny = TINY * np.median(brain) if brain.size else 0
    if not tiny or np.mean(np.abs(edges - value) <= tiny) < EDGE_SHARE:
        return 0, 0
    if np.mean((distances > 0) & (distances <= tiny)) < NOISE_SHARE:
        return value, 0
    return (0 if abs(value) <= tiny else value), tiny


def _edges(image):
    """Returns the voxels on the twelve edges of a volume."""
    first_and_last = [[0, length - 1] for length in image.shape]
    places = [
        first_and_last[:axis] + [range(n)] + first_and_last[axis + 1 :]
        for axis, n in enumerate(image.shape)
    ]
    return np.concatenate([image[np.ix_(*place)].ravel() for place in places])
