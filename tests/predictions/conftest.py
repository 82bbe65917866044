"""What the tests of predictions share: small cases, a network, and quick ways to predict."""

import functools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

import predict
from brats.cases.find import find_cases
from brats.phantom.cohort import write_cohort
from brats.script import exit_code
from brats.volumes.normalization import brain_mask
from engine.networks import choose
from engine.prediction import cases as prediction
from engine.prediction.segment import Segmentation
from tests.synthetic import write_constant_network

read_network_once = functools.cache(choose.read_network)
PROBABILITIES = (0.1, 0.3, 0.1, 0.5)


@pytest.fixture(scope="session")
def small_cases(tmp_path_factory):
    """A folder of three phantom cases of 8 x 72 x 64 voxels; read only."""
    root = tmp_path_factory.mktemp("small")
    write_cohort(root, num_cases=3, seed=0, shape=(8, 72, 64), naming="2021")
    return root


@pytest.fixture
def root(small_cases, tmp_path):
    """A copy of the small cases, to be changed."""
    return shutil.copytree(small_cases, tmp_path / "cases")


@pytest.fixture
def ids(small_cases):
    """The ids of the small cases."""
    return [case.id for case in find_cases(small_cases, need_segmentation=True)[0]]


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """A network that gives every pixel the same probabilities, the largest to enhancing tumor."""
    return write_constant_network(tmp_path_factory.mktemp("network") / "a.keras", PROBABILITIES)


@pytest.fixture(scope="session")
def other_network(tmp_path_factory):
    """Another such network, which gives most to necrosis."""
    path = tmp_path_factory.mktemp("network") / "b.keras"
    return write_constant_network(path, (0.3, 0.4, 0.2, 0.1))


@pytest.fixture
def start(capsys):
    """The function that runs predict.py; returns its exit code, output and errors."""

    def run(root, output, *more):
        capsys.readouterr()
        arguments = ["--data-root", root, "--output", output, *more]
        code = exit_code(lambda: predict.main([str(each) for each in arguments]))
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


@pytest.fixture
def plain(monkeypatch):
    """Leaves out the pictures and the report, and reads each network once."""

    def write_pictures(folder, case_id, raw, classes, slices):
        folder.mkdir(exist_ok=True)
        for name in (*slices, "modalities"):
            (folder / f"{case_id}-{name}.png").write_text(f"{classes.sum()}")

    monkeypatch.setattr(choose, "read_network", read_network_once)
    monkeypatch.setattr("brats.predictions.write.write_pictures", write_pictures)
    monkeypatch.setattr("brats.report.derived.write_derived", lambda *_: ("", {}))


@pytest.fixture
def quick(plain, monkeypatch):
    """Also replaces the network: the brain is enhancing tumor, as `network` has it.

    Returns the list of the shapes of the cases that were segmented.
    """
    segmented = []

    def build_segmenter(networks, batch_size, full_slices, flips, probabilities):
        def segment(channels):
            segmented.append(channels.shape[:3])
            classes = np.where(brain_mask(channels), 3, 0).astype(np.uint8)
            if not probabilities:
                return Segmentation(classes)
            spread = np.where(classes[..., np.newaxis] > 0, PROBABILITIES, (1, 0, 0, 0))
            return Segmentation(classes, spread.astype(np.float32))

        return segment

    monkeypatch.setattr(prediction, "build_segmenter", build_segmenter)
    return segmented
