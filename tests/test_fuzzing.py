"""Damaged files are read or refused in a sentence: no crash, no hang, no flood of memory."""

import re

import numpy as np
import pytest

from tests import mutations
from tests.fuzzing import KERAS_TARGETS, TARGETS, fuzz

EVERY = TARGETS | KERAS_TARGETS


def check(target, num_inputs, folder):
    report = fuzz(target, range(num_inputs), folder)
    assert report.num_inputs == num_inputs
    assert not report.faults


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files_are_read_or_refused(target, tmp_path):
    check(target, EVERY[target] // 20, tmp_path)


@pytest.mark.parametrize("target", KERAS_TARGETS)
def test_damaged_networks_are_read_or_refused(target, tmp_path):
    check(target, EVERY[target] // 200, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("target", EVERY)
def test_many_damaged_files_are_read_or_refused(target, tmp_path):
    check(target, EVERY[target], tmp_path)


def test_the_driver_tells_what_a_reader_does_wrong_and_goes_on(tmp_path):
    # By its seed an input is a fault, or else read (0, 8) or refused (6).
    report = fuzz("planted", range(9), tmp_path, limit_s=3, limit_mb=600)
    assert (report.num_read, report.num_refused) == (2, 1)
    expected = {
        1: "ended the process with code -11",
        2: "took more than 3 s",
        3: r"took \d+ MB",  # While it goes on.
        4: r"took \d+ MB",  # And gone when it ends.
        5: "KeyError: 'planted'",
        7: "does not name the file",
    }
    assert [seed for seed, _ in report.faults] == list(expected)
    for (_, reason), pattern in zip(report.faults, expected.values(), strict=True):
        assert re.search(pattern, reason)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [f"planted-{seed}-file.bin" for seed in expected]
    # The input of a seed is the same whatever came before it.
    again = np.random.default_rng([5, *b"planted"]).bytes(8)
    assert (tmp_path / "planted-5-file.bin").read_bytes() == again


def test_inputs_follow_from_their_seed():
    def inputs(seed):
        rng = np.random.default_rng(seed)
        header = mutations.mutate_nifti(bytes(772), rng)
        return header, mutations.mutate_json({"a": [1, {"b": 2}]}, rng)

    assert inputs(3) == inputs(3) != inputs(4)
