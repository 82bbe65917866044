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
