"""The exit code that each kind of ending gives, and what stands on stderr."""

import pytest

from brats.errors import InputError, exit_code


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
