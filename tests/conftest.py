"""What several test files share: a generator, real cases where there are any, phantom cases."""

from pathlib import Path

import hypothesis
import numpy as np
import pytest

from brats.phantom.cohort import write_cohort

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
    """The folder of four phantom cases in the naming of 2017, the last of low grade; read only.

    Slices are as small as they can be: the brain's box is 128 x 128, one patch per slice.
    """
    root = tmp_path_factory.mktemp("cohort")
    write_cohort(root, num_cases=4, seed=0, shape=(20, 160, 144), naming="2017")
    return root
