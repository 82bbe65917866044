"""How a script begins and ends: its header, its exit code, and interruptions.

In: a script's `main`. Out: an exit code, and at most one message on stderr.
"""

import contextlib
import signal
import sys

from brats.errors import InputError, describe_error


def end_with_code(main, advice="Run the command again."):
    """Runs a script's `main` and ends the process, see `exit_code`.

    Raises:
        SystemExit: With the exit code.
    """
    code = exit_code(main, advice)
    # The work is over: a signal now would only interrupt Python while it cleans up.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(code)


def exit_code(main, advice="Run the command again."):
    """Runs a script's `main` and returns the exit code that says how it ended.

    An `InputError`, `OSError` or `MemoryError` becomes one message on stderr. Any other exception
    is a defect of the program and keeps its traceback. SIGTERM, which batch systems send, ends the
    script as Ctrl-C does.

    Args:
        main: Callable without arguments.
        advice: How to continue after an interruption that does not say so itself.

    Returns:
        0 if `main` returned, 1 after an error of the data or the machine, 130 after an
        interruption.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except (InputError, OSError, MemoryError) as error:
        print(f"Error: {describe_error(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        print(f"Interrupted. {str(interruption) or advice}", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def deferring_interruption():
    """Defers the first SIGINT or SIGTERM, so that the block can end between two steps.

    A second signal raises `KeyboardInterrupt` at once.

    Yields:
        Function without arguments that returns whether a signal came.
    """
    received = []

    def note(number, frame):
        if received:
            signal.default_int_handler(number, frame)
        received.append(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = {each: signal.signal(each, note) for each in signals}
    try:
        yield lambda: bool(received)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def header(title, facts):
    """Returns a title and one aligned line per fact of a dict.

    A fact that is a dict becomes "name value" pairs, a tuple its items. None and empty facts become
    "none".
    """
    facts = {name.replace("_", " "): _text(value) for name, value in facts.items()}
    width = max(map(len, facts), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in facts.items())])


def check_none_failed(failures, num_cases):
    """Checks, at the end of a script, that no case failed.

    Args:
        failures: Iterable of ids of cases; the script has printed why each failed.
        num_cases: Number of all cases, int.

    Raises:
        InputError: If any failed; names them.
    """
    failures = list(failures)
    if failures:
        raise InputError(
            f"{len(failures)} of {num_cases} cases failed, see above: {', '.join(failures)}. Fix "
            "them and run the command again; it does only what is missing."
        )


def _text(value):
    if isinstance(value, dict):
        value = ", ".join(f"{name} {item}" for name, item in value.items())
    elif isinstance(value, tuple):
        value = " ".join(map(str, value))
    return "none" if value in (None, "") else str(value)
