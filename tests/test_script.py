"""How a script ends: exit codes, messages and interruptions; and the header that it prints."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from brats.errors import InputError
from brats.script import check_none_failed, deferring_interruption, exit_code, header
from config import PredictConfig

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize("error", [InputError, OSError, PermissionError])
def test_an_error_of_data_or_machine_is_1_and_one_line(error, capsys):
    assert exit_code(raising(error("What to do."))) == 1
    assert capsys.readouterr() == ("", "Error: What to do.\n")
    assert exit_code(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ValueError, match="a defect") as caught:
        exit_code(raising(ValueError("a defect")))
    assert caught.traceback[-1].name == "main"


@pytest.mark.parametrize(("text", "shown"), [("", "Run it again."), ("Use --resume.",) * 2])
def test_an_interruption_is_130_and_says_how_to_continue(text, shown, capsys):
    assert exit_code(raising(KeyboardInterrupt(text)), "Run it again.") == 130
    assert capsys.readouterr() == ("", f"Interrupted. {shown}\n")
    assert exit_code(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 130


ENDING = """
import atexit, os, signal
from brats.script import end_with_code
atexit.register(lambda: os.kill(os.getpid(), signal.{name}))
end_with_code(lambda: print("done"))
"""


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_after_the_work_changes_nothing(name):
    command = [sys.executable, "-c", ENDING.format(name=name)]
    root = Path(__file__).parents[1]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_first_signal_is_deferred_and_a_second_one_ends_at_once(number):
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(KeyboardInterrupt), deferring_interruption() as is_interrupted:
        assert not is_interrupted()
        os.kill(os.getpid(), number)
        assert is_interrupted()
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("The second signal was deferred as well.")
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_the_header_shows_what_differs_from_the_defaults_and_with_verbose_everything():
    config = PredictConfig(run_dir=("a", "b"), checkpoint="last")
    details = {"versions": {"a": "1", "b": "2"}}
    facts = {"cases": 0, "output": "x\x1b\udce9", "cluster": None}
    assert header("Title", config, facts, details).splitlines() == [
        "Title",
        "  run dir     a b",
        "  checkpoint  last",
        "  cases       0",
        "  output      x\\x1b\\udce9",
    ]
    lines = header("Title", replace(config, verbose=True), facts, details).splitlines()
    for name, value in [("flips", "False"), ("cluster", "none"), ("versions", "a 1, b 2")]:
        assert [line.split(maxsplit=1)[1] for line in lines if name in line] == [value]


def test_failed_cases_are_named_at_the_end():
    check_none_failed((), 5)
    with pytest.raises(InputError, match="2 of 5 cases failed, .*: b, d. Run the command again"):
        check_none_failed(["b", "d"], 5)
