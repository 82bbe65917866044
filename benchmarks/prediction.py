"""Times the prediction of one case, NIfTI to NIfTI and pictures, without start-up.

In: a network and a folder of cases. Out: one table on stdout: seconds per volume by boxes and by
full slices, each form in a process of its own; the first volume, which traces and compiles, by
itself, then median, least and most of --runs, processor seconds, peak memory, and the share of
brain voxels whose class differs from that of full slices. `KERAS_BACKEND=openvino` and `jax` time
those backends.

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

from benchmarks.measure import print_header
from brats.cases.find import find_cases, select_cases
from brats.editions import labels_to_classes
from brats.predictions.record import segmentation_path
from brats.predictions.record import write_segmentation
from brats.volumes.case import read_case, read_modalities
from brats.volumes.files import read_volume
from engine.networks.choose import read_network
from engine.prediction.segment import build_segmenter, channels_of
from model import build_resunet

FORMS = ("full slices", "boxes")


def main():
    """Prints the table, or, as the process of one form, its timings as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="runs/default/best.keras")
    parser.add_argument("--data-root", default="data/brats")
    parser.add_argument("--case", help="id of the case; default: the first")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--only", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cases = find_cases(options.data_root, need_segmentation=False)
    case = select_cases(cases, [options.case])[0] if options.case else cases[0]
    if options.only:
        print(json.dumps(time_form(options, case)))
        return
    shown = argparse.Namespace(
        **{name: value for name, value in vars(options).items() if name not in OWN}
    )
    print_header("Prediction of one case", shown, "keras", keras.backend.backend(), "SimpleITK")
    with tempfile.TemporaryDirectory() as folder:
        results = {form: run_form(form, Path(folder) / form) for form in options.forms}
        print_table(results, case, Path(folder))


OWN = ("only", "output")  # What the table's process tells those of the forms.


def run_form(form, output):
    """Runs this benchmark for one form in a process of its own and returns what it measured."""
    command = [sys.executable, *sys.argv, "--only", form, "--output", str(output)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def time_form(options, case):
    """Predicts a case again and again; returns seconds, processor seconds and peak memory."""
    model = read_network(options.network, build_resunet)
    segment = build_segmenter([model], options.batch_size, options.only == "full slices")
    # Without ground truth: scores have a benchmark of their own.
    case = dataclasses.replace(case, segmentation=None)

    def predict_once():
        raw = read_case(case)
        write_segmentation(options.output, case, raw, *segment(channels_of(raw)))

    elapsed, processor = [], []
    for _ in range(options.runs + 1):
        start, start_processor = time.perf_counter(), time.process_time()
        predict_once()
        elapsed.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"first_s": elapsed[0], "s": elapsed[1:], "cpu_s": processor[1:], "peak_gb": peak_gb}


def print_table(results, case, folder):
    """Prints a row per form."""
    columns = ("first s", "median s", "least", "most", "CPU s", "peak GB", "changed")
    print(f"{'':<12}" + "".join(f"{name:>10}" for name in columns))
    brain = np.logical_or.reduce([image != 0 for image, _ in read_modalities(case)])
    classes = {
        form: labels_to_classes(
            read_volume(segmentation_path(folder / form, case))[0], case.edition
        )
        for form in results
    }
    for form, result in results.items():
        times = (result["first_s"], statistics.median(result["s"]), min(result["s"]))
        rest = (max(result["s"]), statistics.median(result["cpu_s"]), result["peak_gb"])
        row = "".join(f"{value:10.2f}" for value in times + rest)
        if FORMS[0] in classes:
            changed = (classes[form] != classes[FORMS[0]])[brain].mean()
            row += f"{changed:10.1e}"
        print(f"{form:<12}{row}")


if __name__ == "__main__":
    main()
