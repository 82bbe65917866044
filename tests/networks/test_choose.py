"""Which networks for which cases, and that a file of a network is used only for what it is for."""

import base64
import hashlib
import json
import marshal
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from brats.errors import InputError
from brats.patches.file import AGREEMENT
from brats.volumes.network_input import INPUT_FORMAT
from engine.networks.choose import (
    Network,
    all_cases,
    assign_cases,
    describe_groups,
    find_networks,
    read_network,
    seen_warnings,
)
from engine.runs.folder import write_record
from model import build_resunet
from tests.synthetic import case_ids, make_case, make_cases, write_constant_network


@pytest.fixture
def network_file(tmp_path):
    return write_constant_network(tmp_path / "best.keras", [0.1, 0.2, 0.3, 0.4])


def change_archive(path, **members):
    """Writes an archive again with other members; None drops one."""
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (old | members).items():
            if content is not None:
                archive.writestr(name, content)


def change_config(path, change):
    """Replaces the configuration of a network file by what `change` makes of it."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    change_archive(path, **{"config.json": json.dumps(change(config))})


def refuse_to_build(**settings):
    pytest.fail(f"A network of {settings} was built.")


def test_a_function_in_a_file_is_refused_and_not_run(tmp_path, network_file):
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
        lambda config: config | {"config": config["config"] | {"input_shape": layer}},
        lambda config: config | {"module": "os", "class_name": "system", "registered_name": None},
    ):
        content = network_file.read_bytes()
        change_config(network_file, change)
        with pytest.raises(
            InputError, match=r"best\.keras (holds a Keras object of another|is no)"
        ):
            read_network(network_file, refuse_to_build)
        network_file.write_bytes(content)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 1.5}, "its settings are .* expected input_shape, num_classes"),
        ({"input_shape": [None, 4]}, "its settings are"),
        ({"attention": True}, "its settings are .*'attention': True"),
        ({"num_classes": 2}, "for 4 modalities and 2 classes; expected 4 and 4"),
        ({"input_shape": [None, None, 3]}, "for 3 modalities and 4 classes"),
        ({"input_format": None}, r"modalities unknown; expected \['flair', 't1', 't1ce', 't2'\]"),
        (
            {"input_format": INPUT_FORMAT | {"modalities": ["t1", "flair", "t1ce", "t2"]}},
            r"modalities \['t1', 'flair', .*expected \['flair', 't1', .*train again",
        ),
        (
            {"input_format": INPUT_FORMAT | {"normalization": "volume"}},
            "best.keras is for images with normalization volume; expected slice z-score",
        ),
    ],
)
def test_a_network_of_other_settings_is_refused_before_it_is_built(network_file, settings, message):
    change_config(network_file, lambda config: config | {"config": config["config"] | settings})
    with pytest.raises(InputError, match=message):
        read_network(network_file, refuse_to_build)


DAMAGES = {
    "cut short": (lambda content: content[:-1000], "is cut short. Copy it again"),
    "a changed byte": (
        lambda content: content.replace(b"head", b"haed", 1),
        "is damaged: the checksum of model.weights.h5 is wrong. Copy it again",
    ),
    "text": (lambda content: b"<html>404</html>", "is not a network. Give a .keras file"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_network_is_refused(damage, network_file):
    change, message = DAMAGES[damage]
    network_file.write_bytes(change(network_file.read_bytes()))
    with pytest.raises(InputError, match=rf"best\.keras {message}"):
        read_network(network_file, refuse_to_build)


def test_an_archive_of_something_else_is_refused(tmp_path, network_file):
    change_archive(network_file, **{"config.json": b"{"})
    with pytest.raises(InputError, match="best.keras is damaged: Expecting property name"):
        read_network(network_file, refuse_to_build)
    change_archive(network_file, **{"config.json": None})
    with pytest.raises(InputError, match="best.keras is not a network: it has no config.json"):
        read_network(network_file, refuse_to_build)
    keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 1)]).save(network_file)
    with pytest.raises(InputError, match="of another kind.*expected the residual U-Net"):
        read_network(network_file, refuse_to_build)


def test_a_complete_file_gives_its_network(network_file):
    network = read_network(network_file, build_resunet)
    probabilities = network.predict_on_batch(np.zeros((1, 8, 8, 4), "float32"))
    np.testing.assert_allclose(probabilities[0, 0, 0], [0.1, 0.2, 0.3, 0.4], rtol=1e-5)
    assert network.settings["input_format"] == INPUT_FORMAT


def test_a_run_gives_its_network_with_the_patients_that_it_was_trained_on(tmp_path, network_file):
    split = {"train": ["a", "b"], "validation": ["c"]}
    cases = {name: {"patient": name.upper()} for name in "abc"}
    record = {"settings": {}, "patches": AGREEMENT | {"cases": cases}, "split": split}
    write_record(tmp_path, record)
    digest = hashlib.sha256(network_file.read_bytes()).hexdigest()
    # And their ids, as other versions may have other patients.
    expected = Network(network_file, digest, frozenset("ABab"))
    assert find_networks([tmp_path], "best") == [expected]
    assert find_networks((), "best", [network_file]) == [Network(network_file, digest, frozenset())]
    write_record(tmp_path, record | {"patches": AGREEMENT | {"patch_size": 96}})
    with pytest.raises(InputError, match=r"config\.json has patch_size 96; expected 128"):
        find_networks([tmp_path], "best")


def test_another_visit_of_a_training_patient_has_been_seen():
    names = ("BraTS-GLI-00001-000", "BraTS-GLI-00001-101", "BraTS-GLI-00002-000")
    visits = [make_case(name, edition="2023") for name in names]
    network = Network(Path("a"), "", frozenset({"BraTS-GLI-00001"}))
    (group,) = assign_cases(visits, (), [network])
    assert case_ids(group.cases) == ["BraTS-GLI-00002-000"]
    # Asked for by name, it is segmented with a warning.
    warnings = [seen_warnings([network], visit) for visit in visits]
    assert warnings[0] == warnings[1] and "on this patient: a." in warnings[0][0]
    assert warnings[2] == []


def test_the_same_network_twice_is_refused(tmp_path, network_file):
    copy = shutil.copyfile(network_file, tmp_path / "copy.keras")
    with pytest.raises(InputError, match=r"same network: .*best\.keras, .*copy\.keras. Give each"):
        find_networks((), "best", [network_file, copy])


# What the runs a, b and c were trained on, among the cases high00 to high04.
TRAINED_ON = {
    "a": {"high00", "high01"},
    "b": {"high00", "high02"},
    "c": {"high00", "high01", "high02"},
}
NETWORKS = [Network(path, path, frozenset(ids)) for path, ids in TRAINED_ON.items()]


def assign(ids=(), cross_validate=True, num_cases=5):
    cases = [case for case in make_cases(num_cases) if not ids or case.id in ids]
    return assign_cases(cases, ids, NETWORKS, cross_validate)


def as_text(groups):
    return {
        " ".join(network.path for network in group.networks): case_ids(group.cases)
        for group in groups
    }


def test_a_case_is_cross_validated_by_all_networks_that_were_not_trained_on_it():
    groups = assign()
    others = ["high03", "high04"]
    assert as_text(groups) == {"b": ["high01"], "a": ["high02"], "a b c": others}
    assert case_ids(all_cases(groups)) == ["high01", "high02", *others]
    assert describe_groups(groups, make_cases(5)) == (
        "1 case by b, 1 case by a, 2 cases by a + b + c, 1 left out, which every run was trained on"
    )
    assert as_text(assign(["high04", "high02"])) == {"a": ["high02"], "a b c": ["high04"]}


def test_without_cross_validation_all_networks_take_the_cases_that_none_was_trained_on():
    assert as_text(assign(cross_validate=False)) == {"a b c": ["high03", "high04"]}
    assert as_text(assign(["high00"], cross_validate=False)) == {"a b c": ["high00"]}


def test_a_case_that_every_run_was_trained_on_is_not_cross_validated():
    with pytest.raises(InputError, match="Every run was trained on high00; .* Leave it out"):
        assign(["high00", "high01"])
    with pytest.raises(InputError, match="The network was trained on all 1 cases"):
        assign(num_cases=1)
