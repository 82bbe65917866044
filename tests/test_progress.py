"""Progress in a batch job, whose stderr is a file: lines, and no bar."""

import sys

import pytest

from brats import progress


def test_a_batch_job_gets_a_line_every_30_seconds_with_the_time_that_is_left(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress_bar(44, "Segmenting", "cases", done=2) as bar:
        for _ in range(42):  # A case takes 10 s.
            now[0] += 10
            bar.update()
    # After 30 s, 3 cases are done beside the 2, and 39 are left: 390 s.
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Segmenting: 5 of 44 cases, about 6 min left"
    assert lines[-1] == "Segmenting: 41 of 44 cases, about 30 s left" and len(lines) == 13


@pytest.mark.parametrize("is_terminal", [False, True])
def test_names_are_escaped_beside_the_progress(is_terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    with progress.progress_bar(1, "Segmenting", "cases") as bar:
        bar.write("a\x1b\udce9", file=sys.stdout)
        bar.update()
    assert capsys.readouterr().out == "a\\x1b\\udce9\n"
