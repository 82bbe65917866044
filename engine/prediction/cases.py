"""Cases through networks: read, segment and write, here or in a worker of a cluster.

In: cases on disk, networks and settings. Out: in the folder of predictions, everything that belongs
to each case.
"""

import contextlib
import functools
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from brats.cases.check import read_checked_case
from brats.errors import Failed, InputError
from brats.inputs import describe_inputs, digest
from brats.parallel import read_ahead, run_per_case, write_behind
from brats.predictions.postprocessing import postprocess
from brats.predictions.record import NETWORK_WARNINGS
from brats.predictions.write import write_prediction
from brats.volumes.network_input import network_input
from brats.volumes.resampling import on_case_grid
from engine.devices.backend import describe_software
from engine.networks.choose import read_network, seen_warnings
from engine.prediction.segment import build_segmenter

POSTPROCESSING = ("fill_holes", "min_lesion_ml", "min_enhancing_ml")
# All that the labels depend on, beside the networks.
SETTINGS = ("full_slices", "flips", *POSTPROCESSING, "labels")
# What predict.py hands over from its flags.
OPTIONS = ("batch_size", *SETTINGS, "probabilities", "slices", "force")

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Procedure:
    """How cases are segmented: by which networks, with which of the flags of predict.py.

    Attributes:
        build_network: `model.build_resunet`.
        networks: Tuple of `engine.networks.choose.Network`, whose probabilities are averaged.
        output: Folder of predictions, a `Path`.
    """

    build_network: object
    networks: tuple
    output: Path
    batch_size: int
    full_slices: bool
    flips: bool
    fill_holes: bool
    min_lesion_ml: float
    min_enhancing_ml: float
    labels: tuple
    probabilities: bool
    slices: tuple
    force: bool

    @property
    def making(self):
        """The "networks" and "settings" of a case's record."""
        networks = [{"path": str(each.path), "sha256": each.sha256} for each in self.networks]
        settings = {name: getattr(self, name) for name in SETTINGS}
        return {"networks": networks, "settings": settings | {"labels": list(self.labels)}}

    def build_segmenter(self, models):
        """Builds the function that segments a normalized case with the given `ResUNet`s."""
        segment = build_segmenter(
            models, self.batch_size, self.full_slices, self.flips, self.probabilities
        )
        return _naming_networks(self.networks)(segment)

    def below(self, folder):
        """Returns the procedure with its relative paths taken as relative to a folder."""
        networks = tuple(replace(each, path=folder / each.path) for each in self.networks)
        return replace(self, networks=networks, output=folder / self.output)


@contextlib.contextmanager
def _naming_networks(networks):
    """Turns the error of probabilities that are not finite into one that names the networks."""
    try:
        yield
    except FloatingPointError as error:
        names = " or ".join(str(network.path) for network in networks)
        raise InputError(
            f"The probabilities of {names} are not finite. Its training diverged, or the file is "
            "damaged. Train it again, or give another network."
        ) from error


def segment_cases(procedure, cases, models, cluster=None):
    """Segments cases, and writes everything that belongs to each.

    Args:
        procedure: A `Procedure`.
        cases: List of `Case`.
        models: Dict of the `ResUNet`s by path.
        cluster: `brats.cluster.Cluster` to run on, or None.

    Yields:
        `(case_id, result)` in order: the record of the case, or a `Failed` if the case cannot be
        read.

    Raises:
        OSError: If a file cannot be written; all cases before are complete.
    """
    if cluster:
        here = Path.cwd()
        task = procedure.below(here)
        tasks = {case.id: (task, case.below(here)) for case in cases}
        yield from run_per_case(_segment_in_worker, tasks, 0, cluster)
    elif cases:
        segment = procedure.build_segmenter([models[each.path] for each in procedure.networks])
        results = write_behind(_segment_here(procedure, cases, segment), lambda write: write())
        yield from zip((case.id for case in cases), results, strict=True)


def _segment_here(procedure, cases, segment):
    """Yields a function that writes each case, while the next case is read."""
    for case, read in read_ahead((_try_to_read(procedure, case) for case in cases), 1):
        if isinstance(read, Failed):
            yield lambda failed=read: failed
        else:
            yield functools.partial(_write, procedure, case, read, segment(read.pop("channels")))


def _segment_in_worker(task):
    procedure, case = task
    with _one_at_a_time:  # Threads of one worker share the networks.
        segment = _worker_segmenter(procedure)
    read = _read(procedure, case)
    return _write(procedure, case, read, segment(read.pop("channels")))


@functools.lru_cache(1)
def _worker_segmenter(procedure):
    for network in procedure.networks:
        if digest(network.path) != network.sha256:
            raise InputError(f"The network {network.path} has changed since the start.")
    build = procedure.build_network
    return procedure.build_segmenter(
        [read_network(each.path, build) for each in procedure.networks]
    )


def _try_to_read(procedure, case):
    try:
        return case, _read(procedure, case)
    except InputError as error:
        return case, Failed(case.id, str(error))


def _read(procedure, case):
    """Returns a dict of the input files of a case, its `RawCase`, and its channels."""
    inputs, raw = describe_inputs(case), read_checked_case(case, procedure.force)
    seen = network_input(raw.volumes, spacing_mm=raw.geometry.spacing_mm[::-1])
    return {"inputs": inputs, "raw": raw, "channels": seen.channels}


def _write(procedure, case, read, found):
    raw, probabilities = read["raw"], found.probabilities
    classes = on_case_grid(found.classes, raw.volumes)
    if probabilities is not None:
        probabilities = on_case_grid(probabilities, raw.volumes)
    steps = {name: getattr(procedure, name) for name in POSTPROCESSING}
    classes = postprocess(classes, raw.geometry.voxel_ml, **steps)
    made = procedure.making | {"inputs": read["inputs"], "warnings": raw.warnings}
    made |= {NETWORK_WARNINGS: seen_warnings(procedure.networks, case)} | describe_software()
    return write_prediction(
        procedure.output,
        case,
        raw,
        classes,
        made,
        procedure.slices,
        probabilities,
    )
