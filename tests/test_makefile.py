"""`make` without a target, and paths with spaces."""

import shutil
import subprocess

import pytest

from tests.test_architecture import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


def make(folder, *arguments):
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_make_without_a_target_prints_help_and_changes_nothing(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "demo").mkdir()
    text = make(tmp_path)
    assert text.startswith("make help") and "make segment " in text and "#" not in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Makefile", "demo"]


def test_segment_takes_paths_with_spaces_and_further_flags():
    settings = ("DATA_ROOT=my cases", "OUTPUT=my output", "ARGS=--flips --cases a")
    text = make(ROOT, "--dry-run", "segment", *settings)
    assert '--data-root "my cases" --output "my output" --flips --cases a' in text
