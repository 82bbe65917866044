"""A call in a worker of a Dask cluster: how it is sent, what it does, and what comes back of it.

In: a function, an item, and what the worker has to have. Out: `(worker, kind, value)`, see
`attempt`.
"""

import contextlib

from brats.errors import InputError, describe_error
from brats.fitness import find_misfit

RESULT_S = 10  # To bring what a call returned.


def calling():
    """Returns `attempt` as it can be sent through a scheduler that does not have this repository.

    A scheduler unpacks what it is sent, but for bytes: Keras would be imported there.
    """

    # Dask sends what is defined in a function whole, and not by its name.
    def call(packed):
        import pickle

        from brats.worker_calls import attempt

        return attempt(*pickle.loads(packed))

    return call


def attempt(function, item, needs):
    """Calls a function in a worker that is fit for it.

    Args:
        function: Function of one item.
        item: What to call it with.
        needs: Dict of the attributes of a `Needs`.

    Returns:
        `(worker, kind, value)`: the address of the worker, and "result" and what was returned, or
        "unfit", "case" or "system" and what is wrong with the worker, the case or the disk.
    """
    from distributed import get_worker

    worker = get_worker().address
    if problem := find_misfit(needs):
        return worker, "unfit", problem
    try:
        return worker, "result", function(item)
    except (InputError, MemoryError) as error:
        return worker, "case", describe_error(error)
    except OSError as error:
        return worker, "system", describe_error(error)


def read_answer(future):
    """Returns `(worker, kind, value)` of a call that is over or lost.

    They are as of `attempt`, or kind is "deaths" and value the number of workers that died with it,
    or with its result.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed import TimeoutError as DaskTimeoutError

    if future.status == "error":
        return _describe_exception(future.exception())
    with contextlib.suppress(CancelledError, DaskTimeoutError):
        if future.status == "finished":
            try:
                return future.result(RESULT_S)
            except KilledWorker as error:  # It was computed again, as its worker had died.
                return _describe_exception(error)
    return "", "deaths", 1


def _describe_exception(error):
    """Returns `(worker, kind, value)`, as `read_answer` does, of what `attempt` did not catch."""
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return "", "deaths", error.allowed_failures + 1
    if isinstance(error, ImportError) and str(error.name).partition(".")[0] == "brats":
        return "that joined", "unfit", f"cannot import this repository ({error})."
    text = f"{type(error).__name__}: {error}. The worker's log tells where."
    return "", "case", text
