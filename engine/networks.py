"""Which networks to predict with: those of runs, or a file of weights; and on which cases.

In: run folders, or the path of a network. Out: paths, networks, and cases they were not trained on.
"""

import hashlib
from pathlib import Path

from brats.cases import select_cases
from brats.errors import InputError
from brats.patch_file import check_agreement
from brats.schemes import CLASSES, MODALITIES
from engine.network_files import read_network_settings
from engine.runs import RECORD, best_network_path, read_record
from engine.weights import load_weights


def find_networks(run_dirs):
    """Finds the best network of every run.

    Args:
        run_dirs: Paths of run folders.

    Returns:
        `(paths, trained_on)`: a list, and the set of the ids of the cases that any of the networks
        was trained on.

    Raises:
        FileNotFoundError: If there is no such run, or it has no network yet.
        InputError: If a run's patches were made in another way than by this version, or its
            record does not say which cases it was trained on.
    """
    trained_on = set()
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
        trained_on.update(ids)
    return [best_network_path(run_dir) for run_dir in run_dirs], trained_on


def select_unseen(cases, ids, trained_on):
    """Selects the cases to predict: those asked for, or all that no network was trained on.

    Args:
        cases: List of `Case`s.
        ids: Ids of cases, seen or not; none for all that are unseen.
        trained_on: Set of ids.

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


def read_network(path, build_network):
    """Builds the network of the settings in a file, with the weights in it.

    Args:
        path: Path of a `.keras` file, or of an `.hdf5` file of the original.
        build_network: `model.build_resunet`.

    Returns:
        A residual U-Net for the modalities and classes of `brats.schemes`.

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
        raise InputError(f"--run-dir names a network twice: {names}. Give each once.")
    return digests
