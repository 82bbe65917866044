"""How cases are segmented, wherever that is done: by which networks, and what is written of them.

In: cases on disk, networks and settings. Out: in the folder of predictions, all that belongs to
each case. `engine.prediction.cluster_prediction` does the same on a cluster.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from brats.predictions.postprocessing import postprocess
from brats.predictions.record import write_segmentation
from engine.prediction.segment import build_segmenter, segment_cases


@dataclass(frozen=True)
class Procedure:
    """How a case is segmented.

    Attributes:
        build_network: `model.build_resunet`.
        networks: Pairs of the path of a network and the SHA-256 of its file.
        segmenting: Arguments of `build_segmenter` after the networks.
        postprocessing: Arguments of `postprocess` after the classes.
        output: Path of the folder of predictions.
        slices: Indices of the axial slices to draw.
        method: See `write_segmentation`; "networks" are the SHA-256 of those above.
    """

    build_network: object
    networks: tuple
    segmenting: tuple
    postprocessing: tuple
    output: Path
    slices: tuple
    method: dict

    def by(self, paths):
        """Returns the procedure for some of its networks alone, given by their paths."""
        networks = tuple(pair for pair in self.networks if pair[0] in paths)
        method = self.method | {"networks": [digest for _, digest in networks]}
        return replace(self, networks=networks, method=method)

    def below(self, folder):
        """Returns the procedure with its relative paths taken as relative to a folder."""
        networks = tuple((folder / path, digest) for path, digest in self.networks)
        return replace(self, networks=networks, output=folder / self.output)

    def write(self, case, raw, classes, probabilities, with_tables=True):
        """Writes what belongs to a case, see `write_segmentation`.

        Args:
            case: A `Case`.
            raw: The `RawCase`.
            classes: Predicted class indices, uint8 `(Z, Y, X)`, before postprocessing.
            probabilities: Of every class, float32 `(Z, Y, X, C)`, or None.
            with_tables: See `write_segmentation`.

        Returns:
            A `Written`.

        Raises:
            OSError: If a file cannot be written.
        """
        classes = postprocess(classes, *self.postprocessing)
        return write_segmentation(
            self.output, case, raw, classes, probabilities, self.slices, self.method, with_tables
        )


def segment_here(work, networks):
    """Segments and writes cases in this process, procedure by procedure.

    Args:
        work: List of pairs of a `Procedure` and a list of `Case`s.
        networks: Dict of the `ResUNet`s by path.

    Yields:
        A `Written` of each case, or a `Failed` where it cannot be read, in order.

    Raises:
        OSError: If a file cannot be written; all cases before are written.
    """
    for procedure, cases in work:
        if cases:
            chosen = [networks[path] for path, _ in procedure.networks]
            yield from segment_cases(
                build_segmenter(chosen, *procedure.segmenting), cases, procedure.write
            )
