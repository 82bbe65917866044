"""Versions and commit in the files that the scripts write."""

import platform
import subprocess
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from brats.provenance import software_versions, source_commit


def test_versions_name_python_and_the_packages():
    assert software_versions("numpy", "not-installed") == {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "not-installed": "unknown",
    }


@pytest.mark.parametrize(
    ("commit", "result"),
    [
        ("0123456789ab-dirty", [SimpleNamespace(stdout="0123456789ab-dirty\n")]),
        ("unknown", subprocess.CalledProcessError(128, "git")),  # Outside a checkout.
        ("unknown", FileNotFoundError("git")),
    ],
)
def test_the_commit_is_that_of_the_checkout(commit, result, monkeypatch):
    monkeypatch.setattr(subprocess, "run", Mock(side_effect=result))
    assert source_commit.__wrapped__() == commit  # Without the cache.
