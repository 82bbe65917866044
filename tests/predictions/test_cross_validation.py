"""Cross-validation: which networks segment which case, and `make cross-validation`."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brats.cases.find import find_cases
from brats.patches.file import AGREEMENT
from brats.volumes.files import read_volume
from engine.runs.folder import read_record, write_record
from tests.synthetic import write_constant_network

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs(ids, tmp_path):
    """Three runs, the third of which was trained on all cases.

    A case by itself is necrosis to the first and edema to the second; their mean is enhancing.
    """
    first, second, third = ids
    folders = []
    for name, probabilities, trained_on in (
        ("a", [0.1, 0.5, 0.0001, 0.4], [first]),
        ("b", [0.1, 0.0001, 0.5, 0.4], [second]),
        ("c", [0.9, 0.05, 0.03, 0.02], ids),
    ):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        write_constant_network(folders[-1] / "best.keras", probabilities)
        split = {"train": trained_on, "validation": []}
        cases = {name: {"patient": name} for part in split.values() for name in part}
        patches = AGREEMENT | {"cases": cases}
        write_record(folders[-1], {"settings": {}, "patches": patches, "split": split})
    return folders


def networks_of(output, case_id):
    record = json.loads((output / f"{case_id}.json").read_text())
    return [Path(network["path"]).parent.name for network in record["networks"]]


def test_a_case_is_segmented_by_the_mean_of_the_networks_that_have_not_seen_it(
    runs, ids, small_cases, tmp_path, start, plain
):
    output, flags = tmp_path / "out", ("--run-dir", *runs, "--cross-validate")
    result = start(small_cases, output, *flags)
    assert result.code == 0
    assert f"1 case by {runs[0]}/best.keras + {runs[1]}/best.keras" in result.out
    for case_id, label, networks in ((ids[0], 2, "b"), (ids[1], 1, "a"), (ids[2], 4, "ab")):
        assert networks_of(output, case_id) == list(networks)
        assert set(read_volume(output / f"{case_id}.nii.gz")[0].ravel()) == {0, label}
    # Another way to segment these cases is another folder.
    result = start(small_cases, output, "--run-dir", *runs[:2], "--cases", ids[0])
    assert result.code == 1 and f"{ids[0]}.nii.gz was made with networks" in result.err


def test_without_cross_validation_only_cases_that_no_network_has_seen_are_segmented(
    runs, ids, small_cases, tmp_path, start, quick
):
    assert start(small_cases, tmp_path / "out", "--run-dir", *runs[:2]).code == 0
    assert [path.stem for path in (tmp_path / "out").glob("*.json")] == ids[2:]
    result = start(small_cases, tmp_path / "no", "--run-dir", runs[2])
    assert result.code == 1 and not (tmp_path / "no").exists()
    result = start(small_cases, tmp_path / "no", "--run-dir", runs[2], "--cross-validate")
    assert result.code == 1 and not (tmp_path / "no").exists()


def test_a_warning_of_a_network_that_has_seen_the_case_stays_when_it_is_scored_again(
    runs, ids, small_cases, tmp_path, start, quick
):
    for _ in range(2):
        flags = ("--run-dir", runs[0], "--cases", ids[0])
        assert start(small_cases, tmp_path / "out", *flags).code == 0
        record = json.loads((tmp_path / "out" / f"{ids[0]}.json").read_text())
        assert sum("Trained on this patient" in text for text in record["warnings"]) == 1
        (tmp_path / "out" / "figures" / f"{ids[0]}-modalities.png").unlink()
    assert len(quick) == 1


def make(data_root, runs, *more):
    if not shutil.which("make"):
        pytest.skip("needs make")
    training = "--base-filters 2 --depth 1 --epochs 1 --batch-size 2 --steps-per-epoch 2"
    command = ["make", "--old-file", ".venv/runtime", "cross-validation", "NUM_FOLDS=2"]
    command += [f"DATA_ROOT={data_root}", f"RUNS={runs}", f"TRAINING={training}"]
    command += ["EXTRACTION=--patches-per-case 4", f"BIN={Path(sys.executable).parent}", *more]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    return result.stdout.replace("\\\n", " ").splitlines()


@pytest.mark.nightly
def test_make_extracts_once_trains_every_fold_and_predicts_all_cases(cohort, tmp_path):
    runs = tmp_path / "runs"
    make(cohort, runs)
    cases = [case.id for case in find_cases(cohort, need_segmentation=True)[0]]
    patches = {path: path.stat().st_mtime_ns for path in (runs / "patches").iterdir()}
    assert sorted(path.stem for path in patches) == cases
    trained = min((runs / f"fold{fold}" / "config.json").stat().st_mtime_ns for fold in range(2))
    assert max(patches.values()) < trained  # The folds share them.
    held_out = {}
    for fold in range(2):
        for case_id in read_record(runs / f"fold{fold}")["split"]["validation"]:
            assert held_out.setdefault(case_id, fold) == fold
            assert networks_of(runs / "predictions", case_id) == [f"fold{fold}"]
    assert sorted(held_out) == cases
    records = {path: path.stat().st_mtime_ns for path in (runs / "predictions").glob("*.json")}
    make(cohort, runs)  # Continues, and finds everything done.
    for before in (patches, records):
        assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.nightly
def test_make_follows_one_recipe_and_resumes_a_fold_that_was_started(cohort, tmp_path):
    (tmp_path / "fold1").mkdir()
    (tmp_path / "fold1" / "config.json").touch()
    flags = ("RECIPE=tuned", "WEIGHTS=a.keras", "TRAINING=", "--dry-run")
    commands = [shlex.split(line) for line in make(cohort, tmp_path, *flags)]
    commands = {Path(line[1]).name: line for line in commands if line[0].endswith("python")} | {
        "fold0": next(line for line in commands if str(tmp_path / "fold0") in line)
    }
    assert len(commands) == 4
    for command in commands.values():
        assert command[command.index("--recipe") + 1] == "tuned"
    assert "--resume" in commands["train.py"] and "--weights" not in commands["train.py"]
    assert "--resume" not in commands["fold0"] and "a.keras" in commands["fold0"]
