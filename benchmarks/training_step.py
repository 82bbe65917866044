"""Times training steps from patch files beside bare steps and a matrix product.

In: patch files, or patches of noise made on the spot. Out: two tables on stdout: patches per second
of `train_epoch`, which reads, mirrors and feeds batches, beside bare steps on one batch in memory;
and GFLOP/s of both beside those of a matrix product in the same backend and precision.

    python benchmarks/training_step.py --patches data/patches
"""

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np

from benchmarks.measure import (
    forward_gflop,
    in_turn,
    matrix_product,
    print_header,
    print_rates,
    write_noise,
)
from brats.editions import REGIONS
from brats.patches.reader import PatchReader
from brats.patches.set import open_patches
from engine.devices.backend import describe_device, training_compilation
from engine.devices.choose import choose_devices
from engine.runs.state import Progress
from engine.training.epochs import train_epoch
from losses import SoftDice, build_loss
from model import build_resunet


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", help="default: 438 patches of noise")
    parser.add_argument("--base-filters", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print_header("Training steps", options, "keras", keras.backend.backend(), "h5py")
    with tempfile.TemporaryDirectory() as folder:
        paths = options.patches or [write_noise(folder)]
        time_steps(PatchReader(open_patches(paths)), options)


def time_steps(reader, options):
    """Prints the tables for the patches of a reader."""
    devices = choose_devices()
    model = build_compiled(options.base_filters, devices)
    size, epoch = options.batch_size, itertools.count()
    batch = (*reader.read(range(size)), np.zeros(size, bool))

    def bare_steps():
        for _ in range(options.steps):
            devices.train(model, batch, size)

    def steps_of_epoch():
        progress = Progress(history=[{}] * next(epoch))
        train_epoch(model, reader, size, options.steps, 0, progress, devices=devices)

    multiply, product_gflop = matrix_product()
    bare_steps()  # Compiles.
    ways = {"bare step": bare_steps, "train_epoch": steps_of_epoch}
    elapsed = in_turn(ways | {"matrix product": multiply}, options.runs)
    amount = options.steps * size
    print_rates("patches/s", amount, {name: elapsed[name] for name in ways})
    gflop = 3 * forward_gflop(build_resunet((128, 128, 4), base_filters=options.base_filters))
    amounts = {"matrix product": product_gflop} | dict.fromkeys(ways, gflop * amount)
    precision = keras.config.dtype_policy().compute_dtype
    print(f"\n{gflop:.1f} GFLOP per patch, {describe_device()}, {precision}")
    print_rates("GFLOP/s", amounts, {name: elapsed[name] for name in amounts})


def build_compiled(base_filters, devices):
    """Builds the network under the published recipe, ready to train."""
    with devices.scope():
        model = build_resunet((None, None, 4), base_filters=base_filters)
        model.compile(
            optimizer=keras.optimizers.SGD(0.008, momentum=0.9),
            loss=build_loss("published"),
            metrics=[SoftDice(classes, f"dice_{name}") for name, classes in REGIONS.items()],
            jit_compile=training_compilation(),
        )
    devices.adopt(model)
    return model


if __name__ == "__main__":
    main()
