"""Scores of cases per region, of real ones too, their statistics and their tables."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brats.cases.find import find_cases
from brats.editions import REGIONS, labels_to_classes, region_mask
from brats.errors import InputError
from brats.files import read_table, write_table
from brats.predictions.record import check_output, write_record, write_segmentation
from brats.scores.tables import METRICS, read_scores, score_case, summarize, write_scores
from brats.volumes.case import RawCase, read_case
from brats.volumes.files import read_volume
from brats.volumes.geometry import Geometry
from tests.synthetic import make_case

SHAPE, SPACING_MM = (2, 3, 4), (3, 2, 1)
CLASSES = arrays(np.uint8, SHAPE, elements=st.integers(0, 3))
PERFECT = dict.fromkeys(("dice", "sensitivity", "specificity", "precision", "lesion_dice"), 1)
PERFECT |= dict.fromkeys(("hausdorff_mm", "hausdorff95_mm", "lesion_hausdorff95_mm"), 0)
PERFECT |= dict.fromkeys(("num_missed", "num_false"), 0)


def scores_of(predicted, reference):
    return {row["region"]: row for row in score_case("a", predicted, reference, SPACING_MM)}


def rows_of(values):
    """Returns rows of one metric's values per case, equal in all regions and metrics."""
    return [
        {"case": f"case{index}", "region": region} | dict.fromkeys(METRICS, value)
        for index, value in enumerate(values)
        for region in REGIONS
    ]


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


def test_every_score_of_a_drawn_case():
    # Voxels of 3 x 2 x 1 mm, which are 0.006 ml. One of three was found, and one is too many. The
    # missed ones are 1 and 2 voxels of 1 mm from what was found, the false one a voxel of 2 mm
    # from the reference. Three voxels are no lesion that counts, but neither is what touches them
    # false.
    #   reference  2 2 2     predicted  2 . .
    #              . . .                2 . .
    reference = np.array([[[2, 2, 2], [0, 0, 0]]], dtype=np.uint8)
    predicted = np.array([[[2, 0, 0], [2, 0, 0]]], dtype=np.uint8)
    row = scores_of(predicted, reference)["whole"]
    assert tuple(row) == ("case", "region", *METRICS)
    assert row["dice"] == 2 * 1 / (2 + 3)
    assert (row["sensitivity"], row["specificity"], row["precision"]) == (1 / 3, 2 / 3, 1 / 2)
    assert row["hausdorff_mm"] == row["hausdorff95_mm"] == 2
    assert row["predicted_ml"] == pytest.approx(0.012)
    assert row["reference_ml"] == pytest.approx(0.018)
    assert (row["lesion_dice"], row["lesion_hausdorff95_mm"]) == (1, 0)
    assert (row["num_lesions"], row["num_missed"], row["num_false"]) == (0, 0, 0)
    assert {type(row[name]) for name in METRICS} == {float, int}


def test_volumes_of_two_shapes_are_refused():
    with pytest.raises(
        InputError, match=r"Case a .* shape \(1, 3, 4\), the ground truth \(2, 3, 4\)"
    ):
        scores_of(np.zeros((1, 3, 4), np.uint8), np.zeros(SHAPE, np.uint8))


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
        for metric in ("dice", "sensitivity", "specificity"):
            assert row[metric] == pytest.approx(expected[metric][region], rel=0, abs=1e-9)


def test_real_cases_against_themselves_are_perfect_and_one_voxel_off_is_1_mm(real_cases):
    cases = find_cases(real_cases, need_segmentation=True)[-6:]  # Two without enhancing tumor.
    for index, case in enumerate(cases):
        labels, geometry = read_volume(case.segmentation)
        reference = labels_to_classes(labels, case.edition)
        for row in score_case(case.id, reference, reference, geometry.spacing_mm[::-1]):
            assert row | PERFECT == row
            assert row["predicted_ml"] == row["reference_ml"]
        moved = np.roll(reference, 1, axis=index % 3)
        for row in score_case(case.id, moved, reference, geometry.spacing_mm[::-1]):
            assert row["hausdorff95_mm"] == (1 if row["reference_ml"] else 0)


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
    assert len(means) == 3 * 13 - 1 and set(means.values()) == {0.5}


