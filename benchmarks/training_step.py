"""Times training steps of the full-size network: from the patch file, and bare.

In: a patch file. Out: one table on stdout: patches per second of `train_epoch`, which reads,
mirrors and feeds batches, beside bare steps on one batch that stays in memory: as they are,
without metrics, and with the other choice of XLA.

    python benchmarks/training_step.py --patches data/patches.h5
"""

import argparse
import itertools
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np

from benchmarks.measure import forward_gflop, in_turn, peak_gflops, print_header, print_rates
from brats.editions import REGIONS
from brats.patches.reader import PatchReader
from engine.devices.backend import training_compilation
from engine.runs.state import Progress
from engine.training.epochs import train_epoch
from losses import ClassImbalanceLoss, SoftDice
from model import build_resunet


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", default="data/patches.h5")
    parser.add_argument("--base-filters", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print_header("Training steps", options, "keras", keras.backend.backend(), "h5py")
    reader = PatchReader(options.patches, "train")
    batch = (*reader.read(range(options.batch_size)), np.zeros(options.batch_size, bool))
    compilation = training_compilation()
    other = "auto" if compilation is False else False
    as_trained = build_compiled(options.base_filters, compilation)
    ways = {
        "bare step": bare_steps(as_trained, batch, options.steps),
        "train_epoch": epochs(as_trained, reader, options),
        "bare step without metrics": bare_steps(
            build_compiled(options.base_filters, compilation, metrics=False), batch, options.steps
        ),
        f"bare step, jit_compile={other!r}": bare_steps(
            build_compiled(options.base_filters, other), batch, options.steps
        ),
    }
    elapsed = in_turn(ways, options.runs)
    amount = options.steps * options.batch_size
    print_rates("patches/s", amount, elapsed)
    gflop = 3 * forward_gflop(build_resunet((128, 128, 4), base_filters=options.base_filters))
    rate = gflop * amount / statistics.median(elapsed["train_epoch"])
    peak = peak_gflops()
    print(
        f"train_epoch: {gflop:.1f} GFLOP per patch, {rate:.0f} GFLOP/s, {rate / peak:.0%} of the "
        f"{peak:.0f} GFLOP/s of a float32 matrix product"
    )


def bare_steps(model, batch, num_steps):
    """Returns a function that takes steps on one batch, compiled already."""
    model.train_on_batch(*batch)

    def run():
        for _ in range(num_steps):
            model.train_on_batch(*batch)

    return run


def epochs(model, reader, options):
    """Returns a function that trains on batches out of the patch file, each time others."""
    epoch = itertools.count()
    return lambda: train_epoch(
        model, reader, options.batch_size, options.steps, 0, Progress(history=[{}] * next(epoch))
    )


def build_compiled(base_filters, compilation, metrics=True):
    """Builds the network under the published recipe."""
    model = build_resunet((None, None, 4), base_filters=base_filters)
    soft_dice = [SoftDice(classes, f"dice_{region}") for region, classes in REGIONS.items()]
    model.compile(
        optimizer=keras.optimizers.SGD(0.008, momentum=0.9),
        loss=ClassImbalanceLoss(),
        metrics=soft_dice if metrics else None,
        jit_compile=compilation,
    )
    return model


if __name__ == "__main__":
    main()
