"""The extraction on a cluster: workers write part files, which are taken up in order.

In: cases and a cluster. Out: what the journal notes of each case, and its part.
"""

from pathlib import Path

from brats.errors import Failed, InputError
from brats.extraction import prepare_case
from brats.parts import Part
from brats.provenance import software_versions


def describe_packages():
    """Returns the versions that have to be alike wherever patches are cut."""
    return software_versions("numpy", "h5py", "SimpleITK")


def write_part(task):
    """Draws and cuts the patches of a case in a worker, and writes its part.

    Args:
        task: `(arguments, dtype)`: a dict of those of `prepare_case`, and the type of the stored
            images.

    Returns:
        Path of the part.

    Raises:
        InputError: If the case cannot be read.
        OSError: If the part cannot be written.
    """
    arguments, dtype = task
    step, patches = prepare_case(**arguments)
    if isinstance(patches, Part):  # Of a try whose worker died before it could say so.
        return patches.path
    return arguments["attempt"].write(arguments["index"], step, patches, dtype)


def prepare_on_cluster(cluster, attempt, cases, first, settings, dtype, **watching):
    """Has workers write the parts of cases, and opens them.

    Args:
        cluster: A `Cluster`.
        attempt: The `Attempt` that the parts belong to.
        cases: List of all `Case`s.
        first: Index of the first one to prepare, int.
        settings: Dict of "num_patches" and "seed".
        dtype: Type of the stored images.
        watching: "is_interrupted" and "tell", as of `Cluster.in_order`.

    Yields:
        `(step, part)` as of `prepare_case`, or a `Failed`.

    Raises:
        InputError: If a worker is unfit, or a part is damaged or missing.
        KeyboardInterrupt, OSError: As `Cluster.in_order`.
    """
    settings = settings | {"attempt": attempt, "folder": Path.cwd()}
    tasks = {
        case.id: (settings | {"case": case, "index": index}, dtype)
        for index, case in enumerate(cases[first:], first)
    }
    files = [*cases[first].images.values(), cases[first].segmentation] if tasks else []
    name = f"{__name__}:{describe_packages.__name__}"
    with cluster.sharing(attempt.folder, files, name):
        for path in cluster.in_order(write_part, tasks, **watching):
            yield path if isinstance(path, Failed) else _open(attempt, path)


def _open(attempt, path):
    try:
        part = attempt.read(path)
    except FileNotFoundError as error:
        raise InputError(
            f"A worker has written {path}, and it is not there: workers have to see the same disk."
        ) from error
    return part.step, part
