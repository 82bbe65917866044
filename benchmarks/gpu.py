"""Times training and prediction on GPUs, by batch size, precision and number.

In: patch files, or patches of noise made on the spot. Out: two tables on stdout. Training goes
through `train_epoch`, so it reads the patches from files; prediction is that of 155 whole slices.
Every row gives its share of the rate of a matrix product in the same precision on these devices.

    KERAS_BACKEND=jax python benchmarks/gpu.py --patches data/patches
    KERAS_BACKEND=torch python benchmarks/gpu.py
    KERAS_BACKEND=jax python benchmarks/gpu.py --devices 1 2 4 8 --batch-sizes 64 256
"""

import argparse
import functools
import itertools
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np

from benchmarks.measure import forward_gflop, in_turn, matrix_product, print_header, write_noise
from benchmarks.training_step import build_compiled
from brats.patches.reader import PatchReader
from brats.patches.set import open_patches
from engine.devices.backend import describe_device
from engine.devices.choose import choose_devices
from engine.prediction.slices import predict_volume
from engine.runs.state import Progress
from engine.training.epochs import train_epoch
from model import build_resunet

PRECISIONS = ("float32", "tf32", "bfloat16")
SLICES = (155, 240, 240)


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", help="default: 438 patches of noise")
    parser.add_argument("--base-filters", type=int, default=64)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 16, 32, 64, 128])
    parser.add_argument("--devices", type=int, nargs="+", default=[1], help="to train on")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--slices", type=int, default=SLICES[0])
    parser.add_argument("--product-size", type=int, default=8192)
    options = parser.parse_args()
    print_header("GPUs", options, "keras", keras.backend.backend(), "h5py")
    peaks = {name: product_tflops(name, options.product_size) for name in options.precisions}
    for name, tflops in peaks.items():
        print(f"{describe_device()}: {name} matrix product {tflops:.1f} TFLOP/s")
    with tempfile.TemporaryDirectory() as folder:
        reader = PatchReader(open_patches(options.patches or [write_noise(folder)]))
        rows = itertools.product(options.precisions, options.batch_sizes, options.devices)
        for precision, batch_size, number in rows:
            set_precision(precision)
            devices = choose_devices(number)
            time_training(reader, precision, batch_size, devices, peaks[precision], options)
    for precision, batch_size in itertools.product(options.precisions, options.batch_sizes):
        set_precision(precision)
        time_prediction(precision, batch_size, peaks[precision], options)


def set_precision(name):
    """Sets what networks built from now on compute in, one of `PRECISIONS`."""
    keras.config.set_dtype_policy("mixed_bfloat16" if name == "bfloat16" else "float32")
    if keras.backend.backend() == "jax":
        import jax

        level = "highest" if name == "float32" else "tensorfloat32"
        jax.config.update("jax_default_matmul_precision", level)
    elif keras.backend.backend() == "torch":
        import torch

        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    else:
        import tensorflow

        tensorflow.config.experimental.enable_tensor_float_32_execution(name == "tf32")


def product_tflops(precision, size):
    """Returns the median rate of a matrix product in a precision, in TFLOP/s."""
    set_precision(precision)
    multiply, gflop = matrix_product(size, num_products=20)
    return gflop / statistics.median(in_turn({"": multiply}, 5)[""]) / 1e3


def time_training(reader, precision, batch_size, devices, peak, options):
    """Prints a row with the median of three epochs, after one that compiles."""
    model = build_compiled(options.base_filters, devices)
    steps = min(options.steps, len(reader) // batch_size)
    name = f"training    {precision:<9} batch {batch_size:>3}"
    if not steps:
        print(f"{name}  fewer patches than a batch")
        return
    train = functools.partial(train_epoch, model, reader, batch_size, seed=0, devices=devices)
    train(num_steps=min(2, steps), progress=Progress())
    starts = [Progress(history=[{}] * epoch) for epoch in (1, 2, 3)]
    rows = [train(num_steps=steps, progress=start) for start in starts]
    elapsed_s = np.median([row["wait_s"] + row["step_s"] for row in rows])
    waiting = np.median([row["wait_s"] for row in rows]) / elapsed_s
    patches_per_s = steps * batch_size / elapsed_s
    network = build_resunet((128, 128, 4), base_filters=options.base_filters)
    tflops = 3 * forward_gflop(network) * patches_per_s / 1e3
    print(
        f"{name}  {devices.num_devices} devices  {patches_per_s:8.1f} patches/s  "
        f"{tflops:7.2f} TFLOP/s  {tflops / peak / devices.num_devices:6.1%} of a product, "
        f"{waiting:.1%} waiting for batches",
        flush=True,
    )


def time_prediction(precision, batch_size, peak, options):
    """Prints a row with the median of three volumes of whole slices, after one that compiles."""
    model = build_resunet((None, None, 4), base_filters=options.base_filters)
    shape = (options.slices, *SLICES[1:])
    channels = np.random.default_rng(0).normal(size=(*shape, 4)).astype(np.float32)
    ways = {"": lambda: predict_volume(model.predict_on_batch, channels, batch_size)}
    seconds = np.median(in_turn(ways, 4)[""][1:])
    network = build_resunet((*SLICES[1:], 4), base_filters=options.base_filters)
    tflops = forward_gflop(network) * options.slices / seconds / 1e3
    print(
        f"prediction  {precision:<9} batch {batch_size:>3}  {seconds:8.3f} s/volume   "
        f"{tflops:7.2f} TFLOP/s  {tflops / peak:6.1%} of a product",
        flush=True,
    )


if __name__ == "__main__":
    main()
