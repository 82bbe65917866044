"""The weights of `pretrained/`: that they are what their card says, and that they segment."""

import csv
import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import h5py
import pytest

import predict
from engine.networks.choose import read_network
from model import build_resunet

FOLDER = Path(__file__).parents[2] / "pretrained"
NETWORK = FOLDER / "resunet16-brats2021.keras"
WEIGHTS = "0d3c58de8c82dbfab2a0fc135d227f277d82cb739b95254660edd02cd9c7416e"


def test_the_card_describes_the_file():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(NETWORK.read_bytes()).hexdigest() in card
    assert f"{NETWORK.stat().st_size / 1e6:.1f} MB" in card
    assert "depth 3 (639,140 parameters" in card
    network = read_network(NETWORK, build_resunet)
    assert (network.settings["base_filters"], network.settings["depth"]) == (16, 3)
    assert network.count_params() == 639_140


def test_the_weights_are_those_that_were_trained():
    with zipfile.ZipFile(NETWORK) as file:
        content = file.read("model.weights.h5")
        with file.open("model.weights.h5") as weights:
            assert "optimizer" not in h5py.File(weights)
    assert hashlib.sha256(content).hexdigest() == WEIGHTS


def test_make_segment_takes_it_with_its_recipe():
    if not shutil.which("make"):
        pytest.skip("needs make")
    command = ["make", "--dry-run", "--old-file", ".venv/runtime", "segment", "DATA_ROOT=cases"]
    result = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    weights = NETWORK.relative_to(FOLDER.parent)
    assert f"predict.py --weights {weights} --recipe tuned" in result.stdout


@pytest.mark.nightly
def test_it_segments_what_it_was_trained_on(real_cases, tmp_path):
    arguments = ["--weights", str(NETWORK), "--recipe", "tuned", "--data-root", str(real_cases)]
    cases = ["BraTS2021_00000", "BraTS2021_01477"]
    predict.main([*arguments, "--cases", *cases, "--output", str(tmp_path)])
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = csv.DictReader(file)
        dice = {(row["case"], row["region"]): float(row["dice"]) for row in rows}
    assert dice[cases[0], "enhancing"] > 0.7
    assert dice[cases[1], "enhancing"] == 1  # There is none: no stray voxels.
    for case in cases:
        assert dice[case, "whole"] > 0.8 and dice[case, "core"] > 0.7
