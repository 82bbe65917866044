"""An extraction that is killed goes on to the same bytes, and says what it cannot go on with."""

import errno
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import extract_patches
from brats import unfinished
from brats.layout_file import LayoutFile
from brats.script import exit_code
from engine.runs.lock import locking

ROOT = Path(__file__).parents[1]
JOURNAL = ".partial-patches.h5.journal"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def command(root, output, *more):
    return [
        *("--data-root", str(root), "--output", str(output), "--patches-per-case", "3"),
        *("--workers", "1", *more),
    ]


def extract(root, output, *more):
    """Runs the extraction in this process; returns its exit code."""
    return exit_code(lambda: extract_patches.main(command(root, output, *more)))


def start(root, output, *more):
    """Starts the extraction in a process of its own."""
    arguments = [sys.executable, ROOT / "extract_patches.py", *command(root, output, *more)]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def die_at(number, root, output):
    """Runs an extraction with --resume in a child process that is killed at one of its writes.

    Returns:
        Whether it was killed; False if it makes fewer writes.
    """
    child = os.fork()
    if child == 0:
        count = itertools.count()

        def deadly(function):
            def call(*arguments, **named):
                if next(count) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **named)

            return call

        def append_torn(journal, value, append=unfinished._append_line):
            if next(count) == number:
                journal.write(b'{"case": "half of a l')
                os.kill(os.getpid(), signal.SIGKILL)
            append(journal, value)

        LayoutFile.write = deadly(LayoutFile.write)
        unfinished._append_line = append_torn
        Path.replace, Path.unlink = deadly(Path.replace), deadly(Path.unlink)
        code = exit_code(lambda: extract_patches.main(command(root, output, "--resume")))
        os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"The extraction ended with {status} instead of being killed at {number}.")
    return status != 0


def kill_everywhere(root, folder, stride):
    """Kills extractions at every write whose number `stride` divides, and resumes each of them.

    It runs in a process without threads, which can be forked.
    """
    root, output = Path(root), Path(folder) / "patches.h5"
    die_at(-1, root, output)
    expected = output.read_bytes()
    number = 0
    while True:
        output.unlink()
        was_killed = die_at(number, root, output)
        is_there = output.exists()
        die_at(-1, root, output)
        if is_there and output.read_bytes() != expected or names(output.parent) != ["patches.h5"]:
            raise SystemExit(f"Killed at write {number}, it left {names(output.parent)}.")
        if output.read_bytes() != expected:
            raise SystemExit(f"Killed at write {number}, it was resumed to other bytes.")
        if not was_killed:
            print(f"{number} writes")
            return
        number += stride


@pytest.fixture(scope="module")
def whole(cohort, tmp_path_factory):
    """The bytes of the patch file of an extraction that nothing came between."""
    output = tmp_path_factory.mktemp("whole") / "patches.h5"
    extract_patches.main(command(cohort, output))
    return output.read_bytes()


@pytest.fixture
def begun(cohort, tmp_path, monkeypatch, capsys):
    """The path of a patch file of which two cases are done, in a folder of its own."""
    output = tmp_path / "output" / "patches.h5"
    with monkeypatch.context() as patch:
        steps = iter(range(3))  # The settings, and two cases.
        append = unfinished._append_line

        def append_or_stop(journal, value):
            if next(steps, None) is None:
                raise KeyboardInterrupt
            append(journal, value)

        patch.setattr(unfinished, "_append_line", append_or_stop)
        assert extract(cohort, output) == 130
    capsys.readouterr()
    assert names(output.parent) == [".partial-patches.h5", JOURNAL]
    return output


