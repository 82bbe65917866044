"""What was found in several cases: comparing them, stopping, keeping, printing."""

import pytest

from brats.cases.check import Inspection
from brats.cases.findings import (
    check_no_errors,
    compare_cases,
    table,
    warning_lines,
    warnings_by_case,
)
from brats.errors import InputError


def inspection(case_id, errors=(), warnings=(), contents=None, **facts):
    return Inspection(case_id, list(errors), list(warnings), contents or {}, facts)


def test_cases_that_share_nothing_get_no_warning():
    found = [inspection("a", contents={"t1": b"1", "t2": b"2"}), inspection("b")]
    assert compare_cases(found) == found


def test_of_many_copies_each_case_names_one_other_and_keeps_its_warnings():
    copies = [inspection(name, contents={"t1": b"1"}) for name in "abc"]
    copies.append(inspection("d", warnings=["Odd."], contents={"t1": b"4", "t2": b"4"}))
    assert warnings_by_case(compare_cases(copies)) == {
        "a": ["t1: the same as of b: one patient under two ids."],
        "b": ["t1: the same as of a: one patient under two ids."],
        "c": ["t1: the same as of a: one patient under two ids."],
        "d": ["Odd.", "t1 and t2 are the same image."],
    }


def test_warnings_alone_stop_nothing():
    check_no_errors([inspection("a", warnings=["Odd."])])


def test_one_error_is_told_as_it_is():
    with pytest.raises(InputError, match=r"^a\.nii is broken\.$"):
        check_no_errors([inspection("a", ["a.nii is broken."]), inspection("b")])


def test_several_errors_are_all_told_with_their_cases():
    found = [inspection("a", ["One.", "Two."]), inspection("b"), inspection("c", ["Three."])]
    with pytest.raises(InputError) as raised:
        check_no_errors(found)
    assert str(raised.value) == (
        "3 errors in 2 of 3 cases. Mend or remove them:\n  a: One.\n  a: Two.\n  c: Three."
    )


def test_warnings_are_one_line_each():
    assert warning_lines([inspection("a")]) == "none"
    found = [inspection("a", warnings=["One.", "Two."]), inspection("b", warnings=["Three."])]
    assert warning_lines(found).split("\n    ") == ["", "a: One.", "a: Two.", "b: Three."]


def test_table_has_aligned_rows_with_what_was_found_below():
    found = [
        inspection("first", warnings=["Odd."], size="3 x 4", brain="5"),
        inspection("a", ["Bad."], ["Odd."], size="10 x 12"),
        inspection("b"),
    ]
    assert table(found).splitlines() == [
        "case   size     brain",
        "first  3 x 4    5",
        "  warning: Odd.",
        "a      10 x 12  -",
        "  error: Bad.",
        "  warning: Odd.",
        "b      -        -",
        "3 cases, 1 with errors, 2 with warnings",
    ]
