"""Divides cases into those to train on and those to validate on.

In: objects with `id`, `patient` and `grade`. Out: two lists of them that share no patient.
"""

import numpy as np

from brats.errors import InputError


def split_cases(cases, fraction, seed):
    """Holds out a share of the patients of each grade for validation, by largest remainders.

    At least one patient is held out unless the fraction is 0.

    Args:
        cases: List of objects with `id`, `patient` and `grade`, in any order.
        fraction: Share of the patients to validate on, in [0, 1).
        seed: Seed of the generator, int.

    Returns:
        `(train, validation)`, two lists sorted by id.

    Raises:
        InputError: If no patient is left to train on.
    """
    rng = np.random.default_rng(seed)
    strata = _stratify(cases)
    held_out = set()
    for patients, count in zip(strata, _share_out(strata, fraction), strict=True):
        held_out.update(rng.permutation(patients)[:count].tolist())
    if len(held_out) == sum(map(len, strata)):
        raise InputError(
            f"train.py --validation-fraction {fraction} leaves no patient to train on, of "
            f"{len(held_out)} found. Add cases, or give --validation-fraction 0."
        )
    return _divide(cases, held_out)


def split_fold(cases, num_folds, fold, seed):
    """Holds out one of several folds of the patients for validation.

    The patients of each grade are shuffled, all grades are put in one row, and the row is dealt
    out in turn. So every case is in exactly one fold, and the folds differ by at most one patient,
    also within a grade.

    Args:
        cases: List of objects with `id`, `patient` and `grade`, in any order.
        num_folds: Number of folds, int of at least 2.
        fold: Index of the validation fold, int in [0, num_folds).
        seed: Seed of the generator, int. Folds of the same seed belong together.

    Returns:
        `(train, validation)`, two lists sorted by id.

    Raises:
        InputError: If there are fewer patients than folds.
    """
    rng = np.random.default_rng(seed)
    dealt = [
        patient for patients in _stratify(cases) for patient in rng.permutation(sorted(patients))
    ]
    if len(dealt) < num_folds:
        raise InputError(
            f"train.py --num-folds {num_folds} needs as many patients; found {len(dealt)}. Add "
            "cases, or give fewer folds."
        )
    return _divide(cases, set(dealt[fold::num_folds]))


def _stratify(cases):
    """Returns the patients of each grade, by the grade of a patient's first case."""
    grades = {}
    for case in sorted(cases, key=lambda case: case.id):
        grades.setdefault(case.patient, case.grade or "")
    return [
        [patient for patient, grade in grades.items() if grade == each]
        for each in sorted(set(grades.values()))
    ]


def _divide(cases, held_out):
    """Returns the cases to train on, and those of the held-out patients, each sorted by id."""
    # Departure: the original splits by slices, so that a patient can be on both sides.
    ordered = sorted(cases, key=lambda case: case.id)
    train = [case for case in ordered if case.patient not in held_out]
    return train, [case for case in ordered if case.patient in held_out]


def _share_out(strata, fraction):
    """Returns how many patients of each stratum to hold out, by largest remainders."""
    sizes = np.array([len(patients) for patients in strata])
    total = round(fraction * sizes.sum())
    if fraction > 0:
        total = max(total, 1)
    counts = np.floor(fraction * sizes).astype(int)
    remainders = fraction * sizes - counts
    for index in np.argsort(-remainders, kind="stable")[: max(total - counts.sum(), 0)]:
        counts[index] += 1
    return counts
