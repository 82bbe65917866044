"""The run folder: its record, its networks, and how a run is resumed in it."""

import keras
import numpy as np
import pytest

from brats.errors import InputError
from brats.files import read_table
from engine.runs.folder import (
    add_to_record,
    check_may_start,
    clear,
    network_path,
    owning_run,
    read_record,
    resume,
    settings_in_common,
    write_epoch,
    write_record,
)
from engine.runs.state import Progress, write_state

SETTINGS = {
    "base_filters": 8,
    "class_weights": (1.0, 5.0),
    "epochs": 3,
    "fold": 0,
    "schedule": "published",
    "patches": ("data/patches",),
    "resume": False,
    "overwrite": False,
    "tensorboard": False,
}
PATCHES = {"cases": {"a": {"checksum": "1"}, "b": {"checksum": "2"}}}
SPLIT = {"train": ["a"], "validation": ["b"]}
RECORD = {
    "settings": SETTINGS,
    "patches": PATCHES,
    "split": SPLIT,
    "device": "jax on cpu:0 (2 threads)",
}
RESUMED = SETTINGS | {"resume": True}


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    network.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=False)
    return network


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Writes empty learning curves, which take no time."""
    monkeypatch.setattr(
        "engine.runs.folder.write_learning_curves", lambda path, history: path.write_text("")
    )


def mark(network, number):
    """Gives the network weights by which it is recognized."""
    network.set_weights([np.full(weight.shape, number) for weight in network.get_weights()])


def marked_number(path):
    return keras.saving.load_model(path, compile=False).get_weights()[0].flat[0]


def write_losses(run_dir, network, losses, name="val_loss"):
    """Writes one epoch after the other; marks the network of epoch n with n."""
    run_dir.mkdir(exist_ok=True)
    history = []
    for epoch, loss in enumerate(losses, 1):
        mark(network, epoch)
        history.append({"epoch": epoch, "loss": 1 / epoch, name: loss})
        write_epoch(run_dir, network, history)
    return history


def file_contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_record_comes_back_as_written(tmp_path):
    write_record(tmp_path / "new" / "run", RECORD | {"é": "ü"})
    expected = SETTINGS | {"class_weights": [1.0, 5.0], "patches": ["data/patches"]}
    assert read_record(tmp_path / "new" / "run") == RECORD | {"é": "ü", "settings": expected}


def test_a_record_names_where_and_how_a_run_was_resumed(tmp_path):
    write_record(tmp_path, RECORD)
    add_to_record(tmp_path, 2, 7, RECORD | {"settings": {"epochs": 9}})
    record = read_record(tmp_path)
    assert record["settings"]["epochs"] == 3
    place = {"after_epoch": 2, "after_step": 7}
    assert record["resumed"] == [place | {"settings": {"epochs": 9}, "device": RECORD["device"]}]


def test_a_folder_without_a_record_is_not_a_run(tmp_path):
    (tmp_path / "file").write_text("")
    for name, found in (
        ("", r"it has no config\.json"),
        ("absent", "it does not exist"),
        ("file", "it is a file"),
    ):
        with pytest.raises(FileNotFoundError, match=f"not a run folder: {found}.*--run-dir"):
            read_record(tmp_path / name)


@pytest.mark.parametrize(
    "content", [b'{"settings": {', b"\xff\xfe\x00", b"[]", b'{"settings": {}, "split": {}}']
)
def test_a_broken_record_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json is not the record of a run.*Train again"):
        read_record(tmp_path)


def test_a_folder_with_a_record_is_replaced_only_if_asked(tmp_path):
    run = PATCHES, SPLIT
    check_may_start(tmp_path / "absent", SETTINGS, *run)
    write_record(tmp_path, {})
    with pytest.raises(InputError, match="holds a run.*--resume.*--overwrite.*--run-dir"):
        check_may_start(tmp_path, SETTINGS, *run)
    check_may_start(tmp_path, SETTINGS | {"overwrite": True}, *run)


def test_a_run_owns_its_folder_and_leaves_it_free(tmp_path):
    run = tmp_path, SETTINGS | {"tensorboard": True}, PATCHES, SPLIT
    with owning_run(*run):
        folders = {path.name for path in tmp_path.iterdir() if path.is_dir()}
        assert folders == {"state", "tensorboard"}
        with pytest.raises(InputError, match="another process"), owning_run(*run):
            pass
    write_record(tmp_path, {})  # Another process started a run since the first check.
    with pytest.raises(InputError, match="holds a run"), owning_run(*run):
        pass


def test_hosts_have_in_common_what_a_run_is_made_of_and_not_where_it_lies():
    settings = {"epochs": 3, "seed": 1, "devices": 2, "run_dir": "here", "host_id": 1}
    assert settings_in_common("here", settings, PATCHES, SPLIT) == {
        "--epochs": 3,
        "--seed": 1,
        "--devices": 2,
        "the patches": PATCHES,
        "the split": SPLIT,
    }


@pytest.mark.parametrize(
    "changes",
    [{}, {"epochs": 9}, {"recipe": "tuned"}, {"patches": ("moved",)}, {"devices": 2}],
)
def test_a_run_may_be_resumed_with_the_same_settings_patches_and_split(tmp_path, changes):
    write_record(tmp_path, RECORD)
    check_may_start(tmp_path, RESUMED | changes, PATCHES, SPLIT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"base_filters": 16, "class_weights": (1.0, 4.0)},
            r"--base-filters is 16, was 8; --class-weights is \[1.0, 4.0\], was \[1.0, 5.0\]",
        ),
        ({"fold": 1}, "--fold is 1, was 0"),
        ({"depth": 3}, "--depth is 3, was missing"),
        # The learning rates of this schedule depend on the number of epochs.
        ({"epochs": 9, "schedule": "cosine"}, "--epochs is 9, was 3; --schedule is cosine"),
    ],
)
def test_other_settings_are_refused_with_their_flags_and_both_values(tmp_path, changes, message):
    write_record(tmp_path, RECORD)
    with pytest.raises(InputError, match=f"{message}.*Resume with the same"):
        check_may_start(tmp_path, RESUMED | changes, PATCHES, SPLIT)


def test_other_patches_and_another_split_are_refused(tmp_path):
    write_record(tmp_path, RECORD)
    other = {"cases": PATCHES["cases"] | {"b": {"checksum": "3"}}}
    with pytest.raises(InputError, match="--patches have other patches of b"):
        check_may_start(tmp_path, RESUMED, other, SPLIT)
    with pytest.raises(InputError, match="validation cases are a, were b"):
        check_may_start(tmp_path, RESUMED, PATCHES, {"train": ["b"], "validation": ["a"]})


def test_the_best_network_is_of_the_lowest_validation_loss_and_the_last_of_the_last_epoch(
    tmp_path, network
):
    for num_epochs, best in ((1, 1), (2, 2), (4, 2)):
        run_dir = tmp_path / str(num_epochs)
        write_losses(run_dir, network, [0.5, 0.4, 0.6, 0.45][:num_epochs])
        assert marked_number(network_path(run_dir, "best")) == best
        assert marked_number(network_path(run_dir, "last")) == num_epochs


def test_without_validation_the_best_network_is_of_the_lowest_training_loss(tmp_path, network):
    write_losses(tmp_path, network, [0.5, 0.25, 0.5], name="loss")
    assert marked_number(network_path(tmp_path, "best")) == 2
    losses = [(row["epoch"], row["loss"]) for row in read_table(tmp_path / "history.csv")]
    assert losses == [("1", "0.5"), ("2", "0.25"), ("3", "0.5")]


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_run_without_a_finished_epoch_has_no_network(tmp_path, checkpoint):
    with pytest.raises(FileNotFoundError, match=rf"no {checkpoint}\.keras: .*--weights"):
        network_path(tmp_path, checkpoint)


def test_a_run_killed_before_its_files_were_written_writes_them_when_it_is_resumed(
    tmp_path, network
):
    history = write_losses(tmp_path, network, [0.5])
    mark(network, 2)
    write_state(tmp_path, network, Progress([*history, {"epoch": 2, "val_loss": 0.4}]))
    write_record(tmp_path, RECORD)
    progress, warnings = resume(tmp_path, network, RECORD["device"])
    assert (len(progress.history), warnings) == (2, [])
    assert marked_number(tmp_path / "best.keras") == marked_number(tmp_path / "last.keras") == 2
    assert [row["val_loss"] for row in read_table(tmp_path / "history.csv")] == ["0.5", "0.4"]


def test_a_run_resumed_within_an_epoch_leaves_its_files_alone(tmp_path, network):
    history = write_losses(tmp_path, network, [0.5])
    write_record(tmp_path, RECORD)
    before = file_contents(tmp_path)
    write_state(tmp_path, network, Progress(history, step=1))
    resume(tmp_path, network, RECORD["device"])
    assert file_contents(tmp_path) == before


def test_a_lost_best_network_and_another_device_are_warned_of(tmp_path, network):
    history = write_losses(tmp_path, network, [0.5, 0.6])
    write_state(tmp_path, network, Progress(history))
    write_record(tmp_path, RECORD)
    (tmp_path / "best.keras").unlink()
    for device in ("jax on cpu:0 (4 threads)", "tensorflow on cpu:0"):
        other, best = resume(tmp_path, network, device)[1]
        assert f"with {RECORD['device']} and continues with {device}. Its weights" in other
    assert f"{tmp_path / 'best.keras'} is missing" in best and "--checkpoint last" in best
    # The device to compare with is that of the last time the run was resumed.
    add_to_record(tmp_path, 2, 0, RECORD | {"device": "tensorflow on cpu:0"})
    assert len(resume(tmp_path, network, "tensorflow on cpu:0")[1]) == 1


def test_a_cleared_folder_holds_nothing_of_the_run(tmp_path, network):
    write_losses(tmp_path, network, [0.5])
    write_record(tmp_path, {})
    write_state(tmp_path, network, Progress())
    clear(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    clear(tmp_path / "absent")
