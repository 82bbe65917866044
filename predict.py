"""Segments cases with a trained network, slice by slice, back into NIfTI volumes.

In: the run folder --run-dir (or --weights) and case folders under --data-root. Out, in --output:
<case>.nii.gz in the geometry and label values of the input, figures/<case>-<slice>.png, and,
where there is ground truth, scores.csv and summary.csv.

    python predict.py --run-dir runs/default --data-root data/brats --output predictions
"""

import sys
from pathlib import Path

import keras
from tqdm import tqdm

from brats.cases import CLASSES, MODALITIES, classes_to_labels, find_cases, select_cases
from brats.errors import InputError, exit_code
from brats.figures import largest_tumor_slice, remove_pictures, write_overlays
from brats.files import make_writable_folder
from brats.metrics import METRICS, REGIONS, score_case, summarize, write_scores
from brats.normalization import normalize_case
from brats.patch_file import check_agreement
from brats.patches import PATCH_SIZE
from brats.provenance import header, software_versions, source_commit
from brats.volumes import crop_window, read_case, write_volume
from config import PredictConfig, parse, to_dict
from engine.devices import describe_device
from engine.inference import predict_volume
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
    check_outputs(config, cases)
    print(
        header(
            "Segmenting cases",
            **to_dict(config) | {"cases": f"{len(cases)}, from {cases[0].id} to {cases[-1].id}"},
            network=f"{source}, {model.count_params():,} parameters",
            device=describe_device(),
            versions=software_versions("keras", keras.backend.backend(), "numpy", "SimpleITK"),
            commit=source_commit(),
        ),
        flush=True,
    )
    rows = []
    progress = tqdm(cases, "cases", unit="case")
    for case in progress:
        segmentation, picture, case_rows = predict_case(model, case, config)
        if case_rows:
            rows += case_rows
            write_scores(Path(config.output), case_rows)
            dice = "".join(f"  {row['region']} {row['dice']:.3f}" for row in case_rows)
            progress.write(f"{case.id}  Dice{dice}")
    if rows:
        print_summary(summarize(rows))
    print(
        f"Wrote {len(cases)} segmentations, such as {segmentation}, and pictures such as {picture}"
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


def check_outputs(config, cases):
    """Checks the output folder: writable, and no segmentation that nobody asked to replace."""
    make_writable_folder(Path(config.output))
    paths = [segmentation_path(config.output, case) for case in cases]
    existing = [path for path in paths if path.exists()]
    if existing and not config.overwrite:
        raise InputError(
            f"{existing[0]} exists, one of {len(existing)}. Add --overwrite, or give another "
            "--output."
        )


def segmentation_path(output, case):
    """Returns the path of the segmentation of a case."""
    return Path(output) / f"{case.id}.nii.gz"


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


def predict_case(model, case, config):
    """Segments one case and writes its volume and picture.

    Returns:
        `(segmentation, picture, rows)`: two paths, and the scores, none without ground truth.
    """
    raw = read_case(case)
    channels = normalize_case(raw.volumes, crop_window(raw.volumes, PATCH_SIZE))
    multiple = 2 ** model.settings["depth"]
    classes = predict_volume(model.predict_on_batch, channels, config.batch_size, multiple)
    segmentation = segmentation_path(config.output, case)
    write_volume(segmentation, classes_to_labels(classes, case.scheme), raw.geometry)
    index = largest_tumor_slice(classes)
    picture = Path(config.output) / "figures" / f"{case.id}-{index}.png"
    remove_pictures(picture.parent, case.id)
    reference = raw.classes[index] if raw.classes is not None else None
    title = f"{case.id}, slice {index}"
    write_overlays(picture, title, raw.volumes[0][index], classes[index], reference)
    rows = score_case(case.id, classes, raw.classes) if raw.classes is not None else []
    return segmentation, picture, rows


def print_summary(summary):
    """Prints the mean of every metric per region."""
    print(f"Mean over {summary[0]['cases']} cases" + "".join(f"{name:>13}" for name in METRICS))
    for region in REGIONS:
        means = [row["mean"] for row in summary if row["region"] == region]
        print(f"  {region:<18}" + "".join(f"{mean:13.3f}" for mean in means))


if __name__ == "__main__":
    advice = (
        "Finished cases are kept: name the others with --cases, or start again with --overwrite."
    )
    sys.exit(exit_code(main, advice))
