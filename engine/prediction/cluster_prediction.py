"""Prediction on a cluster: a worker reads, segments, writes and scores a case.

In: cases, networks on a disk that all see, and settings. Out: in the folder of predictions, all
that belongs to one case; the tables are left to the one process that sends the cases.
"""

import functools
import threading
from pathlib import Path

import keras

from brats.errors import Failed, InputError
from brats.provenance import software_versions
from brats.scores.tables import remove_scores, write_scores
from brats.volumes.case import read_case
from engine.networks.choose import digest_networks, read_network
from engine.prediction.segment import build_segmenter, channels_of

_one_at_a_time = threading.Lock()


def describe_backend():
    """Returns what has to be alike wherever cases of a folder are segmented."""
    backend = keras.backend.backend()
    return {"KERAS_BACKEND": backend} | software_versions("keras", backend, "numpy", "SimpleITK")


def segment_case(task):
    """Segments a case in a worker, and writes what belongs to it, but for the tables.

    Args:
        task: Pair of a `Procedure` and a `Case`, with absolute paths.

    Returns:
        A `Written`, whose rows have yet to go into the tables.

    Raises:
        InputError: If the case cannot be read, or a network is another one here.
        OSError: If a file cannot be written.
    """
    procedure, case = task
    with _one_at_a_time:  # Threads of one worker share a network.
        segment = _segmenter(procedure.build_network, procedure.networks, procedure.segmenting)
    raw = read_case(case)
    classes, probabilities = segment(channels_of(raw))
    return procedure.write(case, raw, classes, probabilities, with_tables=False)


@functools.lru_cache(1)
def _segmenter(build_network, networks, segmenting):
    """Builds the segmenter once for all cases in a row; that of another procedure is given up."""
    paths = [path for path, _ in networks]
    if digest_networks(paths) != dict(networks):
        raise InputError(f"The networks {', '.join(map(str, paths))} have changed since the start.")
    return build_segmenter([read_network(path, build_network) for path in paths], *segmenting)


def segment_on_cluster(cluster, work):
    """Has workers segment cases, and writes their scores into the tables.

    Args:
        cluster: A `Cluster`.
        work: List of pairs of a `Procedure` and a list of `Case`s, at least one, all of one
            folder of predictions; relative paths are relative to the current folder.

    Yields:
        A `Written` of each case, in order, or a `Failed`.

    Raises:
        InputError: If a worker is unfit.
        OSError: As `Cluster.in_order`.
    """
    here = Path.cwd()
    work = [
        (procedure.below(here), [case.below(here) for case in cases]) for procedure, cases in work
    ]
    tasks = {case.id: (procedure, case) for procedure, cases in work for case in cases}
    output = work[0][0].output
    files = list(dict.fromkeys(path for procedure, _ in work for path, _ in procedure.networks))
    for _, case in list(tasks.values())[:1]:
        files += case.images.values()
    remove_scores(output, tasks)
    with cluster.sharing(output, files, f"{__name__}:{describe_backend.__name__}"):
        for result in cluster.in_order(segment_case, tasks):
            if not isinstance(result, Failed) and result.rows:
                write_scores(output, result.case_id, result.rows)
            yield result
