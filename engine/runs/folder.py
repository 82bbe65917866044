"""The run folder: what train.py leaves behind and predict.py starts from.

In: a network, its settings and its history. Out: `config.json`, `history.csv`, `curves.png`,
`best.keras` and `last.keras`, each complete or absent. `state/` and the log have their own modules.
"""

import contextlib
import json
from pathlib import Path

from brats.pictures.curves import write_learning_curves
from brats.errors import InputError, shortened
from brats.files import make_writable_folder, parse_json, replacing, write_json, write_table
from engine.runs.lock import owning
from brats.patches.set import describe_other_patches
from engine.runs.state import STATE, clear_state, read_state

RECORD = "config.json"
HISTORY = "history.csv"
BEST = "best.keras"
LAST = "last.keras"
CHECKPOINTS = {"best": BEST, "last": LAST}
CURVES = "curves.png"
LOG = "tensorboard"
# Settings of one host among several.
HOST_SETTINGS = ("coordinator", "num_hosts", "host_id")
# Settings that a resumed run may change. A recipe is a name for others, which it may not.
CHANGEABLE = frozenset(
    {"patches", "run_dir", "epochs", "weights", "resume", "overwrite", "tensorboard", "state_every"}
    | {"recipe", "devices", *HOST_SETTINGS}
)
EVENT_FILE = "events.out.tfevents.{}.brats"  # The ending tells ours from those of other programs.


def write_record(run_dir, record):
    """Writes the settings of a run, a dict that JSON can hold, to `config.json`."""
    write_json(Path(run_dir) / RECORD, record)


def add_to_record(run_dir, num_epochs, num_steps, record):
    """Adds to `config.json` with what a run was resumed, and where.

    Args:
        run_dir: Run folder.
        num_epochs: Epochs that were finished before, int.
        num_steps: Steps done of the one after those, int.
        record: Dict as of `write_record`; all but the extraction, which is the same, is added.
    """
    first = read_record(run_dir)
    resumed = {name: value for name, value in record.items() if name != "extraction"}
    place = {"after_epoch": num_epochs, "after_step": num_steps}
    first.setdefault("resumed", []).append(place | resumed)
    write_record(run_dir, first)


def check_may_start(run_dir, settings, extraction):
    """Checks that a folder holds no run, or the one to be resumed.

    Args:
        run_dir: Run folder.
        settings: Dict of the settings of training, "resume" and "overwrite" among them.
        extraction: Attributes of the patches, as of `brats.patches.set.read_set_settings`.

    Raises:
        FileNotFoundError: If a run is to be resumed and there is none.
        InputError: If a run is there that may not be replaced, or another than is to be resumed;
            names the flags that differ and both values.
    """
    if settings["resume"]:
        _check_same(run_dir, settings, extraction)
    elif (Path(run_dir) / RECORD).exists() and not settings["overwrite"]:
        raise InputError(
            f"{run_dir} holds a run. Continue it with --resume, replace it with --overwrite, or "
            "give another --run-dir."
        )


@contextlib.contextmanager
def owning_run(run_dir, settings, extraction):
    """Keeps other processes out of the folder of a run that may start, see `check_may_start`.

    Raises:
        OSError: If one cannot be made, or written to; names it.
        InputError: If the run may not start, or another process owns the folder.
    """
    if not settings["resume"]:
        make_folders(run_dir, settings["tensorboard"])
    with owning(run_dir, STATE):
        # Again: another process may have made it a run meanwhile.
        check_may_start(run_dir, settings, extraction)
        yield


def settings_in_common(run_dir, settings, extraction):
    """Returns what has to be the same on all hosts that train together: flags and their values.

    Args: those of `check_may_start`.
    """
    own = CHANGEABLE - {"epochs", "devices"}
    flags = {
        f"--{name.replace('_', '-')}": value for name, value in settings.items() if name not in own
    }
    return flags | {"the patch file": extraction}


def make_folders(run_dir, with_log):
    """Makes the folders of a run, before anything of an earlier one is removed.

    Args:
        run_dir: Run folder.
        with_log: Whether a log for TensorBoard is to be written.

    Raises:
        OSError: If one cannot be made, or written to; names it.
    """
    for name in ("", STATE, LOG) if with_log else ("", STATE):
        make_writable_folder(Path(run_dir, name))


def clear(run_dir):
    """Removes the files of an earlier run, so that none is taken for the next one's."""
    for name in (RECORD, HISTORY, BEST, LAST, CURVES):
        (Path(run_dir) / name).unlink(missing_ok=True)
    for path in Path(run_dir, LOG).glob(f"*/{EVENT_FILE.format('*')}"):
        path.unlink()
    clear_state(run_dir)


