"""Segments cases with a trained network, slice by slice, back into NIfTI volumes.

In: the run folder --run-dir (or --weights) and case folders under --data-root. Out, in --output:
<case>.nii.gz in the geometry and label values of the input, figures/<case>-*.png, and, where there
is ground truth, scores.csv, summary.csv and scores.png.

    python predict.py --run-dir runs/default --data-root data/brats --output predictions
"""

import sys
from pathlib import Path

try:
    import keras
except ModuleNotFoundError as error:
    sys.exit(
        f"Error: the backend of Keras needs the package {error.name}. Install it with pip, or set "
        "KERAS_BACKEND to another one."
    )
from tqdm import tqdm

from brats.cases import CLASSES, MODALITIES, find_cases, select_cases
from brats.errors import InputError, exit_code
from brats.files import read_table
from brats.metrics import METRICS, REGIONS
from brats.normalization import normalize_case
from brats.orientation import check_axial_slices
from brats.patch_file import check_agreement
from brats.patches import PATCH_SIZE
from brats.plots import write_score_boxes
from brats.provenance import header, software_versions, source_commit
from brats.segmentations import check_output, network_digest, write_record, write_segmentation
from brats.volumes import crop_window, read_case
from config import PredictConfig, parse, to_dict
from engine.background import background_network
from engine.dataset import read_ahead
from engine.devices import build_predictor, describe_device
from engine.inference import predict_volume, write_behind
from engine.runs import RECORD, best_network_path, read_record
from engine.weights import is_original, load_network, load_weights, read_original_settings
from model import ResUNet, build_resunet


def main(argv=None):
    """Runs the prediction with the given command line arguments."""
    config = parse(PredictConfig, argv, __doc__)
    source, trained_on = network_source(config)
    cases = find_cases(config.data_root, need_segmentation=False)
    cases = cases_to_predict(config, cases, trained_on)
    model = read_network(source)
    digest = network_digest(source)
    check_output(config.output, cases, config.overwrite, digest)
    facts = {
        "device": describe_device(),
        "versions": software_versions("keras", keras.backend.backend(), "numpy", "SimpleITK"),
        "commit": source_commit(),
    }
    print(
        header(
            "Segmenting cases",
            **to_dict(config) | {"cases": f"{len(cases)}, from {cases[0].id} to {cases[-1].id}"},
            network=f"{source}, {model.count_params():,} parameters",
            **facts,
        ),
        flush=True,
    )
    network = {"network": str(source), "network_sha256": digest}
    write_record(config.output, network | {"settings": to_dict(config)} | facts)
    with tqdm(total=len(cases), desc="cases", unit="case") as progress:
        for written in segment_cases(model, cases, config):
            progress.update()
            if written.rows:
                dice = "".join(f"  {row['region']} {row['dice']:.3f}" for row in written.rows)
                progress.write(f"{written.rows[0]['case']}  Dice{dice}")
    show_scores(Path(config.output))
    print(
        f"Wrote {len(cases)} segmentations, such as {written.segmentation}, and pictures such as "
        f"{written.picture}"
    )


def network_source(config):
    """Returns the path of the network and the ids of the cases that it was trained on.

    Raises:
        FileNotFoundError: If there is no such run, or it has no network yet.
        InputError: If the run's patches were made in another way than by this version.
    """
    if config.weights:
        return Path(config.weights), ()
    extraction = read_record(config.run_dir)["extraction"]
    check_agreement(extraction, Path(config.run_dir) / RECORD)
    return best_network_path(config.run_dir), extraction["split"]["train"]


def cases_to_predict(config, cases, trained_on):
    """Returns the cases asked for: by id, or all that the network was not trained on."""
    if config.cases:
        return select_cases(cases, config.cases)
    unseen = [case for case in cases if case.id not in set(trained_on)]
    if not unseen:
        raise InputError(
            f"The network was trained on all {len(cases)} cases in {config.data_root}. Name the "
            "ones to segment with --cases, or give another --data-root."
        )
    return unseen


def read_network(path):
    """Reads a whole network, or the original's weights into a network of their settings."""
    if is_original(path):
        model = build_resunet(**read_original_settings(path))
        load_weights(model, path)
    else:
        model = load_network(path)
    if not isinstance(model, ResUNet):
        raise InputError(f"{path} is a Keras model, but not a residual U-Net of train.py.")
    num_modalities, num_classes = model.input_shape[-1], model.output_shape[-1]
    if (num_modalities, num_classes) != (len(MODALITIES), len(CLASSES)):
        raise InputError(
            f"{path} is for {num_modalities} modalities and {num_classes} classes; expected "
            f"{len(MODALITIES)} and {len(CLASSES)}."
        )
    return model


def prepare_case(case):
    """Reads and normalizes a case; returns `(case, raw, channels)`."""
    raw = read_case(case)
    return case, raw, normalize_case(raw.volumes, crop_window(raw.volumes, PATCH_SIZE))


def segment_cases(model, cases, config):
    """Reads, predicts and writes the cases; yields what was written of each.

    The next case is read and the last one written while the network is at work.
    """
    multiple = 2 ** model.settings["depth"]
    predict = build_predictor(lambda: model)
    in_boxes = None if config.full_slices else build_predictor(lambda: background_network(model))

    def segment(case, raw, channels):
        check_axial_slices(case.id, raw.volumes[0], raw.geometry, config.slices)
        classes = predict_volume(predict, channels, config.batch_size, multiple, in_boxes)
        return case, raw, classes, config.slices

    segmented = (segment(*prepared) for prepared in read_ahead(map(prepare_case, cases), 1))
    return write_behind(segmented, lambda result: write_segmentation(config.output, *result))


def show_scores(output):
    """Draws the scores and prints the mean of every metric per region, where there are any."""
    summary = read_table(output / "summary.csv")
    if not summary:
        return
    write_score_boxes(output / "scores.png", read_table(output / "scores.csv"))
    print(f"Mean over {summary[0]['cases']} cases" + "".join(f"{name:>13}" for name in METRICS))
    for region in REGIONS:
        means = [float(row["mean"]) for row in summary if row["region"] == region]
        print(f"  {region:<18}" + "".join(f"{mean:13.3f}" for mean in means))


if __name__ == "__main__":
    advice = "Finished cases are kept: name others with --cases, or start again with --overwrite."
    sys.exit(exit_code(main, advice))
