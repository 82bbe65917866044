"""The run folder: what train.py writes and predict.py starts from.

In: a network, its settings and its history. Out: `config.json`, `history.csv`, `curves.png`,
`best.keras` and `last.keras`, each complete or absent.
"""

import contextlib
import json
from pathlib import Path

from brats.errors import InputError, shortened
from brats.files import make_writable_folder, parse_json, replacing, write_json, write_table
from brats.flags import flag
from brats.patches.set import describe_other_patches
from brats.pictures.curves import write_learning_curves
from engine.runs.lock import owning
from engine.runs.state import STATE, clear_state, read_state

RECORD = "config.json"
HISTORY = "history.csv"
BEST = "best.keras"
LAST = "last.keras"
CHECKPOINTS = {"best": BEST, "last": LAST}
CURVES = "curves.png"
LOG = "tensorboard"
EVENT_FILES = "events.out.tfevents.*.brats"  # Other programs' files have another ending.
PARTS = ("settings", "patches", "split")  # Dicts that a record has to have.
# Settings that hosts that train together need not have in common.
OWN_SETTINGS = frozenset(
    {"patches", "run_dir", "weights", "resume", "overwrite", "tensorboard", "state_every"}
    | {"recipe", "coordinator", "num_hosts", "host_id"}
)
# Settings that a resumed run may change. A recipe only names other settings, which it may not.
CHANGEABLE = OWN_SETTINGS | {"epochs", "devices"}


def write_record(run_dir, record):
    """Writes what a run is made of, a dict that JSON can hold, to `config.json`."""
    write_json(Path(run_dir) / RECORD, record)


def add_to_record(run_dir, num_epochs, num_steps, record):
    """Adds to `config.json` where a run was resumed, and its record but for patches and split."""
    first = read_record(run_dir)
    resumed = {name: value for name, value in record.items() if name not in ("patches", "split")}
    place = {"after_epoch": num_epochs, "after_step": num_steps}
    first.setdefault("resumed", []).append(place | resumed)
    write_record(run_dir, first)


def check_may_start(run_dir, settings, patches, split):
    """Checks that a folder holds no run, or the run to resume.

    Args:
        run_dir: Run folder.
        settings: Dict of the settings of training, "resume" and "overwrite" among them.
        patches: Dict of `brats.patches.set.describe_patches`.
        split: Dict of the ids of the cases in "train" and "validation".

    Raises:
        FileNotFoundError: If there is no run to resume.
        InputError: If a run is there that may not be replaced, or the run to resume has other
            settings, patches or another split; names the flags that differ and both values.
    """
    if settings["resume"]:
        _check_same(run_dir, settings, patches, split)
    elif (Path(run_dir) / RECORD).exists() and not settings["overwrite"]:
        raise InputError(
            f"{run_dir} holds a run. Continue it with --resume, replace it with --overwrite, or "
            "give another --run-dir."
        )


@contextlib.contextmanager
def owning_run(run_dir, settings, patches, split):
    """Keeps other processes out of a run folder, after `check_may_start`; same arguments.

    Raises:
        OSError: If a folder cannot be made, or written to; names it.
        InputError: If the run may not start, or another process owns the folder.
    """
    # Before anything of an earlier run is removed.
    for name in ("", STATE, LOG) if settings["tensorboard"] else ("", STATE):
        make_writable_folder(Path(run_dir, name))
    with owning(run_dir, STATE):
        # Again, as another process may have started a run meanwhile.
        check_may_start(run_dir, settings, patches, split)
        yield


def settings_in_common(run_dir, settings, patches, split):
    """Returns what hosts must have in common, a dict by flag; arguments as `check_may_start`."""
    flags = {flag(name): value for name, value in settings.items() if name not in OWN_SETTINGS}
    return flags | {"the patches": patches, "the split": split}


def clear(run_dir):
    """Removes the files of an earlier run."""
    for name in (RECORD, HISTORY, BEST, LAST, CURVES):
        (Path(run_dir) / name).unlink(missing_ok=True)
    for path in Path(run_dir, LOG).glob(f"*/{EVENT_FILES}"):
        path.unlink()
    clear_state(run_dir)


