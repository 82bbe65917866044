"""Networks from files: only what the settings say is built, no code in a file is run."""

import base64
import json
import marshal
import zipfile

import h5py
import numpy as np
import pytest

from brats.errors import InputError
from brats.patches.file import AGREEMENT
from engine.networks.choose import assign_cases, find_networks, read_network
from engine.runs.folder import write_record
from model import build_resunet
from tests.synthetic import case_ids, make_cases, write_constant_network


@pytest.fixture
def network_file(tmp_path):
    return write_constant_network(tmp_path / "best.keras", [0.1, 0.2, 0.3, 0.4])


def change_config(path, change):
    """Writes an archive again with what `change` makes of its `config.json`."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = json.dumps(change(json.loads(members["config.json"])))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def refuse_to_build(**settings):
    pytest.fail(f"A network of {settings} was built.")


def test_a_network_in_which_a_function_lies_is_refused_and_the_function_not_run(
    tmp_path, network_file
):
    marker = tmp_path / "was run"
    code = compile(f"open({str(marker)!r}, 'w')", "function", "exec")
    function = {"code": base64.b64encode(marshal.dumps(code)).decode(), "defaults": None}
    layer = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": function}},
        "registered_name": None,
    }
    for change in (
        lambda config: layer,
        lambda config: config | layer,
        lambda config: config | {"config": config["config"] | {"input_shape": layer}},
        lambda config: config | {"module": "os", "class_name": "system", "registered_name": None},
    ):
        content = network_file.read_bytes()
        change_config(network_file, change)
        with pytest.raises(
            InputError, match=r"best\.keras (holds a Keras object of another|is not a network)"
        ):
            read_network(network_file, refuse_to_build)
        network_file.write_bytes(content)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_filters": 10**6}, "bytes cannot hold a network of 1000000 filters and depth 1"),
        ({"depth": 10**9}, "bytes cannot hold a network of 2 filters and depth 1000000000"),
        ({"depth": 1.5}, "its settings are .* expected input_shape, num_classes"),
        ({"base_filters": 0}, "its settings are"),
        ({"input_shape": [None, 4]}, "its settings are"),
        ({"normalization": "volume"}, "its settings are .*'normalization': 'volume'"),
        ({"num_classes": 10**9}, "for 4 modalities and 1000000000 classes"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_built(network_file, settings, message):
    change_config(network_file, lambda config: config | {"config": config["config"] | settings})
    with pytest.raises(InputError, match=message):
        read_network(network_file, refuse_to_build)


def test_an_original_file_of_huge_kernels_is_refused_before_anything_is_built(tmp_path):
    path = tmp_path / "huge.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = "tensorflow"
        file.attrs["layer_names"] = [f"conv{index}" for index in range(11)]
        for index in range(11):
            layer = file.create_group(f"conv{index}")
            layer.attrs["weight_names"] = ["kernel"]
            layer.create_dataset("kernel", (2, 2, 4, 10**6 if index < 10 else 4), chunks=True)
    with pytest.raises(InputError, match=r"huge\.hdf5 is damaged: .* cannot hold a network"):
        read_network(path, refuse_to_build)


def test_a_whole_file_gives_its_network(network_file):
    network = read_network(network_file, build_resunet)
    probabilities = network.predict_on_batch(np.zeros((1, 8, 8, 4), "float32"))
    np.testing.assert_allclose(probabilities[0, 0, 0], [0.1, 0.2, 0.3, 0.4], rtol=1e-5)


@pytest.mark.parametrize("split", [None, 3, {}, {"train": "abc"}, {"train": [["a"]]}])
def test_a_record_that_does_not_tell_the_training_cases_is_refused(tmp_path, split):
    write_record(tmp_path, {"settings": {}, "extraction": AGREEMENT | {"split": split}})
    with pytest.raises(InputError, match=r"config\.json does not say which cases"):
        find_networks([tmp_path], "best")


# What the runs a, b and c were trained on, among the cases high00 to high04.
PATHS = ["a", "b", "c"]
TRAINED_ON = [{"high00", "high01"}, {"high00", "high02"}, {"high00", "high01", "high02"}]


def assign(ids=(), cross_validate=True, num_cases=5):
    groups = assign_cases(make_cases(num_cases), ids, PATHS, TRAINED_ON, cross_validate)
    return {paths: case_ids(cases) for paths, cases in groups.items()}


def test_a_case_is_cross_validated_by_all_networks_that_were_not_trained_on_it():
    assert assign() == {
        ("b",): ["high01"],
        ("a",): ["high02"],
        ("a", "b", "c"): ["high03", "high04"],
    }
    assert assign(["high04", "high02"]) == {("a",): ["high02"], ("a", "b", "c"): ["high04"]}


def test_without_cross_validation_all_networks_take_the_cases_that_none_was_trained_on():
    assert assign(cross_validate=False) == {("a", "b", "c"): ["high03", "high04"]}
    assert assign(["high00"], cross_validate=False) == {("a", "b", "c"): ["high00"]}


def test_a_case_that_every_run_was_trained_on_is_not_cross_validated():
    with pytest.raises(InputError, match="Every run was trained on high00; .* Leave it out"):
        assign(["high00", "high01"])
    with pytest.raises(InputError, match="The network was trained on all 1 cases"):
        assign(num_cases=1)
