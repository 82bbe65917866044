"""Files with random damage are read, or refused in one line that names them."""

import functools
import gzip

import numpy as np
import pytest

from brats.editions import CLASSES, REGIONS
from brats.errors import InputError
from brats.patches.file import read_case_file
from brats.patches.reader import PatchReader
from brats.predictions.record import read_record, record_path, write_record
from brats.scores.tables import METRICS
from brats.volumes.files import read_volume
from tests.synthetic import make_case, write_noise

pytestmark = pytest.mark.nightly

NUM_INPUTS = 400


def damage(content, rng, end):
    """Cuts, repeats, or replaces some bytes of a file before `end`."""
    content = bytearray(content)
    start = int(rng.integers(max(min(end, len(content)), 1)))
    stop = start + int(rng.choice([1, 2, 8, 64]))
    kind = rng.integers(4)
    if kind == 0:
        content[start:stop] = rng.bytes(stop - start)
    elif kind == 1:
        content[start:stop] = bytes([rng.choice([0, 1, 255])]) * (stop - start)
    elif kind == 2:
        del content[start:stop]
    else:
        content[start:] = content[start:stop] * int(rng.integers(2))
    return bytes(content)


def check(path, read, end, pieces=1):
    """Reads a file with other damage every time."""
    whole, refused = path.read_bytes(), 0
    for seed in range(NUM_INPUTS):
        rng, content = np.random.default_rng([seed, *path.suffix.encode()]), whole
        for _ in range(rng.integers(pieces) + 1):
            content = damage(content, rng, end)
        path.write_bytes(content)
        try:
            read(path)
        except (InputError, OSError) as error:
            refused += 1
            message = str(error)
            assert path.name in message and "\n" not in message and len(message) < 1500
    assert refused > NUM_INPUTS / 10


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_damaged_image(cohort, tmp_path, suffix):
    source = next(cohort.rglob("*_t1.nii.gz"))
    path = tmp_path / f"image{suffix}"
    packed = source.read_bytes()
    path.write_bytes(packed if suffix == ".nii.gz" else gzip.decompress(packed))
    check(path, read_volume, end=352, pieces=3)


def test_a_damaged_patch_file(tmp_path, rng):
    write_noise(tmp_path, rng, [2])

    def read(path):
        file = read_case_file(path)
        PatchReader([file]).read(range(min(file.num_patches, 4)))

    check(tmp_path / "a.h5", read, end=8000, pieces=3)


def test_a_damaged_record(tmp_path):
    record = {"networks": [{"path": "a.keras", "sha256": "0" * 64}], "settings": {"flips": False}}
    record |= {"inputs": {"a/a_t1.nii.gz": {"size": 1}}, "warnings": [], "slices": []}
    record |= {"volumes_ml": dict.fromkeys(CLASSES[1:], 0.5)}
    row = {"case": "a"} | dict.fromkeys(METRICS, 0.5)
    case = make_case("a")
    write_record(tmp_path, case, record | {"scores": [row | {"region": each} for each in REGIONS]})
    assert read_record(tmp_path, case)
    read = functools.partial(read_record, tmp_path, case)
    check(record_path(tmp_path, case), lambda path: read(), end=10**5)
