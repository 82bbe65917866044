"""Segments cases with a trained network, slice by slice, back into NIfTI volumes.

In: the run folder --run-dir (or --weights) and case folders under --data-root. Out, in --output:
<case>.nii.gz in the geometry and label values of the input, pictures in figures/, report.html and,
where there is ground truth, scores.csv, summary.csv and scores.png. With --score-only, the
segmentations are there already.

    python predict.py --run-dir runs/default --data-root data/brats --output predictions
"""

import sys
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from brats.cases import describe_ignored, find_cases
from brats.cluster import connecting
from brats.errors import Failed, InputError, end_with_code
from brats.evaluation import (
    FIGURES,
    check_slices,
    draw_scores,
    remove_evaluation,
    score_segmentation,
    select_scorable,
)
from brats.files import check_outside, read_table
from brats.locks import owning
from brats.metrics import describe_summary
from brats.postprocessing import postprocess
from brats.provenance import header
from brats.report import write_report
from brats.segmentations import (
    PROBABILITIES,
    find_unfinished,
    read_record,
    write_record,
    write_segmentation,
)
from brats.settings import parse, to_dict
from config import PredictConfig
from engine.cluster_prediction import Recipe, segment_on_cluster
from engine.devices import describe_software
from engine.networks import digest_networks, find_networks, read_network, select_unseen
from engine.segmenting import build_segmenter, segment_cases
from model import build_resunet

# Settings that labels depend on: a folder holds the segmentations of one choice of these.
METHOD = ("full_slices", "flips", "fill_holes", "min_lesion_voxels", "min_enhancing_voxels")


def main(argv=None):
    """Runs the prediction, or the scoring, with the given command line arguments."""
    config = parse(PredictConfig, argv, __doc__)
    check_outside("--output", config.output, "--data-root", config.data_root)
    found = find_cases(config.data_root, need_segmentation=False)
    if config.score_only:
        read_record(config.output)  # Damaged, it is told now.
        paths, cases = [], select_scorable(config.output, found, config.cases)
    else:
        paths, trained_on = (
            ([config.weights], ()) if config.weights else find_networks(config.run_dir)
        )
        cases = select_unseen(found, config.cases, trained_on)
    check_slices(cases, config.slices)
    models = [read_network(path, build_resunet) for path in paths]
    networks = digest_networks(paths)
    with (
        connecting(config.scheduler, config.workers) as cluster,
        owning(config.output, FIGURES, PROBABILITIES),
    ):
        fill_folder(config, cluster, found, cases, networks, models)


def fill_folder(config, cluster, found, cases, networks, models):
    """Segments and scores cases, or scores them, and describes the whole folder."""
    if config.score_only:
        num_left = len(cases)
        results = (score_segmentation(config.output, case, config.slices) for case in cases)
    else:
        results, num_left = start_segmenting(config, cluster, cases, networks, models)
    print_header(config, cluster, found, cases, models)
    if num_left < len(cases):
        print(f"{len(cases) - num_left} are done already; --overwrite would segment them again.")
    failures = follow(results, num_left)
    for case_id in failures:
        remove_evaluation(config.output, case_id)
    draw_scores(config.output)
    summary = read_table(Path(config.output) / "summary.csv")
    if summary:
        print(describe_summary(summary))
    report, unreadable = write_report(config.output, found, failures)
    for case_id, reason in unreadable.items():
        print(f"Error: {case_id} is not in the report: {reason}", file=sys.stderr)
    failures |= unreadable
    print(f"Segmentations, scores and pictures are in {config.output}; look at {report}")
    if failures:
        num_cases = len({case.id for case in cases} | failures.keys())
        raise InputError(
            f"{len(failures)} of {num_cases} cases failed, see above: {', '.join(failures)}."
        )


def start_segmenting(config, cluster, cases, networks, models):
    """Checks and describes the output folder; returns the results, and their number."""
    method = {"networks": list(networks.values())}
    method |= {name: getattr(config, name) for name in METHOD}
    output, slices = config.output, config.slices
    missing, unjudged = find_unfinished(
        output, cases, config.overwrite, method, config.probabilities, slices
    )
    record = {"networks": list(map(str, networks)), "method": method, "settings": to_dict(config)}
    write_record(output, record | describe_software())
    segmenting = (config.batch_size, config.full_slices, config.flips, config.probabilities)
    mending = (config.fill_holes, config.min_lesion_voxels, config.min_enhancing_voxels)
    judged = (score_segmentation(output, case, slices) for case in unjudged)
    if cluster:
        named = tuple((Path(path).absolute(), digest) for path, digest in networks.items())
        place = Path(output).absolute()
        recipe = Recipe(build_resunet, named, segmenting, mending, place, slices, method)
        segmented = segment_on_cluster(cluster, recipe, missing)
    else:
        segmenter = build_segmenter(models, *segmenting)

        def write(case, raw, classes, probabilities):
            classes = postprocess(classes, *mending)
            return write_segmentation(output, case, raw, classes, probabilities, slices, method)

        segmented = segment_cases(segmenter, missing, write)
    return chain(judged, segmented), len(missing + unjudged)


def print_header(config, cluster, found, cases, models):
    """Prints what is about to happen, and on what."""
    settings = to_dict(config) | {"cases": f"{len(cases)}, from {cases[0].id} to {cases[-1].id}"}
    settings["ignored"] = describe_ignored(config.data_root, found)
    if config.score_only:
        names = ("data_root", "output", "cases", "slices", "ignored")
        settings = {name: settings[name] for name in names}
    else:
        settings |= {"cluster": cluster.describe()} if cluster else {}
        settings["parameters"] = " + ".join(f"{model.count_params():,}" for model in models)
    title = "Scoring segmentations" if config.score_only else "Segmenting cases"
    print(header(title, **settings, **describe_software()), flush=True)


def follow(results, num_cases):
    """Tells of every case as it is done; returns why cases failed, by their ids."""
    failures = {}
    with tqdm(total=num_cases, desc="cases", unit="case") as progress:
        for result in results:
            progress.update()
            if isinstance(result, Failed):
                failures[result.case_id] = result.reason
                progress.write(f"Error: {result.reason}", file=sys.stderr)
            elif result.rows:
                dice = "".join(f"  {row['region']} {row['dice']:.3f}" for row in result.rows)
                progress.write(f"{result.case_id}  Dice{dice}")
    return failures


if __name__ == "__main__":
    end_with_code(main, "Finished cases are kept: start again to go on with the others.")
