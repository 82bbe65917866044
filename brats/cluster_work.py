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

from brats.errors import Failed, InputError
from brats.files import WRITING
from brats.fitness import Needs, digest_code, examining
from brats.worker_calls import calling, read_answer

TRIES = 3
POLL_S = 0.2
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

        A case that fails is tried three times. One that was with a worker that died is put off
        until no other runs, and tried alone until it is done, or has cost three workers.

        Args:
            function: Function of one item, in a module that workers can import.
            items: Dict from the id of a case to the item, which can be pickled.
            check: Function that is called while a result is waited for; it may raise.
            tell: Function of a sentence for who waits.

        Yields:
            What the function returns, or a `Failed` for a case that failed, or that three workers
            died with, the last two while it ran alone.

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
                calls.send_suspect()
                while waiting and calls.have_room(self.window(), self.count_threads()):
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
        self._num_failed, self._num_deaths = collections.Counter(), collections.Counter()
        # Cases that were with workers which died, and may kill the next.
        self._suspects, self._alone = collections.deque(), None

    def gone_error(self):
        """Returns the error of a scheduler that does not answer any more."""
        return OSError(f"The scheduler {self._address} has gone. Start it again.")

    def have_room(self, window, num_threads):
        """Returns whether a case may be sent beside the others.

        Args:
            window: Most cases whose result has not been taken out, int.
            num_threads: Threads of all workers, int.
        """
        if self._suspects or self._alone is not None:
            return False
        num_running = len(self._running)
        return num_running + len(self.done) < window and num_running <= num_threads

    def send_suspect(self):
        """Sends the next case that may kill its worker, if there is one, once no other runs."""
        if self._suspects and not self._running:
            self._alone = self._suspects.popleft()
            self.send(self._alone)

    def send(self, case_id):
        """Sends a case to any worker.

        Not to another one than before: Dask never runs a call whose chosen workers have all died
        while it had no other, though it is allowed to.
        """
        future = self._client.submit(
            calling(),
            pickle.dumps((self._function, self._items[case_id], self._needs)),
            key=f"{self._function.__name__}-{uuid.uuid4().hex}",
            priority=self._num_failed[case_id],
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
        worker, kind, value = read_answer(future)
        was_alone, self._alone = case_id == self._alone, None
        if kind == "unfit":
            raise _unfit_error(worker, value)
        if kind == "result":
            self.done[case_id] = value
        elif kind == "deaths":
            # The scheduler may be there, and have lost what a dying worker had.
            if self._client.status != "running":
                raise self.gone_error()
            self._note_deaths(case_id, value, was_alone)
        else:
            self._note_failure(case_id, worker, kind, value)

    def _note_deaths(self, case_id, num_workers, was_alone):
        self._num_deaths[case_id] += num_workers
        num_deaths = self._num_deaths[case_id]
        if was_alone and num_deaths >= TRIES:
            reason = f"{num_deaths} workers died with it, the last while no other case ran."
            advice = "It may take too much memory."
            self.done[case_id] = Failed(case_id, f"{case_id}: {reason} {advice}")
        elif was_alone:
            self._suspects.appendleft(case_id)
        else:
            self._suspects.append(case_id)

    def _note_failure(self, case_id, worker, kind, value):
        self._num_failed[case_id] += 1
        if self._num_failed[case_id] >= TRIES:
            if kind == "system":
                raise OSError(f"{value} (worker {worker}, case {case_id})")
            self.done[case_id] = Failed(case_id, f"{case_id}: {value}")
        elif self._num_deaths[case_id]:
            self._suspects.appendleft(case_id)
        else:
            self.send(case_id)


def _unfit_error(worker, problem):
    return InputError(f"The worker {worker} {problem}")
