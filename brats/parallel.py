"""Runs a function on several items at once, with results in order and bounded memory.

In: a function and items. Out: the result of each item.
"""

import collections
from concurrent.futures import ThreadPoolExecutor

from brats.errors import Failed, InputError


def run_per_case(function, tasks, workers, cluster=None):
    """Runs a function for every case. If a case fails, the others continue.

    Args:
        function: Function of one task. The workers of a cluster must be able to import it.
        tasks: Dict from the id of a case to its task.
        workers: Number of threads, int; not used with a cluster.
        cluster: `brats.cluster.Cluster` to run on, or None.

    Yields:
        `(case_id, result)` in the order of the tasks. The result is what the function returned, or
        a `Failed` if it raised an `InputError`.

    Raises:
        Exception: Any other error of the function, such as an `OSError` when the disk is full.
    """
    if cluster:
        results = cluster.run(function, tasks)
    else:
        results = in_order(lambda item: attempt(function, *item), tasks.items(), workers)
    yield from zip(tasks, results, strict=True)


def attempt(function, case_id, task):
    """Returns the result of a function for the task of a case, or a `Failed`."""
    try:
        return function(task)
    except InputError as error:
        return Failed(case_id, str(error))


def in_order(function, items, workers):
    """Yields `function(item)` for every item, in order, computed by `workers` threads.

    At most `workers + 1` items are in work, so memory does not grow with the number of items.
    """
    with ThreadPoolExecutor(workers) as pool:
        pending = collections.deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # An interruption starts no more items.


def read_ahead(items, num_ahead=4):
    """Yields the items of an iterator, while a thread reads the next ones.

    Args:
        items: Iterator. Its items are not None.
        num_ahead: Number of items to read in advance, int.

    Raises:
        Exception: The error of the iterator, after the items before it.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = collections.deque(thread.submit(next, items, None) for _ in range(num_ahead))
        try:
            while (item := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


def write_behind(results, write):
    """Writes results in a thread, while the next result is computed.

    Args:
        results: Iterable that computes its items.
        write: Function of one result. It is called in order, one call at a time.

    Yields:
        What `write` returns, in order.

    Raises:
        Exception: The error of `results`, after the results before it are written, or of `write`.
    """
    with ThreadPoolExecutor(1) as thread:
        written = None
        for result in results:
            if written is not None:
                yield written.result()
            written = thread.submit(write, result)
        if written is not None:
            yield written.result()
