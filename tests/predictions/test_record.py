"""Records that a person changed are read, or refused in a message that names file and field."""

import json

import pytest

from brats.editions import CLASSES, REGIONS
from brats.errors import InputError
from brats.predictions.record import read_record, record_path, region_volumes, write_record
from brats.scores.tables import METRICS
from tests.synthetic import make_case

SCORES = [
    {"case": "a", "region": region} | dict.fromkeys(METRICS, 0.5 if region == "core" else 1)
    for region in REGIONS
]
RECORD = {
    "networks": [{"path": "a.keras", "sha256": "ab"}],
    "settings": {},
    "inputs": {"a/a_t1.nii.gz": {"size": 1}},
    "warnings": ["odd"],
    "slices": [7],
    "volumes_ml": dict(zip(CLASSES[1:], (1, 2.5, 4.0), strict=True)),
    "scores": SCORES,
}


def test_a_record_reads_back_as_it_is_returned(tmp_path):
    case = make_case("a")
    record = write_record(tmp_path, case, RECORD)
    assert record == read_record(tmp_path, case) and record.items() >= RECORD.items()
    # Core is necrosis and enhancing tumor.
    assert region_volumes(record) == RECORD["volumes_ml"] | {"core": 5.0, "whole": 7.5}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("networks", [{"path": "a.keras"}]),
        ("settings", []),
        ("inputs", {"a/a_t1.nii.gz": None}),
        ("warnings", "odd"),
        ("slices", ["7"]),
        ("volumes_ml", {"edema": 1.0}),
        ("volumes_ml", dict.fromkeys(CLASSES, float("nan"))),
        ("scores", [SCORES[0] | {"dice": True}]),
        ("scores", [SCORES[0] | {"hausdorff95_mm": float("inf")}]),
        ("region", SCORES[:2]),
        ("region", 3 * SCORES[:1]),
    ],
)
def test_a_record_with_a_wrong_field_is_refused(field, value, tmp_path):
    case = make_case("a")
    changed = {{"region": "scores"}.get(field, field): value}
    record_path(tmp_path, case).write_text(
        json.dumps(write_record(tmp_path, case, RECORD) | changed)
    )
    with pytest.raises(InputError, match=rf"{tmp_path}/a\.json is damaged.*{field}.*Remove it"):
        read_record(tmp_path, case)


def test_a_record_of_another_version_is_refused(tmp_path):
    case = make_case("a")
    newer = write_record(tmp_path, case, RECORD) | {"version": 99}
    record_path(tmp_path, case).write_text(json.dumps(newer))
    message = rf"{tmp_path}/a\.json was written by another version.* 99, expected .*--overwrite"
    with pytest.raises(InputError, match=message):
        read_record(tmp_path, case)
