"""What a worker has to have in common with who sends the cases, and how it is told."""

import dataclasses

import pytest

from brats.cluster_extraction import describe_packages
from brats.fitness import Needs, digest_code, find_misfit, fit_for


@pytest.fixture
def needs(tmp_path):
    """The needs of a run that this process is fit for."""
    (tmp_path / "token").write_text("run")
    (tmp_path / "image").write_bytes(bytes(7))
    yield Needs(
        run="run",
        code=digest_code(),
        facts_of="brats.cluster_extraction:describe_packages",
        facts=describe_packages(),
        token=str(tmp_path / "token"),
        files={str(tmp_path / "image"): 7},
    )
    fit_for.discard("run")


def test_the_same_disk_code_and_versions_are_fit(needs):
    assert find_misfit(vars(needs)) == ""
    # It is looked at once in a run, not with every case.
    assert find_misfit(vars(dataclasses.replace(needs, code="other"))) == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"token": "/nowhere/token"}, "does not see /nowhere as it is here. Workers have to see"),
        ({"run": "another"}, "does not see {folder} as it is here"),
        ({"files": {"/nowhere/image": 7}}, "does not see /nowhere/image as it is here"),
        ({"code": "other"}, "runs other code in "),
        ({"facts": {"numpy": "1.0"}}, 'has numpy "'),
        ({"facts": {"KERAS_BACKEND": "jax"}}, 'has KERAS_BACKEND null, not "jax", as here.'),
    ],
)
def test_what_differs_is_told(needs, changed, message, tmp_path):
    problem = find_misfit(vars(dataclasses.replace(needs, **changed)))
    assert problem.startswith(message.format(folder=tmp_path))
    assert not fit_for & {"run", "another"}


def test_a_file_of_another_size_is_told(needs, tmp_path):
    (tmp_path / "image").write_bytes(bytes(8))
    assert find_misfit(vars(needs)).startswith(f"does not see {tmp_path}/image as it is here")
