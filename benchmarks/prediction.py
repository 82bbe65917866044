"""Times the prediction of a case, from NIfTI to NIfTI, picture and record, without start-up.

In: a network and a folder of cases. Out: a table on stdout, a row for boxes and one for full
slices, each from a process of its own: seconds of the first volume, which compiles, then of the
others, processor seconds, peak memory, GFLOP/s of the convolutions, their share of a matrix product
that is timed in turn with them, and the share of brain voxels whose class differs from that of full
slices. `KERAS_BACKEND=openvino` or `jax` times those backends.

    python benchmarks/prediction.py --network runs/default/best.keras --data-root data/brats
"""

import argparse
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np

from benchmarks.measure import forward_gflop, in_turn, matrix_product, print_header
from brats.cases.find import find_cases, select_cases
from brats.editions import labels_to_classes
from brats.predictions.record import segmentation_path
from brats.predictions.write import write_prediction
from brats.volumes.case import read_case
from brats.volumes.files import read_volume
from brats.volumes.network_input import network_input
from engine.devices.backend import box_rounding
from engine.networks.choose import read_network
from engine.prediction.segment import build_segmenter
from engine.prediction.slices import predict_volume
from model import build_resunet

FORMS = ("full slices", "boxes")


def main():
    """Prints the table, or, as the process of a form, its timings as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", help="default: a network of the full size, random weights")
    parser.add_argument("--data-root", default="data/brats")
    parser.add_argument("--case", help="id of the case; default: the first")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--only", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    options = parser.parse_args()
    found = find_cases(options.data_root, need_segmentation=False)
    case = select_cases(*found, [options.case] if options.case else [])[0][0]
    if options.only:
        print(json.dumps(time_form(options, case)))
        return
    print_header("Prediction of a case", options, "keras", keras.backend.backend(), "SimpleITK")
    with tempfile.TemporaryDirectory() as folder:
        results = {form: run_form(form, Path(folder) / form) for form in options.forms}
        print_table(results, case, Path(folder))


def run_form(form, output):
    """Runs this benchmark for a form in a process of its own, and returns what it measured."""
    output.mkdir()
    command = [sys.executable, *sys.argv, "--only", form, "--output", str(output)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def time_form(options, case):
    """Predicts a case again and again, in turn with a matrix product; returns what that took."""
    keras.utils.set_random_seed(0)
    model = build_resunet((None, None, 4))
    if options.network:
        model = read_network(options.network, build_resunet)
    full_slices = options.only == "full slices"
    segment = build_segmenter([model], options.batch_size, full_slices)
    # Without the reference: scores have a benchmark of their own.
    case = dataclasses.replace(case, segmentation=None)
    processor = []

    def predict_once():
        start = time.process_time()
        raw = read_case(case)
        found = segment(network_input(raw.volumes).channels)
        record = {"networks": [], "settings": {}, "inputs": {}, "warnings": []}
        write_prediction(options.output, case, raw, found.classes, record)
        processor.append(time.process_time() - start)

    first, _ = in_turn({"volume": predict_once}, 2)["volume"]
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    multiply, product_gflop = matrix_product()
    elapsed = in_turn({"product": multiply, "volume": predict_once}, options.runs)
    gflop = volume_gflop(model, network_input(read_case(case).volumes).channels, options)
    rates = [gflop / seconds for seconds in elapsed["volume"]]
    products = [product_gflop / seconds for seconds in elapsed["product"]]
    shares = [a / b for a, b in zip(rates, products, strict=True)]
    return {
        "times": [first, *spread(elapsed["volume"]), statistics.median(processor[2:])],
        "peak_gb": peak_kb / 1e6,
        "rates": [statistics.median(rates), statistics.median(products)],
        "share": statistics.median(shares),
    }


def spread(values):
    """Returns median, least and most."""
    return statistics.median(values), min(values), max(values)


def volume_gflop(model, channels, options):
    """Returns the GFLOP of the convolutions in all windows of a case that the network sees."""
    multiple, num_pixels = 2 ** model.settings["depth"], []

    def count(slices):
        num_pixels.append(slices[..., 0].size)
        return np.zeros((*slices.shape[:3], 4), np.float32)

    boxes = None if options.only == "full slices" else count
    predict_volume(count, channels, options.batch_size, multiple, boxes, box_rounding())
    patch = build_resunet(**model.settings | {"input_shape": (128, 128, 4)})
    return forward_gflop(patch) * sum(num_pixels) / 128**2


def print_table(results, case, folder):
    """Prints a row per form."""
    columns = ("first s", "median s", "least", "most", "CPU s", "peak GB")
    columns += ("GFLOP/s", "product", "share", "changed")
    print(f"{'':<12}" + "".join(f"{name:>10}" for name in columns))
    brain = np.logical_or.reduce([volume != 0 for volume in read_case(case).volumes])
    classes = {}
    for form in results:
        labels, _ = read_volume(segmentation_path(folder / form, case))
        classes[form] = labels_to_classes(labels, case.edition)
    for form, result in results.items():
        row = "".join(f"{value:10.2f}" for value in (*result["times"], result["peak_gb"]))
        row += "".join(f"{value:10.0f}" for value in result["rates"]) + f"{result['share']:10.0%}"
        if FORMS[0] in classes:
            row += f"{(classes[form] != classes[FORMS[0]])[brain].mean():10.1e}"
        print(f"{form:<12}{row}")


if __name__ == "__main__":
    main()
