"""Cases on a Dask cluster: one that runs already, or workers on this machine.

In: a scheduler, a function and tasks. Out: results in order. Dask itself retries, survives dead
workers, and gives up on cases that kill them. Scheduler and workers run from this repository.
"""

import collections
import contextlib
import logging
import os
import pickle
import tempfile
import warnings
from pathlib import Path

from brats.errors import Failed, InputError
from brats.local_cluster import start, undisturbed
from brats.parallel import attempt
from brats.provenance import source_commit
from brats.script import warn

PACKAGES = ["numpy", "h5py", "SimpleITK", "keras"]  # The same versions give the same bytes.
PATIENCE_S = 300  # Without a worker.
KILLED = "workers died with it, the last while it ran alone; perhaps there is too little memory."


@contextlib.contextmanager
def connecting(address, folder, num_workers=None):
    """Yields a `Cluster` that will write to a folder, or None without an address.

    The address is "local" to start `num_workers` workers here (None: one per core), or
    "tcp://HOST:PORT", "tls://HOST:PORT", or the .json file of a scheduler.
    """
    if address is None:
        yield None
        return
    try:
        import distributed
    except ImportError as error:
        advice = "--scheduler needs it. Run pip install -r requirements/cluster.txt"
        raise InputError(f"{error}. {advice}") from error
    for name in ("distributed", "distributed.client", "asyncio"):  # The script prints the errors.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        target = {"scheduler_file" if address.endswith(".json") else "address": address}
        if address == "local":
            with undisturbed():
                target = {"address": stack.enter_context(start(num_workers or os.cpu_count()))}
        elif address.endswith(".json") and not Path(address).is_file():
            raise FileNotFoundError(f"There is no scheduler file {address}. Start dask scheduler.")
        elif address.startswith("tls") and not distributed.Security().tls_ca_file:
            raise InputError(f"{address} needs certificates: set DASK_DISTRIBUTED__COMM__TLS__*.")
        try:
            with undisturbed():
                client = distributed.Client(**target, timeout=10, set_as_default=False)
                stack.enter_context(client)
        except (OSError, TimeoutError, ValueError, KeyError) as error:
            raise OSError(f"No Dask scheduler answers at {address}. Start one.") from error
        _wait_for_workers(client, address)
        _check_workers(client, Path(folder).absolute())
        yield Cluster(client, address)


def _wait_for_workers(client, address):
    if not client.nthreads():
        warn(f"{address} has no worker. Waiting {PATIENCE_S} s for one.")
    try:
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except TimeoutError as error:
        raise OSError(f"{address} has no worker. Start some, and run the command again.") from error


def _check_workers(client, folder):
    """Checks that all workers have the versions, the commit and the disk of this process."""
    with tempfile.NamedTemporaryFile(prefix=".token-", dir=folder) as file:
        token = Path(file.name)
        try:
            with warnings.catch_warnings(action="error"):
                client.get_versions(check=True, packages=PACKAGES)
            found, expected = client.run(_describe_worker, token), _describe_worker(token)
        except (ValueError, Warning, ImportError) as error:
            raise InputError(f"The workers do not run from this repository: {error}") from error
    if wrong := {worker: facts for worker, facts in found.items() if facts != expected}:
        raise InputError(f"Workers have {wrong}; expected {expected}. Start them alike.")


def _describe_worker(token):
    access = token.exists() and os.access(token.parent, os.W_OK)
    backend = os.environ.get("KERAS_BACKEND")
    return {"commit": source_commit(), "KERAS_BACKEND": backend, str(token.parent): access}


class Cluster:
    """A Dask cluster whose workers were checked."""

    def __init__(self, client, address):
        self._client, self._address = client, address

    def __str__(self):
        return f"{self._address}, {self._num_threads()} cases at once"

    def run(self, function, tasks):
        """Yields the result of each task in order, see `brats.parallel.run_per_case`."""
        from distributed import CancelledError, KilledWorker

        def submit(item):  # As bytes, so that the scheduler does not import what workers need.
            call = pickle.dumps((function, *item))
            return self._client.submit(_call, call, retries=2, pure=False)

        waiting, running = iter(tasks.items()), collections.deque()
        while True:
            window = 2 * self._num_threads() + 1
            while len(running) < window and (item := next(waiting, None)):
                running.append((item, submit(item)))
            if not running:
                return
            item, future = running.popleft()
            if isinstance(self._error(future), KilledWorker):
                # Dask blames every case that the dead workers had. So it is tried again alone.
                for _, other in running:
                    self._error(other)
                future = submit(item)
            try:
                self._error(future)
                yield future.result()
            except KilledWorker:
                yield Failed(item[0], f"{item[0]}: {KILLED}")
            except CancelledError as error:
                raise OSError(f"The scheduler {self._address} is gone. Start it again.") from error

    def _num_threads(self):
        with contextlib.suppress(OSError):  # Without a scheduler, the next result says so.
            return sum(self._client.nthreads().values())
        return 0

    def _error(self, future):
        """Waits for a call, as long as there are workers; returns its error, or None."""
        while True:
            try:
                return future.exception(timeout=PATIENCE_S)
            except TimeoutError:
                _wait_for_workers(self._client, self._address)


def _call(packed):
    return attempt(*pickle.loads(packed))
