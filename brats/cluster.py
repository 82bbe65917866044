"""A Dask cluster: one that runs, or workers on this machine.

In: the address of a scheduler. Out: a `brats.cluster_work.Cluster` to send cases to. Dask is
imported when a cluster is asked for.
"""

import contextlib
import logging
import os
import signal
from pathlib import Path

from brats.cluster_work import Cluster
from brats.errors import InputError
from brats.files import parse_json

LOCAL = "local"
TIMEOUT_S = 5  # To reach a scheduler.
# What tells libraries how many cores a worker may take: TensorFlow, PyTorch, NumPy.
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextlib.contextmanager
def connecting(address, num_workers=None):
    """Connects to a Dask cluster, or starts one.

    Args:
        address: "local" to start workers here, which end with this process; "tcp://HOST:PORT", or
            the path of the file that a scheduler writes; or None.
        num_workers: Workers to start here, of one thread each; None for one per core.

    Yields:
        A `Cluster`, or None without an address.

    Raises:
        InputError: If Dask is not installed, or the file is none of a scheduler.
        OSError: If no scheduler answers.
    """
    if address is None:
        yield None
        return
    distributed = _import_distributed()
    with contextlib.ExitStack() as stack:
        if address == LOCAL:
            target = stack.enter_context(_starting(distributed, num_workers or os.cpu_count()))
        else:
            target = _read_address(address) if address.endswith(".json") else address
        try:
            client = distributed.Client(target, timeout=TIMEOUT_S, set_as_default=False)
        # What another program answers may be taken for anything, such as an array of exabytes.
        except Exception as error:
            raise OSError(
                f"No Dask scheduler answers at {target} within {TIMEOUT_S} s. Check the address, "
                "or start one: dask scheduler."
            ) from error
        stack.callback(client.close, timeout=2)
        yield Cluster(client, target if address != LOCAL else "this machine")


def _import_distributed():
    """Returns Dask's package of clusters, which logs no more than what a person can act on."""
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            f"--scheduler needs Dask, which cannot be imported: {error}. Install it with "
            "pip install -r requirements/cluster.txt"
        ) from error
    # That a worker dies, or the connection is lost, is told here and without a traceback.
    for name in logging.root.manager.loggerDict:
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed


def _read_address(path):
    """Returns the address in the file that `dask scheduler --scheduler-file` writes."""
    try:
        return str(parse_json(Path(path).read_bytes())["address"])
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no scheduler file {path}. Start the scheduler with dask scheduler "
            f"--scheduler-file {path}, and wait until it is there."
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is not the file of a Dask scheduler: it gives no address. Give the path "
            "that dask scheduler --scheduler-file was started with."
        ) from error


@contextlib.contextmanager
def _starting(distributed, num_workers):
    """Starts a scheduler in this process, and workers that end with it; yields the cluster."""
    import dask

    settings = {
        # Every death is told, and counted in `brats.cluster_work`.
        "distributed.scheduler.allowed-failures": 0,
        # Dask has workers give memory back to the system at once, which takes them half as long
        # again: 0.9 s instead of 0.6 s for the patches of a case.
        "distributed.nanny.pre-spawn-environ": {},
    }
    with dask.config.set(settings):
        cluster = distributed.LocalCluster(
            num_workers,
            threads_per_worker=1,
            memory_limit=0,  # Cases have to fit, as they have to without a cluster.
            # Python serves the state of the scheduler in any case; not on Dask's one port, then.
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            silence_logs=50,
            preload=[__name__],
            env=dict.fromkeys(THREADS, str(max(1, os.cpu_count() // num_workers))),
        )
    try:
        yield cluster
    finally:
        cluster.close(timeout=5)


def dask_setup(worker):
    """Lets a worker that was started here outlive Ctrl-C: who started it ends it, in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
