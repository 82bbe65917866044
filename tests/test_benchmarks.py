"""The benchmarks run and print their tables; their figures do not matter here."""

import sys

import numpy as np
import pytest

from benchmarks import extraction, network, prediction, reading, scores
from benchmarks.measure import write_noise
from brats.phantom.cohort import write_cohort
from brats.volumes.network_input import INPUT_FORMAT
from model import build_resunet


@pytest.fixture
def table(monkeypatch, capsys):
    """Runs a benchmark with the given flags, and returns what it prints."""

    def run(benchmark, *flags):
        monkeypatch.setattr(sys, "argv", [benchmark.__file__, *map(str, flags)])
        benchmark.main()
        return capsys.readouterr().out

    return run


@pytest.mark.nightly
def test_benchmarks_of_cases_have_their_rows(table, tmp_path):
    cases = tmp_path / "cases"  # Of slices as large as the original expects.
    write_cohort(cases, num_cases=1, seed=0, shape=(8, 240, 240))
    flags = "--data-root", cases, "--runs", 1
    text = table(extraction, *flags)
    assert "original's way, 1 cases" in text and "extract_patches.py, 1 cases" in text
    text = table(scores, *flags)
    assert "original's Hausdorff distances" in text and "lesion-wise scores" in text
    path = tmp_path / "network.keras"
    build_resunet((None, None, 4), 4, 2, 1, input_format=INPUT_FORMAT).save(path)
    for flag in ((), ("--full-slices",)):
        assert "first volume" in table(prediction, *flags, "--network", path, *flag)


@pytest.mark.nightly
def test_benchmarks_of_patches_have_their_rows(table, tmp_path):
    patches = write_noise(tmp_path / "patches", 2, 6)
    sizes = "--batches", 4, "--runs", 1
    assert "2 files, 12 patches" in table(reading, "--patches", patches, *sizes)
    assert "3 files, 24 patches" in table(reading, "--noise-cases", 3, *sizes)
    sizes = "--batch-sizes", 2, "--base-filters", 2, "--steps", 1, "--slices", 2, "--runs", 1
    text = table(network, "--patches", patches, *sizes, "--product-size", 64)
    assert "train_epoch" in text and "matrix product" in text


def test_originals_hausdorff_distance_is_0_where_it_should_not_be():
    # The border of either background lies in the other one: lesions are deep where both agree.
    lesion, empty = np.zeros((2, 9, 9, 40), dtype=bool)
    lesion[2:7, 2:7, 2:7] = True
    far = lesion.copy()
    far[4, 4, 35] = True
    for predicted in (empty, np.roll(lesion, 25, axis=2), far):
        assert scores.original_hausdorff(predicted, lesion) == 0
    hollow = lesion.copy()
    hollow[4, 4, 4] = False  # 3 voxels from what is background in the lesion.
    assert scores.original_hausdorff(hollow, lesion) == 3
