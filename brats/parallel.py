"""Work on several items at once, with results in order and flat memory.

In: a function and items. Out: what the function returns for each item.
"""

import collections
from concurrent.futures import ThreadPoolExecutor

from brats.errors import Failed, InputError


def run_per_case(function, tasks, workers, cluster=None):
    """Runs a function for every case; a case that fails does not hold up the others.

    Args:
        function: Function of one task. On a cluster, workers have to be able to import it.
        tasks: Dict from the id of a case to its task.
        workers: Threads to use without a cluster, int.
        cluster: `brats.cluster.Cluster` to run on, or None.

    Yields:
        `(case_id, result)` in order: what the function returned, or a `Failed` if it raised an
        `InputError`.

    Raises:
        OSError: If the function raised it, as when the disk is full.
    """
    if cluster:
        results = cluster.run(function, tasks)
    else:
        results = in_order(lambda item: attempt(function, *item), tasks.items(), workers)
    yield from zip(tasks, results, strict=True)


def attempt(function, case_id, task):
    """Returns what a function returns for the task of a case, or a `Failed`."""
    try:
        return function(task)
    except InputError as error:
        return Failed(case_id, str(error))


def in_order(function, items, workers):
    """Yields `function(item)` for every item, in order, from `workers` threads.

    At most `workers` results wait, so memory does not grow with the number of items.
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
            pool.shutdown(cancel_futures=True)


def read_ahead(items, num_ahead=4):
    """Yields what an iterator yields, while a thread takes the next items out of it.

    Args:
        items: Iterator of anything but None.
        num_ahead: Items to take out of it before they are asked for, int.

    Raises:
        Exception: What the iterator raises, after the items before it.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = collections.deque(thread.submit(next, items, None) for _ in range(num_ahead))
        while (item := coming.popleft().result()) is not None:
            coming.append(thread.submit(next, items, None))
            yield item


def write_behind(results, write):
    """Writes results in a thread, while the next one is computed.

    Args:
        results: Iterable whose items take time to compute.
        write: Function of one item; called in order, one at a time.

    Yields:
        What `write` returns, in order.

    Raises:
        Exception: What `results` raises, after the item before is written, or what `write` raises.
    """
    with ThreadPoolExecutor(1) as thread:
        written = None
        for result in results:
            if written is not None:
                yield written.result()
            written = thread.submit(write, result)
        if written is not None:
            yield written.result()
