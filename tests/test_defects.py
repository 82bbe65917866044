"""Every defect is answered in one message, with nothing left behind; every oddity is read right."""

import contextlib
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.defects import EXTRACT, OUTPUT, all_defects, describe, meet, run, write_inputs
from tests.oddities import ODDITIES

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
DEFECTS = all_defects()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The folder that every defect is made in a copy of."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def answers(inputs, tmp_path_factory):
    """Dict from every defect to its answer."""
    place = tmp_path_factory.mktemp("defects")
    return {defect: meet(defect, inputs, place / str(n)) for n, defect in enumerate(DEFECTS)}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.title)
def test_a_defect_is_named_and_leaves_nothing(defect, answers):
    answer = answers[defect]
    assert answer.code == (2 if defect.group == "Flags" else 1)
    word = rf"(?<![\w.-]){re.escape(str(defect.names))}(?![\w-])"
    assert re.search(word, answer.message), answer.message
    assert not answer.changed


def test_there_are_many_defects_and_no_two_have_one_message(answers):
    assert len([defect for defect in DEFECTS if defect.group != "Flags"]) >= 60
    messages = [(defect.command[0], answer.message) for defect, answer in answers.items()]
    assert len(set(messages)) == len(messages)


def test_the_page_of_defects_is_up_to_date(answers):
    # If not: python -m tests.defects > docs/errors.md
    assert describe(answers) == PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.title)
def test_what_is_odd_and_right_gives_the_same_patches(oddity, inputs, tmp_path):
    shutil.copytree(inputs, tmp_path / "odd")
    with contextlib.chdir(tmp_path / "odd"):
        data_root = oddity.make() or "data"
        run((*EXTRACT, "--data-root", data_root, "--patches-per-case", "4"))
        with h5py.File("patches.h5") as expected, h5py.File(OUTPUT) as found:
            for split in ("train", "validation"):
                for name in ("images", "labels", "center"):
                    assert np.array_equal(found[split][name], expected[split][name])
