"""The three scripts in a row on phantom cases: the files they leave, what is in them, misuse."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import SimpleITK

import extract_patches
import predict
import train
from brats.cases.find import find_cases, select_cases
from brats.editions import EDITIONS
from brats.flags import parse
from brats.patches.centers import cut_patch
from brats.phantom.cohort import write_cohort
from brats.scores.tables import describe_summary
from brats.script import exit_code
from config import TrainConfig
from engine.prediction.segment import segment_cases
from engine.runs.folder import read_record
from model import build_resunet

SHAPE = (24, 160, 144)
NAMINGS = ("2017", "2023")
REGIONS = ["whole", "core", "enhancing"]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def names(folder, suffix):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(suffix))


def run_train(patches, run_dir, *more):
    settings = ["--base-filters", "4", "--depth", "1", "--steps-per-epoch", "3"]
    train.main(["--patches", str(patches), "--run-dir", str(run_dir), *settings, *more])


def run_predict(data_root, output, *more):
    predict.main(["--data-root", str(data_root), "--output", str(output), *more])


def case_files(root, case_id):
    """Returns the files of a case, wherever its folder lies, by the end of their names."""
    folder = next(root.rglob(case_id))
    return {path.name.removeprefix(case_id): path for path in folder.iterdir()}


def read_image(path):
    image = SimpleITK.ReadImage(str(path))
    geometry = image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()
    return SimpleITK.GetArrayFromImage(image), geometry, image.GetPixelIDTypeAsString()


def save_constant_network(path, class_index):
    """Saves a network that gives one class to every pixel."""
    network = build_resunet((None, None, 4), base_filters=2, depth=1)
    head = network.get_layer("head")
    head.set_weights([np.zeros(head.kernel.shape), 9 * np.eye(4)[class_index]])
    network.save(path)
    return path


def last_weights(run_dir):
    return keras.saving.load_model(run_dir / "last.keras", compile=False).get_weights()


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """The folder of five phantom cases in each naming."""
    folders = {naming: tmp_path_factory.mktemp(f"cases{naming}") for naming in NAMINGS}
    for naming, folder in folders.items():
        write_cohort(folder, num_cases=5, seed=0, shape=SHAPE, naming=naming)
    return folders


@pytest.fixture(scope="module")
def patch_files(cohorts, tmp_path_factory):
    """The patch file of each cohort: 12 patches per case, one case of five to validate on."""
    files = {naming: tmp_path_factory.mktemp("data") / f"{naming}.h5" for naming in NAMINGS}
    for naming, file in files.items():
        paths = ["--data-root", str(cohorts[naming]), "--output", str(file)]
        extract_patches.main([*paths, "--patches-per-case", "12"])
    return files


@pytest.fixture(scope="module")
def run_dir(patch_files, tmp_path_factory):
    """A finished run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "two"
    run_train(patch_files["2017"], folder, "--epochs", "2")
    return folder


@pytest.fixture(scope="module")
def resumed_dir(patch_files, tmp_path_factory):
    """A run of one epoch, resumed to a second."""
    folder = tmp_path_factory.mktemp("runs") / "resumed"
    run_train(patch_files["2017"], folder, "--epochs", "1")
    run_train(patch_files["2017"], folder, "--epochs", "2", "--resume")
    return folder


@pytest.fixture(scope="module")
def logged_dir(patch_files, tmp_path_factory):
    """A run of one epoch with a log, resumed with it to a second."""
    pytest.importorskip("tensorboard", reason="needs requirements-tensorboard.txt")
    folder = tmp_path_factory.mktemp("runs") / "logged"
    run_train(patch_files["2017"], folder, "--epochs", "1", "--tensorboard")
    run_train(patch_files["2017"], folder, "--epochs", "2", "--resume", "--tensorboard")
    return folder


