"""Writes a synthetic cohort: python -m brats.phantom DIR --cases 6 --seed 0.

In: a new or empty folder. Out: case folders in it.
"""

import argparse
import sys
from pathlib import Path

from brats.phantom.cohort import write_cohort
from brats.phantom.files import NAMINGS
from brats.script import exit_code
from brats.volumes.network_input import PUBLISHED_SHAPE


def main(argv=None):
    """Runs the command line and returns its exit code."""
    options = _parse_arguments(argv)

    def write():
        root, number = options.root, options.cases
        write_cohort(root, number, options.seed, options.shape, options.naming, report=print)
        print(f"Wrote {number} synthetic cases to {root}")

    return exit_code(write)


def _parse_arguments(argv):
    parser = argparse.ArgumentParser("python -m brats.phantom", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("root", type=Path, metavar="DIR", help="new or empty folder")
    add("--cases", type=int, default=6, help="number of cases (default %(default)s)")
    add("--seed", type=int, default=0, help="seed of the cohort (default %(default)s)")
    add("--shape", type=int, nargs=3, default=PUBLISHED_SHAPE, help="Z Y X (default %(default)s)")
    add("--naming", choices=sorted(NAMINGS), default="2017", help="edition (default %(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.cases < 1 or arguments.seed < 0 or min(arguments.shape) < 8:
        parser.error("expected --cases of at least 1, --seed of at least 0, --shape of at least 8")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
