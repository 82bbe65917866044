"""How far the work is: a bar on a terminal, and otherwise a line every 30 seconds.

In: the number of cases or batches, and a call after each. Out: text on stderr.
"""

import sys
import time

from brats.errors import Failed, printable

LINE_EVERY_S = 30


def progress_bar(total, name, unit, done=0, leave=True):
    """Returns a progress bar, a context manager with the methods of `_Lines`.

    Args:
        total: Number of steps, int. Without steps, nothing is shown.
        name: What the bar is of, text.
        unit: Plural name of the steps, such as "cases".
        done: Number of steps that are done already, int.
        leave: Whether a bar on a terminal stays there at the end.
    """
    if not (sys.stderr and sys.stderr.isatty()):
        return _Lines(total, name, unit, done)
    from tqdm import tqdm

    class Bar(tqdm):
        def write(self, text, file=None):
            super().write(printable(text), file)

    options = {"initial": done, "leave": leave, "disable": not total}
    return Bar(total=total, desc=name, unit=f" {unit}", **options)


def follow(results, total, name, describe):
    """Prints the result of every case beside the progress.

    Args:
        results: Pairs of the id of a case and its result, or a `Failed`.
        total: Number of cases, int.
        name: What is done with the cases, text.
        describe: Function from an id and a result to the text to print; empty for nothing.

    Returns:
        Why cases failed, a dict by case id.
    """
    failures = {}
    with progress_bar(total, name, "cases") as progress:
        for case_id, result in results:
            progress.update()
            if isinstance(result, Failed):
                failures[case_id] = result.reason
                progress.write(f"Error: {result.reason}", file=sys.stderr)
            elif text := describe(case_id, result):
                progress.write(text)
    return failures


class _Lines:
    """Progress for a batch job, whose output is a file: a line every 30 seconds."""

    def __init__(self, total, name, unit, done):
        self._total, self._name, self._unit = total, name, unit
        self._first = self._done = done
        self._start = self._last = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self):
        """Counts a step."""
        self._done += 1
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S or self._done >= self._total:
            return
        self._last = now
        left_s = (now - self._start) / (self._done - self._first) * (self._total - self._done)
        left = f"{left_s / 60:.0f} min" if left_s >= 60 else f"{left_s:.0f} s"
        counts = f"{self._done} of {self._total} {self._unit}"
        print(f"{self._name}: {counts}, about {left} left", file=sys.stderr, flush=True)

    def write(self, text, file=None):
        """Prints a text, with what is not printable escaped."""
        print(printable(text), file=file, flush=True)
