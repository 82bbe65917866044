"""What the benchmarks share: runs in turn, tables, and what this machine can do at most.

In: functions to time. Out: seconds, and lines of a table on stdout.
"""

import math
import os
import platform
import statistics
import time

import numpy as np

from brats.provenance import software_versions, source_commit
from brats.script import header


def print_header(title, options, *packages):
    """Prints what is measured, with which settings, on what."""
    settings = {name.replace("_", " "): value for name, value in vars(options).items()}
    print(
        header(
            title,
            **settings,
            date=time.strftime("%Y-%m-%d"),
            machine=f"{_processor()}, {os.cpu_count()} cores",
            versions=software_versions("numpy", *packages),
            commit=source_commit(),
        ),
        flush=True,
    )


def in_turn(functions, num_runs):
    """Runs every function once per round, so that a busy moment of the machine hits them all.

    Args:
        functions: Dict of functions without arguments, by name.
        num_runs: Rounds, int.

    Returns:
        Dict of lists of elapsed seconds, by name.
    """
    elapsed = {name: [] for name in functions}
    for _ in range(num_runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            elapsed[name].append(time.perf_counter() - start)
    return elapsed


def print_rates(unit, amount, elapsed):
    """Prints `amount` per second: median, least and most of the runs, and the ratio to the first.

    Args:
        unit: What is counted, such as "patches/s".
        amount: How much of it one run does.
        elapsed: Dict of lists of elapsed seconds, as of `in_turn`.
    """
    first = next(iter(elapsed.values()))
    print(f"{unit:<34}{'median':>10}{'least':>10}{'most':>10}{'ratio':>8}")
    for name, seconds in elapsed.items():
        rates = [amount / value for value in seconds]
        ratio = statistics.median(a / b for a, b in zip(first, seconds, strict=True))
        row = f"{name:<34}{statistics.median(rates):10.4g}{min(rates):10.4g}{max(rates):10.4g}"
        print(f"{row}{ratio:8.3f}", flush=True)


def peak_gflops(size=2048, num_runs=5):
    """Returns the best rate of a float32 matrix product, in GFLOP/s."""
    left, right, product = (np.ones((size, size), np.float32) for _ in range(3))
    elapsed = in_turn({"product": lambda: np.matmul(left, right, out=product)}, num_runs)
    return 2 * size**3 / min(elapsed["product"]) / 1e9


def copy_gb_per_s(num_bytes=2**28, num_runs=5):
    """Returns the best rate of copying memory on one core, in GB/s copied."""
    source, target = (np.ones(num_bytes, np.uint8) for _ in range(2))
    elapsed = in_turn({"copy": lambda: np.copyto(target, source)}, num_runs)
    return num_bytes / min(elapsed["copy"]) / 1e9


def forward_gflop(model):
    """Returns the GFLOP of one image through a network's convolutions.

    Args:
        model: Keras model with a fixed input size `(N, H, W, C)`.
    """
    flop = 0
    for layer in model.layers:
        if type(layer).__name__ == "Conv2D":
            _, height, width, _ = layer.output.shape
            flop += 2 * height * width * math.prod(layer.kernel.shape)
    return flop / 1e9


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.machine()