def read_record(run_dir):
    """Reads what a run is made of.

    Returns:
        The dict that `write_record` wrote. "settings", "patches" and "split" are dicts.

    Raises:
        FileNotFoundError: If the folder has no `config.json`.
        InputError: If that file is not the record of a run.
    """
    path = Path(run_dir) / RECORD
    if not path.is_file():
        found = f"it has no {RECORD}" if path.parent.is_dir() else "it does not exist"
        found = "it is a file" if path.parent.is_file() else found
        raise FileNotFoundError(
            f"{run_dir} is not a run folder: {found}. Make one with train.py without --resume, "
            "give another with --run-dir or, to predict.py, a network file with --weights."
        )
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not the record of a run: {error}. Train again.") from error
    parts = record if isinstance(record, dict) else {}
    missing = [name for name in PARTS if not isinstance(parts.get(name), dict)]
    if missing:
        raise InputError(
            f"{path} is not the record of a run: it has no {', no '.join(missing)}. Train again."
        )
    return record


def write_epoch(run_dir, model, history):
    """Writes last network, history and curves after an epoch, and the best network if it is so."""
    losses = [row["val_loss" if "val_loss" in row else "loss"] for row in history]
    if losses[-1] <= min(losses):
        _save_network(model, Path(run_dir) / BEST)
    write_table(Path(run_dir) / HISTORY, history)
    _save_network(model, Path(run_dir) / LAST)
    write_learning_curves(Path(run_dir) / CURVES, history)


def resume(run_dir, model, device):
    """Brings a network and a run folder to the newest state.

    Args:
        run_dir: Run folder.
        model: Compiled network of the settings of the run.
        device: Backend and devices of this process, as `describe_software` names them.

    Returns:
        `(progress, warnings)`: the `Progress`, and a list of sentences about another device, a
        damaged state, or a missing network. `engine.runs.state.read_state` says what is raised.
    """
    progress, warning = read_state(run_dir, model)
    warnings = [warning] if warning else []
    record = read_record(run_dir)
    before = [record, *record.get("resumed", [])][-1]["device"]
    if before != device:
        warnings.append(
            f"{run_dir} was trained with {before} and continues with {device}. Its weights will "
            "not be bit for bit those of a run without an interruption."
        )
    if progress.history and not progress.step:
        # The run may have been killed after it wrote its state and before it wrote these files.
        write_epoch(run_dir, model, progress.history)
    best = Path(run_dir, BEST)
    if progress.history and not best.is_file():
        warnings.append(
            f"{best} is missing: the best network so far is lost. Training writes it again only "
            "if a later epoch is better. Until then, predict with --checkpoint last."
        )
    return progress, warnings


def network_path(run_dir, checkpoint):
    """Returns the path of a network of a run.

    Args:
        run_dir: Run folder.
        checkpoint: "best" for the network of the lowest validation loss (training loss without
            validation cases), "last" for that of the last finished epoch.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = Path(run_dir) / CHECKPOINTS[checkpoint]
    if not path.is_file():
        raise FileNotFoundError(
            f"{run_dir} has no {path.name}: no epoch was finished, or it was removed. Train with "
            "train.py, choose another --checkpoint, or give a network with --weights."
        )
    return path


def _check_same(run_dir, settings, patches, split):
    """Checks that the run in a folder has the same settings, patches and split."""
    record = read_record(run_dir)
    before = record["settings"]
    # The learning rates of the cosine schedule depend on the number of epochs.
    ignored = CHANGEABLE - {"epochs"} if settings["schedule"] == "cosine" else CHANGEABLE
    settings, patches, split = json.loads(json.dumps([settings, patches, split]))
    changes = [
        f"{flag(name)} is {value}, was {shortened(before.get(name, 'missing'))}"
        for name, value in settings.items()
        if name not in ignored and value != before.get(name, "missing")
    ]
    if change := describe_other_patches(record["patches"], patches):
        changes.append(change)
    elif split != record["split"]:
        ids = [shortened(", ".join(each["validation"]), 80) for each in (split, record["split"])]
        changes.append("the validation cases are {}, were {}".format(*ids))
    if changes:
        raise InputError(
            f"{run_dir} was started with other settings: {'; '.join(changes)}. Resume with the "
            "same ones, or start another run."
        )


def _save_network(model, path):
    with replacing(path) as temporary:
        model.save(temporary)