@pytest.fixture(scope="module")
def predictions(run_dir, cohorts, tmp_path_factory):
    """The output folder for each cohort; each run was trained on four of its five cases."""
    outputs = {naming: tmp_path_factory.mktemp("predictions") / naming for naming in NAMINGS}
    unseen = read_record(run_dir)["extraction"]["split"]["validation"]
    run_predict(cohorts["2017"], outputs["2017"], "--run-dir", str(run_dir))
    assert names(outputs["2017"], ".nii.gz") == [f"{case}.nii.gz" for case in unseen]
    run_predict(cohorts["2023"], outputs["2023"], "--run-dir", str(run_dir))
    return outputs


@pytest.mark.parametrize("naming", NAMINGS)
def test_extraction_writes_12_patches_per_case_and_how_they_were_made(naming, patch_files):
    with h5py.File(patch_files[naming]) as file:
        assert file["train/images"].shape == (4 * 12, 128, 128, 4)
        assert file["validation/labels"].shape == (12, 128, 128)
        assert set(np.unique(file["train/labels"])) == {0, 1, 2, 3}
        settings = {name: json.loads(value) for name, value in file.attrs.items()}
    split = settings["split"]
    assert (len(split["train"]), len(split["validation"])) == (4, 1)
    assert sorted(split["train"] + split["validation"]) == settings["cases"]
    assert settings["label_schemes"] == {naming: list(EDITIONS[naming].labels)}
    assert names(patch_files[naming].parent, "") == [patch_files[naming].name]


def test_training_writes_its_record_its_history_and_two_networks(run_dir, patch_files):
    assert names(run_dir, "") == [
        "best.keras",
        "config.json",
        "curves.png",
        "history.csv",
        "last.keras",
        "state",
    ]
    record = read_record(run_dir)
    assert record["settings"]["base_filters"] == 4
    assert record["settings"]["steps_per_epoch"] == 3
    with h5py.File(patch_files["2017"]) as file:
        for name, value in file.attrs.items():
            assert record["extraction"][name] == json.loads(value)
    last = keras.saving.load_model(run_dir / "last.keras")
    assert record["num_parameters"] == last.count_params()
    assert int(last.optimizer.iterations) == 2 * 3


