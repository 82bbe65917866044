"""How a script starts and ends: its header, its exit code, and interruptions.

In: the `main` of a script. Out: an exit code, and at most one message on stderr.
"""

import contextlib
import signal
import sys

from brats.errors import InputError, describe_error


def end_with_code(main, advice="Run the command again."):
    """Runs the `main` of a script and ends the process with its `exit_code`."""
    code = exit_code(main, advice)
    # The work is done. A signal would only interrupt Python while it cleans up.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(code)


def exit_code(main, advice="Run the command again."):
    """Runs the `main` of a script and returns the exit code.

    An `InputError`, `OSError` or `MemoryError` becomes one message on stderr. Any other exception
    is a defect of the program and keeps its traceback. SIGTERM, which batch systems send, ends the
    script like Ctrl-C.

    Args:
        main: Function without arguments.
        advice: How to continue after an interruption. If the `KeyboardInterrupt` has a text, that
            text is printed instead.

    Returns:
        0 if `main` returns, 1 after an error of the data or the machine, 130 after an
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
    """Notes the first SIGINT or SIGTERM, so that the block can finish its current step.

    A second signal raises `KeyboardInterrupt` at once.

    Yields:
        Function without arguments that returns True after a signal.
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
    """Returns the title and one aligned line per fact, as text.

    Args:
        title: First line.
        facts: Dict from names to values. Of a dict, names and values are shown; of a tuple, the
            items; None and an empty value are shown as "none".
    """
    facts = {name.replace("_", " "): _text(value) for name, value in facts.items()}
    width = max(map(len, facts), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in facts.items())])


def check_none_failed(failures, num_cases):
    """Checks at the end of a script that no case failed.

    Args:
        failures: Ids of the cases that failed. The script has printed each reason before.
        num_cases: Number of all cases, int.

    Raises:
        InputError: If a case failed. The message names all of them.
    """
    failures = list(failures)
    if failures:
        raise InputError(
            f"{len(failures)} of {num_cases} cases failed, see above: {', '.join(failures)}. "
            "Run the command again when that is fixed."
        )


def _text(value):
    if isinstance(value, dict):
        value = ", ".join(f"{name} {item}" for name, item in value.items())
    elif isinstance(value, tuple):
        value = " ".join(map(str, value))
    return "none" if value in (None, "") else str(value)
