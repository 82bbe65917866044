"""Which cases to train on and which to validate on.

In: cases. Out: two lists that share no patient.
"""

import numpy as np

from brats.errors import InputError


def split_cases(cases, validation_fraction, seed):
    """Divides cases into training and validation, by patient and stratified by grade.

    Each grade gives the share of its patients that `validation_fraction` asks for, rounded so
    that the total is right; validation gets at least one patient unless the fraction is 0.

    Args:
        cases: List of `Case`, in any order.
        validation_fraction: Share of the patients to validate on, in [0, 1).
        seed: Seed of the generator, int.

    Returns:
        `(train, validation)`, two lists of `Case` sorted by id.

    Raises:
        InputError: If no patient would be left to train on.
    """
    rng = np.random.default_rng(seed)
    strata = _stratify(cases)
    held_out = set()
    for patients, count in zip(strata, _share_out(strata, validation_fraction), strict=True):
        held_out.update(rng.permutation(patients)[:count].tolist())
    if len(held_out) == sum(map(len, strata)):
        raise InputError(
            f"A validation fraction of {validation_fraction} leaves no patient to train on: "
            f"found {len(held_out)}. Add cases, or set --validation-fraction 0."
        )
    return _divide(cases, held_out)


def split_fold(cases, num_folds, fold, seed):
    """Divides cases into training and validation, the validation cases being one of several folds.

    The patients of each grade are put in random order, the grades end to end, and dealt out in
    turn. So every case is in exactly one fold, folds differ by one patient at most, in each
    grade as well, and visits of a patient stay together.

    Args:
        cases: List of `Case`, in any order.
        num_folds: Number of folds, int of at least 2.
        fold: Index of the fold to validate on, int in [0, num_folds).
        seed: Seed of the generator, int; the folds of one seed belong together.

    Returns:
        `(train, validation)`, two lists of `Case` sorted by id.

    Raises:
        InputError: If there are fewer patients than folds.
    """
    rng = np.random.default_rng(seed)
    dealt = [
        patient for patients in _stratify(cases) for patient in rng.permutation(sorted(patients))
    ]
    if len(dealt) < num_folds:
        raise InputError(
            f"--num-folds {num_folds} is too many for the patients found, {len(dealt)}; expected "
            "at most one fold for each. Add cases, or give fewer."
        )
    return _divide(cases, set(dealt[fold::num_folds]))


def _stratify(cases):
    """Returns the patients of each grade, in the order of their cases: that of the first counts."""
    grades = {}
    for case in sorted(cases, key=lambda case: case.id):
        grades.setdefault(case.patient, case.grade or "")
    return [
        [patient for patient, grade in grades.items() if grade == each]
        for each in sorted(set(grades.values()))
    ]


def _divide(cases, held_out):
    """Returns the cases to train on and those of the patients to hold out, each sorted by id."""
    # Departure: the original splits by slices, so that a patient can be on both sides.
    ordered = sorted(cases, key=lambda case: case.id)
    train = [case for case in ordered if case.patient not in held_out]
    return train, [case for case in ordered if case.patient in held_out]


def _share_out(strata, fraction):
    """Returns how many patients of each stratum to hold out: largest remainders first."""
    sizes = np.array([len(patients) for patients in strata])
    total = round(fraction * sizes.sum())
    if fraction > 0:
        total = max(total, 1)
    counts = np.floor(fraction * sizes).astype(int)
    remainders = fraction * sizes - counts
    for index in np.argsort(-remainders, kind="stable")[: max(total - counts.sum(), 0)]:
        counts[index] += 1
    return counts
