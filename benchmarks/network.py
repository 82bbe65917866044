"""Times the network: steps of training, and whole slices in prediction.

In: patch files, or patches of noise. Out: for each precision and batch size, a table on stdout: a
matrix product in the same backend and precision, bare steps on one batch in memory, steps of
`train_epoch`, which reads, mirrors and feeds batches, and the prediction of noise.

    python -m benchmarks.network --patches data/patches
    KERAS_BACKEND=jax python -m benchmarks.network --precisions float32 tf32 bfloat16 \
        --batch-sizes 4 32 128 --steps 20 --slices 155 --product-size 8192
"""

import argparse
import itertools
import tempfile

import keras
import numpy as np

from benchmarks.measure import (
    forward_gflop,
    in_turn,
    matrix_product,
    print_header,
    print_table,
    write_noise,
)
from brats.editions import REGIONS
from brats.patches.reader import PatchReader
from brats.patches.set import open_patches
from engine.devices.backend import build_predictor, describe_device, training_compilation
from engine.devices.choose import choose_devices
from engine.prediction.slices import predict_volume
from engine.runs.state import Progress
from engine.training.epochs import train_epoch
from losses import SoftDice, build_loss
from model import build_resunet

PRECISIONS = ("float32", "tf32", "bfloat16")
PATCH, SLICE = (128, 128, 4), (240, 240, 4)


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", help="default: 438 patches of noise")
    parser.add_argument("--base-filters", type=int, default=64)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4])
    parser.add_argument("--precisions", nargs="+", default=["float32"], choices=PRECISIONS)
    parser.add_argument("--devices", type=int, default=1, help="to train on")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--slices", type=int, default=8, help="to predict")
    parser.add_argument("--product-size", type=int, default=2048)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print_header("Network", options, "keras", keras.backend.backend(), "h5py")
    devices = choose_devices(options.devices)
    with tempfile.TemporaryDirectory() as folder:
        reader = PatchReader(open_patches(options.patches or [write_noise(folder)]))
        for precision, size in itertools.product(options.precisions, options.batch_sizes):
            set_precision(precision)
            print(f"\n{describe_device()}, {precision}, batches of {size}")
            time_network(reader, size, devices, options)


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


def time_network(reader, size, devices, options):
    """Prints the table for batches of one size."""
    filters, epoch = options.base_filters, itertools.count()
    model = build_compiled(filters, devices)
    batch = (*reader.read(np.arange(size) % len(reader)), np.zeros(size, bool))
    predict = build_predictor(lambda: build_resunet((None, None, 4), base_filters=filters))
    noise = np.random.default_rng(0).normal(size=(options.slices, *SLICE)).astype(np.float32)
    multiply, product_gflop = matrix_product(options.product_size)

    def bare_steps():
        for _ in range(options.steps):
            devices.train(model, batch, size)

    def steps_of_epoch():
        progress = Progress(history=[{}] * next(epoch))
        train_epoch(model, reader, size, options.steps, 0, progress, devices=devices)

    ways = {
        "matrix product": multiply,
        "bare steps": bare_steps,
        "train_epoch": steps_of_epoch,
        "prediction": lambda: predict_volume(predict, noise, size),
    }
    in_turn(ways, 1)  # Compiles.
    num_images = dict.fromkeys(("bare steps", "train_epoch"), options.steps * size)
    num_images["prediction"] = options.slices
    patch_gflop, slice_gflop = (
        forward_gflop(build_resunet(shape, base_filters=filters)) for shape in (PATCH, SLICE)
    )
    gflop = {name: 3 * patch_gflop * number for name, number in num_images.items()}
    gflop |= {"matrix product": product_gflop, "prediction": slice_gflop * options.slices}
    print_table(in_turn(ways, options.runs), {"images/s": num_images, "GFLOP/s": gflop})


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
