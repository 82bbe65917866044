"""How a script ends: exit codes, messages and interruptions; and the header that it prints."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from brats.errors import InputError
from brats.script import SIGNALS, check_none_failed, deferring_interruption, exit_code, header
from config import PredictConfig

ROOT = Path(__file__).parents[1]
SCRIPTS = ("extract_patches", "train", "predict")


@pytest.fixture(autouse=True)
def handlers():
    """Puts back the handlers of signals that a script sets."""
    before = {each: signal.getsignal(each) for each in SIGNALS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


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


def test_too_little_memory_for_a_library_is_one_line(capsys):
    assert exit_code(raising(ImportError("a.so: failed to map segment from shared object"))) == 1
    assert "Too little memory" in capsys.readouterr().err


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ValueError, match="a defect") as caught:
        exit_code(raising(ValueError("a defect")))
    assert caught.traceback[-1].name == "main"


@pytest.mark.parametrize(("text", "shown"), [("", "Run it again."), ("Use --resume.",) * 2])
def test_an_interruption_is_130_and_says_how_to_continue(text, shown, capsys):
    assert exit_code(raising(KeyboardInterrupt(text)), "Run it again.") == 130
    assert capsys.readouterr() == ("", f"Interrupted. {shown}\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_an_interruption_whatever_an_import_makes_of_it(number, capsys):
    def main():
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt as error:
            raise ImportError("numpy._core.multiarray failed to import") from error

    assert exit_code(main, "Run it again.") == 130
    assert capsys.readouterr() == ("", "Interrupted. Run it again.\n")


def test_a_signal_that_is_ignored_stays_ignored():  # As nohup does.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def main():
        with deferring_interruption() as is_interrupted:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not is_interrupted()

    assert exit_code(main) == 0


ENDS_AT_ONCE = {
    # Libraries may lose the exception, or crash if Python cleans up.
    "an import": "try:\n        import slow\n    except BaseException:\n        pass",
    "a busy thread": "threading.Thread(target=time.sleep, args=(300,)).start()\n    stop()",
}


@pytest.mark.parametrize("where", ENDS_AT_ONCE)
def test_an_interruption_ends_at_once(where, tmp_path):
    stop = "import os, signal\nstop = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "slow.py").write_text(f"{stop}stop()")
    program = f"{stop}import sys, threading, time\nsys.path.append({str(tmp_path)!r})\n"
    program += f"from brats.script import end_with_code\ndef main():\n    {ENDS_AT_ONCE[where]}\n"
    result = run(f"{program}end_with_code(main, 'Start again.')")
    assert (result.returncode, result.stderr) == (130, "Interrupted. Start again.\n")


def test_the_code_of_a_script_that_ends_by_itself_is_kept():
    assert exit_code(lambda: sys.exit(2)) == 2


def run(program, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, **options)


PRINTING = """
from brats.script import end_with_code
def main():
    print("caf\\u00e9\\udce9")
    raise OSError("x\\udce9\\x1b")
end_with_code(main)
"""


def test_the_error_is_the_last_line_and_no_name_is_too_odd_to_print():
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    result = run(PRINTING, env=ascii_only, stderr=subprocess.STDOUT)
    assert (result.returncode, result.stdout) == (1, "caf\\xe9\\udce9\nError: x\\udce9\\x1b\n")


def test_a_closed_output_ends_a_script_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        program = PRINTING.replace("raise", "print(flush=True); raise")
        result = run(program, stdout=closed)
    assert (result.returncode, result.stderr) == (141, "")


def test_flags_are_answered_before_anything_large_is_imported():
    large = {"numpy", "SimpleITK", "scipy", "h5py", "keras", "tensorflow", "matplotlib", "tqdm"}
    program = f"import sys, {', '.join(SCRIPTS)}; print(*{large} & set(sys.modules))"
    assert run(program).stdout == "\n"


@pytest.mark.nightly
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_tensorflow_is_imported_is_one_line(number, tmp_path):
    command = [sys.executable, "train.py", "--patches", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while "libtensorflow" not in opened(process.pid) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(number)
        errors = process.communicate()[1]
    assert process.returncode == 130
    assert errors.startswith("Interrupted. ") and errors.count("\n") == 1


def opened(process):
    """Returns the names of the libraries that a process uses, as text."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/maps").read_text()
    return ""


ENDING = """
import atexit, os, signal
from brats.script import end_with_code
atexit.register(lambda: os.kill(os.getpid(), signal.{name}))
end_with_code(lambda: print("done"))
"""


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_signal_after_the_work_changes_nothing(name):
    command = [sys.executable, "-c", ENDING.format(name=name)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
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
    with pytest.raises(InputError, match="above: x{57}[.]{3}, d[.] Run"):
        check_none_failed(["x" * 225, "d"], 5)
