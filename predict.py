"""Segments cases with a trained network, slice by slice, back into NIfTI volumes.

In: the run folder --run-dir (or --weights), and case folders under --data-root. Out, in --output:
<case>.nii.gz in the geometry and label values of the input, <case>.json (how it was made, and its
scores if there is a reference), pictures, tables and report.html. Run it again to do what is
missing. With --score-only, the segmentations are there already.

    python predict.py --run-dir runs/default --data-root data/brats --output predictions
"""

import itertools
from dataclasses import replace
from pathlib import Path

from brats import files
from brats.errors import shortened
from brats.flags import parse
from brats.progress import follow
from brats.provenance import describe_source
from brats.script import check_none_failed, end_with_code, header, warn
from config import PredictConfig

# Functions import NumPy, Keras and what needs them: --help and wrong flags answer at once, and an
# interruption during an import ends like any other.


def main(argv=None):
    """Runs the prediction, or the scoring, with the given command line arguments."""
    config = parse(PredictConfig, argv, __doc__)

    from brats.cases import find
    from brats.predictions import scoring, write
    from brats.report.derived import write_derived

    config, found, incomplete = find_cases(config)
    cases, incomplete = find.select_cases(found, incomplete, config.cases)
    if config.score_only:
        cases, missing, warnings = scoring.select_scorable(
            config.output, found, cases, config.cases, config.ignore_missing
        )
        software = describe_source("numpy", "scipy", "SimpleITK")
        number = f"{len(cases)}, and {len(missing)} without a segmentation"
        print_header("Scoring segmentations", config, found, software, cases=number)
        for sentence in warnings:
            warn(sentence)
        labels = config.segmentation_labels
        results = scoring.score_cases(config.output, cases, config.slices, labels)
        failures = follow(results, len(cases), "Scoring", write.describe_result)
    else:
        missing, (cases, failures) = [], predict(config, found, cases)
    for each in incomplete:
        warn(each.reason, "Error")
        failures[each.case_id] = each.reason
    text, unreadable = write_derived(config.output, found, failures, missing)
    for case_id, reason in unreadable.items():
        warn(f"{case_id} is not in the report: {reason}", "Error")
    print(text)
    failures |= unreadable
    check_none_failed(failures, len({case.id for case in cases} | failures.keys()))


def find_cases(config):
    """Returns the config with a folder as its output, the complete cases, and the failures."""
    from brats.cases import find

    if config.flair:
        images = {name: getattr(config, name) for name in ("flair", "t1", "t1ce", "t2")}
        case, folder = find.build_case(images, config.output, config.labels)
        return replace(config, output=str(folder)), [case], []
    files.check_outside("--output", config.output, "--data-root", config.data_root)
    cases, failures = find.find_cases(
        config.data_root, False, config.labels, need_labels=config.score_only
    )
    return config, cases, failures


def predict(config, found, cases):
    """Segments the cases that are not done; returns all cases asked for, and why cases failed."""
    from brats.cluster import connecting
    from brats.predictions import scoring, write
    from engine.devices.backend import describe_software
    from engine.networks import choose
    from engine.prediction import cases as prediction
    from model import build_resunet

    networks = choose.find_networks(config.run_dir, config.checkpoint, config.weights)
    ids = [case.id for case in cases] if config.flair else config.cases
    groups = choose.assign_cases(cases, ids, networks, config.cross_validate)
    models = {each.path: choose.read_network(each.path, build_resunet) for each in networks}
    files.prepare_folder(config.output, write.FIGURES, write.PROBABILITIES)
    work = find_work(config, groups)
    cases, software = choose.all_cases(groups), describe_software()
    with connecting(config.scheduler, config.output, config.workers) as cluster:
        print_header(
            "Segmenting cases",
            config,
            found,
            software,
            cases=f"{len(cases)}: {shortened(', '.join(case.id for case in cases), 60)}",
            networks=choose.describe_groups(groups, () if ids else found),
            parameters=" + ".join(f"{model.count_params():,}" for model in models.values()),
            device=software["device"],
            cluster=cluster,
        )
        if config.weights and any(case.segmentation for case in cases):
            warn("A file of weights does not name its training cases, whose scores mean nothing.")
        for sentence in itertools.chain(*(left.changed for _, left in work)):
            print(sentence)
        num_left = sum(len(left.missing) + len(left.unscored) for _, left in work)
        if num_left < len(cases):
            num_done = f"{len(cases) - num_left} of {len(cases)} cases"
            print(f"Done already: {num_done}. Add --overwrite to segment them again.")
        results = itertools.chain(
            *(scoring.score_cases(config.output, left.unscored, config.slices) for _, left in work),
            *(prediction.segment_cases(each, left.missing, models, cluster) for each, left in work),
        )
        return cases, follow(results, num_left, "Segmenting", write.describe_result)


def find_work(config, groups):
    """Returns for each group of cases the `Procedure`, and what is not done."""
    from brats.predictions import unfinished
    from engine.prediction import cases as prediction
    from model import build_resunet

    work, output = [], Path(config.output)
    options = {name: getattr(config, name) for name in prediction.OPTIONS}
    for group in groups:
        procedure = prediction.Procedure(build_resunet, group.networks, output, **options)
        wanted = procedure.making, config.probabilities, config.slices, config.overwrite
        work.append((procedure, unfinished.find_unfinished(output, group.cases, *wanted)))
    return work


def print_header(title, config, found, software, **facts):
    """Prints the settings, and what the prediction runs on."""
    from brats.cases import find

    ignored = "" if config.flair else find.describe_ignored(config.data_root)
    facts |= {"output": config.output, "ignored": ignored}
    print(header(title, config, facts, software), flush=True)


if __name__ == "__main__":
    end_with_code(main, "Finished cases are kept. Run the command again to continue.")
