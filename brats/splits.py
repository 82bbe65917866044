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
    strata = {}
    for case in sorted(cases, key=lambda case: case.id):
        strata.setdefault(case.grade or "", {})[case.patient] = True
    strata = [list(strata[grade]) for grade in sorted(strata)]
    held_out = set()
    for patients, count in zip(strata, _share_out(strata, validation_fraction), strict=True):
        held_out.update(rng.permutation(patients)[:count].tolist())
    if len(held_out) == sum(map(len, strata)):
        raise InputError(
            f"A validation fraction of {validation_fraction} leaves no patient to train on: "
            f"found {len(held_out)}. Add cases, or set --validation-fraction 0."
        )
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
