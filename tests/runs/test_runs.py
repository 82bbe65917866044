"""The run folder: its record, its networks, and how a run goes on in it."""

import keras
import numpy as np
import pytest

from brats.errors import InputError
from brats.files import read_table
from engine.runs.folder import (
    add_to_record,
    backend_warnings,
    check_may_start,
    clear,
    make_folders,
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
    "schedule": "published",
    "resume": False,
    "overwrite": False,
}


class FailingNetwork:
    """A network whose file is cut short, as on a full disk."""

    def save(self, path):
        path.write_bytes(b"half a netw")
        raise OSError("No space left on device")


def dense_network():
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    network.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=False)
    return network


def mark(network, number):
    """Gives the network weights by which it is known again."""
    network.set_weights([np.full(weight.shape, number) for weight in network.get_weights()])


def marked_number(path):
    return keras.saving.load_model(path, compile=False).get_weights()[0].flat[0]


def write_losses(run_dir, losses, name="val_loss"):
    """Writes one epoch after the other; the network of epoch n is marked with n."""
    network, history = dense_network(), []
    for epoch, loss in enumerate(losses, 1):
        mark(network, epoch)
        history.append({"epoch": epoch, "loss": 1 / epoch, name: loss})
        write_epoch(run_dir, network, history)


def file_contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_record_comes_back_as_written(tmp_path):
    settings = {"epochs": 3, "weights": None, "class_weights": [1.0, 5.0]}
    record = {"settings": settings, "extraction": {"é": "ü"}}
    write_record(tmp_path / "new" / "run", record)
    assert read_record(tmp_path / "new" / "run") == record


def test_a_folder_with_a_record_is_replaced_only_if_asked(tmp_path):
    check_may_start(tmp_path, SETTINGS, {})
    check_may_start(tmp_path / "absent", SETTINGS, {})
    write_record(tmp_path, {})
    with pytest.raises(InputError, match="holds a run.*--resume.*--overwrite.*--run-dir"):
        check_may_start(tmp_path, SETTINGS, {})
    check_may_start(tmp_path, SETTINGS | {"overwrite": True}, {})


def test_a_file_in_the_way_of_a_folder_is_told_before_anything_is_removed(tmp_path):
    (tmp_path / "tensorboard").write_text("")
    make_folders(tmp_path, with_log=False)
    with pytest.raises(OSError, match="Cannot make the folder .*tensorboard"):
        make_folders(tmp_path, with_log=True)


def test_a_run_owns_its_folder_and_leaves_it_free(tmp_path):
    settings = SETTINGS | {"tensorboard": True}
    with owning_run(tmp_path / "run", settings, {}):
        folders = {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()}
        assert folders == {"state", "tensorboard"}
        with (
            pytest.raises(InputError, match="another process"),
            owning_run(tmp_path / "run", settings, {}),
        ):
            pass
    with owning_run(tmp_path / "run", settings, {}):
        pass


def test_hosts_have_in_common_what_a_run_is_made_of_and_not_where_it_lies():
    settings = {"epochs": 3, "seed": 1, "devices": 2, "run_dir": "here", "host_id": 1}
    assert settings_in_common("here", settings, {"cases": []}) == {
        "--epochs": 3,
        "--seed": 1,
        "--devices": 2,
        "the patch file": {"cases": []},
    }


def test_a_folder_without_a_record_is_not_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not a run folder: it has no config\.json"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b'{"settings": {', b"\xff\xfe\x00", b"[]", b'{"settings": {}}']
)
def test_a_broken_record_is_refused_and_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json is not the record of a run"):
        read_record(tmp_path)


def test_the_best_network_is_of_the_lowest_validation_loss_and_the_last_of_the_last_epoch(
    tmp_path,
):
    for num_epochs, best in ((1, 1), (2, 2), (3, 2), (4, 2)):
        run_dir = tmp_path / str(num_epochs)
        write_losses(run_dir, [0.5, 0.4, 0.6, 0.45][:num_epochs])
        assert marked_number(network_path(run_dir, "best")) == best
        assert marked_number(network_path(run_dir, "last")) == num_epochs


