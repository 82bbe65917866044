"""Cases through networks: read, segment and write, here or in a worker of a cluster.

In: cases on disk, networks and settings. Out: in the folder of predictions, everything that belongs
to each case.
"""

import functools
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from brats.errors import Failed, InputError
from brats.inputs import describe_inputs
from brats.parallel import read_ahead, run_per_case, write_behind
from brats.predictions import scoring
from brats.predictions.postprocessing import postprocess
from brats.predictions.unfinished import Unfinished, find_unfinished
from brats.predictions.write import FIGURES, PROBABILITIES, check_slices, write_prediction
from brats.volumes.case import read_case
from brats.volumes.network_input import network_input
from engine.devices.backend import describe_software
from engine.networks.choose import digest, read_network
from engine.prediction.segment import build_segmenter

POSTPROCESSING = ("fill_holes", "min_lesion_voxels", "min_enhancing_voxels")
# All that the labels depend on, beside the networks.
SETTINGS = ("full_slices", "flips", *POSTPROCESSING)

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Procedure:
    """How a case is segmented.

    Attributes:
        build_network: `model.build_resunet`.
        networks: Tuple of `engine.networks.choose.Network`, whose probabilities are averaged.
        settings: Dict of `SETTINGS`.
        batch_size: Slices to predict at once, int.
        probabilities: Whether to write probabilities.
        slices: Indices of the axial slices to draw.
        output: Folder of predictions, a `Path`.
    """

    build_network: object
    networks: tuple
    settings: dict
    batch_size: int
    probabilities: bool
    slices: tuple
    output: Path

    @property
    def making(self):
        """The "networks" and "settings" of a case's record."""
        networks = [{"path": str(each.path), "sha256": each.sha256} for each in self.networks]
        return {"networks": networks, "settings": self.settings}

    def build_segmenter(self, models):
        """Builds the function that segments a normalized case with the given `ResUNet`s."""
        names = ("full_slices", "flips")
        options = {name: self.settings[name] for name in names}
        return build_segmenter(models, self.batch_size, probabilities=self.probabilities, **options)

    def below(self, folder):
        """Returns the procedure with its relative paths taken as relative to a folder."""
        networks = tuple(replace(each, path=folder / each.path) for each in self.networks)
        return replace(self, networks=networks, output=folder / self.output)


@dataclass(frozen=True)
class Plan:
    """What is left to do for a group of cases; its length is the number of cases.

    Attributes:
        procedure: The `Procedure` for all of them.
        left: What is `Unfinished`.
    """

    procedure: Procedure
    left: Unfinished

    def __len__(self):
        return len(self.left.missing) + len(self.left.unscored)

    def run(self, models, cluster=None):
        """Scores and segments the cases, here or on a cluster.

        Args:
            models: Dict of the `ResUNet`s by path.
            cluster: `brats.cluster.Cluster`, or None.

        Yields:
            `(case_id, result)`: the rows of the case's scores, or a `Failed`.

        Raises:
            OSError: If a file cannot be written.
        """
        procedure, missing = self.procedure, self.left.missing
        tasks = scoring.tasks(procedure.output, self.left.unscored, procedure.slices)
        yield from run_per_case(scoring.score_segmentation, tasks, 1)
        if cluster:
            yield from run_per_case(segment_case, _tasks(procedure, missing), 0, cluster)
        else:
            models = [models[network.path] for network in procedure.networks]
            yield from segment_here(procedure, missing, models)


def plan(group, build_network, settings, output, overwrite=False, **options):
    """Finds out what is left to do for a group of cases.

    Args:
        group: A `Group`.
        build_network: As for `Procedure`, as are settings, output and options.
        settings: Dict of `SETTINGS`.
        output: Folder of predictions, a `Path`.
        overwrite: Whether to segment all cases, whatever is there.
        **options: "batch_size", "probabilities", "slices".

    Returns:
        A `Plan`.

    Raises:
        InputError: As `brats.predictions.unfinished.find_unfinished`.
    """
    procedure = Procedure(build_network, group.networks, settings, output=output, **options)
    left = find_unfinished(
        output,
        group.cases,
        procedure.making,
        procedure.probabilities,
        procedure.slices,
        overwrite,
    )
    return Plan(procedure, left)


def subfolders(output):
    """Returns the folders in a folder of predictions that are written to."""
    return [Path(output) / name for name in (FIGURES, PROBABILITIES)]


@dataclass(frozen=True)
class _Read:
    """A case that was read."""

    case: object
    inputs: dict
    raw: object
    channels: object


def segment_here(procedure, cases, models):
    """Segments and writes cases in this process.

    The next case is read, and the last one written, while one is in the network.

    Args:
        procedure: A `Procedure`.
        cases: List of `Case`.
        models: List of `ResUNet`, one per network of the procedure.

    Yields:
        `(case_id, result)` in order: the rows of the case's scores, or a `Failed` if the case
        cannot be read.

    Raises:
        OSError: If a file cannot be written; all cases before are complete.
    """
    if not cases:
        return
    segment = procedure.build_segmenter(models)

    def segmented():
        for read in read_ahead((_try_to_read(procedure, case) for case in cases), 1):
            if isinstance(read, Failed):
                yield lambda read=read: read
            else:
                found = segment(read.channels)
                yield functools.partial(_write, procedure, read, found)

    yield from zip(
        (case.id for case in cases), write_behind(segmented(), lambda write: write()), strict=True
    )


def _tasks(procedure, cases):
    """Returns the tasks of `segment_case`, a dict by case id, with absolute paths."""
    here = Path.cwd()
    procedure = procedure.below(here)
    return {case.id: (procedure, case.below(here)) for case in cases}


def segment_case(task):
    """Segments a case in a worker of a cluster, and writes everything that belongs to it.

    Args:
        task: `(procedure, case)`: a `Procedure` and a `Case`, with absolute paths.

    Returns:
        The rows of the case's scores.

    Raises:
        InputError: If the case cannot be read, or a network is another one here.
        OSError: If a file cannot be written.
    """
    procedure, case = task
    with _one_at_a_time:  # Threads of one worker share the networks.
        segment = _segmenter(
            procedure.networks,
            procedure.build_network,
            procedure.batch_size,
            procedure.probabilities,
            procedure.settings["full_slices"],
            procedure.settings["flips"],
        )
    read = _read(procedure, case)
    return _write(procedure, read, segment(read.channels))


@functools.lru_cache(1)
def _segmenter(networks, build_network, batch_size, probabilities, full_slices, flips):
    """Builds the segmenter once for all cases in a row."""
    for network in networks:
        if digest(network.path) != network.sha256:
            raise InputError(f"The network {network.path} has changed since the start.")
    models = [read_network(network.path, build_network) for network in networks]
    return build_segmenter(models, batch_size, full_slices, flips, probabilities)


def _try_to_read(procedure, case):
    try:
        return _read(procedure, case)
    except InputError as error:
        return Failed(case.id, str(error))


def _read(procedure, case):
    inputs = describe_inputs(case)
    raw = read_case(case)
    check_slices(case, raw, procedure.slices)
    return _Read(case, inputs, raw, network_input(raw.volumes).channels)


def _write(procedure, read, found):
    options = {name: procedure.settings[name] for name in POSTPROCESSING}
    record = procedure.making | {
        "inputs": read.inputs,
        "warnings": [*read.raw.label_warnings],
        **describe_software(),
    }
    return write_prediction(
        procedure.output,
        read.case,
        read.raw,
        postprocess(found.classes, **options),
        record,
        procedure.slices,
        found.probabilities,
    )
