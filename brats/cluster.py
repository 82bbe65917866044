"""Cases on a Dask cluster: one that runs already, or workers on this machine.

In: a scheduler, a function and tasks. Out: results in order. Dask itself retries, survives dead
workers, and gives up on cases that kill them. Scheduler and workers run from this repository.
"""

import collections
import contextlib
import logging
import os
import pickle
import signal
import tempfile
import warnings
from multiprocessing import resource_tracker
from pathlib import Path

from brats.errors import Failed, InputError
from brats.parallel import attempt
from brats.provenance import source_commit
from brats.script import deferring_interruption

PACKAGES = ["numpy", "h5py", "SimpleITK", "keras"]  # The same versions give the same bytes.
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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
            with _undisturbed():
                target = {"address": stack.enter_context(_start(num_workers or os.cpu_count()))}
        elif address.endswith(".json") and not Path(address).is_file():
            raise FileNotFoundError(f"There is no scheduler file {address}. Start dask scheduler.")
        elif address.startswith("tls") and not distributed.Security().tls_ca_file:
            raise InputError(f"{address} needs certificates: set DASK_DISTRIBUTED__COMM__TLS__*.")
        try:
            with _undisturbed():
                client = distributed.Client(**target, timeout=10, set_as_default=False)
                stack.enter_context(client)
        except (OSError, TimeoutError, ValueError, KeyError) as error:
            raise OSError(f"No Dask scheduler answers at {address}. Start one.") from error
        client.wait_for_workers(1)
        _check_workers(client, Path(folder).absolute())
        yield Cluster(client, address)


def _start(num_workers):
    import dask.config
    from distributed import LocalCluster, Security

    threads = dict.fromkeys(THREADS, str(max(1, os.cpu_count() // num_workers)))
    options = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    options |= {"silence_logs": logging.CRITICAL, "env": threads}
    http = {f"distributed.{part}.http.routes": [] for part in ("scheduler", "worker")}
    with dask.config.set(http):  # Other users see no status pages, and cannot reach the workers.
        return LocalCluster(n_workers=num_workers, security=Security.temporary(), **options)


@contextlib.contextmanager
def _undisturbed():
    """Puts off an interruption, which Dask cannot end at while it starts, until after the block.

    Threads and processes that start in the block never see Ctrl-C; the script ends them.
    """
    resource_tracker.ensure_running()  # When it starts, it unblocks the signal of Ctrl-C.
    with deferring_interruption() as is_interrupted:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if is_interrupted():
                raise KeyboardInterrupt


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
        return f"{self._address}, {sum(self._client.nthreads().values())} cases at once"

    def run(self, function, tasks):
        """Yields the result of each task in order, see `brats.parallel.run_per_case`."""
        from distributed import CancelledError, KilledWorker

        waiting, running = iter(tasks.items()), collections.deque()
        while True:
            window = 2 * sum(self._client.nthreads().values()) + 1
            while len(running) < window and (item := next(waiting, None)):
                # As bytes, so that the scheduler does not import what only workers need.
                call = pickle.dumps((function, *item))
                running.append((item[0], self._client.submit(_call, call, retries=2, pure=False)))
            if not running:
                return
            case_id, future = running.popleft()
            try:
                yield future.result()
            except KilledWorker:
                yield Failed(case_id, f"{case_id}: workers died with it, perhaps out of memory.")
            except CancelledError as error:
                raise OSError(f"The scheduler {self._address} is gone. Start it again.") from error


def _call(packed):
    return attempt(*pickle.loads(packed))
