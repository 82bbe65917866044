"""Versions, commit and header of a run."""

import platform
import subprocess

import numpy as np

from brats import provenance
from brats.provenance import software_versions, source_commit
from brats.script import header


def test_versions_name_python_and_the_packages():
    assert software_versions("numpy") == {
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def test_commit_is_that_of_the_checkout(monkeypatch):
    def describe(command, **_):
        return subprocess.CompletedProcess(command, 0, stdout="0123456789ab-dirty\n")

    monkeypatch.setattr(provenance.subprocess, "run", describe)
    assert source_commit() == "0123456789ab-dirty"


def test_commit_is_unknown_outside_a_checkout(monkeypatch):
    def fail(*_, **__):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(provenance.subprocess, "run", fail)
    assert source_commit() == "unknown"


def test_commit_is_unknown_without_git(monkeypatch):
    def fail(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(provenance.subprocess, "run", fail)
    assert source_commit() == "unknown"


def test_header_aligns_facts_and_spells_dicts_and_tuples_out():
    versions = {"a": "1", "b": "2"}
    text = header("Title", seed=0, run_dir=("a", "b"), cases=(), workers=None, versions=versions)
    assert text.splitlines() == [
        "Title",
        "  seed      0",
        "  run dir   a b",
        "  cases     none",
        "  workers   none",
        "  versions  a 1, b 2",
    ]