def test_the_history_has_a_row_per_epoch_with_the_published_rates(run_dir):
    history = rows(run_dir / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    for row in history:
        for region in REGIONS:
            assert 0 <= float(row[f"dice_{region}"]) <= 1
            assert 0 <= float(row[f"val_dice_{region}"]) <= 1
        assert float(row["loss"]) > 0 and float(row["val_loss"]) > 0
    # At the first step of an epoch, steps 0 and 3: 0.08 / 10^e / (1 + 5e-6 * 10^e * step).
    rates = [float(row["learning_rate"]) for row in history]
    np.testing.assert_allclose(rates, [0.008, 0.0008 / (1 + 5e-4 * 3)], rtol=1e-6)
    assert [row["iterations"] for row in history] == ["3", "6"]


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(run_dir, resumed_dir):
    for expected, weight in zip(last_weights(run_dir), last_weights(resumed_dir), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_resumed_run_says_with_what_it_went_on(resumed_dir):
    record = read_record(resumed_dir)
    (resumed,) = record["resumed"]
    assert record["settings"]["epochs"] == 1
    assert (resumed["after_epoch"], resumed["after_step"]) == (1, 0)
    assert resumed["settings"]["epochs"] == 2
    assert resumed["versions"] == record["versions"] and "extraction" not in resumed


def test_a_run_with_a_log_ends_with_the_weights_of_one_without(run_dir, logged_dir):
    for expected, weight in zip(last_weights(run_dir), last_weights(logged_dir), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_the_log_has_every_step_and_epoch_once(logged_dir):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = rows(logged_dir / "history.csv")
    for split, prefix in (("train", ""), ("validation", "val_")):
        log = EventAccumulator(str(logged_dir / "tensorboard" / split)).Reload()
        for tag, column in (("loss/epochs", "loss"), ("soft_dice/core", "dice_core")):
            expected = [(row["epoch"], float(row[prefix + column])) for row in history]
            found = [(str(point.step), point.value) for point in log.Scalars(tag)]
            assert found == [(epoch, pytest.approx(value)) for epoch, value in expected]
        if split == "train":
            assert [point.step for point in log.Scalars("loss/steps")] == [1, 2, 3, 4, 5, 6]
        else:
            assert [picture.step for picture in log.Images("patches")] == [1, 2]


def test_a_log_without_its_package_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "engine.runs.event_file", None)
    absent = str(tmp_path / "absent")
    arguments = ["--tensorboard", "--patches", absent, "--run-dir", absent]
    assert exit_code(lambda: train.main(arguments)) == 1
    assert "--tensorboard needs the package" in only_line(capsys)
    assert not (tmp_path / "absent").exists()


def test_the_settings_reach_the_network_its_loss_and_its_optimizer():
    flags = "--loss present-classes --class-weights 1 2 3 4 --optimizer adam --momentum 0.8"
    settings = parse(TrainConfig, [*flags.split(), "--depth", "1", "--base-filters", "2"], "")
    model = train.build_compiled(settings, steps=3)
    assert model.settings["depth"] == 1 and model.settings["base_filters"] == 2
    assert model.loss.leave_out_absent
    assert tuple(model.loss.class_weights) == (1, 2, 3, 4)
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert model.optimizer.beta_1 == 0.8
    settings = parse(TrainConfig, ["--base-filters", "2"], "")
    model = train.build_compiled(settings, steps=3)
    assert not model.loss.leave_out_absent
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert model.optimizer.momentum == 0.9


def test_training_in_16_bits_from_given_weights_changes_them_and_is_kept(
    run_dir, patch_files, tmp_path, monkeypatch
):
    built, build = [], train.build_compiled
    monkeypatch.setattr(
        train, "build_compiled", lambda *each: built.append(build(*each)) or built[0]
    )
    flags = ("--epochs", "1", "--mixed-precision", "--weights", str(run_dir / "last.keras"))
    try:
        run_train(patch_files["2017"], tmp_path / "run", *flags)
    finally:
        keras.config.set_dtype_policy("float32")
    assert built[0].get_layer("stem").compute_dtype == "bfloat16"
    before, after = last_weights(run_dir), last_weights(tmp_path / "run")
    assert 0 < np.abs(before[0] - after[0]).max() < 0.01  # The kernel of the stem.


def test_a_cosine_run_is_not_resumed_to_another_length(patch_files, tmp_path, capsys):
    run = tmp_path / "run"
    run_train(patch_files["2017"], run, "--epochs", "1", "--schedule", "cosine")
    arguments = ["--schedule", "cosine", "--epochs", "2", "--resume"]
    assert exit_code(lambda: run_train(patch_files["2017"], run, *arguments)) == 1
    assert "--epochs is 2, was 1" in only_line(capsys)


def test_a_resumed_run_has_the_history_of_an_uninterrupted_one(run_dir, resumed_dir):
    histories = [rows(folder / "history.csv") for folder in (run_dir, resumed_dir)]
    for row in histories[0] + histories[1]:
        del row["wait_s"], row["step_s"], row["validation_s"]
    assert histories[1] == histories[0]


@pytest.fixture(scope="module")
def joined_dir(patch_files, tmp_path_factory):
    """A run on both patch files, ended after one epoch and resumed to a second."""
    folder, flags = tmp_path_factory.mktemp("runs") / "joined", ("--patches", *joined(patch_files))
    run_train(patch_files["2017"], folder, *flags, "--epochs", "1")
    run_train(patch_files["2017"], folder, *flags, "--epochs", "2", "--resume")
    return folder


def joined(patch_files):
    return [str(patch_files[naming]) for naming in NAMINGS]


def test_a_run_on_two_files_knows_the_cases_of_both_and_resumes_exactly(
    joined_dir, patch_files, tmp_path
):
    extraction = read_record(joined_dir)["extraction"]
    splits = []
    for path in joined(patch_files):
        with h5py.File(path) as file:
            splits.append(json.loads(file.attrs["split"]))
    for split in ("train", "validation"):
        assert extraction["split"][split] == splits[0][split] + splits[1][split]
    assert set(extraction["label_schemes"]) == set(NAMINGS) and len(extraction["files"]) == 2
    run_train(patch_files["2017"], tmp_path, "--patches", *joined(patch_files), "--epochs", "2")
    for expected, weight in zip(last_weights(tmp_path), last_weights(joined_dir), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_prediction_leaves_out_what_a_run_was_trained_on_in_either_file(
    joined_dir, cohorts, tmp_path
):
    unseen = read_record(joined_dir)["extraction"]["split"]["validation"]
    for naming in NAMINGS:
        run_predict(cohorts[naming], tmp_path / naming, "--run-dir", str(joined_dir))
        (name,) = names(tmp_path / naming, ".nii.gz")
        assert name.removesuffix(".nii.gz") in unseen


def test_files_in_another_order_or_fewer_are_no_resumption(joined_dir, patch_files, capsys):
    first, second = joined(patch_files)
    flags = ("--epochs", "3", "--resume", "--patches")
    for paths, message in (
        ((second, first), "in another order"),
        ((first,), "files of --patches are 1, were 2"),
    ):
        capsys.readouterr()
        assert exit_code(lambda p=paths: run_train(first, joined_dir, *flags, *p)) == 1
        assert message in only_line(capsys)


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_segmentation_lies_where_its_case_lies_and_has_its_label_values(
    naming, predictions, cohorts
):
    for name in names(predictions[naming], ".nii.gz"):
        files = case_files(cohorts[naming], name.removesuffix(".nii.gz"))
        flair, geometry, _ = read_image(files[EDITIONS[naming].suffixes["flair"] + ".nii.gz"])
        labels, own_geometry, pixel_type = read_image(predictions[naming] / name)
        assert labels.shape == SHAPE
        assert own_geometry == geometry
        assert pixel_type == "8-bit unsigned integer"
        assert set(np.unique(labels)) <= set(EDITIONS[naming].labels)
        assert not labels[flair == 0].any()


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_case_has_a_picture_and_a_score_per_region(naming, predictions):
    # The run knows four of the five cases of 2017, and none of those of 2023.
    output, num_cases = predictions[naming], {"2017": 1, "2023": 5}[naming]
    cases = [name.removesuffix(".nii.gz") for name in names(output, ".nii.gz")]
    assert len(cases) == num_cases
    scores = rows(output / "scores.csv")
    expected = [(case, region) for case in cases for region in REGIONS]
    assert [(row["case"], row["region"]) for row in scores] == expected
    pictures = names(output / "figures", ".png")
    assert [picture.rpartition("-")[0] for picture in pictures] == sorted(2 * cases)
    assert [name for name in pictures if name.endswith("-modalities.png")] == pictures[1::2]
    for path in [output / "scores.png", *(output / "figures" / name for name in pictures)]:
        assert path.read_bytes().startswith(PNG_SIGNATURE)
    report = (output / "report.html").read_text()
    assert re.findall('<tr data-case="([^"]*)"', report) == cases


def test_slices_asked_for_are_drawn_and_missing_ones_are_told(cohorts, tmp_path, capsys):
    network = save_constant_network(tmp_path / "two.keras", class_index=2)
    arguments = ["--weights", str(network), "--cases", "BraTS-GLI-90001-000", "--slices", "7"]
    last, beyond = SHAPE[0] - 1, SHAPE[0]
    run_predict(cohorts["2023"], tmp_path / "out", *arguments, str(last))
    assert names(tmp_path / "out" / "figures", "") == [
        f"BraTS-GLI-90001-000-{name}.png" for name in (last, 7, "modalities")
    ]
    arguments.append(str(beyond))
    assert exit_code(lambda: run_predict(cohorts["2023"], tmp_path / "no", *arguments)) == 1
    assert f"has axial slices 0 to {last}, and no slice {beyond}" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    # Scores that are there stay.
    scores = (tmp_path / "out" / "scores.csv").read_bytes()
    assert exit_code(lambda: run_predict(cohorts["2023"], tmp_path / "out", *arguments)) == 1
    assert (tmp_path / "out" / "scores.csv").read_bytes() == scores


def test_the_summary_is_over_the_scores(predictions):
    scores, summary = (rows(predictions["2023"] / f"{name}.csv") for name in ("scores", "summary"))
    assert len(summary) == 3 * 13  # Regions and metrics.
    for row in summary:
        values = [float(s[row["metric"]]) for s in scores if s["region"] == row["region"]]
        assert row["cases"] == "5"
        assert float(row["mean"]) == pytest.approx(np.mean(values))
        assert float(row["max"]) == pytest.approx(max(values))


def test_the_printed_means_are_a_narrow_table_of_what_the_challenge_ranks_by(predictions):
    text = describe_summary(rows(predictions["2023"] / "summary.csv"))
    title, *lines = text.splitlines()
    metrics = ["dice", "hausdorff95_mm", "lesion_dice", "lesion_hausdorff95_mm"]
    assert title.split() == ["Mean", "over", "5", "cases", *metrics]
    assert [line.split()[0] for line in lines] == list(REGIONS)
    assert {len(line) for line in lines} == {len(title)} and len(title) <= 80


@pytest.mark.parametrize(("naming", "enhancing"), [("2017", 4), ("2023", 3)])
def test_a_network_that_says_enhancing_gives_each_edition_its_value(
    naming, enhancing, cohorts, tmp_path
):
    network = save_constant_network(tmp_path / "three.keras", class_index=3)
    case_id = next(iter(sorted(cohorts[naming].rglob("*_0001_1"))), None)
    case_id = case_id.name if case_id else "BraTS-GLI-90001-000"
    output = tmp_path / "out"
    run_predict(cohorts[naming], output, "--weights", str(network), "--cases", case_id)
    assert names(output, ".nii.gz") == [f"{case_id}.nii.gz"]
    labels, *_ = read_image(output / f"{case_id}.nii.gz")
    edition, files = EDITIONS[naming], case_files(cohorts[naming], case_id)
    images = [read_image(files[f"{suffix}.nii.gz"])[0] for suffix in edition.suffixes.values()]
    # Slices with next to no brain are 0 after normalization, and left out.
    assert set(np.unique(labels)) == {0, enhancing}
    assert np.mean(np.any(images, axis=0) == (labels == enhancing)) > 0.99
    truth = read_image(files[f"{edition.segmentation}.nii.gz"])[0] == enhancing
    found = labels == enhancing
    dice = 2 * np.sum(truth & found) / (truth.sum() + found.sum())
    scores = {row["region"]: row for row in rows(output / "scores.csv")}
    assert float(scores["enhancing"]["dice"]) == pytest.approx(dice)


def test_the_originals_weights_segment_a_case_without_ground_truth(cohorts, fixtures, tmp_path):
    folder = next(cohorts["2017"].rglob("*_0000_1"))
    images = shutil.ignore_patterns("*_seg.nii.gz")
    shutil.copytree(folder, tmp_path / "cases" / folder.name, ignore=images)
    weights = str(fixtures / "resunet_8_filters.hdf5")
    run_predict(tmp_path / "cases", tmp_path / "out", "--weights", weights)
    assert names(tmp_path / "out", "") == [
        f"{folder.name}.nii.gz",
        "config.json",
        "figures",
        "report.html",
    ]
    labels, *_ = read_image(tmp_path / "out" / f"{folder.name}.nii.gz")
    assert labels.any()


def test_training_goes_on_with_other_filters_only_in_another_run(run_dir, patch_files, capsys):
    arguments = ["--epochs", "3", "--resume", "--base-filters", "6"]
    assert exit_code(lambda: run_train(patch_files["2017"], run_dir, *arguments)) == 1
    assert "--base-filters is 6, was 4" in only_line(capsys)


def only_line(capsys):
    """Returns the one line on stderr, which is a message and no traceback."""
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    return error


@pytest.fixture
def misuse(cohorts, run_dir, patch_files, tmp_path):
    """Paths that the wrong commands below are made from."""
    empty, foreign = tmp_path / "empty", tmp_path / "foreign.h5"
    unfinished = tmp_path / "unfinished"
    for folder in (empty, unfinished):
        folder.mkdir()
    shutil.copyfile(run_dir / "config.json", unfinished / "config.json")
    foreign.write_text("<html>404</html>")
    dense, page = tmp_path / "dense.keras", tmp_path / "page.keras"
    page.write_text("<html>404</html>")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(dense)
    return {
        "cases": cohorts["2017"], "run": run_dir, "patches": patch_files["2017"], "empty": empty,
        "unfinished": unfinished, "foreign": foreign, "out": tmp_path / "out",
        "absent": tmp_path / "absent", "dense": dense, "page": page,
    }  # fmt: skip


SMALL = "--base-filters 4 --depth 1 --steps-per-epoch 3 --epochs 2"
WRONG = {
    "an absent data folder": (
        extract_patches, "--data-root {absent} --output {out}", "absent does not exist",
    ),
    "a data folder without cases": (
        extract_patches, "--data-root {empty} --output {out}", "No case found in",
    ),
    "an existing patch file": (
        extract_patches, "--data-root {cases} --output {patches}", "exists. Add --overwrite",
    ),
    "an absent patch file": (
        train, "--patches {absent} --run-dir {out}", "does not exist. Make it with extract_patches",
    ),
    "a patch file of something else": (
        train, "--patches {foreign} --run-dir {out}", "is not an HDF5 file",
    ),
    "a folder with a run": (
        train, "--patches {patches} --run-dir {run}", "holds a run. Continue it with --resume",
    ),
    "a file as the run folder": (
        train, "--patches {patches} --run-dir {foreign}", "Cannot make the folder",
    ),
    "nothing to resume": (
        train, "--patches {patches} --run-dir {empty} --resume", "it has no config.json",
    ),
    "a run without its state": (
        train, "--patches {patches} --run-dir {unfinished} --resume " + SMALL, "holds no state to",
    ),
    "more steps than patches": (
        train, "--patches {patches} --run-dir {out} --steps-per-epoch 13", "12 batches of 4",
    ),
    "a network deeper than the patches": (
        train, "--patches {patches} --run-dir {out} --depth 8", "expected at most 7",
    ),
    "a text as weights to start from": (
        train, "--patches {patches} --run-dir {out} --weights {page}", "page.keras is not a net",
    ),
    "a folder as the patch file": (
        extract_patches, "--data-root {cases} --output {empty} --overwrite", "is a folder",
    ),
    "absent weights to start from": (
        train, "--patches {patches} --run-dir {out} --weights {absent}", "absent does not exist",
    ),
    "a run without its record": (
        predict, "--run-dir {empty} --data-root {cases} --output {out}", "it has no config.json",
    ),
    "a run without a network": (
        predict, "--run-dir {unfinished} --data-root {cases} --output {out}", "has no best.keras",
    ),
    "a network of another kind": (
        predict,
        "--weights {dense} --data-root {cases} --output {out}",
        "dense.keras holds a Keras object of another kind",
    ),
    "an unknown case": (
        predict,
        "--run-dir {run} --data-root {cases} --output {out} --cases Brats17_X",
        "No case is called Brats17_X. Found 5 cases, from Brats17_PHANTOM_0000_1",
    ),
    "absent weights": (
        predict, "--weights {absent} --data-root {cases} --output {out}", "absent does not exist",
    ),
    "weights of another kind": (
        predict, "--weights {foreign} --data-root {cases} --output {out}", "is not an HDF5 file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_told_in_one_line_and_leaves_no_file(mistake, misuse, capsys):
    script, command, message = WRONG[mistake]
    arguments = command.format(**misuse).split()
    assert exit_code(lambda: script.main(arguments)) == 1
    assert message in only_line(capsys)
    assert not misuse["out"].exists()


def test_a_replaced_run_is_not_resumed_as_the_one_before(patch_files, tmp_path, monkeypatch):
    folder, whole = tmp_path / "run", tmp_path / "whole"
    run_train(patch_files["2017"], folder, "--epochs", "1")
    changed = ["--epochs", "1", "--base-filters", "6"]
    run_train(patch_files["2017"], whole, *changed)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patching, pytest.raises(KeyboardInterrupt):
        patching.setattr(train, "train_epoch", interrupt)
        run_train(patch_files["2017"], folder, "--overwrite", *changed)
    assert names(folder, "") == ["config.json", "state"]
    run_train(patch_files["2017"], folder, "--resume", *changed)
    for expected, weight in zip(last_weights(whole), last_weights(folder), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_missing_backend_is_told_in_one_line(tmp_path):
    (tmp_path / "openvino.py").write_text("raise ModuleNotFoundError(name='openvino')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "openvino"}
    result = subprocess.run(
        [sys.executable, predict.__file__], env=environment, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "KERAS_BACKEND is openvino, and the package openvino is not" in result.stderr
    assert "`pip install -r requirements-openvino.txt`" in result.stderr


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        ("foo", "KERAS_BACKEND is foo; expected one of tensorflow, jax, torch, openvino"),
        ("openvino", "KERAS_BACKEND is openvino, which does not train"),
    ],
)
def test_a_backend_that_does_not_train_is_told_in_one_line(tmp_path, backend, told):
    if backend == "openvino":
        pytest.importorskip("openvino", reason="requirements-openvino.txt is not installed")
    result = subprocess.run(
        [sys.executable, train.__file__, "--run-dir", str(tmp_path / "run")],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert told in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_prediction_sees_the_intensities_that_training_saw(cohorts, patch_files):
    with h5py.File(patch_files["2017"]) as file:
        ids = json.loads(file.attrs["cases"])
        images, index, center = (file["train"][name][0] for name in ("images", "case", "center"))
    case = select_cases(find_cases(cohorts["2017"], need_segmentation=False), [ids[index]])
    (channels,) = segment_cases(lambda channels: (channels,), case, lambda *seen: seen[-1])
    np.testing.assert_array_equal(cut_patch(channels, center), images)


def test_a_folder_of_predictions_is_one_methods(run_dir, cohorts, tmp_path, capsys):
    output, other = tmp_path / "out", save_constant_network(tmp_path / "other.keras", 3)
    run_predict(cohorts["2017"], output, "--run-dir", str(run_dir))
    record = json.loads((output / "config.json").read_text())
    assert record["networks"] == [str(run_dir / "best.keras")]
    assert record["settings"]["batch_size"] == 2 and record["versions"]["keras"]
    before = (output / "scores.csv").read_bytes()
    capsys.readouterr()
    for different, arguments in (
        ("networks", ["--weights", str(other)]),
        ("fill_holes, flips", ["--run-dir", str(run_dir), "--fill-holes", "--flips"]),
    ):
        arguments.append("--overwrite")
        assert exit_code(lambda a=arguments: run_predict(cohorts["2017"], output, *a)) == 1
        assert f"predictions that were made with other {different};" in only_line(capsys)
    assert (output / "scores.csv").read_bytes() == before


def test_two_runs_are_averaged_over_the_cases_that_neither_has_seen(
    run_dir, cohorts, predictions, tmp_path
):
    twin = tmp_path / "twin"
    shutil.copytree(run_dir, twin)
    record = json.loads((twin / "config.json").read_text())
    split = record["extraction"]["split"]
    seen = set(split["train"])
    moved = split["train"].pop()
    (twin / "config.json").write_text(json.dumps(record))
    # The same network, but another file: of another day.
    keras.saving.load_model(run_dir / "best.keras", compile=False).save(twin / "best.keras")
    run_predict(cohorts["2017"], tmp_path / "both", "--run-dir", str(run_dir), str(twin))
    unseen = names(tmp_path / "both", ".nii.gz")
    assert moved in seen and not seen & {name.removesuffix(".nii.gz") for name in unseen}
    record = json.loads((tmp_path / "both" / "config.json").read_text())
    assert record["networks"] == [f"{folder}/best.keras" for folder in (run_dir, twin)]
    for name in unseen:  # Twice the same network.
        expected = read_image(predictions["2017"] / name)[0]
        np.testing.assert_array_equal(read_image(tmp_path / "both" / name)[0], expected)


def test_a_run_is_not_averaged_with_itself(run_dir, cohorts, tmp_path, capsys):
    arguments = ["--run-dir", str(run_dir), str(run_dir)]
    assert exit_code(lambda: run_predict(cohorts["2017"], tmp_path / "out", *arguments)) == 1
    assert "Two of these files hold the same network" in only_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_damaged_record_of_predictions_is_told(run_dir, cohorts, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    assert exit_code(lambda: run_predict(cohorts["2017"], tmp_path, "--run-dir", str(run_dir))) == 1
    assert f"{tmp_path}/config.json is damaged" in only_line(capsys)


def test_a_foreign_score_table_is_left_alone(run_dir, cohorts, tmp_path, capsys):
    (tmp_path / "scores.csv").write_text("name,points\na,1\n")
    assert exit_code(lambda: run_predict(cohorts["2017"], tmp_path, "--run-dir", str(run_dir))) == 1
    assert "predictions that were made with other f" in only_line(capsys)


def test_an_existing_segmentation_is_replaced_only_if_asked(cohorts, tmp_path, capsys):
    network = save_constant_network(tmp_path / "two.keras", class_index=2)
    case_id = "Brats17_PHANTOM_0002_1"
    existing = tmp_path / "out" / f"{case_id}.nii.gz"
    existing.parent.mkdir()
    existing.write_bytes(b"mine")
    arguments = ["--weights", str(network), "--cases", case_id]
    assert exit_code(lambda: run_predict(cohorts["2017"], existing.parent, *arguments)) == 1
    assert f"{existing} exists, one of 1. Add --overwrite" in only_line(capsys)
    assert existing.read_bytes() == b"mine"
    run_predict(cohorts["2017"], existing.parent, *arguments, "--overwrite")
    assert set(np.unique(read_image(existing)[0])) == {0, 2}


def test_boxes_and_full_slices_give_the_same_volume(run_dir, cohorts, tmp_path):
    # The brains of these cases come near to the edge of their slices at their widest only.
    cases = ["--cases", "Brats17_PHANTOM_0001_1", "--run-dir", str(run_dir)]
    run_predict(cohorts["2017"], tmp_path / "boxes", *cases)
    run_predict(cohorts["2017"], tmp_path / "slices", *cases, "--full-slices")
    volumes = [
        read_image(tmp_path / folder / "Brats17_PHANTOM_0001_1.nii.gz")[0]
        for folder in ("boxes", "slices")
    ]
    assert np.mean(volumes[0] != volumes[1]) <= 1e-4


def test_a_case_that_cannot_be_read_is_told_and_the_others_are_done(cohorts, tmp_path, capsys):
    shutil.copytree(cohorts["2017"], tmp_path / "cases")
    network = save_constant_network(tmp_path / "two.keras", class_index=2)
    broken = next((tmp_path / "cases").rglob("*_0002_1_t1.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:1000])
    cases = [f"Brats17_PHANTOM_000{number}_1" for number in range(4)]
    arguments = ["--weights", str(network), "--cases", *cases]
    assert exit_code(lambda: run_predict(tmp_path / "cases", tmp_path / "out", *arguments)) == 1
    error = capsys.readouterr().err
    assert sum(broken.name in line and "Error: " in line for line in error.splitlines()) == 1
    assert error.splitlines()[-1].startswith(f"Error: 1 of 4 cases failed, see above: {cases[2]}.")
    assert "Traceback" not in error
    done = [case for case in cases if case != cases[2]]
    assert names(tmp_path / "out", ".nii.gz") == [f"{case}.nii.gz" for case in done]
    scored = [row["case"] for row in rows(tmp_path / "out" / "scores.csv")]
    assert scored == [case for case in done for _ in REGIONS]
