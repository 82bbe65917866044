"""train.py on the patches of a cohort, and what the three scripts have to agree on."""

import json
import shutil

import h5py
import keras
import numpy as np
import pytest
import SimpleITK

import train
from brats.cases.find import find_cases
from brats.files import read_table
from brats.flags import parse
from brats.patches.centers import cut_patch
from brats.patches.file import read_case_file
from brats.patches.set import describe_patches, open_patches
from brats.script import exit_code
from brats.volumes.case import read_case
from brats.volumes.network_input import network_input
from config import TrainConfig
from engine.networks.choose import read_network
from engine.prediction.segment import build_segmenter
from model import build_resunet
from tests.synthetic import write_noise

SMALL = ("--base-filters", "2", "--depth", "2", "--steps-per-epoch", "3")


def start(*arguments):
    return exit_code(lambda: train.main([str(each) for each in arguments]))


def read_record(run_dir):
    return json.loads((run_dir / "config.json").read_text())


def weights(path):
    return keras.saving.load_model(path, compile=False).get_weights()


def only_line(capsys):
    """Returns the one line on stderr, which is a message and no traceback."""
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and error.count("\n") == 1
    return error


@pytest.fixture
def splits(monkeypatch):
    """Replaces the network and its training; returns the list of the splits of started runs."""
    started = []
    monkeypatch.setattr(train, "build_compiled", lambda *_: None)
    monkeypatch.setattr(train, "train", lambda config, data, *_: started.append(data["split"]))
    return started


def test_a_run_has_its_record_its_history_and_two_networks(run, patches):
    assert sorted(path.name for path in run.iterdir()) == [
        "best.keras", "config.json", "curves.png", "history.csv", "last.keras", "state",
    ]  # fmt: skip
    record, files = read_record(run), open_patches([patches])
    assert record["settings"]["base_filters"] == 2
    assert record["patches"] == describe_patches(files)
    split = record["split"]
    assert sorted(split["train"] + split["validation"]) == [file.id for file in files]
    assert len(split["validation"]) == 1  # round(0.2 * 4)
    last = keras.saving.load_model(run / "last.keras")
    assert record["num_parameters"] == last.count_params()
    assert int(last.optimizer.iterations) == 2 * 3


