"""How a script begins and ends: its header, its exit code, and interruptions.

In: a script's `main`. Out: an exit code, and at most one message on stderr.
"""

import contextlib
import signal
import sys

from brats.errors import InputError, describe_error


def exit_code(main, advice="Start it again."):
    """Runs a script's `main` and returns the exit code that tells how it ended.

    An `InputError`, `OSError` or `MemoryError` becomes one message on stderr; any other exception
    is a defect of the program and keeps its traceback. SIGTERM, which batch systems send, ends the
    script as Ctrl-C does.

    Args:
        main: Callable without arguments.
        advice: How to go on after an interruption that does not say so itself.

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


def end_with_code(main, advice="Start it again."):
    """Runs a script's `main` and ends the process, see `exit_code`.

    Signals that come after the work are ignored: Python would be interrupted in tidying up.

    Raises:
        SystemExit: With the exit code.
    """
    code = exit_code(main, advice)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(code)


@contextlib.contextmanager
def deferring_interruption(second_ends=True):
    """Defers SIGINT and SIGTERM, so that the block can end where nothing is half done.

    Args:
        second_ends: Whether a second signal raises `KeyboardInterrupt` at once; if not, it is
            deferred as well, for work that is soon where it can end.

    Yields:
        Function without arguments that returns whether a signal came.
    """
    received = []

    def note(number, frame):
        if received and second_ends:
            signal.default_int_handler(number, frame)
        received.append(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = {each: signal.signal(each, note) for each in signals}
    try:
        yield lambda: bool(received)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def header(title, **facts):
    """Returns a title and one aligned line per fact.

    A dict becomes "name value" pairs, a tuple its items; None and what is empty become "none".
    """
    facts = {name.replace("_", " "): _text(value) for name, value in facts.items()}
    width = max(map(len, facts), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in facts.items())])


def _text(value):
    if isinstance(value, dict):
        value = ", ".join(f"{name} {item}" for name, item in value.items())
    elif isinstance(value, tuple):
        value = " ".join(map(str, value))
    return "none" if value in (None, "") else str(value)
