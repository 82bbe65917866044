"""Scores of cases per region, on real cases too; their statistics and tables."""

import json

import numpy as np
import pytest

from brats.cases.find import find_cases
from brats.editions import EDITIONS, REGIONS
from brats.errors import InputError
from brats.files import read_table
from brats.scores.tables import (
    METRICS,
    describe_summary,
    score_case,
    score_missing,
    summarize,
    write_tables,
)
from brats.volumes.case import read_case

SHAPE, SPACING_MM = (2, 3, 4), (3, 2, 1)


def scores_of(predicted, reference):
    rows = score_case("a", predicted, reference, SPACING_MM, EDITIONS["2023"])
    return {row["region"]: row for row in rows}


def rows_of(values):
    """Returns rows of one value per case, the same in all regions and metrics."""
    return [
        {"case": f"case{index}", "region": region} | dict.fromkeys(METRICS, value)
        for index, value in enumerate(values)
        for region in REGIONS
    ]


def test_case_is_scored_by_region():
    # class      0  1  2  3  3 in the reference; the prediction calls the necrosis edema and
    # predicted  0  2  2  3  0 misses one of the enhancing pixels.
    reference = np.array([[[0, 1, 2, 3, 3]]], dtype=np.uint8)
    predicted = np.array([[[0, 2, 2, 3, 0]]], dtype=np.uint8)
    scores = scores_of(predicted, reference)
    assert list(scores) == ["whole", "core", "enhancing"]
    assert [row["dice"] for row in scores.values()] == [6 / 7, 2 / 4, 2 / 3]
    assert [row["sensitivity"] for row in scores.values()] == [3 / 4, 1 / 3, 1 / 2]
    assert [row["specificity"] for row in scores.values()] == [1, 1, 1]


def test_every_score_of_a_drawn_case():
    # Voxels of 3 x 2 x 1 mm, 0.006 ml. The prediction finds one of three and has one too many. The
    # missed ones are 1 and 2 voxels of 1 mm from the found one; the false one is a voxel of 2 mm
    # from the reference. Three voxels are too small a lesion to count, and what touches it is not
    # false.
    #   reference  2 2 2     predicted  2 . .
    #              . . .                2 . .
    reference = np.array([[[2, 2, 2], [0, 0, 0]]], dtype=np.uint8)
    predicted = np.array([[[2, 0, 0], [2, 0, 0]]], dtype=np.uint8)
    row = scores_of(predicted, reference)["whole"]
    assert tuple(row) == ("case", "region", *METRICS)
    assert (row["case"], row["dice"]) == ("a", 2 * 1 / (2 + 3))
    assert (row["sensitivity"], row["specificity"], row["precision"]) == (1 / 3, 2 / 3, 1 / 2)
    assert row["hausdorff_mm"] == row["hausdorff95_mm"] == 2
    assert row["predicted_ml"] == pytest.approx(0.012)
    assert row["reference_ml"] == pytest.approx(0.018)
    assert (row["lesion_dice"], row["lesion_hausdorff95_mm"]) == (1, 0)
    assert (row["num_lesions"], row["num_missed"], row["num_false"]) == (0, 0, 0)
    assert {type(row[name]) for name in METRICS} == {float, int}  # JSON can hold them.


def test_a_missing_segmentation_has_the_worst_scores_where_nothing_was_to_be_found_too():
    whole, _, enhancing = score_missing("a", np.array([[[2, 0]]]), SPACING_MM, EDITIONS["2023"])
    for row in (whole, enhancing):
        assert (row["dice"], row["lesion_dice"], row["sensitivity"]) == (0, 0, 0)
        assert row["hausdorff95_mm"] == row["lesion_hausdorff95_mm"] == row["hausdorff_mm"] == 374
    assert (whole["reference_ml"], enhancing["reference_ml"]) == (0.006, 0)


def test_volumes_of_two_shapes_are_refused():
    with pytest.raises(InputError, match=r"Case a .*\(1, 3, 4\), the reference \(2, 3, 4\)"):
        scores_of(np.zeros((1, 3, 4), np.uint8), np.zeros(SHAPE, np.uint8))


def test_scores_are_those_of_the_original(real_cases, fixtures):
    expected = json.loads((fixtures / "scores.json").read_text())
    cases, _ = find_cases(real_cases, need_segmentation=True)
    (reference,) = (read_case(case).classes for case in cases if case.id == expected["case"])
    predicted = np.roll(reference, (1, -2, 3), axis=(0, 1, 2))
    predicted[:70] = 0
    for region, row in scores_of(predicted, reference).items():
        for metric in ("dice", "sensitivity", "specificity"):
            assert row[metric] == pytest.approx(expected[metric][region], rel=0, abs=1e-9)


def test_scores_are_those_of_the_challenge(fixtures):
    expected = json.loads((fixtures / "challenge_scores.json").read_text())["pairs"]
    volumes = np.load(fixtures / "challenge_scores.npz")
    for pair in expected:
        names = pair["predicted"], pair["reference"]
        edition = EDITIONS[pair["edition"]]
        masks = [volumes[name] for name in names]
        for row in score_case("a", *masks, pair["spacing_mm"], edition):
            there = pair["scores"][row["region"]]
            here = {metric: row[metric] for metric in there}
            assert here == pytest.approx(there, rel=0, abs=1e-6), (*names, edition.name)


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
    rows[1]["hausdorff95_mm"] = 0.25  # Of the core.
    summary = summarize(rows)
    means = {(row["region"], row["metric"]): row["mean"] for row in summary}
    assert means.pop(("core", "hausdorff95_mm")) == 0.25
    assert len(means) == 3 * 13 - 1 and set(means.values()) == {0.5}
    title, *lines = describe_summary(summary).splitlines()
    assert title.split()[:6] == ["Mean", "over", "1", "case", "dice", "hausdorff95_mm"]
    assert [line.split()[:3] for line in lines] == [
        ["whole", "0.500", "0.500"],
        ["core", "0.500", "0.250"],
        ["enhancing", "0.500", "0.500"],
    ]


def test_tables_hold_all_rows_in_the_order_of_cases_and_regions(tmp_path):
    rows = rows_of([0.6, 0.2])
    summary = write_tables(tmp_path, rows[::-1])
    found = read_table(tmp_path / "scores.csv")
    assert [(row["case"], row["region"], row["dice"]) for row in found] == [
        (row["case"], row["region"], str(row["dice"])) for row in rows
    ]
    assert summary == summarize(rows)
    means = [row["mean"] for row in read_table(tmp_path / "summary.csv")]
    assert means == [str(row["mean"]) for row in summary]


def test_tables_are_removed_when_there_are_no_scores(tmp_path):
    write_tables(tmp_path, rows_of([0.5]))
    assert write_tables(tmp_path, []) == write_tables(tmp_path, []) == []
    assert list(tmp_path.iterdir()) == []
