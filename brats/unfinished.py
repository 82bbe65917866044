"""A file made in steps, which goes on after the last complete one when its process was killed.

In: the final path, and what the steps depend on. Out: the file under that path once all steps are
done. Until then there are `.partial-<name>`, and `.partial-<name>.journal` with one line of JSON
for what the steps depend on and one for every complete step.
"""

import contextlib
import json
import os
import platform
from pathlib import Path

from brats.errors import InputError, shortened
from brats.files import make_writable_folder, naming, parse_json
from engine.runs.lock import locking

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux; another one after every start.
GO_ON = "What was done before is kept: go on with --resume."


class StaleError(InputError):
    """What an earlier attempt has left cannot be gone on with.

    Args:
        problem: What is wrong with it, a sentence, to which the advice is added.
    """

    def __init__(self, problem):
        super().__init__(f"{problem} Start anew, without --resume.")


class Unfinished:
    """A file that is being made.

    Attributes:
        path: Where to write to, a `Path`.
        steps: The complete steps, a list of values that JSON can hold.
        num_replaced: Steps of an earlier attempt that is being replaced, int.
    """

    def __init__(self, path, journal, steps, num_replaced):
        self.path, self.steps, self.num_replaced = path, steps, num_replaced
        self._journal = journal

    def add(self, step):
        """Notes a step, all of whose writes have been made.

        Raises:
            OSError: If it cannot be noted; the journal is as before.
        """
        _append_line(self._journal, step)
        self.steps.append(step)


def partial_path(path):
    """Returns where a file is written to before it is complete."""
    path = Path(path)
    return path.with_name(f".partial-{path.name}")


def journal_path(path):
    """Returns where the steps of a file are noted before it is complete."""
    path = Path(path)
    return path.with_name(f".partial-{path.name}.journal")


@contextlib.contextmanager
def resuming(path, settings, resume):
    """Makes a file in steps, or goes on with one; it appears under `path` if the block succeeds.

    If the block raises, what is written is kept if a step of it is complete, and removed
    otherwise. What stood under `path` before is untouched.

    Args:
        path: Final path; its folder is made.
        settings: Dict that JSON can hold, of all that the steps depend on.
        resume: Whether to go on after the steps of an earlier attempt, if there was one; otherwise
            it is replaced.

    Yields:
        An `Unfinished`, whose file is empty if it has no steps.

    Raises:
        OSError: If a file cannot be written; names the path.
        InputError: If another process is writing the file, the earlier attempt had other settings,
            or the machine was restarted since.
    """
    partial, noted = partial_path(path), journal_path(path)
    make_writable_folder(partial.parent)
    with naming(path, partial, noted), locking(noted, path) as (journal, _):
        unfinished = _begin(partial, journal, settings | {"machine": describe_machine()}, resume)
        try:
            with _telling_to_go_on(unfinished), naming(path, partial):
                yield unfinished
                partial.replace(path)
        finally:
            if not (unfinished.steps and partial.exists()):
                # On a disk that has become read-only, the error that says so is under way.
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
                    noted.unlink(missing_ok=True)


def is_unfinished(path):
    """Returns whether an earlier attempt at a file has left something to go on with."""
    return partial_path(path).exists()


def forget_attempt(path):
    """Removes what a kill may have left of an attempt after its file was complete.

    Raises:
        InputError: If another process is writing the file.
    """
    noted = journal_path(path)
    if noted.exists():
        with locking(noted, path):
            noted.unlink()


def _begin(partial, journal, settings, resume):
    """Returns the earlier attempt if it is to go on, or a new one in its place."""
    settings = json.loads(json.dumps(settings))  # As the journal gives them back.
    lines = _read_lines(journal, resume) if partial.exists() else []
    steps = lines[1:]
    if resume and steps:
        _check_same(partial, lines[0] if isinstance(lines[0], dict) else {}, settings)
        return Unfinished(partial, journal, steps, 0)
    journal.truncate(0)
    partial.write_bytes(b"")
    _append_line(journal, settings)
    return Unfinished(partial, journal, [], len(steps))


def _check_same(partial, begun, settings):
    """Checks that an attempt was begun with the same settings, in a machine that still runs."""
    (host, boot), machine = settings.pop("machine"), begun.pop("machine", None)
    if not (isinstance(machine, list) and len(machine) == 2):
        raise StaleError(f"The journal of {partial} is damaged.")
    begun_host, begun_boot = machine
    if host == begun_host and boot != begun_boot:
        raise StaleError(
            f"The machine was restarted since {partial} was written, which may lack what was in "
            "memory then."
        )
    for name in sorted(settings.keys() | begun.keys()):
        before, now = begun.get(name, "missing"), settings.get(name, "missing")
        if before != now:
            if isinstance(before, list) and isinstance(now, list):
                # Long ones are alike at their beginning.
                before, now = (
                    [item for item in here if item not in there]
                    for here, there in ((before, now), (now, before))
                )
            raise InputError(
                f"{partial} was begun with {name} {_told(before)}, not {_told(now)}. Go on as it "
                "was begun, or start anew, without --resume."
            )


@contextlib.contextmanager
def _telling_to_go_on(unfinished):
    """Adds to the message of an error that the complete steps are kept."""
    try:
        yield
    except (InputError, OSError) as error:
        if not unfinished.steps or isinstance(error, StaleError):
            raise
        kind = InputError if isinstance(error, InputError) else OSError
        raise kind(f"{error} {GO_ON}") from error


def _read_lines(journal, resume):
    """Returns the values of a journal; cuts off a last line that a kill has left torn.

    Raises:
        InputError: If another line is damaged, and the attempt is to go on; names the journal.
    """
    journal.seek(0)
    complete, newline, _ = journal.read().rpartition(b"\n")
    journal.truncate(len(complete + newline))
    try:
        return [parse_json(line) for line in complete.split(b"\n") if line]
    except ValueError as error:
        if not resume:
            return []
        raise StaleError(f"{journal.name} is damaged: {error}.") from error


def _append_line(journal, value):
    end = journal.seek(0, os.SEEK_END)
    line = memoryview(json.dumps(value).encode() + b"\n")
    try:
        while line:
            line = line[journal.write(line) :]
    except OSError:
        journal.truncate(end)
        raise


def describe_machine():
    """Returns the name of the machine, and what tells this start of it from others."""
    return platform.node(), BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""


def _told(value):
    return shortened(json.dumps(value), 80)


def describe_attempt(unfinished, num_cases, resume, num_parts=0):
    """Returns what becomes of an earlier attempt, a sentence.

    Args:
        unfinished: An `Unfinished`.
        num_cases: Cases in all, int.
        resume: Whether an earlier attempt was asked for.
        num_parts: Cases whose patches are in parts, int.
    """
    if unfinished.steps or num_parts:
        waiting = f", and {num_parts} wait to be taken up" if num_parts else ""
        return f"Going on: {len(unfinished.steps)} of {num_cases} cases are done{waiting}."
    if resume:
        return "There is nothing to go on with: starting with the first case."
    if unfinished.num_replaced:
        return (
            f"Replacing an unfinished file of {unfinished.num_replaced} cases; --resume would "
            "have gone on with it."
        )
    return "Starting with the first case."
