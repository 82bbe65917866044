"""Which networks to predict with: those of runs, or of files of weights; and on which cases.

In: run folders, or paths of networks. Out: paths, networks, and the cases for them.
"""

import hashlib
from itertools import chain
from pathlib import Path

from brats.cases.find import select_cases
from brats.editions import CLASSES, MODALITIES
from brats.errors import InputError
from brats.patches.file import check_agreement
from engine.networks.files import read_network_settings
from engine.networks.weights import load_weights
from engine.runs.folder import RECORD, network_path, read_record


def find_networks(run_dirs, checkpoint, weights=()):
    """Returns the networks to predict with: one of every run, or others that are given.

    Args:
        run_dirs: Paths of run folders.
        checkpoint: Which network of each, "best" or "last".
        weights: Paths of networks to use instead, of which no training is known.

    Returns:
        `(paths, trained_on)`: two lists, of the path of every network, and of the set of the ids
        of the cases that it was trained on.

    Raises:
        FileNotFoundError: If there is no such run, or it has no network yet.
        InputError: If a run's patches were made in another way than by this version, or its
            record does not say which cases it was trained on.
    """
    if weights:
        return list(weights), [set() for _ in weights]
    trained_on = []
    for run_dir in run_dirs:
        extraction = read_record(run_dir)["extraction"]
        path = Path(run_dir) / RECORD
        check_agreement(extraction, path)
        split = extraction.get("split")
        ids = split.get("train") if isinstance(split, dict) else None
        if not (isinstance(ids, list) and all(isinstance(name, str) for name in ids)):
            raise InputError(
                f"{path} does not say which cases the run was trained on: it is damaged. Train "
                "again, or give the network with --weights."
            )
        trained_on.append(set(ids))
    return [network_path(run_dir, checkpoint) for run_dir in run_dirs], trained_on


def assign_cases(cases, ids, paths, trained_on, cross_validate=False):
    """Selects the cases to predict, and says which networks are averaged for each.

    Args:
        cases: List of `Case`s.
        ids: Ids of cases; none for all that no network was trained on, or, to cross-validate, all
            that at least one was not trained on.
        paths: List of the paths of networks.
        trained_on: List of the set of ids that each was trained on.
        cross_validate: Whether a case is for those networks alone that were not trained on it;
            otherwise it is for all.

    Returns:
        Dict from a tuple of paths, in their order, to a list of `Case`s.

    Raises:
        InputError: If a case is unknown, none is left, or one that is asked for cannot be
            cross-validated.
    """
    if not cross_validate:
        return {tuple(paths): _select_unseen(cases, ids, set().union(*trained_on))}
    groups = {}
    for case in _select_unseen(cases, ids, set.intersection(*trained_on)):
        networks = zip(paths, trained_on, strict=True)
        unseen_by = tuple(path for path, seen in networks if case.id not in seen)
        groups.setdefault(unseen_by, []).append(case)
    if () in groups:
        raise InputError(
            f"Every run was trained on {', '.join(case.id for case in groups[()])}; to "
            "cross-validate, expected one that was not. Leave it out of --cases, or add a run to "
            "--run-dir."
        )
    return groups


def _select_unseen(cases, ids, trained_on):
    """Returns the cases with the given ids, seen or not, or all others than were trained on.

    Raises:
        InputError: If a case is unknown, or none is left.
    """
    if ids:
        return select_cases(cases, ids)
    unseen = [case for case in cases if case.id not in trained_on]
    if not unseen:
        raise InputError(
            f"The network was trained on all {len(cases)} cases that were found. Name the ones to "
            "segment with --cases, or give another --data-root."
        )
    return unseen


def all_cases(groups):
    """Returns the cases of all groups of `assign_cases`, sorted by id."""
    return sorted(chain(*groups.values()), key=lambda case: case.id)


def networks_by_case(groups):
    """Returns the paths of the networks of every case as a dict that JSON can hold, by id."""
    return {case.id: list(map(str, paths)) for paths, cases in groups.items() for case in cases}


def describe_groups(groups, found):
    """Returns how many cases are segmented by which networks, and how many by none, as a line.

    Args:
        groups: As of `assign_cases`.
        found: List of the `Case`s that were to be assigned.
    """
    parts = [f"{len(cases)} by {' + '.join(map(str, paths))}" for paths, cases in groups.items()]
    if num_seen := max(len(found) - len(all_cases(groups)), 0):
        parts.append(f"{num_seen} left out, which every run was trained on")
    return ", ".join(parts)


def read_network(path, build_network):
    """Builds the network of the settings in a file, with the weights in it.

    Args:
        path: Path of a `.keras` file, or of an `.hdf5` file of the original.
        build_network: `model.build_resunet`.

    Returns:
        A residual U-Net for the modalities and classes of `brats.editions`.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file holds something else.
    """
    settings = read_network_settings(path)
    num_modalities, num_classes = settings["input_shape"][-1], settings["num_classes"]
    if (num_modalities, num_classes) != (len(MODALITIES), len(CLASSES)):
        raise InputError(
            f"{path} is for {num_modalities} modalities and {num_classes} classes; expected "
            f"{len(MODALITIES)} and {len(CLASSES)}. Give another."
        )
    network = build_network(**settings)
    load_weights(network, path)
    return network


def digest_networks(paths):
    """Tells the files of networks apart by what they hold.

    Args:
        paths: List of paths.

    Returns:
        Dict of the SHA-256 of each file, in hexadecimal, by path.

    Raises:
        InputError: If two hold the same.
    """
    digests = {}
    for path in paths:
        with open(path, "rb") as file:
            digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
    if len(set(digests.values())) < len(paths):
        names = ", ".join(map(str, paths))
        raise InputError(f"Two of these files hold the same network: {names}. Give each once.")
    return digests
