"""Times the prediction of a case, from NIfTI to NIfTI, picture and record, without start-up.

In: a network and a case. Out: a table on stdout: a matrix product and the volume, in turn; and the
seconds of the first volume, which compiles, with the peak memory. `KERAS_BACKEND=openvino` or `jax`
times those backends.

    python -m benchmarks.prediction --network runs/default/best.keras --data-root CASES/CASE
"""

import argparse
import dataclasses
import resource
import tempfile

import keras
import numpy as np

from benchmarks.measure import forward_gflop, in_turn, matrix_product, print_header, print_table
from brats.cases.check import read_checked_case
from brats.cases.find import find_cases
from brats.predictions.write import write_prediction
from brats.volumes.network_input import network_input
from brats.volumes.resampling import on_case_grid
from engine.devices.backend import box_rounding
from engine.networks.choose import read_network
from engine.prediction.segment import build_segmenter
from engine.prediction.slices import predict_volume
from model import build_resunet


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", help="default: a network of the full size, random weights")
    parser.add_argument("--data-root", default="data/brats", help="its first case is predicted")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--full-slices", action="store_true", help="not boxes around the brain")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print_header("Prediction of a case", options, "keras", keras.backend.backend(), "SimpleITK")
    case = find_cases(options.data_root, need_segmentation=False)[0][0]
    # Without the reference: scores have a benchmark of their own.
    case = dataclasses.replace(case, segmentation=None)
    keras.utils.set_random_seed(0)
    model = build_resunet((None, None, 4))
    if options.network:
        model = read_network(options.network, build_resunet)
    segment = build_segmenter([model], options.batch_size, options.full_slices)

    def predict():
        raw, channels = read(case)
        classes = on_case_grid(segment(channels).classes, raw.volumes)
        record = {"networks": [], "settings": {}, "inputs": {}, "warnings": []}
        write_prediction(folder, case, raw, classes, record)

    with tempfile.TemporaryDirectory() as folder:
        ((first_s, _),) = in_turn({case.id: predict}, 1)[case.id]
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        multiply, product_gflop = matrix_product()
        times = in_turn({"matrix product": multiply, case.id: predict}, options.runs)
    gflop = volume_gflop(model, read(case)[1], options)
    print_table(times, {"GFLOP/s": {"matrix product": product_gflop, case.id: gflop}})
    print(f"first volume: {first_s:.1f} s, peak memory {peak_kb / 1e6:.2f} GB")


def read(case):
    """Returns the `RawCase` of a case, and what the network sees of it."""
    raw = read_checked_case(case)
    return raw, network_input(raw.volumes, spacing_mm=raw.geometry.spacing_mm[::-1]).channels


def volume_gflop(model, channels, options):
    """Returns the GFLOP of the convolutions in all windows of a case that the network sees."""
    multiple, num_pixels = 2 ** model.settings["depth"], []

    def count(slices):
        num_pixels.append(slices[..., 0].size)
        return np.zeros((*slices.shape[:3], 4), np.float32)

    boxes = None if options.full_slices else count
    predict_volume(count, channels, options.batch_size, multiple, boxes, box_rounding())
    patch = build_resunet(**model.settings | {"input_shape": (128, 128, 4)})
    return forward_gflop(patch) * sum(num_pixels) / 128**2


if __name__ == "__main__":
    main()
