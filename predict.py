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

from brats.cases.find import describe_ignored, find_cases
from brats.cluster import connecting
from brats.errors import Failed, InputError
from brats.files import check_outside, read_table
from brats.flags import parse
from brats.predictions.evaluation import (
    FIGURES,
    check_slices,
    draw_scores,
    remove_evaluation,
    score_segmentation,
    select_scorable,
)
from brats.predictions.record import (
    BY_CASE,
    PROBABILITIES,
    find_unfinished,
    read_record,
    write_record,
)
from brats.report.page import write_report
from brats.scores.tables import describe_summary
from brats.script import end_with_code, header
from config import PredictConfig
from engine.devices.backend import describe_software
from engine.networks.choose import (
    all_cases,
    assign_cases,
    describe_groups,
    digest_networks,
    find_networks,
    networks_by_case,
    read_network,
)
from engine.prediction.cluster_prediction import segment_on_cluster
from engine.prediction.procedure import Procedure, segment_here
from engine.runs.lock import owning
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
        paths, groups = [], {(): select_scorable(config.output, found, config.cases)}
    else:
        paths, trained_on = find_networks(config.run_dir, config.checkpoint, config.weights)
        groups = assign_cases(found, config.cases, paths, trained_on, config.cross_validate)
    check_slices(all_cases(groups), config.slices)
    models = {path: read_network(path, build_resunet) for path in paths}
    networks = digest_networks(paths)
    with (
        connecting(config.scheduler, config.workers) as cluster,
        owning(config.output, FIGURES, PROBABILITIES),
    ):
        failures = fill_folder(config, cluster, found, groups, networks, models)
    if failures:
        num_cases = len({case.id for case in all_cases(groups)} | failures.keys())
        raise InputError(
            f"{len(failures)} of {num_cases} cases failed, see above: {', '.join(failures)}."
        )


def fill_folder(config, cluster, found, groups, networks, models):
    """Segments and scores cases, or scores them, and describes the folder; returns failures."""
    cases = all_cases(groups)
    if config.score_only:
        num_left = len(cases)
        results = (score_segmentation(config.output, case, config.slices) for case in cases)
    else:
        results, num_left = start_segmenting(config, cluster, groups, networks, models)
    print_header(config, cluster, found, groups, models)
    if num_left < len(cases):
        print(f"{len(cases) - num_left} are done already; --overwrite would segment them again.")
    failures = follow(results, num_left)
    for case_id in failures:
        remove_evaluation(config.output, case_id)
    draw_scores(config.output)
    if summary := read_table(Path(config.output) / "summary.csv"):
        print(describe_summary(summary))
    report, unreadable = write_report(config.output, found, failures)
    for case_id, reason in unreadable.items():
        print(f"Error: {case_id} is not in the report: {reason}", file=sys.stderr)
    print(f"Segmentations, scores and pictures are in {config.output}; look at {report}")
    return failures | unreadable


def start_segmenting(config, cluster, groups, networks, models):
    """Checks and describes the output folder; returns the results, and their number."""
    output, slices = config.output, config.slices
    method = {"networks": list(networks.values())}
    method |= {name: getattr(config, name) for name in METHOD}
    segmenting = (config.batch_size, config.full_slices, config.flips, config.probabilities)
    mending = (config.fill_holes, config.min_lesion_voxels, config.min_enhancing_voxels)
    pairs = tuple(networks.items())
    procedure = Procedure(build_resunet, pairs, segmenting, mending, Path(output), slices, method)
    work = [(procedure.by(paths), cases) for paths, cases in groups.items()]
    method_of = {case.id: procedure.method for procedure, cases in work for case in cases}
    record = {"networks": list(map(str, networks)), "method": method, "settings": config.in_use()}
    if config.cross_validate:
        record["method"] = method = method | {"cross_validate": True}
        record[BY_CASE] = networks_by_case(groups)
    missing, unjudged = find_unfinished(
        output, all_cases(groups), config.overwrite, method, config.probabilities, slices, method_of
    )
    write_record(output, record | describe_software())
    judged = (score_segmentation(output, case, slices) for case in unjudged)
    left = {case.id for case in missing}
    work = [(procedure, [case for case in cases if case.id in left]) for procedure, cases in work]
    segmented = segment_on_cluster(cluster, work) if cluster else segment_here(work, models)
    return chain(judged, segmented), len(missing + unjudged)


def print_header(config, cluster, found, groups, models):
    """Prints what is about to happen, and on what."""
    cases = all_cases(groups)
    settings = config.in_use() | {"cases": f"{len(cases)}, from {cases[0].id} to {cases[-1].id}"}
    settings["ignored"] = describe_ignored(config.data_root, found)
    if config.score_only:
        names = ("data_root", "output", "cases", "slices", "ignored")
        settings = {name: settings[name] for name in names}
    else:
        settings |= {"cluster": cluster.describe()} if cluster else {}
        settings["parameters"] = " + ".join(f"{each.count_params():,}" for each in models.values())
        if config.cross_validate:
            settings["networks"] = describe_groups(groups, () if config.cases else found)
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
