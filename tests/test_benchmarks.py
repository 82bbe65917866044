"""The benchmarks run and print their tables; what they time is no matter here."""

import sys
from pathlib import Path

import numpy as np
import pytest

import extract_patches
from benchmarks import (
    cluster,
    extraction,
    gpu,
    prediction,
    reading,
    scale,
    scores,
    training_step,
)
from model import build_resunet


@pytest.fixture(scope="module")
def patches(cohort, tmp_path_factory):
    """A patch file of six patches per case."""
    path = tmp_path_factory.mktemp("patches") / "patches.h5"
    flags = ["--data-root", str(cohort), "--output", str(path), "--patches-per-case", "6"]
    extract_patches.main(flags)
    return path


@pytest.fixture
def table(monkeypatch, capsys):
    """Runs a benchmark with the given flags and returns the first cells of its lines."""

    def run(benchmark, *flags):
        monkeypatch.setattr(sys, "argv", [benchmark.__file__, *map(str, flags)])
        capsys.readouterr()
        benchmark.main()
        return capsys.readouterr().out

    return run


def test_extraction_has_a_row_per_number_of_cases(table, cohort):
    text = table(extraction, "--data-root", cohort, "--runs", 1, "--original-cases", 0)
    assert [name in text for name in ("1 cases", "2 cases", "4 cases")] == [True] * 3


def test_reading_has_a_row_per_way_and_per_layout(table, patches):
    sizes = ("--batch-size", 2, "--batches", 4, "--layout-patches", 6, "--runs", 1)
    sparse = ("--sparse-patches", 500, "--sparse-batches", 101)
    text = table(reading, "--patches", patches, *sizes, *sparse)
    names = ("PatchReader", "fancy indexing", "cold, MB/s", "float16, gzip 1", "\n500  ")
    assert [name in text for name in names] == [True] * 5


def test_the_page_of_scale_has_the_tables_of_the_constants():
    # If not: python benchmarks/scale.py, and take its tables.
    page = Path(__file__).parents[1].joinpath("docs", "scale.md").read_text(encoding="utf-8")
    for title, text in scale.tables().items():
        assert f"**{title}**\n\n{text}\n" in page


def test_the_constants_of_scale_have_their_place_in_the_results():
    page = Path(__file__).parents[1].joinpath("docs", "results.md").read_text(encoding="utf-8")
    headings = [line.lstrip("# ") for line in page.splitlines() if line.startswith("##")]
    sources = [source for *_, source in (*scale.CONSTANTS.values(), *scale.GPU_TRAINING)]
    for source in sources:
        name = source.split("'")[1]
        assert any(heading.startswith(name) for heading in headings), name


def test_the_model_of_scale_is_held_against_extractions(table, cohort):
    text = table(scale, "--data-root", cohort, "--runs", 1)
    assert "wall s, median" in text and "processor s, median" in text
    assert [f"\n| {number} | " in text for number in (1, 2, 4)] == [True] * 3


def test_a_ring_of_two_sends_all_gradients_once_and_a_single_device_none():
    # Half of them to sum, half of them to spread: 4 bytes of each of 10,159,748.
    assert (scale.ring_bytes(1), scale.ring_bytes(2)) == (0, 40_638_992)


def test_an_epoch_is_its_steps_and_a_third_for_a_patch_to_validate():
    # 8 of 10 cases: 3,504 patches, 438 steps of 4 on each of 2 devices; 876 to validate.
    assert scale.epoch_s(10, 2, 4.0, 4) == pytest.approx(438 * 1.0 + 876 / 3 / 4 / 2)


def test_training_patches_of_a_cohort_are_those_of_four_fifths_of_its_cases():
    assert scale.trained_on(285) == 228 * 438


def test_training_step_gives_its_ratio_and_its_share_of_the_peak(table, patches):
    sizes = ("--base-filters", 2, "--batch-size", 2, "--steps", 1, "--runs", 1)
    text = table(training_step, "--patches", patches, *sizes)
    assert "bare step without metrics" in text and "of a float32 matrix product" in text


def test_prediction_compares_boxes_with_full_slices(table, cohort, tmp_path):
    network = tmp_path / "network.keras"
    build_resunet((None, None, 4), base_filters=2, depth=1).save(network)
    text = table(prediction, "--network", network, "--data-root", cohort, "--runs", 1)
    assert "full slices" in text and "boxes" in text


def test_gpu_has_rows_of_training_and_prediction_on_any_device(table):
    sizes = ("--base-filters", 2, "--batch-sizes", 2, "--steps", 1, "--slices", 2)
    text = table(gpu, *sizes, "--precisions", "float32", "--product-size", 64)
    assert "training    float32" in text and "prediction  float32" in text


def test_scores_stand_beside_the_originals(table, cohort):
    text = table(scores, "--data-root", cohort, "--runs", 1)
    names = ("original's Hausdorff distances", "all scores", "lesion-wise scores", "enhancing")
    assert [name in text for name in names] == [True] * 4


def test_a_case_of_a_killed_worker_is_begun_again(tmp_path, capsys):
    processes = cluster.start_cluster(tmp_path, 2)
    try:
        cluster.print_recovery(tmp_path, processes, 1)
    finally:
        cluster.end(processes)
    seconds = capsys.readouterr().out.split()[-1]
    assert 0 < float(seconds) < 60


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