@given(classes=CLASSES)
def test_perfect_prediction_is_perfect_in_every_score(classes):
    for row in scores_of(classes, classes).values():
        assert row | PERFECT == row


@given(predicted=CLASSES, reference=CLASSES, axis=st.integers(0, 2))
def test_flipping_both_volumes_changes_no_score(predicted, reference, axis):
    flipped = scores_of(np.flip(predicted, axis), np.flip(reference, axis))
    for region, row in scores_of(predicted, reference).items():
        for metric in METRICS:
            assert flipped[region][metric] == pytest.approx(row[metric])


def test_scores_of_cases_written_one_by_one_end_in_one_table(tmp_path):
    empty = np.zeros((2, 3, 4), dtype=np.uint8)
    full = np.full((2, 3, 4), 3, dtype=np.uint8)
    for case_id, predicted in (("b", empty), ("a", full), ("b", full)):
        write_scores(tmp_path, case_id, score_case(case_id, predicted, full, SPACING_MM))
    rows = read_table(tmp_path / "scores.csv")
    assert [row["case"] for row in rows] == ["a"] * 3 + ["b"] * 3
    assert {row["dice"] for row in rows} == {"1.0"}  # The first try at b is gone.
    summary = read_table(tmp_path / "summary.csv")
    assert {row["cases"] for row in summary} == {"2"}


def test_a_case_that_has_no_scores_any_more_leaves_the_tables(tmp_path):
    full = np.full((2, 3, 4), 3, dtype=np.uint8)
    for case_id in ("a", "b"):
        write_scores(tmp_path, case_id, score_case(case_id, full, full, SPACING_MM))
    write_scores(tmp_path, "a", [])
    assert {row["case"] for row in read_table(tmp_path / "scores.csv")} == {"b"}
    write_scores(tmp_path, "b", [])
    assert list(tmp_path.iterdir()) == []


def test_spacing_of_a_geometry_is_turned_to_the_order_of_the_arrays(tmp_path):
    # One voxel, two slices of 3 mm too high. In the order (x, y, z), it would be 2 mm.
    reference, predicted = np.zeros((2, 5, 6, 7), dtype=np.uint8)
    reference[1, 2, 2] = predicted[3, 2, 2] = 3
    geometry = Geometry((1, 2, 3), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    raw = RawCase([np.ones(reference.shape, np.int16)] * 4, reference, geometry)
    written = write_segmentation(tmp_path, make_case("a"), raw, predicted)
    assert [row["hausdorff_mm"] for row in written.rows] == [6, 6, 6]


def test_scores_of_an_older_version_are_refused_before_any_work(tmp_path):
    old = [{"case": "b", "region": region, "dice": 1.0} for region in REGIONS]
    write_table(tmp_path / "scores.csv", old)
    before = (tmp_path / "scores.csv").read_bytes()
    expected = r"scores.csv has no sensitivity, .*num_false in line 2: it is damaged, or another"
    full = np.full(SHAPE, 3, dtype=np.uint8)
    with pytest.raises(InputError, match=expected):
        write_scores(tmp_path, "a", score_case("a", full, full, SPACING_MM))
    write_record(tmp_path, {"method": {"networks": []}})
    with pytest.raises(InputError, match=expected):
        check_output(tmp_path, [], overwrite=True, method={"networks": []})
    assert (tmp_path / "scores.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: text.rstrip().rindex(",")], "has no num_false in line 4"),
        (lambda text: text.replace("core", "Core"), "an unknown region, .* in line 3"),
        (lambda text: text.replace("1.0", "one", 1), "a score that is not a number, in line 2"),
        (lambda text: text.replace("1.0", "nan", 1), "a score that is not a number, in line 2"),
    ],
)
def test_a_damaged_table_is_told_with_its_line(damage, message, tmp_path):
    full = np.full((2, 3, 4), 3, dtype=np.uint8)
    write_scores(tmp_path, "a", score_case("a", full, full, SPACING_MM))
    path = tmp_path / "scores.csv"
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path)


def test_what_is_no_table_is_told(tmp_path):
    (tmp_path / "scores.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="Cannot read .*scores.csv as a table"):
        read_scores(tmp_path)