def test_losses_read_back_as_text_are_compared_as_numbers(tmp_path):
    # As text, "1e-05" lies above "0.2".
    losses = ["0.2", "1e-05", 0.1]
    history = [{"epoch": epoch, "val_loss": loss} for epoch, loss in enumerate(losses, 1)]
    network = dense_network()
    write_epoch(tmp_path, network, history[:2])
    before = file_contents(tmp_path)["best.keras"]
    mark(network, 7)
    write_epoch(tmp_path, network, history)
    assert file_contents(tmp_path)["best.keras"] == before


def test_without_validation_the_best_network_is_of_the_lowest_training_loss(tmp_path):
    write_losses(tmp_path, [0.5, 0.2, 0.3], name="loss")
    assert marked_number(network_path(tmp_path, "best")) == 2


def test_the_history_has_one_row_per_epoch(tmp_path):
    write_losses(tmp_path, [0.5, 0.25])
    assert read_table(tmp_path / "history.csv") == [
        {"epoch": "1", "loss": "1.0", "val_loss": "0.5"},
        {"epoch": "2", "loss": "0.5", "val_loss": "0.25"},
    ]


def resume_here(run_dir):
    """Resumes a run on the device that it was begun on."""
    device = "tensorflow on cpu:0"
    write_record(run_dir, {"settings": {}, "extraction": {}, "device": device})
    return resume(run_dir, dense_network(), device)


def test_a_run_killed_before_its_files_were_written_writes_them_when_it_is_resumed(tmp_path):
    write_losses(tmp_path, [0.5])
    network, history = dense_network(), [{"epoch": 1, "val_loss": 0.5}]
    mark(network, 2)
    write_state(tmp_path, network, Progress([*history, {"epoch": 2, "val_loss": 0.4}]))
    progress, warnings = resume_here(tmp_path)
    assert (len(progress.history), warnings) == (2, [])
    assert marked_number(tmp_path / "best.keras") == marked_number(tmp_path / "last.keras") == 2
    assert [row["val_loss"] for row in read_table(tmp_path / "history.csv")] == ["0.5", "0.4"]


def test_a_run_resumed_within_an_epoch_leaves_its_files_alone(tmp_path):
    write_losses(tmp_path, [0.5])
    before = file_contents(tmp_path)
    network = dense_network()
    mark(network, 2)
    write_state(tmp_path, network, Progress([{"epoch": 1, "val_loss": 0.5}], step=1))
    resume_here(tmp_path)
    after = file_contents(tmp_path)
    assert {name: after[name] for name in before} == before


def test_a_best_network_that_is_gone_is_told_and_a_history_written_again(tmp_path):
    losses = [0.5, 0.6]
    write_losses(tmp_path, losses)
    before = file_contents(tmp_path)
    history = [
        {"epoch": epoch, "loss": 1 / epoch, "val_loss": losses[epoch - 1]} for epoch in (1, 2)
    ]
    write_state(tmp_path, dense_network(), Progress(history))
    for name in ("best.keras", "history.csv", "last.keras"):
        (tmp_path / name).unlink()
    _, (warning,) = resume_here(tmp_path)
    assert warning.startswith(f"{tmp_path / 'best.keras'} is missing: the best network so far")
    after = file_contents(tmp_path)
    assert after["history.csv"] == before["history.csv"] and "last.keras" in after


@pytest.mark.parametrize(
    ("resumed", "is_same"),
    [
        ([], True),
        ([{"device": "jax on cpu:0"}], False),
        ([{"device": "tensorflow on gpu:1"}], True),
    ],
)
def test_another_backend_is_told_when_a_run_goes_on(tmp_path, resumed, is_same):
    record = {"settings": {}, "extraction": {}, "device": "tensorflow on cpu:0"}
    write_record(tmp_path, record | {"resumed": resumed})
    warnings = backend_warnings(tmp_path, "tensorflow on gpu:0, gpu:1")
    assert len(warnings) == (0 if is_same else 1)
    if not is_same:
        assert "trained with jax on cpu:0 and goes on with tensorflow on gpu:0" in warnings[0]


def test_a_record_tells_where_a_run_was_resumed_and_with_what(tmp_path):
    write_record(tmp_path, {"settings": {"epochs": 1}, "extraction": {"seed": 0}})
    add_to_record(tmp_path, 2, 7, {"settings": {"epochs": 3}, "extraction": {"seed": 0}})
    record = read_record(tmp_path)
    assert record["settings"] == {"epochs": 1}
    assert record["resumed"] == [{"after_epoch": 2, "after_step": 7, "settings": {"epochs": 3}}]


