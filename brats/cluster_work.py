"""Cases sent to workers: whoever of them dies, every case is tried, and comes back in order.

In: a function and cases. Out: what the function returns for each case, or why it failed.
"""

import collections
import contextlib
import os
import pickle
import pkgutil
import queue
import time
import uuid
from pathlib import Path

from brats.errors import Failed, InputError, describe_error
from brats.files import WRITING
from brats.fitness import Needs, digest_code, examining, find_misfit

TRIES = 3
POLL_S = 0.2
RESULT_S = 10  # To bring what a call returned.
QUIET_S = 10  # Without any worker, before it is told.


class Cluster:
    """A Dask cluster that cases are sent to.

    Attributes:
        address: What it is called.

    Args:
        client: A `distributed.Client`.
        address: What it is called.
    """

    def __init__(self, client, address):
        self.address = address
        self._client = client
        self._needs = None
        self._counted_s, self._threads = 0.0, 0

    def count_threads(self):
        """Returns the threads of all workers, int, as known a second ago."""
        if time.monotonic() - self._counted_s > 1:
            self._threads = self._client.scheduler_info(n_workers=0)["total_threads"]
            self._counted_s = time.monotonic()
        return self._threads

    def describe(self):
        """Returns where the cluster is, and how many cases its workers do at once."""
        workers = f"{self.count_threads()} cases at once"
        return f"{self.address}, {workers if self._threads else 'waiting for the first worker'}"

    def window(self):
        """Returns how many cases are sent ahead of what is taken up, int."""
        return 2 * self.count_threads() + 1

    @contextlib.contextmanager
    def sharing(self, folder, paths, facts_of):
        """Checks that the workers can do the work of the block, those that join later as well.

        Args:
            folder: Path of the folder that is written to; made if there is none.
            paths: Paths of files that are read.
            facts_of: See `Needs`.

        Raises:
            InputError: If a worker has other code or versions, or another disk; names it.
        """
        folder = Path(folder).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        run = uuid.uuid4().hex
        token = folder / WRITING.format(process=os.getpid(), name=run)
        self._needs = Needs(
            run=run,
            code=digest_code(),
            facts_of=facts_of,
            facts=pkgutil.resolve_name(facts_of)(),
            token=str(token),
            files={str(Path(path).absolute()): Path(path).stat().st_size for path in paths},
        )
        token.write_text(run)
        try:
            found = self._client.run(examining(), vars(self._needs), on_error="return")
            for worker, problem in found.items():
                if isinstance(problem, str) and problem:  # An error if it has just died.
                    raise _unfit_error(worker, problem)
            yield
        finally:
            token.unlink(missing_ok=True)

    def in_order(self, function, items, check=lambda: None, tell=lambda text: None):
        """Yields `function(item)` for every item, in order, as workers return it.

        A case that fails is tried three times, elsewhere if there is another worker.

        Args:
            function: Function of one item, in a module that workers can import.
            items: Dict from the id of a case to the item, which can be pickled.
            check: Function that is called while a result is waited for; it may raise.
            tell: Function of a sentence for who waits.

        Yields:
            What the function returns, or a `Failed` for a case that failed three times.

        Raises:
            InputError: If a worker turns out to be unfit.
            OSError: If the scheduler is lost, or workers cannot write.
        """
        calls = _Calls(self, function, items)
        waiting, quiet_s = collections.deque(items), time.monotonic()
        for case_id in items:
            while True:
                # What has come meanwhile first: no worker is to wait for the next case.
                calls.take(case_id not in calls.done)
                while waiting and calls.num_ahead() < self.window():
                    if calls.num_running() > self.count_threads():
                        break
                    calls.send(waiting.popleft())
                if case_id in calls.done:
                    break
                if self.count_threads():
                    quiet_s = time.monotonic()
                elif time.monotonic() - quiet_s > QUIET_S:
                    tell(f"{self.address} has no worker: waiting for one.")
                    quiet_s = float("inf")
                check()
                if self._client.status != "running":
                    raise calls.gone_error()
            yield calls.done.pop(case_id)


