"""Cases through networks: reading, predicting and writing, one beside the other.

In: cases on disk and networks. Out: what a writer makes of every case's classes.
"""

from brats.errors import Failed, InputError
from brats.parallel import read_ahead, write_behind
from brats.volumes.case import read_case
from brats.volumes.network_input import network_input
from engine.devices.backend import box_rounding, build_predictor
from engine.prediction.background import background_network
from engine.prediction.slices import average, predict_probabilities, predict_volume, with_mirroring


def build_segmenter(networks, batch_size, full_slices=False, flips=False, probabilities=False):
    """Builds the function that segments a normalized case.

    Args:
        networks: List of `ResUNet`s; their probabilities are averaged.
        batch_size: Slices to predict at once, int.
        full_slices: Whether whole slices are predicted instead of boxes around the brain.
        flips: Whether every prediction is averaged with that of the mirror image.
        probabilities: Whether probabilities are returned.

    Returns:
        Function from channels, float32 `(Z, Y, X, M)`, to `(classes, probabilities)`: uint8
        `(Z, Y, X)`, and float32 `(Z, Y, X, C)` or None.
    """
    multiple = max(2 ** network.settings["depth"] for network in networks)
    whole = average([build_predictor(lambda n=n: n) for n in networks])
    boxes = average([build_predictor(lambda n=n: background_network(n)) for n in networks])
    if flips:
        whole, boxes = with_mirroring(whole), with_mirroring(boxes)
    if full_slices:
        boxes = None

    def segment(channels):
        arguments = (whole, channels, batch_size, multiple, boxes, box_rounding())
        if not probabilities:
            return predict_volume(*arguments), None
        predicted = predict_probabilities(*arguments)
        return predicted.argmax(axis=-1).astype("uint8"), predicted

    return segment


def channels_of(raw):
    """Returns what networks see of a `RawCase`, normalized: float32 `(Z, Y, X, M)`."""
    return network_input(raw.volumes).channels


def segment_cases(segment, cases, write, read=read_case):
    """Reads, segments and writes cases; the next is read and the last written meanwhile.

    Args:
        segment: Function of `build_segmenter`.
        cases: List of `Case`s.
        write: Function of a `Case`, its `RawCase` and what `segment` returns.
        read: Function from a `Case` to its `RawCase`.

    Returns:
        Iterator over what `write` returns, or a `Failed` where the case cannot be read, in order.

    Raises:
        OSError: What `write` raises; all cases before are written.
    """

    def read_and_prepare(case):
        try:
            raw = read(case)
        except InputError as error:
            return case, Failed(case.id, str(error)), None
        return case, raw, channels_of(raw)

    def segmented():
        for case, raw, channels in read_ahead(map(read_and_prepare, cases), 1):
            yield case, raw, None if isinstance(raw, Failed) else segment(channels)

    def write_or_pass(result):
        case, raw, predicted = result
        return raw if predicted is None else write(case, raw, *predicted)

    return write_behind(segmented(), write_or_pass)
