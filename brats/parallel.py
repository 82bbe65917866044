"""Work on several items at once, with results in order and flat memory.

In: a function and items. Out: what it returns for each.
"""

import collections
from concurrent.futures import ThreadPoolExecutor


def in_order(function, items, workers):
    """Yields `function(item)` for every item, in order, with `workers` threads at work ahead.

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


def read_ahead(batches, num_ahead=4):
    """Yields what an iterator yields, while a thread takes the next items out of it.

    Args:
        batches: Iterator of anything but None.
        num_ahead: Items to take out of it before they are asked for, int.

    Raises:
        Exception: What the iterator raises, after the items before it.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = collections.deque(thread.submit(next, batches, None) for _ in range(num_ahead))
        while (batch := coming.popleft().result()) is not None:
            coming.append(thread.submit(next, batches, None))
            yield batch


def write_behind(results, write):
    """Writes results in a thread, while the next one is computed.

    Args:
        results: Iterable whose items take time to compute.
        write: Function of one item; called in order, one at a time.

    Yields:
        What `write` returns, in order.

    Raises:
        Exception: What `results` raises, after the item before is written, or what `write` does.
    """
    with ThreadPoolExecutor(1) as thread:
        written = None
        for result in results:
            if written is not None:
                yield written.result()
            written = thread.submit(write, result)
        if written is not None:
            yield written.result()
