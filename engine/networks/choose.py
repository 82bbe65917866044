"""Which networks to predict with, and on which cases.

In: run folders, or files of weights. Out: `Network`s, and for each group of cases its networks.
"""

from dataclasses import dataclass
from pathlib import Path

from brats.editions import CLASSES, MODALITIES
from brats.errors import InputError
from brats.inputs import digest
from brats.patches.file import check_agreement
from engine.networks.files import check_exists, read_network_settings
from engine.networks.weights import load_weights
from engine.runs.folder import RECORD, network_path, read_record


@dataclass(frozen=True)
class Network:
    """A file of a network.

    Attributes:
        path: `Path` of the file.
        sha256: SHA-256 of the file, in hexadecimal.
        trained_on: Ids of patients and cases that the network was trained on, a frozenset.
    """

    path: Path
    sha256: str
    trained_on: frozenset


@dataclass(frozen=True)
class Group:
    """Cases that the same networks segment.

    Attributes:
        networks: Tuple of the `Network`s whose predictions are averaged.
        cases: List of `Case`s.
    """

    networks: tuple
    cases: list


def find_networks(run_dirs, checkpoint, weights=()):
    """Finds the networks to predict with: one of each run, or the files of `weights`.

    Args:
        run_dirs: Paths of run folders.
        checkpoint: Which network of each run, "best" or "last".
        weights: Paths of files to use instead. Nothing is known about their training.

    Returns:
        List of `Network`.

    Raises:
        FileNotFoundError: If a run or a file does not exist, or a run has no network yet.
        InputError: If the patches of a run were made in another way than by this version, or two
            files hold the same network.
    """
    if weights:
        networks = [_network(path) for path in weights]
    else:
        networks = [_network_of_run(run_dir, checkpoint) for run_dir in run_dirs]
    if len({network.sha256 for network in networks}) < len(networks):
        names = ", ".join(str(network.path) for network in networks)
        raise InputError(f"Two of these files hold the same network: {names}. Give each once.")
    return networks


def assign_cases(cases, ids, networks, cross_validate=False):
    """Selects the cases to predict, and the networks that are averaged for each.

    Args:
        cases: List of `Case`s.
        ids: Ids by which the cases were selected. If empty: only cases that no network was trained
            on are predicted or, to cross-validate, that at least one was not trained on.
        networks: List of `Network`.
        cross_validate: Whether only networks that were not trained on a case segment it. If not,
            all networks segment all cases.

    Returns:
        List of `Group`.

    Raises:
        InputError: If no case is left, or a case in `ids` cannot be cross-validated.
    """
    seen = [network.trained_on for network in networks]
    if not cross_validate:
        return [Group(tuple(networks), _select_unseen(cases, ids, frozenset().union(*seen)))]
    groups = {}
    for case in _select_unseen(cases, ids, frozenset.intersection(*seen)):
        unseen_by = tuple(each for each in networks if not _has_seen(each.trained_on, case))
        groups.setdefault(unseen_by, []).append(case)
    if () in groups:
        raise InputError(
            f"Every run was trained on {', '.join(case.id for case in groups[()])}; to "
            "cross-validate, expected one that was not. Leave it out of --cases, or add a run to "
            "--run-dir."
        )
    return [Group(*group) for group in groups.items()]


def all_cases(groups):
    """Returns the cases of a list of `Group`s, sorted by id."""
    return sorted((case for group in groups for case in group.cases), key=lambda case: case.id)


def describe_groups(groups, found):
    """Returns a line: how many of the found cases which networks segment, and how many none."""
    parts = [
        f"{num} case{'s' * (num > 1)} by {' + '.join(str(each.path) for each in group.networks)}"
        for num, group in ((len(group.cases), group) for group in groups)
    ]
    if (num_seen := len(found) - len(all_cases(groups))) > 0:
        parts.append(f"{num_seen} left out, which every run was trained on")
    return ", ".join(parts)


def seen_warnings(networks, case):
    """Returns a list of at most one sentence: which networks were trained on a case's patient."""
    names = [str(each.path) for each in networks if _has_seen(each.trained_on, case)]
    if not names:
        return []
    return [f"Trained on this patient: {', '.join(names)}. Expect lower scores for new patients."]


def read_network(path, build_network):
    """Builds the network of the settings in a file, with the weights in it.

    Args:
        path: Path of a `.keras` file, or of an `.hdf5` file of the original.
        build_network: `model.build_resunet`.

    Returns:
        A residual U-Net for the modalities and classes of `brats.editions`.

    Raises:
        FileNotFoundError: If the file does not exist.
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


def _network(path, trained_on=()):
    check_exists(path)
    return Network(Path(path), digest(path), frozenset(trained_on))


def _network_of_run(run_dir, checkpoint):
    record, path = read_record(run_dir), Path(run_dir) / RECORD
    check_agreement(record["patches"], path)
    cases = record["patches"]["cases"]
    # By patient, as the split: another visit of a patient has been seen, too. Ids are for runs of
    # other versions, which may have other patients.
    train = record["split"]["train"]
    patients = [cases[case_id]["patient"] for case_id in train]
    return _network(network_path(run_dir, checkpoint), [*train, *patients])


def _has_seen(trained_on, case):
    return bool(trained_on & {case.id, case.patient})


def _select_unseen(cases, ids, trained_on):
    """Returns all cases if they were asked for by id, otherwise those not in `trained_on`."""
    unseen = [case for case in cases if ids or not _has_seen(trained_on, case)]
    if not unseen:
        raise InputError(
            f"The network was trained on all {len(cases)} cases that were found. Name the ones to "
            "segment with --cases, or give another --data-root."
        )
    return unseen
