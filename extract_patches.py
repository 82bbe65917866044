"""Cuts 128x128 axial patches out of BraTS cases, into one HDF5 file.

In: case folders under --data-root. Out: the patch file --output, complete or absent.

    python extract_patches.py --data-root data/brats --output data/patches.h5
"""

import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from brats.cases.check import inspect_case, inspect_headers
from brats.cases.find import describe_ignored, find_cases
from brats.cases.findings import (
    check_no_errors,
    compare_cases,
    table,
    warning_lines,
    warnings_by_case,
)
from brats.cases.split import split_cases, split_fold
from brats.cluster import connecting
from brats.cluster_extraction import check_none_failed, prepare_cases
from brats.errors import Failed
from brats.flags import parse, to_dict
from brats.parallel import in_order
from brats.parts import collecting
from brats.patches.extract import (
    append_cases,
    check_free_space,
    check_output,
    choose_stored,
    describe_class_shares,
    describe_step,
    file_settings,
    is_extracted,
    keep_cases,
)
from brats.patches.file import AGREEMENT, SPLITS, laying_out, stored_bytes, write_settings
from brats.script import deferring_interruption, end_with_code, header
from brats.unfinished import describe_attempt, forget_attempt, is_unfinished, resuming
from config import ExtractConfig


def main(argv=None):
    """Runs the extraction with the given command line arguments."""
    config = parse(ExtractConfig, argv, __doc__)
    output = Path(config.output)
    cases = find_cases(config.data_root, need_segmentation=not config.check)
    if config.check:
        return check_cases(cases, config)
    inspections = compare_cases(inspect_headers(cases))
    check_no_errors(inspections)
    if config.num_folds:
        train, validation = split_fold(cases, config.num_folds, config.fold, config.seed)
    else:
        train, validation = split_cases(cases, config.validation_fraction, config.seed)
    settings = choose_stored(to_dict(config)) | file_settings(cases, train, validation)
    if config.resume and not is_unfinished(output) and is_extracted(output, settings):
        forget_attempt(output)
        print(f"{output} is complete: there is nothing to go on with.")
        return
    check_output(output, config.overwrite)
    with connecting(config.scheduler, config.workers) as cluster:
        begin(config, cluster, cases, validation, settings, inspections)


def begin(config, cluster, cases, validation, settings, inspections):
    """Prints what is about to happen, does it, and prints what was written."""
    num_ahead = cluster.window() if cluster else 0
    size = stored_bytes((len(cases) + num_ahead) * config.patches_per_case, config.dtype)
    free = check_free_space(Path(config.output), size)
    unused = ("validation_fraction",) if config.num_folds else ("num_folds", "fold")
    print(
        header(
            "Extracting patches",
            **{name: value for name, value in to_dict(config).items() if name not in unused},
            cases=f"{len(cases)}, {len(validation)} of them to validate on",
            **({"cluster": cluster.describe()} if cluster else {}),
            size=f"at most {size / 1e9:.3g} GB, of {free / 1e9:.3g} GB free",
            ignored=describe_ignored(config.data_root, cases),
            trained_as_background=settings["trained_as_background"] or "label 0 only",
            **{name: settings[name] for name in ("versions", "commit")},
            warnings=f"by headers: {warning_lines(inspections)}",
        )
    )
    counts = extract(config, cluster, cases, validation, settings, inspections)
    print(describe_class_shares(settings["class_shares"]))
    print(
        f"Wrote {counts['train']} training and {counts['validation']} validation patches to "
        f"{config.output}"
    )


def extract(config, cluster, cases, validation, settings, inspections):
    """Writes the patch file, or goes on with it; returns the number of patches of each split."""
    with (
        # HDF5 calls back to write, and neither it nor h5py bears an interruption there.
        deferring_interruption(second_ends=False) as is_interrupted,
        resuming(config.output, AGREEMENT | settings, config.resume) as unfinished,
        collecting(config.output, settings, config.resume) as attempt,
    ):

        def check():
            if is_interrupted():
                raise KeyboardInterrupt("Finished cases are kept: go on with --resume.")

        print(describe_attempt(unfinished, len(cases), config.resume, attempt.count()))
        per_case = config.patches_per_case
        with laying_out(unfinished.path, config.dtype, len(cases) * per_case) as (file, disk):
            drawing = {"seed": config.seed, "centers": config.centers, "num_patches": per_case}
            first, workers = len(unfinished.steps), config.workers or os.cpu_count()
            prepared = prepare_cases(
                cluster, attempt, cases, first, drawing, config.dtype, workers, check, tqdm.write
            )
            ids = {case.id for case in validation}
            failed = write_cases(file, disk, unfinished, config, cases, ids, prepared, check)
            check_none_failed(failed, cases, unfinished.steps, attempt)
            counts = np.sum([step["class_counts"] for step in unfinished.steps], axis=0)
            settings["class_shares"] = (counts / counts.sum()).tolist()
            settings["warnings"] = warnings_by_case(inspections, unfinished.steps)
            write_settings(file, settings)
            return {split: len(file[split]["case"]) for split in SPLITS}


def check_cases(cases, config):
    """Prints what the voxels of every case tell, and writes nothing.

    Raises:
        InputError: If a case has errors.
    """
    looks = in_order(inspect_case, cases, config.workers or os.cpu_count())
    inspections = compare_cases(list(tqdm(looks, "cases", len(cases), unit="case")))
    print(table(inspections))
    print(f"Ignored: {describe_ignored(config.data_root, cases)}")
    check_no_errors(inspections)


def write_cases(file, disk, unfinished, config, cases, validation_ids, prepared, check):
    """Writes the patches of every case, in order; returns the ids of those that have failed.

    Raises:
        KeyboardInterrupt: If the work is to end, once the patches of a case are written.
    """

    def split_of(case):
        return "validation" if case.id in validation_ids else "train"

    keep_cases(file, disk, unfinished.steps, cases, split_of)
    failed, num_kept = [], len(unfinished.steps)
    with tqdm(total=len(cases), initial=num_kept, desc="cases", unit="case") as progress:
        for case, step in append_cases(file, disk, unfinished, cases, split_of, prepared):
            progress.update()
            check()
            if isinstance(step, Failed):
                failed.append(case.id)
                progress.write(f"Error: {step.reason}", file=sys.stderr)
                continue
            for sentence in describe_step(case, step, config.patches_per_case):
                progress.write(sentence)
    return failed


if __name__ == "__main__":
    end_with_code(main)