def read_record(run_dir):
    """Reads the settings of a run.

    Returns:
        The dict that `write_record` wrote, with "settings" and "extraction" at least.

    Raises:
        FileNotFoundError: If the folder has no `config.json`.
        InputError: If that file is not the record of a run.
    """
    path = Path(run_dir) / RECORD
    if not path.is_file():
        found = f"it has no {RECORD}" if path.parent.is_dir() else "it does not exist"
        found = "it is a file" if path.parent.is_file() else found
        raise FileNotFoundError(
            f"{run_dir} is not a run folder: {found}. Make one with train.py, or give another "
            "with --run-dir."
        )
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not the record of a run: {error}. Train again.") from error
    parts = record if isinstance(record, dict) else {}
    is_whole = all(isinstance(parts.get(name), dict) for name in ("settings", "extraction"))
    if not (is_whole and isinstance(parts.get("resumed", []), list)):
        raise InputError(
            f"{path} is not the record of a run: it has no settings or no extraction, or is "
            "damaged. Train again."
        )
    return record


def write_epoch(run_dir, model, history):
    """Writes what follows from the state after an epoch: networks, history and learning curves.

    The best network is written if this epoch gave it.

    Args:
        run_dir: Run folder.
        model: The compiled network, saved with its optimizer.
        history: List of one dict per epoch, the one just finished included.

    Raises:
        OSError: If a file cannot be written.
    """
    scores = [float(row["val_loss" if "val_loss" in row else "loss"]) for row in history]
    if scores[-1] <= min(scores):
        _save_network(model, Path(run_dir) / BEST)
    write_table(Path(run_dir) / HISTORY, history)
    _save_network(model, Path(run_dir) / LAST)
    write_learning_curves(Path(run_dir) / CURVES, history)


def resume(run_dir, model, device):
    """Brings a network and a run folder to where the newest state is.

    Args:
        run_dir: Run folder.
        model: Compiled network of the same settings as the run.
        device: Backend and devices of this process, as the record names them.

    Returns:
        `(progress, warnings)`: the `Progress`, and a list of sentences about another backend, and
        about what is damaged or lost. `engine.runs.state.read_state` says what is raised.
    """
    warnings = backend_warnings(run_dir, device)
    progress, warning = read_state(run_dir, model)
    warnings += [warning] if warning else []
    if progress.history and not progress.step:
        # The run may have been killed after it had written its state.
        write_epoch(run_dir, model, progress.history)
    best = Path(run_dir, BEST)
    if progress.history and not best.is_file():
        warnings.append(
            f"{best} is missing: the best network so far is lost, and written again only if a "
            "later epoch is better. Until then, predict with --checkpoint last."
        )
    return progress, warnings


def backend_warnings(run_dir, device):
    """Tells whether a run goes on with another backend than before.

    Args:
        run_dir: Run folder.
        device: Backend and devices of this process, as the record names them.

    Returns:
        List of str, at most one.
    """
    record = read_record(run_dir)
    before = [record, *record.get("resumed", [])][-1]
    before = str(before.get("device")) if isinstance(before, dict) else "unknown"
    if before.split()[:1] == device.split()[:1]:
        return []
    return [
        f"{run_dir} was trained with {shortened(before, 80)} and goes on with {device}: not to the "
        "bits that it would have had."
    ]


def _check_same(run_dir, settings, extraction):
    record = read_record(run_dir)
    before = record["settings"]
    # The rates of the cosine depend on the number of epochs.
    ignored = CHANGEABLE - {"epochs"} if settings["schedule"] == "cosine" else CHANGEABLE
    changes = [
        f"--{name.replace('_', '-')} is {value}, was {shortened(before.get(name, 'missing'))}"
        for name, value in json.loads(json.dumps(settings)).items()
        if name not in ignored and value != before.get(name, "missing")
    ]
    change = describe_other_patches(record["extraction"], extraction, before.get("patches"))
    if change:
        changes.append(change)
    if changes:
        raise InputError(
            f"{run_dir} was started with other settings: {'; '.join(changes)}. Resume with the "
            "same ones, or start another run."
        )


def network_path(run_dir, checkpoint):
    """Returns the path of a network of a run.

    Args:
        run_dir: Run folder.
        checkpoint: "best" for that of the lowest validation loss (training loss without
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


def _save_network(model, path):
    with replacing(path) as temporary:
        model.save(temporary)
