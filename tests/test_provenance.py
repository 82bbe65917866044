"""Versions and commit in the files that the scripts write."""

import platform
import subprocess

import numpy as np
import pytest

from brats import provenance
from brats.provenance import software_versions, source_commit


def test_versions_name_python_and_the_packages():
    assert software_versions("numpy", "not-installed") == {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "not-installed": "unknown",
    }


def describe(command, **options):
    return subprocess.CompletedProcess(command, 0, stdout="0123456789ab-dirty\n")


def fail(command, **options):
    raise subprocess.CalledProcessError(128, command)  # Outside a checkout.


def miss(command, **options):
    raise FileNotFoundError("git")  # Git is not installed.


@pytest.mark.parametrize(
    ("run", "commit"), [(describe, "0123456789ab-dirty"), (fail, "unknown"), (miss, "unknown")]
)
def test_the_commit_is_that_of_the_checkout(run, commit, monkeypatch):
    monkeypatch.setattr(provenance.subprocess, "run", run)
    assert source_commit.__wrapped__() == commit  # Without the cache.
