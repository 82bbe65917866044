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
from engine.networks.files import read_network_settings
from model import build_resunet

FOLDER = Path(__file__).parents[1] / "pretrained"
NETWORK = FOLDER / "resunet16-brats2021.keras"


def test_the_card_describes_the_file():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(NETWORK.read_bytes()).hexdigest() in card
    assert f"{NETWORK.stat().st_size / 1e6:.1f} MB" in card
    assert "16 filters at the first level, depth 3 (639,140" in card
    settings = read_network_settings(NETWORK)
    assert (settings["base_filters"], settings["depth"]) == (16, 3)
    assert read_network(NETWORK, build_resunet).count_params() == 639_140


def test_the_file_holds_weights_alone():
    with zipfile.ZipFile(NETWORK) as file, file.open("model.weights.h5") as weights:
        assert "optimizer" not in h5py.File(weights)


def test_make_segment_takes_it_with_its_recipe():
    if not shutil.which("make"):
        pytest.skip("needs make")
    command = ["make", "--dry-run", "--old-file", ".venv/runtime", "segment", "DATA_ROOT=cases"]
    result = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    weights = NETWORK.relative_to(FOLDER.parent)
    assert f"predict.py --weights {weights} --recipe tuned" in result.stdout


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
