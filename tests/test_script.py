"""How a script ends: exit codes, messages and interruptions; and the header that it prints."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from brats.errors import InputError
from brats.script import check_none_failed, deferring_interruption, exit_code, header

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers():
    """Restores the handlers of signals."""
    before = {each: signal.getsignal(each) for each in SIGNALS}
    yield before
    for each, handler in before.items():
        signal.signal(each, handler)


def raising(error):
    def main():
        raise error

    return main


def test_success_is_0_and_prints_nothing(capsys):
    assert exit_code(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [InputError, OSError, PermissionError])
def test_an_error_of_data_or_machine_is_1_and_one_line(error, capsys):
    assert exit_code(raising(error("What to do."))) == 1
    assert capsys.readouterr() == ("", "Error: What to do.\n")


@pytest.mark.parametrize("error", [ValueError, KeyError, RuntimeError])
def test_a_defect_keeps_its_traceback(error):
    with pytest.raises(error) as caught:
        exit_code(raising(error("a defect")))
    assert caught.traceback[-1].name == "main"


@pytest.mark.parametrize(("text", "shown"), [("", "Run it again."), ("Use --resume.",) * 2])
def test_an_interruption_is_130_and_says_how_to_continue(text, shown, capsys):
    assert exit_code(raising(KeyboardInterrupt(text)), "Run it again.") == 130
    assert capsys.readouterr() == ("", f"Interrupted. {shown}\n")


def test_sigterm_ends_a_script_like_ctrl_c(capsys):
    assert exit_code(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 130


ENDING = """
import os, signal
from brats.script import end_with_code

class Slow:
    def __del__(self):  # While Python cleans up.
        os.kill(os.getpid(), signal.{name})
        print("cleaned up", flush=True)

slow = Slow()
end_with_code(lambda: print("done"))
"""


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_after_the_work_changes_nothing(name):
    result = subprocess.run(
        [sys.executable, "-c", ENDING.format(name=name)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\ncleaned up\n", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_first_signal_is_deferred_and_a_second_one_ends_at_once(number, handlers):
    with pytest.raises(KeyboardInterrupt), deferring_interruption() as is_interrupted:
        assert not is_interrupted()
        os.kill(os.getpid(), number)
        assert is_interrupted()
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("The second signal was deferred as well.")
    assert {each: signal.getsignal(each) for each in SIGNALS} == handlers


def test_the_header_aligns_facts_and_spells_out_dicts_and_tuples():
    facts = {"seed": 0, "run_dir": ("a", "b"), "cases": (), "workers": None}
    assert header("Title", facts | {"versions": {"a": "1", "b": "2"}}).splitlines() == [
        "Title",
        "  seed      0",
        "  run dir   a b",
        "  cases     none",
        "  workers   none",
        "  versions  a 1, b 2",
    ]


def test_failed_cases_are_named_at_the_end():
    check_none_failed((), 5)
    with pytest.raises(InputError, match="2 of 5 cases failed, .*: b, d. .* run the command again"):
        check_none_failed({"b": "damaged", "d": "missing"}, 5)
