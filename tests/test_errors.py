"""The exit code that each kind of ending gives, and what stands on stderr."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from brats.errors import InputError
from brats.script import deferring_interruption, exit_code


def raising(error):
    def main():
        raise error

    return main


def test_success_is_zero_and_says_nothing(capsys):
    assert exit_code(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [InputError, OSError, FileNotFoundError, PermissionError])
def test_error_of_data_or_machine_is_one_line_and_one(error, capsys):
    assert exit_code(raising(error("what to do"))) == 1
    assert capsys.readouterr() == ("", "Error: what to do\n")


def test_an_error_of_the_system_names_its_file(tmp_path, capsys):
    assert exit_code(lambda: (tmp_path / "absent").read_bytes()) == 1
    path = tmp_path / "absent"
    message = f"Error: Cannot use {path}: No such file or directory. Check the path and its "
    assert capsys.readouterr().err == f"{message}permissions.\n"


def test_an_error_of_the_standard_output_is_not_taken_for_one_of_a_file(capsys):
    assert exit_code(raising(BrokenPipeError(errno.EPIPE, "Broken pipe"))) == 1
    assert capsys.readouterr().err.startswith(
        "Error: Cannot use a file without a name, such as the standard output: Broken pipe."
    )


ENDING = """
import os, signal, time

class Slow:
    def __del__(self):  # While Python tidies up.
        os.kill(os.getpid(), signal.{name})
        print("tidied", flush=True)

slow = Slow()
end_with_code(lambda: print("done"))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_after_the_work_changes_nothing(name):
    result = subprocess.run(
        [sys.executable, "-c", ENDING.format(name=name)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\ntidied\n", "")


def test_too_little_memory_is_told_with_what_to_do(capsys):
    assert exit_code(raising(MemoryError("Unable to allocate 238 TiB."))) == 1
    assert capsys.readouterr().err == (
        "Error: Out of memory. Unable to allocate 238 TiB. Ask for less at once: fewer workers, "
        "smaller batches.\n"
    )


def test_interruption_is_130_without_a_traceback(capsys):
    assert exit_code(raising(KeyboardInterrupt())) == 130
    standard_output, message = capsys.readouterr()
    assert standard_output == ""
    assert message.startswith("Interrupted") and message.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError, KeyError, ZeroDivisionError, RuntimeError])
def test_defect_keeps_its_traceback(error):
    with pytest.raises(error) as caught:
        exit_code(raising(error("a defect")))
    assert caught.traceback[-1].name == "main"


def test_an_interruption_that_says_how_to_go_on_is_quoted(capsys):
    assert exit_code(raising(KeyboardInterrupt("Go on so.")), "Go on otherwise.") == 130
    assert capsys.readouterr().err == "Interrupted. Go on so.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_is_deferred_and_a_second_one_ends_at_once(number):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), deferring_interruption() as is_interrupted:
        assert not is_interrupted()
        os.kill(os.getpid(), number)
        assert is_interrupted()
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the second signal was deferred as well")
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