def test_a_cleared_folder_holds_nothing_of_the_run(tmp_path):
    write_losses(tmp_path, [0.5])
    write_record(tmp_path, {})
    write_state(tmp_path, dense_network(), Progress())
    clear(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    clear(tmp_path / "absent")


def test_a_network_that_cannot_be_written_leaves_the_old_files(tmp_path):
    write_losses(tmp_path, [0.5])
    before = file_contents(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        write_epoch(tmp_path, FailingNetwork(), [{"epoch": 1, "val_loss": 0.5}, {"val_loss": 0.4}])
    after = file_contents(tmp_path)
    assert set(after) == {"best.keras", "last.keras", "history.csv", "curves.png"}
    assert after["best.keras"] == before["best.keras"]
    assert after["last.keras"] == before["last.keras"]


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_run_without_a_finished_epoch_has_no_network(tmp_path, checkpoint):
    with pytest.raises(FileNotFoundError, match=rf"no {checkpoint}\.keras: .*--weights"):
        network_path(tmp_path, checkpoint)


RESUMED = SETTINGS | {"resume": True}


@pytest.fixture
def recorded(tmp_path):
    write_record(tmp_path, {"settings": SETTINGS, "extraction": {"seed": 0}})
    return tmp_path


def test_a_run_with_the_same_settings_and_patches_may_go_on(recorded):
    check_may_start(recorded, RESUMED, {"seed": 0})


def test_a_changed_setting_is_told_with_its_flag_and_both_values(recorded):
    changed = RESUMED | {"base_filters": 16, "class_weights": (1.0, 4.0)}
    message = r"--base-filters is 16, was 8; --class-weights is \[1.0, 4.0\], was \[1.0, 5.0\]"
    with pytest.raises(InputError, match=message):
        check_may_start(recorded, changed, {"seed": 0})


def test_the_number_of_epochs_may_change_but_not_of_a_cosine(recorded):
    check_may_start(recorded, RESUMED | {"epochs": 9}, {"seed": 0})
    with pytest.raises(InputError, match="--epochs is 9, was 3; --schedule is cosine"):
        check_may_start(recorded, RESUMED | {"epochs": 9, "schedule": "cosine"}, {"seed": 0})


def test_a_setting_that_the_record_lacks_is_told(recorded):
    with pytest.raises(InputError, match="--depth is 3, was missing"):
        check_may_start(recorded, RESUMED | {"depth": 3}, {"seed": 0})


def test_a_recipe_is_no_setting_beside_those_it_stands_for(recorded):
    # The record is of before there were recipes.
    for recipe in ("published", "tuned"):
        check_may_start(recorded, RESUMED | {"recipe": recipe}, {"seed": 0})


def test_other_patches_are_told(recorded):
    with pytest.raises(InputError, match="the patch file is another"):
        check_may_start(recorded, RESUMED, {"seed": 1})


def test_the_same_files_in_another_order_are_told(tmp_path):
    settings = SETTINGS | {"patches": ["a.h5", "b.h5"]}
    write_record(tmp_path, {"settings": settings, "extraction": {"files": [{"n": 1}, {"n": 2}]}})
    check_may_start(tmp_path, settings | {"resume": True}, {"files": [{"n": 1}, {"n": 2}]})
    for files, message in (
        ([{"n": 2}, {"n": 1}], r"files in another order, was \['a.h5', 'b.h5'\]"),
        ([{"n": 1}, {"n": 3}], r"other files \(number 2 of 2\)"),
        ([{"n": 1}], "files of --patches are 1, were 2"),
    ):
        with pytest.raises(InputError, match=f"other settings: .*{message}"):
            check_may_start(tmp_path, settings | {"resume": True}, {"files": files})


def test_a_run_that_was_recorded_with_one_path_as_text_goes_on(recorded):
    before = read_record(recorded)
    write_record(recorded, before | {"settings": SETTINGS | {"patches": "data/patches.h5"}})
    check_may_start(recorded, RESUMED | {"patches": ("moved.h5",)}, {"seed": 0})


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"settings": {}, "extraction": {}, "resumed": 3}']
)
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json is not the record of a run"):
        read_record(tmp_path)
