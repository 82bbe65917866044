"""Scores of drawn masks, of empty ones, of a real case, and their statistics."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brats.cases import find_cases
from brats.files import read_table
from brats.metrics import (
    METRICS,
    REGIONS,
    dice,
    region_mask,
    score_case,
    sensitivity,
    specificity,
    summarize,
    write_scores,
)
from brats.volumes import read_case

SHAPE = (2, 3, 4)
EMPTY, FULL = np.zeros(SHAPE, dtype=bool), np.ones(SHAPE, dtype=bool)
MASKS = arrays(bool, SHAPE)
CLASSES = arrays(np.uint8, SHAPE, elements=st.integers(0, 3))


def mask(*rows):
    """Returns the mask of a drawing, `(1, Y, X)`: # is in, a dot is out."""
    return np.array([[[letter == "#" for letter in row.split()] for row in rows]])


def scores_of(predicted, reference):
    return {row["region"]: row for row in score_case("a", predicted, reference)}


def rows_of(values):
    """Returns rows of one metric's values per case, equal in all regions and metrics."""
    return [
        {"case": f"case{index}", "region": region} | dict.fromkeys(METRICS, value)
        for index, value in enumerate(values)
        for region in REGIONS
    ]


def test_scores_of_rectangles_that_share_half_their_pixels():
    predicted = mask("# # . .", "# # . .", ". . . .")
    reference = mask(". # # .", ". # # .", ". . . .")
    assert dice(predicted, reference) == 2 * 2 / (4 + 4)
    assert sensitivity(predicted, reference) == 2 / 4
    assert specificity(predicted, reference) == 6 / 8  # Of 12 - 4 pixels, 2 were marked.


def test_sensitivity_and_specificity_tell_too_little_from_too_much():
    small = mask("# . .", ". . .")
    large = mask("# # #", "# . .")
    assert (sensitivity(small, large), specificity(small, large)) == (1 / 4, 1)
    assert (sensitivity(large, small), specificity(large, small)) == (1, 2 / 5)
    assert dice(small, large) == dice(large, small) == 2 * 1 / (1 + 4)


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        (EMPTY, EMPTY, (1, 1, 1)),  # Nothing was there and nothing was found.
        (FULL, EMPTY, (0, 1, 0)),
        (EMPTY, FULL, (0, 0, 1)),
        (FULL, FULL, (1, 1, 1)),
    ],
)
def test_scores_of_empty_and_full_masks(predicted, reference, expected):
    scores = [metric(predicted, reference) for metric in (dice, sensitivity, specificity)]
    assert scores == list(expected)
    assert {type(score) for score in scores} == {float}


@pytest.mark.parametrize(
    ("region", "members"),
    [("whole", [0, 1, 1, 1]), ("core", [0, 1, 0, 1]), ("enhancing", [0, 0, 0, 1])],
)
def test_regions_are_made_of_necrosis_edema_enhancing(region, members):
    found = region_mask(np.array([0, 1, 2, 3], dtype=np.uint8), region)
    assert found.tolist() == [bool(member) for member in members]


def test_case_is_scored_by_region():
    # class      0  1  2  3  3 in the reference; the prediction calls the necrosis edema and
    # predicted  0  2  2  3  0 misses one of the enhancing pixels.
    reference = np.array([[[0, 1, 2, 3, 3]]], dtype=np.uint8)
    predicted = np.array([[[0, 2, 2, 3, 0]]], dtype=np.uint8)
    scores = scores_of(predicted, reference)
    assert list(scores) == ["whole", "core", "enhancing"]
    assert [scores[region]["dice"] for region in scores] == [6 / 7, 2 / 4, 2 / 3]
    assert [scores[region]["sensitivity"] for region in scores] == [3 / 4, 1 / 3, 1 / 2]
    assert [scores[region]["specificity"] for region in scores] == [1, 1, 1]
    assert {row["case"] for row in scores.values()} == {"a"}


