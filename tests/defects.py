"""Broken inputs and wrong commands, one of each, and what the three scripts answer.

In: nothing; every defect is made from two synthetic cases, their patches and a small trained run.
Out: on stdout, the table of defects and messages in docs/errors.md.

    python -m tests.defects > docs/errors.md
"""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path

import numpy as np

from brats.editions import EDITIONS
from brats.script import exit_code
from brats.volumes.files import write_volume
from brats.volumes.geometry import Geometry

# All paths are relative to the folder that a command runs in, so that messages hold no other.
DATA, PATCHES, RUN, OUTPUT = (Path(name) for name in ("data", "patches.h5", "run", "out"))
CASE, OTHER = DATA / "BraTS2021_00000", DATA / "BraTS2021_00002"
NETWORK = ("--base-filters", "2", "--depth", "1", "--batch-size", "2", "--epochs", "1")
EXTRACT = ("extract_patches.py", "--data-root", "data", "--output", "out", "--workers", "1")
TRAIN = ("train.py", "--patches", "patches.h5", "--run-dir", "out", *NETWORK)
RESUME = ("train.py", "--patches", "patches.h5", "--run-dir", "run", *NETWORK, "--resume")
PREDICT = ("predict.py", "--run-dir", "run", "--data-root", "data", "--output", "out")
SCORE = ("predict.py", "--score-only", "--data-root", "data", "--output", "out")
# What the defects are of, in the order of the page.
MODULES = ("images", "cases", "patches", "patch_sets", "runs", "weights", "outputs")
MODULES += ("clusters", "flags")


@dataclass(frozen=True)
class Defect:
    """Something wrong, and the command that meets it.

    Attributes:
        group: Heading of the table that it belongs to.
        title: What is wrong, as a noun.
        command: Script and arguments.
        names: What the message has to name: a file, a folder or a flag.
        spoil: Function without arguments that makes the defect in the current folder; it may
            return a context manager, for what has to be undone.
    """

    group: str
    title: str
    command: tuple
    names: str
    spoil: Callable = lambda: None


@dataclass(frozen=True)
class Answer:
    """What a command did: its exit code, its last message, and the files that it has changed."""

    code: int
    message: str
    changed: list


def defect(defects, group, title, command, names):
    """Adds the decorated function, which spoils something, to the defects of a module."""

    def declare(spoil):
        defects.append(Defect(group, title, command, str(names), spoil))
        return spoil

    return declare


def image_path(case=CASE, modality="flair"):
    """Returns the path of a case's image, or of its segmentation as `seg`."""
    return case / f"{case.name}_{modality}.nii.gz"


def write_inputs(folder):
    """Writes what every defect starts from: two cases, a patch file, and a finished run."""
    rng = np.random.default_rng(0)
    shape, geometry = (5, 130, 132), Geometry((1.0, 1.0, 2.0), (0.0, -9.0, 3.0), np.eye(3).ravel())
    with contextlib.chdir(folder):
        for case in (CASE, OTHER):
            for name in EDITIONS["2017"].suffixes:
                image = rng.integers(1, 1000, shape).astype(np.int16)
                image[0] = 0  # So that some of the volume is no brain.
                write_volume(image_path(case, name), image, geometry)
            labels = rng.choice([0, 1, 2, 4], shape).astype(np.uint8)
            labels[0] = 0
            write_volume(image_path(case, "seg"), labels, geometry)
        for command in (
            (*EXTRACT, "--output", "patches.h5", "--patches-per-case", "4"),
            (*TRAIN, "--run-dir", "run"),
        ):
            code, message = run(command)
            if code:
                raise RuntimeError(f"{' '.join(command)}: {message}")


def meet(defect, inputs, folder):
    """Runs the command of a defect in a new folder; returns its `Answer`.

    Args:
        defect: A `Defect`.
        inputs: Folder that `write_inputs` has filled.
        folder: Folder to make, and to run in.
    """
    shutil.copytree(inputs, folder)
    with contextlib.chdir(folder), contextlib.ExitStack() as undone:
        undone.enter_context(defect.spoil() or contextlib.nullcontext())
        before = _contents()
        code, message = run(defect.command)
        after = _contents()
    changed = [path for path in before | after if before.get(path) != after.get(path)]
    return Answer(code, message, changed)


def run(command):
    """Runs a script in this process; returns its exit code and the last message on stderr."""
    script = __import__(command[0].removesuffix(".py"))
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            code = exit_code(lambda: script.main(list(command[1:])))
        except SystemExit as ended:  # As argparse does.
            code = ended.code
    _, _, message = errors.getvalue().rpartition("rror: ")
    return code, message.strip()


def _contents():
    """Returns the bytes of every file that can be read below the current folder, by path."""
    contents = {}
    for path in sorted(Path().rglob("*")):
        contents[str(path)] = "not to be read"
        with contextlib.suppress(OSError):
            contents[str(path)] = path.read_bytes() if path.is_file() else "not a file"
    return contents


def all_defects():
    """Returns the `Defect`s of all modules, in the order of the tables."""
    modules = [import_module(f"tests.defects_of_{name}") for name in MODULES]
    return list(chain(*(module.DEFECTS for module in modules)))


def describe(answers):
    """Returns the text of docs/errors.md.

    Args:
        answers: Dict from `Defect` to `Answer`.
    """
    lines = [
        "# What is wrong, and what is said",
        "",
        f"{len(answers)} defects, each made by a script, met by the command that reads it, and "
        "answered with one",
        "message on stderr and exit code 1 (2 for flags), before anything is written. "
        "`python -m tests.defects` makes",
        "this page; `tests/test_defects.py` holds the scripts to it.",
    ]
    for group in dict.fromkeys(defect.group for defect in answers):
        lines += ["", f"## {group}", "", "| defect | script | message |", "|---|---|---|"]
        for defect, answer in answers.items():
            if defect.group == group:
                script = defect.command[0].removesuffix(".py")
                message = answer.message.replace("|", "\\|").replace("\n", "<br>")
                lines.append(f"| {defect.title} | {script} | {message} |")
    return "\n".join(lines) + "\n"


def main():
    """Meets every defect, and prints the table."""
    with tempfile.TemporaryDirectory() as place:
        inputs = Path(place, "inputs")
        inputs.mkdir()
        write_inputs(inputs)
        answers = {
            defect: meet(defect, inputs, Path(place, str(number)))
            for number, defect in enumerate(all_defects())
        }
    print(describe(answers), end="")


if __name__ == "__main__":
    main()
