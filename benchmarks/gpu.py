"""Times training and prediction on GPUs, by batch size, precision and number.

In: a patch file, or random patches made on the spot. Out: two tables on stdout. Training goes
through `train_epoch`, patches out of the file included; prediction is that of 155 whole slices.
Every row gives its share of the rate of a bfloat16 matrix product on the devices it ran on.

    KERAS_BACKEND=jax python benchmarks/gpu.py --patches data/patches.h5
    KERAS_BACKEND=torch python benchmarks/gpu.py
    KERAS_BACKEND=jax python benchmarks/gpu.py --devices 1 2 4 8 --batch-sizes 64 256
"""

import argparse
import functools
import itertools
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
from keras import ops

from benchmarks.measure import forward_gflop, print_header
from benchmarks.training_step import build_compiled
from brats.patches.centers import CasePatches
from brats.patches.file import append_case, laying_out, write_settings
from brats.patches.reader import PatchReader
from engine.devices.backend import describe_device, training_compilation
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
    parser.add_argument("--patches", type=Path, help="default: 438 random patches")
    parser.add_argument("--base-filters", type=int, default=64)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 16, 32, 64, 128])
    parser.add_argument("--devices", type=int, nargs="+", default=[1], help="to train on")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--slices", type=int, default=SLICES[0])
    parser.add_argument("--product-size", type=int, default=8192)
    options = parser.parse_args()
    print_header("GPUs", options, "keras", keras.backend.backend(), "h5py")
    peak = matrix_product_tflops(options.product_size)
    print(f"{describe_device()}: bfloat16 matrix product {peak:.1f} TFLOP/s")
    with tempfile.TemporaryDirectory() as folder:
        path = options.patches or write_random_patches(Path(folder) / "patches.h5")
        for precision in options.precisions:
            set_precision(precision)
            for batch_size, number in itertools.product(options.batch_sizes, options.devices):
                reader, devices = PatchReader(path, "train"), choose_devices(number)
                time_training(reader, precision, batch_size, devices, peak, options)
    for precision in options.precisions:
        set_precision(precision)
        for batch_size in options.batch_sizes:
            time_prediction(precision, batch_size, peak, options)


def set_precision(name):
    """Sets what networks built from now on compute in: "float32", "tf32" or "bfloat16"."""
    keras.config.set_dtype_policy("mixed_bfloat16" if name == "bfloat16" else "float32")
    if keras.backend.backend() == "jax":
        import jax

        level = "highest" if name == "float32" else "tensorfloat32"
        jax.config.update("jax_default_matmul_precision", level)
    elif keras.backend.backend() == "torch":
        import torch

        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name == "tf32"


def matrix_product_tflops(size, num_products=20):
    """Returns the rate of square bfloat16 matrix products, in TFLOP/s."""
    left, right = (ops.ones((size, size), "bfloat16") for _ in range(2))
    float(ops.matmul(left, right)[0, 0])  # Warms up; reading a value waits for the device.
    start = time.perf_counter()
    for _ in range(num_products):
        product = ops.matmul(left, right)
    float(product[0, 0])
    return 2 * size**3 * num_products / (time.perf_counter() - start) / 1e12


def time_training(reader, precision, batch_size, devices, peak, options):
    """Prints a row of the median of three epochs, after one that compiles."""
    with devices.scope():
        model = build_compiled(options.base_filters, training_compilation())
    devices.adopt(model)
    steps = min(options.steps, len(reader) // batch_size)
    if not steps:
        print(f"training    {precision:<9} batch {batch_size:>3}  fewer patches than a batch")
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
        f"training    {precision:<9} batch {batch_size:>3}  {devices.num_devices} devices  "
        f"{patches_per_s:8.1f} patches/s  {tflops:7.2f} TFLOP/s  "
        f"{tflops / peak / devices.num_devices:6.1%} of peak, {waiting:.1%} waiting for batches",
        flush=True,
    )


def time_prediction(precision, batch_size, peak, options):
    """Prints a row of the median of three volumes of whole slices, after one that compiles."""
    model = build_resunet((None, None, 4), base_filters=options.base_filters)
    shape = (options.slices, *SLICES[1:])
    channels = np.random.default_rng(0).normal(size=(*shape, 4)).astype(np.float32)
    elapsed = []
    for _ in range(4):
        start = time.perf_counter()
        predict_volume(model.predict_on_batch, channels, batch_size)
        elapsed.append(time.perf_counter() - start)
    seconds = np.median(elapsed[1:])
    network = build_resunet((*SLICES[1:], 4), base_filters=options.base_filters)
    tflops = forward_gflop(network) * options.slices / seconds / 1e3
    print(
        f"prediction  {precision:<9} batch {batch_size:>3}  {seconds:8.3f} s/volume   "
        f"{tflops:7.2f} TFLOP/s  {tflops / peak:6.1%} of peak",
        flush=True,
    )


def write_random_patches(path, num_patches=438):
    """Writes a patch file of noise, and returns its path."""
    rng = np.random.default_rng(0)
    shape = (4, 192, 152)
    centers = np.stack(
        [rng.integers(low, high, num_patches) for low, high in ((0, 4), (64, 129), (64, 89))],
        axis=1,
    )
    noise = CasePatches(
        channels=rng.normal(size=(*shape, 4)).astype(np.float32),
        classes=rng.integers(0, 4, shape).astype(np.uint8),
        centers=centers.astype(np.int32),
        origin=np.zeros(3, np.int32),
        class_counts=np.zeros(4, np.int64),
        warnings=[],
    )
    with laying_out(path, "float32") as (file, _):
        append_case(file["train"], 0, noise)
        write_settings(file, {})
    return path


if __name__ == "__main__":
    main()