class _Calls:
    """Calls of a function on workers: those that run, and what the others came to.

    Args:
        cluster: The `Cluster`.
        function: Function of one item.
        items: Dict from the id of a case to the item.
    """

    def __init__(self, cluster, function, items):
        self.done = {}  # Results by id, until they are taken out.
        self._address, self._client = cluster.address, cluster._client
        self._needs = vars(cluster._needs)
        self._function, self._items = function, items
        self._running, self._answers = {}, queue.SimpleQueue()
        self._failed_on = collections.defaultdict(list)  # Addresses of workers by id.

    def gone_error(self):
        """Returns the error of a scheduler that does not answer any more."""
        return OSError(f"The scheduler {self._address} has gone. Start it again.")

    def num_running(self):
        """Returns the number of calls that no answer has come to."""
        return len(self._running)

    def num_ahead(self):
        """Returns the number of calls whose result has not been taken out."""
        return len(self._running) + len(self.done)

    def send(self, case_id):
        """Sends a case to a worker, a later try to another one than those before if there is."""
        others = ()
        if failed_on := self._failed_on[case_id]:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
            others = [worker for worker in workers if worker not in failed_on]
        future = self._client.submit(
            _calling(),
            pickle.dumps((self._function, self._items[case_id], self._needs)),
            key=f"{self._function.__name__}-{uuid.uuid4().hex}",
            workers=others or None,
            allow_other_workers=bool(others),
            priority=len(failed_on),
        )
        self._running[case_id] = future
        future.add_done_callback(lambda future: self._answers.put((case_id, future)))

    def take(self, is_waiting):
        """Notes the answers that have come, or if asked for waits a moment for one."""
        with contextlib.suppress(queue.Empty):
            timeout_s = POLL_S if is_waiting and self._running else 0
            while True:
                case_id, future = self._answers.get(timeout_s > 0, timeout_s)
                timeout_s = 0
                if self._running.get(case_id) is future:
                    del self._running[case_id]
                    self._note(case_id, future)

    def _note(self, case_id, future):
        worker, kind, value = _answer(future)
        # The scheduler may be there, and have lost what a dying worker had.
        if kind == "lost" and self._client.status != "running":
            raise self.gone_error()
        if kind == "unfit":
            raise _unfit_error(worker, value)
        if kind == "result":
            self.done[case_id] = value
            return
        self._failed_on[case_id].append(worker)
        if kind != "killer" and len(self._failed_on[case_id]) < TRIES:
            self.send(case_id)
        elif kind == "system":
            raise OSError(f"{value} (worker {worker}, case {case_id})")
        else:
            self.done[case_id] = Failed(case_id, f"{case_id}: {value}")


def _calling():
    """Returns `attempt` as it can be sent through a scheduler that does not have this repository.

    A scheduler unpacks what it is sent, but for bytes: Keras would be imported there.
    """

    # Dask sends what is defined in a function whole, and not by its name.
    def call(packed):
        import pickle

        from brats.cluster_work import attempt

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


def _answer(future):
    """Returns `(worker, kind, value)`, as `attempt` does, of a call that is over or lost."""
    from concurrent.futures import CancelledError

    from distributed import TimeoutError as DaskTimeoutError

    if future.status == "error":
        return _describe_exception(future.exception())
    with contextlib.suppress(CancelledError, DaskTimeoutError):
        if future.status == "finished":
            return future.result(RESULT_S)
    return "", "lost", "it was lost on its way to or from a worker."


def _unfit_error(worker, problem):
    return InputError(f"The worker {worker} {problem}")


def _describe_exception(error):
    """Returns `(worker, kind, value)`, as `attempt` does, of what it did not catch."""
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return "", "killer", "the workers that it was given to died. It may take too much memory."
    if isinstance(error, ImportError) and str(error.name).partition(".")[0] == "brats":
        return "that joined", "unfit", f"cannot import this repository ({error})."
    text = f"{type(error).__name__}: {error}. The worker's log tells where."
    return "", "case", text
