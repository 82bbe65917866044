"""The extraction on a cluster: workers write part files, which are taken up in order.

In: cases and a cluster. Out: what the journal notes of each case, and its part.
"""

from pathlib import Path

from brats.errors import Failed, InputError
from brats.parallel import in_order
from brats.parts import Part
from brats.patches.extract import prepare_case
from brats.provenance import software_versions
from brats.unfinished import GO_ON


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


def prepare_cases(cluster, attempt, cases, first, settings, dtype, workers, check, tell):
    """Draws the patches of cases, in threads or, on a cluster, in workers that write their parts.

    Args:
        cluster: A `Cluster`, or None.
        attempt: The `Attempt` whose parts are taken up.
        cases: List of all `Case`s.
        first: Index of the first one to prepare, int.
        settings: Dict of "num_patches", "seed" and "centers".
        dtype: Type of the stored images.
        workers: Cases prepared at once without a cluster, int.
        check: As for `Cluster.in_order`, as is `tell`.
        tell: Function of a sentence.

    Returns:
        Iterator over what `prepare_case` returns for each case, in order; on a cluster, with the
        `Failed` of one that failed.

    Raises:
        InputError: If a case cannot be read, or on a cluster a worker is unfit.
        OSError: As `Cluster.in_order`.
    """
    if cluster:
        return _prepare_on_cluster(cluster, attempt, cases, first, settings, dtype, check, tell)
    return in_order(
        lambda index: prepare_case(attempt, cases[index], index, **settings),
        range(first, len(cases)),
        workers,
    )


def _prepare_on_cluster(cluster, attempt, cases, first, settings, dtype, check, tell):
    """Has workers write the parts of cases, and opens them."""
    settings = settings | {"attempt": attempt, "folder": Path.cwd()}
    tasks = {
        case.id: (settings | {"case": case, "index": index}, dtype)
        for index, case in enumerate(cases[first:], first)
    }
    files = [*cases[first].images.values(), cases[first].segmentation] if tasks else []
    name = f"{__name__}:{describe_packages.__name__}"
    with cluster.sharing(attempt.folder, files, name):
        for path in cluster.in_order(write_part, tasks, check, tell):
            yield path if isinstance(path, Failed) else _open(attempt, path)


def check_none_failed(ids, cases, steps, attempt):
    """Checks that no case has failed on a cluster, once the others are done.

    Args:
        ids: Ids of cases that failed.
        cases: List of all `Case`s.
        steps: What the journal has noted.
        attempt: The `Attempt`, whose folder holds the parts of others.

    Raises:
        InputError: If any has; names them.
    """
    if ids:
        # With steps, `resuming` says it.
        advice = f" {GO_ON}" if attempt.count() and not steps else ""
        raise InputError(
            f"{len(ids)} of {len(cases)} cases failed, see above: {', '.join(ids)}.{advice}"
        )


def _open(attempt, path):
    try:
        part = attempt.read(path)
    except FileNotFoundError as error:
        raise InputError(
            f"A worker has written {path}, and it is not there: workers have to see the same disk."
        ) from error
    return part.step, part
