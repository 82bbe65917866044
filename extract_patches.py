"""Cuts 128x128 axial patches out of BraTS cases, into one HDF5 file per case.

In: case folders under --data-root. Out: <case>.h5 in the folder --output, each complete or absent.
Run it again to extract what is missing.

    python extract_patches.py --data-root data/brats --output data/patches
"""

import os

from brats.flags import parse
from brats.parallel import in_order, run_per_case
from brats.progress import follow, progress_bar
from brats.provenance import describe_source
from brats.script import check_none_failed, end_with_code, header, warn
from config import ExtractConfig

# Functions import NumPy and what needs it: --help and wrong flags answer at once, and an
# interruption during an import ends like any other.


def main(argv=None):
    """Runs the extraction with the given command line arguments."""
    config = parse(ExtractConfig, argv, __doc__)

    from brats.cases.find import describe_ignored, find_cases, select_cases
    from brats.cluster import connecting
    from brats.files import check_outside, prepare_folder
    from brats.patches import extract

    check_outside("--output", config.output, "--data-root", config.data_root)
    found, failures = find_cases(config.data_root, not config.check, config.labels)
    cases, failures = select_cases(found, failures, config.cases)
    num_workers = config.workers or os.cpu_count()
    if config.check:
        return check_cases(cases, failures, num_workers)
    prepare_folder(config.output)
    recipe = extract.Recipe(config.patches_per_case, config.centers, config.dtype, config.seed)
    missing = extract.find_missing(cases, config.output, recipe, config.overwrite)
    num_missing = len(missing.cases)
    size = extract.check_free_space(config.output, num_missing, recipe)
    with connecting(config.scheduler, config.output, config.workers) as cluster:
        facts = {
            "cases": f"{len(cases)}, of which {len(cases) - num_missing} are extracted already",
            "output": config.output,
            "size": size,
            "cluster": cluster,
            "ignored": describe_ignored(config.data_root),
        }
        software = describe_source("numpy", "h5py", "SimpleITK")
        text = header("Extracting patches", config, facts, software)
        print(text, *missing.changed, sep="\n", flush=True)
        tasks = extract.tasks(missing.cases, config.output, recipe, config.force)
        results = run_per_case(extract.extract_case, tasks, num_workers, cluster)
        failures = {each.case_id: each.reason for each in [*failures, *missing.failures]}
        for reason in failures.values():
            warn(reason, "Error")
        failures |= follow(results, num_missing, "Extracting", describe)
    done = [case for case in cases if case.id not in failures]
    print(extract.describe_result(done, config.output))
    check_none_failed(failures, len({case.id for case in cases} | set(failures)))


def check_cases(cases, failures, num_workers):
    """Prints what is found in the voxels of every case, and writes nothing.

    Raises:
        InputError: If a case has errors.
    """
    from brats.cases import check

    checks = []
    with progress_bar(len(cases), "Checking", "cases") as progress:
        for result in in_order(check.check_case, cases, num_workers):
            checks.append(result)
            progress.update()
    checks = check.compare_cases(checks)
    checks += [check.CaseCheck(failed.case_id, [failed.reason]) for failed in failures]
    print(check.table(checks))
    check.check_no_errors(checks)


def describe(case_id, sentences):
    """Returns what is odd about a case, as text."""
    return "\n".join(f"{case_id}: {sentence}" for sentence in sentences)


if __name__ == "__main__":
    end_with_code(main, "Finished cases are kept. Run the command again to continue.")
