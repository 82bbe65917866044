"""Records that a person changed are read, or refused in a message that names file and field."""

import json

import pytest

from brats.editions import CLASSES
from brats.errors import InputError
from brats.predictions.record import read_record, record_path, region_volumes, write_record
from tests.synthetic import make_case

RECORD = {
    "format": "brats-prediction",
    "version": 2,
    "case": "a",
    "networks": [{"path": "a.keras", "sha256": "ab"}],
    "settings": {},
    "inputs": {"a/a_t1.nii.gz": {"size": 1}},
    "warnings": ["odd"],
    "slices": [7],
    "volumes_ml": dict(zip(CLASSES[1:], (1, 2.5, 4.0), strict=True)),
    "scores": [],
}


def test_a_record_reads_back_as_it_is_returned(tmp_path):
    case = make_case("a")
    record = write_record(tmp_path, case, RECORD)
    assert record == read_record(tmp_path, case) == RECORD
    # Core is necrosis and enhancing tumor.
    assert region_volumes(record) == RECORD["volumes_ml"] | {"core": 5.0, "whole": 7.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged: .*--overwrite"),
        (json.dumps(RECORD | {"warnings": "odd"}), "is damaged: warnings .*--overwrite"),
        (json.dumps(RECORD | {"version": 99}), "another version.* 99, expected 2.*--overwrite"),
        ('{"mine": 1}', "is another tool's file.*--overwrite"),
    ],
)
def test_a_file_that_is_no_good_record_is_refused(text, message, tmp_path):
    case = make_case("a")
    record_path(tmp_path, case).write_text(text)
    with pytest.raises(InputError, match=rf"{tmp_path}/a\.json.*{message}"):
        read_record(tmp_path, case)
