"""The split by patient: who trains and who validates."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from brats.errors import InputError
from brats.splits import split_cases
from tests.synthetic import case_ids, make_case, make_cases


def test_split_gives_each_grade_its_share():
    train, validation = split_cases(make_cases(10, 5), 0.2, seed=0)
    assert [case.grade for case in validation] == ["HGG", "HGG", "LGG"]  # 10 / 5 and 5 / 5
    assert len(train) == 8 + 4


def test_split_gives_what_rounding_leaves_to_the_largest_remainder():
    # Two of ten patients. HGG: 0.2 * 7 = 1.4, one and 0.4 over. LGG: 0.2 * 3 = 0.6 over.
    validation = split_cases(make_cases(7, 3), 0.2, seed=0)[1]
    assert [case.grade for case in validation] == ["HGG", "LGG"]


def test_split_follows_from_the_seed():
    cases = make_cases(20)
    drawn = {tuple(case_ids(split_cases(cases, 0.2, seed)[1])) for seed in range(5)}
    assert len(drawn) > 1
    assert split_cases(cases, 0.2, seed=3) == split_cases(cases, 0.2, seed=3)


def test_split_does_not_depend_on_the_order_of_the_cases(rng):
    cases = make_cases(12, 6)
    shuffled = [cases[index] for index in rng.permutation(len(cases))]
    assert split_cases(shuffled, 0.3, seed=1) == split_cases(cases, 0.3, seed=1)


def test_small_fraction_still_validates_on_one_patient():
    assert len(split_cases(make_cases(4), 0.01, seed=0)[1]) == 1


def test_fraction_zero_trains_on_everything():
    assert split_cases(make_cases(3), 0.0, seed=0) == (make_cases(3), [])


def test_split_that_leaves_nobody_to_train_on_is_refused():
    with pytest.raises(InputError, match="fraction of 0.2 leaves no patient to train on: found 1"):
        split_cases(make_cases(1), 0.2, seed=0)


@given(
    visits=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=2),
    fraction=st.floats(0, 0.5),
    seed=st.integers(0, 1000),
)
def test_train_and_validation_partition_cases_and_patients(visits, fraction, seed):
    cases = [
        make_case(f"BraTS-GLI-{patient:05d}-{visit:03d}", ("HGG", "LGG")[patient % 2], "2023")
        for patient, visit in sorted(visits)
    ]
    num_patients = len({patient for patient, _ in visits})
    assume(num_patients > 1)
    train, validation = split_cases(cases, fraction, seed)
    assert sorted(case_ids(train) + case_ids(validation)) == case_ids(cases)
    assert case_ids(train) == sorted(case_ids(train)) and case_ids(validation) == sorted(
        case_ids(validation)
    )
    held_out = {case.patient for case in validation}
    assert not held_out & {case.patient for case in train}
    assert len(held_out) == (max(round(fraction * num_patients), 1) if fraction else 0)
