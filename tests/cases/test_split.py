"""The split by patient: who trains and who validates."""

from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from brats.cases.split import split_cases, split_fold
from brats.errors import InputError
from tests.cases.folders import ids


@dataclass(frozen=True)
class Visit:
    """All that a split needs of a case."""

    id: str
    patient: str
    grade: str | None


def make_cases(num_high, num_low=0):
    """Returns one visit of patients of high grade, then of low grade."""
    names = [(f"high{i:02d}", "HGG") for i in range(num_high)]
    names += [(f"low{i:02d}", "LGG") for i in range(num_low)]
    return [Visit(name, name, grade) for name, grade in names]


def make_visits(visits):
    """Returns visits of patients, `(patient, visit)`; every third patient is of low grade."""
    return [
        Visit(f"{patient:05d}-{visit}", f"{patient:05d}", ("LGG", "HGG", "HGG")[patient % 3])
        for patient, visit in sorted(visits)
    ]


def patients(cases):
    return {case.patient for case in cases}


def test_a_split_is_the_one_of_earlier_versions():
    # So that a run can be repeated: drawn by the version in which extraction made the split.
    cases = make_cases(5, 3)
    assert ids(split_cases(cases, 0.4, seed=7)[1]) == ["high00", "high02", "low00"]
    assert ids(split_fold(cases, 3, 1, seed=7)[1]) == ["high00", "high03", "low02"]


def test_what_rounding_leaves_goes_to_the_largest_remainder():
    # Two of ten patients. HGG: 0.2 * 7 = 1.4, one and 0.4 over. LGG: 0.2 * 3 = 0.6 over.
    validation = split_cases(make_cases(7, 3), 0.2, seed=0)[1]
    assert [case.grade for case in validation] == ["HGG", "LGG"]


def test_a_split_follows_from_the_seed_and_not_from_the_order_of_the_cases(rng):
    cases = make_cases(12, 6)
    shuffled = [cases[index] for index in rng.permutation(len(cases))]
    assert split_cases(shuffled, 0.3, seed=1) == split_cases(cases, 0.3, seed=1)
    assert len({tuple(ids(split_cases(cases, 0.2, seed)[1])) for seed in range(5)}) > 1


def test_a_split_that_leaves_nobody_to_train_on_is_refused():
    with pytest.raises(InputError, match="--validation-fraction 0.2 leaves no patient .* 1 found"):
        split_cases(make_cases(1), 0.2, seed=0)


@given(
    visits=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=2),
    fraction=st.floats(0, 0.5),
    seed=st.integers(0, 1000),
)
def test_train_and_validation_partition_cases_and_patients(visits, fraction, seed):
    cases = make_visits(visits)
    assume(len(patients(cases)) > 1)
    train, validation = split_cases(cases, fraction, seed)
    assert sorted(ids(train) + ids(validation)) == ids(cases)
    assert ids(train) == sorted(ids(train)) and ids(validation) == sorted(ids(validation))
    held_out = patients(validation)
    assert not held_out & patients(train)
    expected = max(round(fraction * len(patients(cases))), 1) if fraction else 0
    assert len(held_out) == expected


def test_a_patient_of_two_grades_is_in_one_fold():
    cases = [Visit("A-0", "A", "HGG"), Visit("A-1", "A", "LGG"), Visit("B-0", "B", "LGG")]
    cases.append(Visit("C-0", "C", "HGG"))
    for fold in range(3):
        train, validation = split_fold(cases, 3, fold, seed=0)
        assert len(patients(validation)) == 1 and not patients(validation) & patients(train)


def test_more_folds_than_patients_are_refused():
    visits = make_visits([(1, 0), (1, 1), (1, 2)])
    with pytest.raises(InputError, match="--num-folds 2 needs as many patients; found 1"):
        split_fold(visits, 2, 0, seed=0)


@given(
    visits=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 2)), min_size=2),
    num_folds=st.integers(2, 5),
    seed=st.integers(0, 1000),
    shuffled=st.randoms(use_true_random=False),
)
def test_every_case_is_in_one_fold_and_folds_are_alike(visits, num_folds, seed, shuffled):
    cases = make_visits(visits)
    assume(len(patients(cases)) >= num_folds)
    in_any_order = shuffled.sample(cases, len(cases))
    splits = [split_fold(in_any_order, num_folds, fold, seed) for fold in range(num_folds)]
    for train, validation in splits:
        assert sorted(ids(train) + ids(validation)) == ids(cases)
        assert not patients(train) & patients(validation)
    assert sorted(name for _, fold in splits for name in ids(fold)) == ids(cases)
    for grades in (("HGG", "LGG"), ("HGG",), ("LGG",)):
        sizes = [len({case.patient for case in fold if case.grade in grades}) for _, fold in splits]
        assert max(sizes) - min(sizes) <= 1
