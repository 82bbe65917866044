"""Cases on workers that die, by a simulated cluster: each is tried, told, and comes in order.

The real one is in `test_cluster.py`.
"""

import collections
import pickle
import queue

import numpy as np
import pytest

from brats import cluster_work
from brats.cluster_work import TRIES, Cluster, Failed

NUM_RUNS = 200


class Call:
    """A call that was submitted, as its future."""

    def __init__(self, case_id):
        self.case_id, self.status, self.deaths = case_id, "pending", 0

    def add_done_callback(self, callback):
        self.tell = callback

    def end(self, status, value):
        self.status, self.value = status, value
        self.tell(self)


class Scheduler:
    """Workers that take two calls each, the second of which waits; a step ends one call.

    Args:
        rng: `numpy.random.Generator`.
        num_workers: Workers, of which each that dies is replaced some steps later.
        allowed: Deaths that it does not tell of a call.
        killers: Ids of cases that their worker dies of.
        failers: Ids of cases that fail.
        losing: Whether the results that a worker has die with it.
    """

    status = "running"

    def __init__(self, rng, num_workers, allowed=0, killers=(), failers=(), losing=False):
        self.rng, self.allowed, self.losing = rng, allowed, losing
        self.killers, self.failers = killers, failers
        self.workers = {index: [] for index in range(num_workers)}
        self.starting, self.num_started = [], num_workers
        self.waiting, self.results = collections.deque(), []
        self.num_runs, self.num_deaths = collections.Counter(), 0
        self.company = []  # Other calls that were there, at each death.

    def scheduler_info(self, n_workers):
        return {"total_threads": len(self.workers)}

    def submit(self, function, packed, key, priority):
        _, case_id, _ = pickle.loads(packed)
        self.waiting.append(Call(case_id))
        return self.waiting[-1]

    def step(self):
        self.starting = [steps - 1 for steps in self.starting]
        while 0 in self.starting:
            self.starting.remove(0)
            self.workers[self.num_started] = []
            self.num_started += 1
        while self.waiting and self.workers:
            calls = min(self.workers.values(), key=len)
            if len(calls) == 2:
                break
            calls.append(self.waiting.popleft())
        busy = [worker for worker, calls in self.workers.items() if calls]
        if busy:
            self.end_call(busy[self.rng.integers(len(busy))])

    def end_call(self, worker):
        call = self.workers[worker][0]
        self.num_runs[call.case_id] += 1
        if call.case_id in self.killers:
            self.die(worker)
            return
        self.workers[worker].remove(call)
        self.results.append((worker, call))
        failed = call.case_id in self.failers
        call.end("finished", ("case", "torn") if failed else ("result", call.case_id))

    def die(self, worker):
        self.num_deaths += 1
        self.company.append(sum(map(len, self.workers.values())) + len(self.waiting) - 1)
        for call in self.workers.pop(worker):
            call.deaths += 1
            if call.deaths > self.allowed:
                call.end("error", None)
            else:
                self.waiting.appendleft(call)
        for owner, call in self.results if self.losing else ():
            if owner == worker and not hasattr(call, "brought"):
                call.status = "lost"
        self.starting.append(int(self.rng.integers(1, 40)))


def read_answer(call):
    if call.status == "error":
        return "", "deaths", call.deaths
    if call.status == "lost":
        return "", "deaths", 1
    call.brought = True
    return "tcp://worker", *call.value


@pytest.fixture
def run(monkeypatch):
    """Runs cases on a `Scheduler`, a random number of steps ahead of who takes the results."""

    def run_cases(scheduler, ids):
        class Answers(collections.deque):
            put = collections.deque.append

            def get(self, block, timeout):
                if not self and block:
                    scheduler.step()
                if not self:
                    raise queue.Empty
                return self.popleft()

        monkeypatch.setattr(cluster_work.queue, "SimpleQueue", Answers)
        monkeypatch.setattr(cluster_work, "read_answer", read_answer)
        monkeypatch.setattr(Cluster, "count_threads", lambda cluster: len(scheduler.workers))
        cluster, left = Cluster(scheduler, "simulated"), iter(range(5000))
        cluster._needs = cluster_work.Needs("run", {}, "", {}, "", {})
        results = []
        for result in cluster.in_order(print, {name: name for name in ids}, lambda: next(left)):
            results.append(result)
            for _ in range(scheduler.rng.choice([0, 0, 3, 10])):
                scheduler.step()
        return results

    return run_cases


@pytest.mark.parametrize("allowed", [0, 3])
@pytest.mark.parametrize("losing", [False, True])
def test_whatever_kills_workers_all_cases_come_in_order_and_only_the_guilty_are_reported(
    run, allowed, losing
):
    for seed in range(NUM_RUNS):
        rng = np.random.default_rng(seed)
        ids = [f"case{index}" for index in range(rng.integers(1, 15))]
        kinds = rng.choice(["good", "killer", "failer"], len(ids), p=[0.65, 0.25, 0.1])
        killers, failers = (
            {name for name, kind in zip(ids, kinds, strict=True) if kind == wanted}
            for wanted in ("killer", "failer")
        )
        num_workers = int(rng.integers(1, 4))
        scheduler = Scheduler(rng, num_workers, allowed, killers, failers, losing)
        results = run(scheduler, ids)
        told = [each.case_id if isinstance(each, Failed) else each for each in results]
        assert told == ids, seed
        reported = {each.case_id for each in results if isinstance(each, Failed)}
        assert reported == killers | failers, seed


@pytest.mark.parametrize(("allowed", "num_deaths"), [(0, TRIES), (3, 8)])
def test_a_killer_costs_three_workers_or_twice_as_many_as_the_scheduler_bears(
    run, allowed, num_deaths, rng
):
    scheduler = Scheduler(rng, 2, allowed, killers={"b"})
    good, bad, *others = run(scheduler, ["a", "b", *"cdefghij"])
    assert [good, *others] == ["a", *"cdefghij"]
    assert bad.reason == (
        f"b: {num_deaths} workers died with it, the last while no other case ran. It may take too "
        "much memory."
    )
    assert scheduler.num_deaths == scheduler.num_runs["b"] == num_deaths
    assert scheduler.company[0] > 0
    assert set(scheduler.company[allowed + 1 :]) == {0}


def test_a_failing_case_is_tried_three_times(run, rng):
    scheduler = Scheduler(rng, 2, failers={"b"})
    assert run(scheduler, ["a", "b"]) == ["a", Failed("b", "b: torn")]
    assert scheduler.num_runs == {"a": 1, "b": TRIES}
