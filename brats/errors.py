"""The errors a user can mend, told in one message, and the exit codes of the scripts.

In: a script's `main`. Out: an exit code, and at most one message on stderr.
"""

import signal
import sys


class InputError(ValueError):
    """A wrong input: a case, a file or a setting, and not a defect of the program.

    The message says what happened, what was expected and what to do.
    """


def exit_code(main, advice="Start it again."):
    """Runs a script's `main` and returns the exit code that tells how it ended.

    An `InputError` or an `OSError` becomes one message on stderr; any other exception is a
    defect of the program and keeps its traceback. SIGTERM, which batch systems send, ends the
    script as Ctrl-C does.

    Args:
        main: Callable without arguments.
        advice: How to go on after an interruption.

    Returns:
        0 if `main` returned, 1 after an error of the data or the machine, 130 after an
        interruption.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except (InputError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Interrupted. {advice}", file=sys.stderr)
        return 130
    return 0
