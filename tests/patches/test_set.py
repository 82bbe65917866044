"""Several patch files as one set: what has to agree, the split, and what a run records."""

import json

import pytest

from brats.errors import InputError
from brats.patches.file import AGREEMENT, read_case_file
from brats.patches.set import (
    describe_other_patches,
    describe_patches,
    find_twins,
    open_patches,
    split_patches,
)
from tests.synthetic import write_noise


def ids(files):
    return [file.id for file in files]


def test_folders_and_files_form_one_set_sorted_by_id(tmp_path, rng):
    for name, num_patches in (("first", (1, 1, 1)), ("second", (1, 1, 1, 2))):
        write_noise(tmp_path / name, rng, num_patches)
    (tmp_path / "first" / ".writing-node-1-b.h5").write_text("unfinished")
    (tmp_path / "first" / "notes.txt").write_text("not a patch file")
    files = open_patches([tmp_path / "second" / "d.h5", tmp_path / "first"])
    assert ids(files) == ["a", "b", "c", "d"]


def test_a_case_in_two_files_is_refused_with_both(tmp_path, rng):
    for name in ("first", "second"):
        write_noise(tmp_path / name, rng, [1])
    message = f"{tmp_path}/first/a.h5 and {tmp_path}/second/a.h5 both hold case a"
    with pytest.raises(InputError, match=message):
        open_patches([tmp_path / "first", tmp_path / "second"])


@pytest.mark.parametrize(
    "changes", [{"dtype": "float16"}, {"patches_per_case": 9}, {"centers": "balanced"}]
)
def test_settings_that_differ_are_refused_with_both_files_and_values(tmp_path, rng, changes):
    ((name, value),) = changes.items()
    write_noise(tmp_path, rng, [1])
    write_noise(tmp_path / "other", rng, (1, 1), **changes)
    with pytest.raises(InputError, match=f"b.h5 has {name} {value}, and .*a.h5 has "):
        open_patches([tmp_path / "a.h5", tmp_path / "other" / "b.h5"])


def test_a_missing_path_and_a_folder_without_patches_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent do not exist. Make them with extract_pat"):
        open_patches([tmp_path / "absent"])
    with pytest.raises(InputError, match=f"{tmp_path} holds no patch files, which end in .h5"):
        open_patches([tmp_path])


@pytest.fixture
def visits(tmp_path, rng):
    """The files of five cases; a and b are visits of one patient."""
    write_noise(tmp_path, rng, (1, 1), patient="p")
    write_noise(tmp_path / "others", rng, (1, 1, 1, 1, 2))
    return open_patches([tmp_path, *(tmp_path / "others" / f"{name}.h5" for name in "cde")])


def test_both_visits_of_a_patient_are_on_one_side_of_every_fold(visits):
    held_out = []
    for fold in range(4):
        parts = split_patches(visits, 0.2, num_folds=4, fold=fold, seed=3)
        assert sorted(ids(parts["train"]) + ids(parts["validation"])) == list("abcde")
        held_out.append("".join(ids(parts["validation"])))
    assert sorted(held_out) == ["ab", "c", "d", "e"]


def test_a_run_records_the_checksum_of_every_case(visits):
    record = describe_patches(visits)
    assert record["cases"]["b"] == {
        "patient": "p", "grade": None, "num_patches": 1, "checksum": visits[1].checksum,
    }  # fmt: skip
    assert len({case["checksum"] for case in record["cases"].values()}) == 5
    assert (record["dtype"], record["patches_per_case"], record["centers"]) == (
        "float32", 5, "published",
    )  # fmt: skip
    assert record.items() >= AGREEMENT.items()
    assert json.loads(json.dumps(record)) == record


def test_other_patches_are_described(visits, tmp_path, rng):
    now = describe_patches(visits)
    write_noise(tmp_path / "new", rng, [1], patient="p")
    changed = describe_patches([read_case_file(tmp_path / "new" / "a.h5"), *visits[1:]])
    assert describe_other_patches(json.loads(json.dumps(now)), now) is None
    for before, described in (
        (describe_patches(visits[:4]), "--patches have in addition e"),
        (now | {"cases": now["cases"] | {"f": {}, "g": {}}}, "--patches lack f, g"),
        (changed, "--patches have other patches of a"),
        (now | {"dtype": "float16"}, "the patches have dtype float32, was float16"),
        ({}, "the patches have"),
    ):
        assert describe_other_patches(before, now).startswith(described)


def test_cases_with_the_same_image_are_reported(tmp_path, rng):
    for name, digest in (("a", "1"), ("b", "2"), ("c", "1")):
        inputs = {f"{name}/flair": {"sha256": digest}, f"{name}/t1": {"sha256": f"t1 of {name}"}}
        write_noise(tmp_path / name, rng, (1, 1, 1), inputs=inputs)
    files = open_patches([tmp_path / name / f"{name}.h5" for name in "abc"])
    assert find_twins(files) == [
        "c/flair is the same file as a/flair: c and a may be one patient under two ids."
    ]