@pytest.mark.parametrize(
    "stride", [pytest.param(9, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
def test_killed_at_a_write_it_is_resumed_to_the_same_bytes(cohort, tmp_path, stride):
    arguments = f"{str(cohort)!r}, {str(tmp_path)!r}, {stride}"
    code = f"from tests.test_extraction import kill_everywhere; kill_everywhere({arguments})"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert result.returncode == 0, result.stderr
    # Each of four cases has three patches of two arrays and a line; then come 2 * 4 data sets.
    assert int(result.stdout.splitlines()[-1].split()[0]) > 4 * (3 * 2 + 1) + 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_keeps_what_is_done_and_says_how_to_go_on(cohort, tmp_path, number):
    # Many names of one case, so that there is work left when the signal comes.
    root, output = tmp_path / "cohort", tmp_path / "output"
    source = next(cohort.glob("HGG/*"))
    for index in range(300):
        folder = root / f"Brats17_COPY_{index}_1"
        folder.mkdir(parents=True)
        for path in source.iterdir():
            (folder / path.name.replace(source.name, folder.name)).symlink_to(path)
    with start(root, output / "patches.h5") as process:
        journal = output / JOURNAL
        while not journal.exists() or len(journal.read_bytes().splitlines()) < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert message.endswith("Interrupted. Finished cases are kept: go on with --resume.\n")
    assert names(output) == [".partial-patches.h5", JOURNAL]
    # The disk space that was reserved for the other cases is free again.
    num_cases = len(journal.read_bytes().splitlines()) - 1
    partial = output / ".partial-patches.h5"
    assert partial.stat().st_size < (num_cases + 2) * 3 * 17 * 128**2


def test_resumed_it_says_how_many_cases_are_done(cohort, begun, whole, capsys):
    assert extract(cohort, begun, "--resume") == 0
    assert "Going on: 2 of 4 cases are done." in capsys.readouterr().out
    assert begun.read_bytes() == whole
    assert names(begun.parent) == ["patches.h5"]


def test_without_resume_an_unfinished_file_is_replaced_and_said_so(cohort, begun, whole, capsys):
    assert extract(cohort, begun) == 0
    message = "Replacing an unfinished file of 2 cases; --resume would have gone on with it."
    assert message in capsys.readouterr().out
    assert begun.read_bytes() == whole


def test_resume_without_an_earlier_attempt_starts_with_the_first_case(cohort, tmp_path, capsys):
    assert extract(cohort, tmp_path / "patches.h5", "--resume") == 0
    assert "There is nothing to go on with: starting with" in capsys.readouterr().out


def test_resume_of_a_complete_file_leaves_it_alone(cohort, tmp_path, capsys):
    output = tmp_path / "patches.h5"
    assert extract(cohort, output) == 0
    before = output.stat().st_ino, output.stat().st_mtime_ns
    assert extract(cohort, output, "--resume") == 0
    assert f"{output} is complete: there is nothing" in capsys.readouterr().out
    assert (output.stat().st_ino, output.stat().st_mtime_ns) == before
    assert extract(cohort, output, "--resume", "--seed=1") == 1  # Another one's file.
    assert f"{output} exists. Add --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flag", ["--seed=1", "--dtype=float16", "--validation-fraction=0.5", "--num-folds=4 --fold=1"]
)
def test_other_settings_are_refused_and_the_unfinished_file_is_kept(cohort, begun, flag, capsys):
    before = [path.read_bytes() for path in sorted(begun.parent.iterdir())]
    assert extract(cohort, begun, "--resume", *flag.split()) == 1
    error = capsys.readouterr().err
    assert f"{begun.parent}/.partial-patches.h5 was begun with " in error
    assert "or start anew, without --resume." in error
    assert [path.read_bytes() for path in sorted(begun.parent.iterdir())] == before


def test_a_case_that_has_changed_since_is_refused(cohort, begun, whole, capsys):
    changed = next(cohort.glob("HGG/*_0001_1/*_t2.nii.gz"))
    times = changed.stat()
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    try:
        assert extract(cohort, begun, "--resume") == 1
    finally:
        os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    error = capsys.readouterr().err
    assert f"{changed} has changed since the patches of case Brats17_PHAN" in error
    assert error.endswith("were cut. Start anew, without --resume.\n")
    assert extract(cohort, begun, "--resume") == 0  # It was kept, and is as it was again.
    assert begun.read_bytes() == whole


def test_a_quota_that_is_used_up_costs_no_finished_case(cohort, begun, whole, capsys):
    def refuse(*_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        assert extract(cohort, begun, "--resume") == 1
    error = capsys.readouterr().err
    assert f"Cannot write {begun}: Disk quota exceeded. What was done before is kept" in error
    assert extract(cohort, begun, "--resume") == 0
    assert "Going on: 2 of 4 cases are done." in capsys.readouterr().out
    assert begun.read_bytes() == whole


def interrupt_at(number, patch):
    """Sends SIGTERM in one of the writes that HDF5 asks for; returns the numbers of those made."""
    made, write = [], LayoutFile.write

    def write_and_signal(file, data):
        made.append(len(made))
        if len(made) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return write(file, data)

    patch.setattr(LayoutFile, "write", write_and_signal)
    return made


@pytest.mark.parametrize(
    "stride", [pytest.param(7, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_signal_in_a_write_of_hdf5_changes_no_byte(cohort, tmp_path, whole, is_resumed, stride):
    number, made = 1, range(1)
    while number <= len(made):
        output = tmp_path / str(number) / "patches.h5"
        if is_resumed:
            with pytest.MonkeyPatch.context() as patch:
                interrupt_at(9, patch)  # In the second case.
                assert extract(cohort, output) == 130
        with pytest.MonkeyPatch.context() as patch:
            made = interrupt_at(number, patch)
            code = extract(cohort, output, "--resume")
        assert output.exists() == (code == 0)
        assert code in (0, 130)  # 0 if there was no case left.
        assert extract(cohort, output, "--resume") == 0
        assert output.read_bytes() == whole
        number += stride
    assert number > 4 * 3 * 2  # Four cases of three patches, images and labels.


def test_overwriting_that_was_ended_goes_on_and_is_not_taken_for_complete(
    cohort, tmp_path, whole, capsys
):
    output = tmp_path / "patches.h5"
    assert extract(cohort, output) == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(9, patch)
        assert extract(cohort, output, "--overwrite") == 130
    capsys.readouterr()
    assert extract(cohort, output, "--overwrite", "--resume") == 0
    assert "Going on: " in capsys.readouterr().out
    assert output.read_bytes() == whole
    assert names(tmp_path) == ["patches.h5"]


def test_a_journal_left_by_a_kill_after_the_end_is_removed_unless_it_is_in_use(
    cohort, tmp_path, capsys
):
    output = tmp_path / "patches.h5"
    assert extract(cohort, output) == 0
    journal = tmp_path / JOURNAL
    journal.write_text("{}")
    with locking(journal, output):
        assert extract(cohort, output, "--resume") == 1
        assert "is being written by another process" in capsys.readouterr().err
    assert journal.exists()
    assert extract(cohort, output, "--resume") == 0
    assert names(tmp_path) == ["patches.h5"]


def test_an_unfinished_file_that_was_cut_short_is_refused(cohort, begun, capsys):
    partial = begun.with_name(".partial-patches.h5")
    os.truncate(partial, partial.stat().st_size // 4)
    assert extract(cohort, begun, "--resume") == 1
    assert f"{partial} was cut short. Start" in capsys.readouterr().err


@pytest.mark.parametrize(("host", "code"), [("here", 1), ("elsewhere", 0)])
def test_after_a_restart_of_its_machine_it_is_refused(
    cohort, begun, monkeypatch, capsys, host, code
):
    # What a machine had in memory when it went down may be missing on its disk.
    journal = begun.with_name(JOURNAL)
    text = journal.read_text().replace(unfinished.describe_machine()[0], "here", 1)
    journal.write_text(text)
    monkeypatch.setattr(unfinished, "describe_machine", lambda: (host, "another start"))
    assert extract(cohort, begun, "--resume") == code
    told = f"The machine was restarted since {begun.parent}" in capsys.readouterr().err
    assert told == (code == 1)


def test_a_file_that_another_process_is_writing_is_left_to_it(cohort, begun, capsys):
    with locking(begun.with_name(JOURNAL), begun):
        before = [path.read_bytes() for path in sorted(begun.parent.iterdir())]
        for flags in ([], ["--resume"]):
            assert extract(cohort, begun, *flags) == 1
            assert f"{begun} is being written by another process." in capsys.readouterr().err
        assert [path.read_bytes() for path in sorted(begun.parent.iterdir())] == before


def damage_line(begun, index, change):
    """Changes a line of the journal: the settings, or one of two cases."""
    journal = begun.with_name(JOURNAL)
    lines = journal.read_text().splitlines()
    lines[index] = change(lines[index])
    journal.write_text("\n".join([*lines, ""]))


def test_a_journal_that_is_not_json_is_named_or_replaced(cohort, begun, capsys):
    damage_line(begun, 1, lambda line: line[:-5])
    assert extract(cohort, begun, "--resume") == 1
    assert re.search(f"Error: .*{JOURNAL} is damaged: .* Start anew", capsys.readouterr().err)
    assert extract(cohort, begun) == 0


@pytest.mark.parametrize("settings", ["3", "{}", '{"machine": 5}'])
def test_a_journal_without_the_machine_is_refused(cohort, begun, capsys, settings):
    damage_line(begun, 0, lambda _: settings)
    assert extract(cohort, begun, "--resume") == 1
    assert f"The journal of {unfinished.partial_path(begun)} is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        {"case": "other"},
        {"files": None},
        {"centers": [[1, 2]]},
        {"centers": [[1, 2, 3.5]]},
        {"centers": [[1, 2, 2**40]]},
        {"class_counts": [1, 2, 3]},
        {"class_counts": [1, 2, 3, True]},
        {"warnings": "odd"},
        {"warnings": [1]},
    ],
)
def test_a_damaged_step_of_the_journal_is_refused(cohort, begun, capsys, damage):
    damage_line(begun, 2, lambda line: json.dumps(json.loads(line) | damage))
    assert extract(cohort, begun, "--resume") == 1
    error = capsys.readouterr().err
    assert f"The journal of {unfinished.partial_path(begun)} is damaged at case" in error
