"""How a script starts and ends: its header, its exit code, and interruptions.

In: the `main` of a script. Out: an exit code, and at most one message on stderr.
"""

import contextlib
import os
import signal
import sys

from brats.errors import InputError, describe_error, printable, shortened

INTERRUPTED = 130  # Exit code, as of a command that the shell interrupts.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EMPTY = (None, "", ())  # Values that a header does not show.


def end_with_code(main, advice="Run the command again."):
    """Runs the `main` of a script and ends the process with its `exit_code`."""
    # Not all file systems have locks. HDF5 reads this when it is imported.
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    code = exit_code(main, advice)
    # The work is done. A signal would only interrupt Python while it cleans up.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # Its reader is gone, and Python would complain at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if code == INTERRUPTED:
        os._exit(code)  # Threads may be busy with a case, and libraries half loaded.
    sys.exit(code)


def exit_code(main, advice="Run the command again."):
    """Runs the `main` of a script and returns the exit code.

    An `InputError`, `OSError` or `MemoryError` becomes one message on stderr. Any other exception
    is a defect of the program and keeps its traceback. SIGTERM, which batch systems send, and
    SIGHUP, when a terminal is closed, end the script like Ctrl-C, unless they are ignored (nohup).

    Args:
        main: Function without arguments.
        advice: How to continue after an interruption. If the `KeyboardInterrupt` has a text, that
            text is printed instead.

    Returns:
        0 if `main` returns, 1 after an error of the data or the machine, 130 after an
        interruption, 141 if the reader of stdout is gone, or the code that `main` exits with.
    """
    received = []

    def interrupt(number, frame):
        received.append(number)
        if _is_importing(frame):  # Libraries lose a KeyboardInterrupt, hang or crash.
            _end(f"Interrupted. {advice}", INTERRUPTED)
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt

    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")  # The terminal may not know a character.
    _handle_signals(interrupt)
    try:
        main()
        print(end="", flush=True)
    except SystemExit as end:
        return end.code
    except BaseException as error:
        # Libraries turn a KeyboardInterrupt into other errors.
        if received or isinstance(error, KeyboardInterrupt):
            text = str(error) if isinstance(error, KeyboardInterrupt) else ""
            return _end(f"Interrupted. {text or advice}", INTERRUPTED)
        if isinstance(error, BrokenPipeError) and not error.filename:
            return 141  # As the shell reports a command that SIGPIPE ended.
        if isinstance(error, InputError | OSError | MemoryError):
            return _end(f"Error: {describe_error(error)}", 1)
        if isinstance(error, ImportError) and "failed to map segment" in str(error):
            return _end("Error: Too little memory to load a library. Allow more (ulimit -v).", 1)
        raise
    return 0


@contextlib.contextmanager
def deferring_interruption():
    """Notes the first signal to end, so that the block can finish its current step.

    A second signal raises `KeyboardInterrupt` at once.

    Yields:
        Function without arguments that returns True after a signal.
    """
    received = []

    def note(number, frame):
        if received:
            signal.default_int_handler(number, frame)
        received.append(number)

    handlers = _handle_signals(note)
    try:
        yield lambda: bool(received)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def warn(sentence, kind="Warning"):
    """Prints a warning, or an error after which the script continues, on stderr."""
    print(printable(f"{kind}: {sentence}"), file=sys.stderr, flush=True)


def header(title, config, facts, details):
    """Returns the title and one aligned line per setting and fact, as text.

    Args:
        title: First line.
        config: `brats.flags.Settings`; those that differ from the defaults are shown.
        facts: Dict from names to values, shown unless empty. Of a dict, names and values are
            shown; of a tuple, the items; None and an empty value as "none".
        details: Dict like `facts`. It is shown with `--verbose`, and so are all settings.
    """
    facts = {name: value for name, value in facts.items() if config.verbose or value not in EMPTY}
    facts = config.shown() | facts | (details if config.verbose else {})
    facts = {name.replace("_", " "): _text(value) for name, value in facts.items()}
    width = max(map(len, facts), default=0)
    lines = [f"  {name:<{width}}  {text}".replace("\n", "\\n") for name, text in facts.items()]
    return printable("\n".join([title, *lines]))


def check_none_failed(failures, num_cases):
    """Checks at the end of a script that no case failed.

    Args:
        failures: Ids of the cases that failed. The script has printed each with its reason.
        num_cases: Number of all cases, int.

    Raises:
        InputError: If a case failed. The message names the first ones.
    """
    if failures:
        names = shortened(", ".join(shortened(each, 60) for each in failures))
        raise InputError(
            f"{len(failures)} of {num_cases} cases failed, see above: {names}. "
            "Run the command again when that is fixed."
        )


def _handle_signals(handler):
    """Sets the handler of each signal that is not ignored; returns the handlers before."""
    heeded = [each for each in SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
    return {each: signal.signal(each, handler) for each in heeded}


def _is_importing(frame):
    """Returns whether a frame of Python runs in an import."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _end(sentence, code):
    """Prints the last line of a script, after all others; returns the exit code."""
    with contextlib.suppress(OSError):  # The reader of one of them may be gone.
        print(end="", flush=True)
    with contextlib.suppress(OSError):
        print(printable(sentence), file=sys.stderr, flush=True)
    return code


def _text(value):
    if isinstance(value, dict):
        value = ", ".join(f"{name} {item}" for name, item in value.items())
    elif isinstance(value, tuple):
        value = " ".join(map(str, value))
    return "none" if value in EMPTY else str(value)
