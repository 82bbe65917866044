"""Cross-validation: the commands of `make cross-validation`, and who segments which case."""

import contextlib
import csv
import json
import pickle
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import extract_patches
import predict
import train
from brats.cases.find import find_cases
from brats.patches.file import AGREEMENT
from brats.script import exit_code
from brats.volumes.files import read_volume
from engine import procedure
from engine.runs.folder import read_record, write_record
from tests.synthetic import write_constant_network

ROOT = Path(__file__).parents[1]
SCRIPTS = {"extract_patches.py": extract_patches, "train.py": train, "predict.py": predict}
EXTRACTION = "--patches-per-case 4 --workers 1"
TRAINING = "--base-filters 2 --depth 1 --epochs 1 --batch-size 2 --steps-per-epoch 2"


def commands(data_root, runs, *variables):
    """Returns what `make cross-validation` would run for two folds, each as a list of words."""
    result = subprocess.run(
        ["make", "--dry-run", "--old-file", ".venv/runtime", "cross-validation", "NUM_FOLDS=2"]
        + [f"DATA_ROOT={data_root}", f"RUNS={runs}"]
        + [f"EXTRACTION={EXTRACTION}", f"TRAINING={TRAINING}", "BIN=bin", *variables],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if not line.startswith("make")]


def follow(command):
    """Runs a command of the Makefile; a script of ours in this process."""
    if command[0] == "bin/python":
        SCRIPTS[command[1]].main(command[2:])
    else:
        subprocess.run(command, check=True)