def test_the_history_has_a_row_per_epoch_with_the_published_rates(run):
    history = read_table(run / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    for row in history:
        for region in ("whole", "core", "enhancing"):
            assert 0 <= float(row[f"dice_{region}"]) <= 1
            assert 0 <= float(row[f"val_dice_{region}"]) <= 1
        assert float(row["loss"]) > 0 and float(row["val_loss"]) > 0
    # At the first step of an epoch, steps 0 and 3: 0.08 / 10^e / (1 + 5e-6 * 10^e * step).
    rates = [float(row["learning_rate"]) for row in history]
    np.testing.assert_allclose(rates, [0.008, 0.0008 / (1 + 5e-4 * 3)], rtol=1e-6)
    assert [row["iterations"] for row in history] == ["3", "6"]


def test_every_fold_holds_out_other_cases_of_the_same_patches(patches, tmp_path, splits):
    for fold in range(3):
        flags = ("--num-folds", 3, "--fold", fold)
        assert start("--patches", patches, "--run-dir", tmp_path / str(fold), *flags) == 0
    held_out = [case for split in splits for case in split["validation"]]
    assert sorted(held_out) == sorted(path.stem for path in patches.iterdir())
    for split in splits:
        assert sorted(split["train"] + split["validation"]) == sorted(held_out)


def test_without_validation_all_cases_are_trained_on(patches, tmp_path, splits):
    flags = ("--validation-fraction", 0)
    assert start("--patches", patches, "--run-dir", tmp_path, *flags) == 0
    assert splits == [{"train": sorted(path.stem for path in patches.iterdir()), "validation": []}]


@pytest.fixture
def other_patches(patches, tmp_path):
    """A copy of the patches, to be changed."""
    return shutil.copytree(patches, tmp_path / "patches")


def put_noise(folder, split, rng):
    """Replaces the patches of a case that is trained on; returns its id."""
    case_id = split["train"][0]
    description = read_case_file(folder / f"{case_id}.h5").description
    names = ("case", "patient", "grade", "patches_per_case")
    write_noise(folder / "noise", rng, [6], **{name: description[name] for name in names})
    (folder / "noise" / "a.h5").replace(folder / f"{case_id}.h5")
    (folder / "noise").rmdir()
    return case_id


def test_a_run_is_resumed_with_its_own_patches_only(run, split, other_patches, rng, capsys):
    flags = ("--run-dir", run, "--epochs", 3, "--resume", *SMALL)
    before = read_record(run)
    case_id = put_noise(other_patches, split, rng)
    assert start("--patches", other_patches, *flags) == 1
    assert f"--patches have other patches of {case_id}" in only_line(capsys)
    (other_patches / f"{case_id}.h5").unlink()
    assert start("--patches", other_patches, *flags) == 1
    assert f"--patches lack {case_id}" in only_line(capsys)
    assert read_record(run) == before


def test_a_run_is_resumed_with_its_own_split_only(run, patches, capsys):
    flags = ("--patches", patches, "--run-dir", run, "--epochs", 3, "--resume", *SMALL)
    assert start(*flags, "--num-folds", 2, "--fold", 1) == 1
    assert "--num-folds is 2, was None; --fold is 1, was None" in only_line(capsys)


def test_a_damaged_patch_ends_training_with_the_name_of_its_file(
    split, other_patches, tmp_path, capsys
):
    path = other_patches / f"{split['train'][1]}.h5"
    file = read_case_file(path)
    with open(path, "r+b") as opened:  # All images become zeros, as on a damaged disk.
        opened.seek(file.offsets[0])
        opened.write(bytes(file.num_patches * 128 * 128 * 16))
    flags = ("--patches", other_patches, "--run-dir", tmp_path / "run", "--epochs", 1)
    assert start(*flags, *SMALL[:-2]) == 1
    assert f"{path} is damaged at patch " in capsys.readouterr().err


def test_the_settings_reach_the_network_its_loss_and_its_optimizer():
    flags = "--loss present-classes --class-weights 1 2 3 4 --optimizer adam --momentum 0.8"
    config = parse(TrainConfig, [*flags.split(), "--depth", "1", "--base-filters", "2"], "")
    model = train.build_compiled(config, steps=3)
    assert model.settings["depth"] == 1 and model.settings["base_filters"] == 2
    assert model.loss.leave_out_absent
    assert tuple(model.loss.class_weights) == (1, 2, 3, 4)
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert model.optimizer.beta_1 == 0.8
    model = train.build_compiled(parse(TrainConfig, ["--base-filters", "2"], ""), steps=3)
    assert not model.loss.leave_out_absent
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert model.optimizer.momentum == 0.9


def test_training_in_16_bits_starts_from_given_weights(run, patches, tmp_path, monkeypatch):
    built, build = [], train.build_compiled
    monkeypatch.setattr(
        train, "build_compiled", lambda *each: built.append(build(*each)) or built[0]
    )
    flags = ("--patches", patches, "--run-dir", tmp_path, "--epochs", 1, *SMALL)
    try:
        assert start(*flags, "--mixed-precision", "--weights", run / "last.keras") == 0
    finally:
        keras.config.set_dtype_policy("float32")
    assert built[0].get_layer("stem").compute_dtype == "bfloat16"
    before, after = (weights(path)[0] for path in (run / "last.keras", tmp_path / "last.keras"))
    assert 0 < np.abs(before - after).max() < 0.01  # The kernel of the stem.


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--patches {absent} --run-dir {out}", "do not exist. Make them with extract_patches.py"),
        ("--patches {patches} --run-dir {run}", "holds a run. Continue it with --resume"),
        ("--patches {patches} --run-dir {text}", "Cannot make the folder"),
        ("--patches {patches} --run-dir {empty} --resume", "it has no config.json"),
        ("--patches {patches} --run-dir {out} --steps-per-epoch 13", "5 batches of 4"),
        ("--patches {patches} --run-dir {out} --depth 8", "can be halved 7 times"),
        ("--patches {patches} --run-dir {out} --num-folds 5 --fold 0", "needs as many patients"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(run, patches, tmp_path, capsys, flags, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.keras").write_text("<html>404</html>")
    places = {"patches": patches, "run": run, "text": tmp_path / "text.keras"}
    places |= {name: tmp_path / name for name in ("absent", "empty", "out")}
    assert start(*flags.format(**places).split(), "--base-filters", 2) == 1
    assert message in only_line(capsys)
    assert not (tmp_path / "out").exists() and not list((tmp_path / "empty").iterdir())


def test_prediction_sees_the_intensities_that_training_saw(cohort, patches):
    for case in find_cases(cohort, need_segmentation=False)[0][:2]:
        channels = network_input(read_case(case).volumes).channels
        with h5py.File(patches / f"{case.id}.h5") as file:
            for image, center in zip(file["images"], file["center"], strict=True):
                np.testing.assert_array_equal(cut_patch(channels, center), image)


def test_boxes_and_full_slices_give_the_same_volume(run, cohort, predictions):
    # The brains of these cases come near to the edge of their slices at their widest only.
    case = find_cases(cohort, need_segmentation=False)[0][1]
    network = read_network(run / "best.keras", build_resunet)
    channels = network_input(read_case(case).volumes).channels
    classes = build_segmenter([network], 4, full_slices=True)(channels).classes
    image = SimpleITK.ReadImage(str(predictions / f"{case.id}.nii.gz"))
    labels = np.array([0, 1, 2, 4])[classes]
    assert len(np.unique(labels)) > 1
    assert np.mean(labels != SimpleITK.GetArrayFromImage(image)) <= 1e-4