def test_missed_slice_lowers_the_scores():
    reference = np.ones(SHAPE, dtype=np.uint8)
    predicted = reference.copy()
    predicted[-1] = 0  # 12 of 24 voxels are left.
    assert scores_of(predicted, reference)["core"]["dice"] == 2 * 12 / (12 + 24)


def test_scores_are_those_of_the_original(real_cases, fixtures):
    expected = json.loads((fixtures / "scores.json").read_text())
    cases = {case.id: case for case in find_cases(real_cases, need_segmentation=True)}
    reference = read_case(cases[expected["case"]]).classes
    predicted = np.roll(reference, (1, -2, 3), axis=(0, 1, 2))
    predicted[:70] = 0
    for region, row in scores_of(predicted, reference).items():
        for metric in METRICS:
            assert row[metric] == pytest.approx(expected[metric][region], rel=0, abs=1e-9)


def test_summary_of_four_cases():
    # Sorted 0.2 0.4 0.6 1.0. Quartiles at positions 0.75, 1.5 and 2.25: 0.2 + 0.75 * 0.2, 0.5,
    # 0.6 + 0.25 * 0.4. Mean 2.2 / 4, deviations 0.35, 0.15, 0.05, 0.45.
    summary = summarize(rows_of([0.6, 0.2, 1.0, 0.4]))
    assert len(summary) == len(REGIONS) * len(METRICS)
    row = summary[0]
    assert (row["region"], row["metric"], row["cases"]) == ("whole", "dice", 4)
    assert row["mean"] == pytest.approx(0.55)
    assert row["std"] == pytest.approx(np.sqrt((0.1225 + 0.0225 + 0.0025 + 0.2025) / 4))
    assert [row[name] for name in ("q25", "median", "q75")] == pytest.approx([0.35, 0.5, 0.7])
    assert (row["min"], row["max"]) == (0.2, 1.0)


def test_summary_keeps_regions_and_metrics_apart():
    rows = rows_of([0.5])
    rows[1] |= {"region": "core", "sensitivity": 0.25}
    means = {(row["region"], row["metric"]): row["mean"] for row in summarize(rows)}
    assert means.pop(("core", "sensitivity")) == 0.25
    assert len(means) == 8 and set(means.values()) == {0.5}


@given(predicted=MASKS, reference=MASKS)
def test_dice_is_symmetric_and_between_0_and_1(predicted, reference):
    assert dice(predicted, reference) == dice(reference, predicted)
    assert 0 <= dice(predicted, reference) <= 1


@given(classes=CLASSES)
def test_perfect_prediction_scores_1_everywhere(classes):
    for row in score_case("a", classes, classes):
        assert [row[metric] for metric in METRICS] == [1, 1, 1]


@given(predicted=CLASSES, reference=CLASSES, axis=st.integers(0, 2))
def test_flipping_both_volumes_changes_no_score(predicted, reference, axis):
    flipped = score_case("a", np.flip(predicted, axis), np.flip(reference, axis))
    assert flipped == score_case("a", predicted, reference)


@given(predicted=MASKS, reference=MASKS)
def test_specificity_is_sensitivity_of_the_background(predicted, reference):
    outside = np.count_nonzero(~reference)
    kept = np.count_nonzero(~predicted & ~reference)
    assert specificity(predicted, reference) == (kept / outside if outside else 1)


def test_scores_of_cases_written_one_by_one_end_in_one_table(tmp_path):
    empty = np.zeros((2, 3, 4), dtype=np.uint8)
    full = np.full((2, 3, 4), 3, dtype=np.uint8)
    for case_id, predicted in (("b", empty), ("a", full), ("b", full)):
        write_scores(tmp_path, score_case(case_id, predicted, full))
    rows = read_table(tmp_path / "scores.csv")
    assert [row["case"] for row in rows] == ["a"] * 3 + ["b"] * 3
    assert {row["dice"] for row in rows} == {"1.0"}  # The first try at b is gone.
    summary = read_table(tmp_path / "summary.csv")
    assert {row["cases"] for row in summary} == {"2"}