def run(data_root, output, *more):
    arguments = ["--data-root", str(data_root), "--output", str(output), *map(str, more)]
    return exit_code(lambda: predict.main(arguments))


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    """Returns the bytes of every file of a prediction, but for those that hold its settings."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("config.json", "report.html")
    }


@pytest.fixture(scope="module")
def runs(cohort, tmp_path_factory):
    """What `make cross-validation` leaves of two folds, started again twice on the way."""
    if not shutil.which("make"):
        pytest.skip("needs make")
    runs = tmp_path_factory.mktemp("cross-validation") / "runs"
    words = [command[1] for command in commands(cohort, runs)]
    fold = ["extract_patches.py", "train.py"]
    finished = [str(runs / f"fold{number}-of-2.finished") for number in range(2)]
    patches = [str(runs / f"fold{number}.h5") for number in range(2)]
    assert words == [
        *(*fold, finished[0], patches[0]),
        *(*fold, finished[1], patches[1]),
        *("-f", "predict.py"),
    ]
    for command in commands(cohort, runs)[:2]:
        follow(command)
    # As if it was killed before the first fold was marked as finished.
    again = commands(cohort, runs)
    assert "--resume" in again[1] and "--resume" not in again[5]
    for command in again[:4]:
        follow(command)
    rest = commands(cohort, runs)
    assert [command[1] for command in rest] == words[4:]
    Path(patches[0]).touch()  # As if it was killed before it was removed.
    for command in rest:
        follow(command)
    assert [command[1] for command in commands(cohort, runs)] == words[-2:]
    return runs


def test_a_fold_starts_from_given_weights_but_is_resumed_without(cohort, tmp_path):
    if not shutil.which("make"):
        pytest.skip("needs make")
    (tmp_path / "fold1").mkdir()
    (tmp_path / "fold1" / "config.json").touch()
    first, second = (
        command[command.index("--run-dir") + 1 : command.index("--recipe")]
        for command in commands(cohort, tmp_path, "TRAINING=", "WEIGHTS=a.keras")
        if command[1] == "train.py"
    )
    assert first == [str(tmp_path / "fold0"), "--weights", "a.keras"]
    assert second == [str(tmp_path / "fold1"), "--resume"]


def test_all_commands_follow_one_recipe(cohort, tmp_path):
    if not shutil.which("make"):
        pytest.skip("needs make")
    recipes = [
        command[command.index("--recipe") + 1]
        for command in commands(cohort, tmp_path, "RECIPE=tuned")
        if command[0] == "bin/python"
    ]
    assert recipes == ["tuned"] * 5


def splits_of(runs):
    return [read_record(runs / f"fold{number}")["extraction"]["split"] for number in range(2)]


def test_every_case_is_held_out_once_and_the_patches_are_gone(runs, cohort):
    splits = splits_of(runs)
    held_out = [name for split in splits for name in split["validation"]]
    assert sorted(held_out) == [case.id for case in find_cases(cohort, need_segmentation=True)]
    assert splits[0]["train"] == splits[1]["validation"]
    for number in range(2):
        extraction = read_record(runs / f"fold{number}")["extraction"]
        assert (extraction["num_folds"], extraction["fold"]) == (2, number)
    assert sorted(path.name for path in runs.iterdir()) == [
        *("fold0", "fold0-of-2.finished", "fold1", "fold1-of-2.finished", "predictions"),
    ]


def test_each_case_has_the_bytes_of_the_network_that_has_not_seen_it(runs, cohort, tmp_path):
    together = contents(runs / "predictions")
    for number in range(2):
        assert run(cohort, tmp_path / str(number), "--run-dir", runs / f"fold{number}") == 0
        alone = contents(tmp_path / str(number))
        tables = {"scores.csv", "summary.csv", "scores.png"}
        assert len(alone.keys() - tables) == 2 * 3
        for name in alone.keys() - tables:
            assert together[name] == alone[name]
        scores = table(runs / "predictions" / "scores.csv")
        for row in table(tmp_path / str(number) / "scores.csv"):
            assert row in scores
    assert {row["cases"] for row in table(runs / "predictions" / "summary.csv")} == {"4"}


def test_the_record_says_which_network_segmented_which_case(runs):
    record = json.loads((runs / "predictions" / "config.json").read_text())
    assert record["method"]["cross_validate"] is True
    assert record["networks_by_case"] == {
        name: [str(runs / f"fold{number}" / "best.keras")]
        for number, split in enumerate(splits_of(runs))
        for name in split["validation"]
    }
    report = (runs / "predictions" / "report.html").read_text()
    assert "fold1/best.keras that were not trained on each" in report


def test_a_folder_is_cross_validated_or_not(runs, cohort, tmp_path, capsys):
    both = ["--run-dir", runs / "fold0", runs / "fold1"]
    case_id = splits_of(runs)[0]["validation"][0]
    assert run(cohort, runs / "predictions", *both, "--cases", case_id) == 1
    assert "were made with other cross_validate; their scores" in capsys.readouterr().err
    assert run(cohort, tmp_path, *both, "--cases", case_id) == 0
    assert run(cohort, tmp_path, *both, "--cross-validate") == 1
    assert "were made with other cross_validate; their scores" in capsys.readouterr().err


class OneWorker:
    """A cluster of one worker in this process, which is sent everything as bytes."""

    def describe(self):
        return "one worker"

    def sharing(self, folder, files, facts):
        assert all(path.is_absolute() and path.is_file() for path in files)
        return contextlib.nullcontext()

    def in_order(self, function, tasks):
        for task in tasks.values():
            yield function(pickle.loads(pickle.dumps(task)))


def test_on_a_cluster_it_gives_the_same_bytes(runs, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(
        predict, "connecting", lambda *settings: contextlib.nullcontext(OneWorker())
    )
    monkeypatch.chdir(runs)
    assert run(cohort, tmp_path, "--run-dir", "fold0", "fold1", "--cross-validate") == 0
    assert contents(tmp_path) == contents(runs / "predictions")


@pytest.fixture
def plain_runs(cohort, tmp_path):
    """Three runs that have nothing to do with folds, and who was trained on what.

    A case by itself is necrosis to the first and edema to the second; their mean is enhancing.
    """
    first, second, third, fourth = (case.id for case in find_cases(cohort, need_segmentation=True))
    runs = {
        "a": ([0.1, 0.5, 0.0001, 0.4], [first, fourth]),
        "b": ([0.1, 0.0001, 0.5, 0.4], [second, fourth]),
        "c": ([0.9, 0.05, 0.03, 0.02], [first, second, third, fourth]),
    }
    for name, (probabilities, trained_on) in runs.items():
        folder = tmp_path / name
        folder.mkdir()
        write_constant_network(folder / "best.keras", probabilities)
        split = {"train": trained_on, "validation": []}
        write_record(folder, {"settings": {}, "extraction": AGREEMENT | {"split": split}})
    return [tmp_path / name for name in runs], (first, second, third, fourth)


def test_networks_that_have_not_seen_a_case_are_averaged(
    plain_runs, cohort, tmp_path, monkeypatch, capsys
):
    folders, (first, second, third, fourth) = plain_runs
    built = []
    build = procedure.build_segmenter
    monkeypatch.setattr(
        procedure, "build_segmenter", lambda *each: built.append(len(each[0])) or build(*each)
    )
    output, flags = tmp_path / "out", ["--run-dir", *folders, "--cross-validate"]
    assert run(cohort, output, *flags, "--cases", second) == 0
    assert run(cohort, output, *flags) == 0
    told = capsys.readouterr().out
    assert f"1 by {folders[0]}/best.keras + {folders[1]}/best.keras" in told
    assert built == [1, 1, 2]  # The second case was done already.
    for case_id, label, networks in (
        (first, 2, [1]),
        (second, 1, [0]),
        (third, 4, [0, 1]),
    ):
        labels, _ = read_volume(output / f"{case_id}.nii.gz")
        assert set(labels.ravel()) == {0, label}
        record = json.loads((output / "config.json").read_text())["networks_by_case"]
        assert record[case_id] == [str(folders[index] / "best.keras") for index in networks]
    assert not (output / f"{fourth}.nii.gz").exists()
    # What is said of other cases is kept.
    assert run(cohort, output, *flags, "--cases", third) == 0
    assert json.loads((output / "config.json").read_text())["networks_by_case"].keys() == {
        *(first, second, third),
    }
    assert run(cohort, output, *flags, "--cases", first, fourth) == 1
    assert f"Every run was trained on {fourth}; to cross-" in capsys.readouterr().err
