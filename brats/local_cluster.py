"""Dask workers on this machine.

In: their number. Out: a running cluster, started without being disturbed by Ctrl-C.
"""

import contextlib
import logging
import os
import signal
from multiprocessing import resource_tracker

from brats.script import deferring_interruption

THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def start(num_workers):
    """Starts a scheduler and workers of one thread each, which only this process can reach."""
    import dask.config
    from distributed import LocalCluster, Security

    threads = dict.fromkeys(THREADS, str(max(1, os.cpu_count() // num_workers)))
    options = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    options |= {"silence_logs": logging.CRITICAL, "env": threads}
    # Other users see no status pages, and cannot reach the workers.
    settings = {f"distributed.{part}.http.routes": [] for part in ("scheduler", "worker")}
    settings["distributed.scheduler.allowed-failures"] = 0  # Then the case is tried alone.
    with dask.config.set(settings):
        return LocalCluster(n_workers=num_workers, security=Security.temporary(), **options)


@contextlib.contextmanager
def undisturbed():
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
