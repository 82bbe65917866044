"""The split by patient: who trains and who validates."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from brats.cases.split import split_cases, split_fold
from brats.errors import InputError
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


def test_folds_of_one_grade_are_dealt_from_one_permutation():
    cases = make_cases(7)
    order = np.random.default_rng(5).permutation(case_ids(cases))
    for fold in range(3):
        train, validation = split_fold(cases, 3, fold, seed=5)
        assert case_ids(validation) == sorted(order[fold::3])
        assert case_ids(train) == sorted(set(order) - set(order[fold::3]))


def test_folds_have_each_grade_alike():
    # Dealt in turn: of high grade, numbers 0 to 6, folds 0 to 2 get 3, 2 and 2; of low grade,
    # numbers 7 to 10, fold 1 gets 7 and 10, fold 2 gets 8, fold 0 gets 9.
    folds = [split_fold(make_cases(7, 4), 3, fold, seed=0)[1] for fold in range(3)]
    grades = [[case.grade for case in fold] for fold in folds]
    assert grades == [["HGG"] * 3 + ["LGG"], ["HGG"] * 2 + ["LGG"] * 2, ["HGG"] * 2 + ["LGG"]]


def test_a_patient_of_two_grades_is_in_one_fold():
    visits = [("A-000", "HGG"), ("A-001", "LGG"), ("B-000", "LGG"), ("C-000", "HGG")]
    cases = [make_case(f"BraTS-GLI-{name}", grade, "2023") for name, grade in visits]
    for fold in range(3):
        train, validation = split_fold(cases, 3, fold, seed=0)
        assert len({case.patient for case in validation}) == 1
        assert not {case.patient for case in validation} & {case.patient for case in train}


def test_more_folds_than_patients_are_refused():
    visits = [make_case(f"BraTS-GLI-00001-{visit:03d}", edition="2023") for visit in range(3)]
    with pytest.raises(InputError, match="--num-folds 2 is too many for the patients found, 1"):
        split_fold(visits, 2, 0, seed=0)


@given(
    visits=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 2)), min_size=2),
    num_folds=st.integers(2, 5),
    seed=st.integers(0, 1000),
    shuffled=st.randoms(use_true_random=False),
)
def test_every_case_is_in_one_fold_and_folds_are_alike(visits, num_folds, seed, shuffled):
    cases = [
        make_case(f"BraTS-GLI-{patient:05d}-{visit:03d}", ("HGG", "LGG")[patient % 3 == 0], "2023")
        for patient, visit in sorted(visits)
    ]
    assume(len({case.patient for case in cases}) >= num_folds)
    in_any_order = shuffled.sample(cases, len(cases))
    splits = [split_fold(in_any_order, num_folds, fold, seed) for fold in range(num_folds)]
    for train, validation in splits:
        assert sorted(case_ids(train) + case_ids(validation)) == case_ids(cases)
        assert case_ids(train) == sorted(case_ids(train))
    assert sorted(name for _, fold in splits for name in case_ids(fold)) == case_ids(cases)
    for grades in (("HGG", "LGG"), ("HGG",), ("LGG",)):
        sizes = [len({case.patient for case in fold if case.grade in grades}) for _, fold in splits]
        assert max(sizes) - min(sizes) <= 1
    patients = [case_patient for _, fold in splits for case_patient in {c.patient for c in fold}]
    assert len(patients) == len(set(patients))
