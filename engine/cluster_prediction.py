"""Prediction on a cluster: a worker reads, segments, writes and scores a case.

In: cases, networks on a disk that all see, and settings. Out: in the folder of predictions, all
that belongs to one case; the tables are left to the one process that sends the cases.
"""

import functools
import threading
from dataclasses import dataclass
from pathlib import Path

import keras

from brats.errors import Failed, InputError
from brats.metrics import remove_scores, write_scores
from brats.normalization import normalize_case
from brats.patches import PATCH_SIZE
from brats.postprocessing import postprocess
from brats.provenance import software_versions
from brats.segmentations import write_segmentation
from brats.volumes import crop_window, read_case
from engine.networks import digest_networks, read_network
from engine.segmenting import build_segmenter

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Recipe:
    """How a case is segmented, wherever that is done.

    Attributes:
        build_network: `model.build_resunet`.
        networks: Pairs of the path of a network and the SHA-256 of its file.
        segmenting: Arguments of `build_segmenter` after the networks.
        postprocessing: Arguments of `postprocess` after the classes.
        output: Path of the folder of predictions.
        slices: Indices of the axial slices to draw.
        method: See `write_segmentation`.
    """

    build_network: object
    networks: tuple
    segmenting: tuple
    postprocessing: tuple
    output: Path
    slices: tuple
    method: dict


def describe_backend():
    """Returns what has to be alike wherever cases of a folder are segmented."""
    backend = keras.backend.backend()
    return {"KERAS_BACKEND": backend} | software_versions("keras", backend, "numpy", "SimpleITK")


def segment_case(task):
    """Segments a case in a worker, and writes what belongs to it, but for the tables.

    Args:
        task: `(recipe, case)`, with absolute paths.

    Returns:
        A `Written`, whose rows have yet to go into the tables.

    Raises:
        InputError: If the case cannot be read, or a network is another one here.
        OSError: If a file cannot be written.
    """
    recipe, case = task
    with _one_at_a_time:  # Threads of one worker share a network.
        segment = _segmenter(recipe.build_network, recipe.networks, recipe.segmenting)
    raw = read_case(case)
    channels = normalize_case(raw.volumes, crop_window(raw.volumes, PATCH_SIZE))
    classes, probabilities = segment(channels)
    return write_segmentation(
        recipe.output,
        case,
        raw,
        postprocess(classes, *recipe.postprocessing),
        probabilities,
        recipe.slices,
        recipe.method,
        with_tables=False,
    )


@functools.lru_cache(1)
def _segmenter(build_network, networks, segmenting):
    """Builds the segmenter once for all cases; that of an earlier run is given up."""
    paths = [path for path, _ in networks]
    if digest_networks(paths) != dict(networks):
        raise InputError(f"The networks {', '.join(map(str, paths))} have changed since the start.")
    return build_segmenter([read_network(path, build_network) for path in paths], *segmenting)


def segment_on_cluster(cluster, recipe, cases):
    """Has workers segment cases, and writes their scores into the tables.

    Args:
        cluster: A `Cluster`.
        recipe: A `Recipe`; relative paths are relative to the current folder.
        cases: List of `Case`s.

    Yields:
        A `Written` of each case, in order, or a `Failed`.

    Raises:
        InputError: If a worker is unfit.
        OSError: As `Cluster.in_order`.
    """
    here = Path.cwd()
    tasks = {case.id: (recipe, case.below(here)) for case in cases}
    files = [path for path, _ in recipe.networks]
    if cases:
        files += cases[0].images.values()
    remove_scores(recipe.output, tasks)
    with cluster.sharing(recipe.output, files, f"{__name__}:{describe_backend.__name__}"):
        for result in cluster.in_order(segment_case, tasks):
            if not isinstance(result, Failed) and result.rows:
                write_scores(recipe.output, result.case_id, result.rows)
            yield result
