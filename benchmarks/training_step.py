"""Times training steps of the full-size network: from the patch file, and bare.

In: a patch file. Out: one table on stdout: patches per second of `train_epoch`, which reads,
mirrors and feeds batches, and of a bare `train_on_batch` loop on one batch that stays in memory,
measured in turn, with medians, extremes and their ratio.

    python benchmarks/training_step.py --patches data/patches.h5
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np

from brats.metrics import REGIONS
from brats.patch_file import PatchReader
from brats.provenance import header, software_versions, source_commit
from engine.devices import describe_device, training_compilation
from engine.training import train_epoch
from losses import ClassImbalanceLoss, SoftDice
from model import build_resunet


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", default="data/patches.h5")
    parser.add_argument("--base-filters", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    reader = PatchReader(options.patches, "train")
    model = build_compiled(options.base_filters)
    batch = (*reader.read(range(options.batch_size)), np.zeros(options.batch_size, bool))
    model.train_on_batch(*batch)  # Compiles.
    print(
        header(
            "Training steps",
            **vars(options),
            device=describe_device(),
            versions=software_versions("keras", keras.backend.backend(), "numpy", "h5py"),
            commit=source_commit(),
        )
    )
    timings = {"bare loop": [], "train_epoch": []}
    for round_index in range(options.rounds):
        start = time.perf_counter()
        for _ in range(options.steps):
            model.train_on_batch(*batch)
        timings["bare loop"].append(time.perf_counter() - start)
        start = time.perf_counter()
        train_epoch(model, reader, options.batch_size, options.steps, seed=0, epoch=round_index)
        timings["train_epoch"].append(time.perf_counter() - start)
    print_table(timings, options.steps * options.batch_size)


def build_compiled(base_filters):
    """Builds the network under the published recipe."""
    model = build_resunet((None, None, 4), base_filters=base_filters)
    model.compile(
        optimizer=keras.optimizers.SGD(0.008, momentum=0.9),
        loss=ClassImbalanceLoss(),
        metrics=[SoftDice(classes, f"dice_{region}") for region, classes in REGIONS.items()],
        jit_compile=training_compilation(),
    )
    return model


def print_table(timings, num_patches):
    """Prints patches per second of each way, and the ratios of the rounds."""
    print(f"{'patches/s':<14}{'median':>8}{'least':>8}{'most':>8}")
    for name, elapsed in timings.items():
        rates = [num_patches / elapsed_s for elapsed_s in elapsed]
        row = (statistics.median(rates), min(rates), max(rates))
        print(f"{name:<14}" + "".join(f"{value:8.2f}" for value in row))
    ratios = [b / f for b, f in zip(*timings.values(), strict=True)]
    print(f"train_epoch / bare loop, median of the rounds: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
