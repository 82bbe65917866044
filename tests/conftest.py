"""What several test files share: a generator, cases, their patches, a run and its predictions.

Fixtures of the whole session are read only: tests that write copy them first.
"""

import json
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from brats.phantom.cohort import synthesize, write_cohort

# Examples follow from the test alone, and a busy machine makes none of them fail.
hypothesis.settings.register_profile("repository", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repository")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def fixtures():
    """The folder of reference values, not computed by this code: of the original, of Keras 2."""
    return Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def real_cases():
    """The folder of real BraTS 2021 cases, which may not be passed on with the repository."""
    folder = Path(__file__).parents[2] / "shared" / "brats"
    if not folder.is_dir():
        pytest.skip("needs ../shared/brats")
    return folder


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """The folder of four phantom cases in the naming of 2017, the last of low grade.

    Slices are as small as they can be: the brain's box is 128 x 128, one patch per slice.
    """
    root = tmp_path_factory.mktemp("cohort")
    write_cohort(root, num_cases=4, seed=0, shape=(20, 160, 144), naming="2017")
    return root


@pytest.fixture(scope="session")
def patches(cohort, tmp_path_factory):
    """The folder of the patch files of `cohort`, 6 patches per case."""
    import extract_patches

    folder = tmp_path_factory.mktemp("data") / "patches"
    paths = ["--data-root", str(cohort), "--output", str(folder)]
    extract_patches.main([*paths, "--patches-per-case", "6", "--workers", "1"])
    return folder


@pytest.fixture(scope="session")
def run(patches, tmp_path_factory):
    """A run folder of two epochs of three steps; one case of four is held out."""
    import train

    folder = tmp_path_factory.mktemp("runs") / "run"
    network = ["--base-filters", "2", "--depth", "2", "--epochs", "2", "--steps-per-epoch", "3"]
    train.main(["--patches", str(patches), "--run-dir", str(folder), *network])
    return folder


@pytest.fixture(scope="session")
def split(run):
    """The ids of the cases that `run` was trained and validated on."""
    return json.loads((run / "config.json").read_text())["split"]


@pytest.fixture(scope="session")
def predictions(run, cohort, tmp_path_factory):
    """The folder of predictions of all cases, those that `run` was trained on among them."""
    import predict

    output = tmp_path_factory.mktemp("predictions") / "out"
    arguments = ["--run-dir", str(run), "--data-root", str(cohort), "--output", str(output)]
    predict.main([*arguments, "--cases", *(path.name for path in cohort.glob("*/*"))])
    return output


@pytest.fixture(scope="session")
def phantom():
    """The images of a phantom by modality, and its classes: 24 x 144 x 128 voxels; read only."""
    images, classes = synthesize((24, 144, 128), np.random.default_rng([0, 0]))
    for volume in (*images.values(), classes):
        volume.flags.writeable = False
    return images, classes
