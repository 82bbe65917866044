"""The readers that are given damaged files, each with the files to damage.

In: an empty folder. Out, for every kind of file: a function that writes one damaged file by a
generator and returns its path, and the functions that read it, all that the programs read it with.
"""

import contextlib
import json
import os
import signal
import time

import numpy as np
import SimpleITK

from brats.cases.check import inspect_case, inspect_headers
from brats.cases.find import Case
from brats.cases.findings import compare_cases, table
from brats.cases.layouts import read_grades
from brats.editions import EDITIONS, MODALITIES, REGIONS
from brats.errors import InputError
from brats.patches.extract import file_states, keep_cases
from brats.patches.file import AGREEMENT, laying_out, read_settings
from brats.patches.reader import PatchReader
from brats.phantom.files import write_case
from brats.predictions.record import check_output, read_record
from brats.scores.tables import METRICS, describe_summary, read_scores, summarize, write_scores
from brats.unfinished import journal_path, partial_path, resuming
from brats.volumes.case import read_case
from brats.volumes.files import read_volume
from brats.volumes.nifti import read_note
from tests import mutations
from tests.mutations import choose
from tests.mutations_of_hdf5 import mutate_hdf5
from tests.synthetic import noise_patches, write_noise

SHAPE = (5, 6, 7)  # (Z, Y, X)


def nifti(folder):
    """Images and segmentation of a case in `.nii` files."""
    return _case(folder, "2020", ".nii")


def nifti_compressed(folder):
    """Images and segmentation of a case in `.nii.gz` files."""
    return _case(folder, "2020", ".nii.gz")


def nifti_decathlon(folder):
    """A four-dimensional image of MSD, and its segmentation."""
    return _case(folder, "msd", ".nii.gz")


def _case(folder, naming, extension):
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 500, SHAPE).astype(np.int16) for name in MODALITIES}
    if naming != "msd":
        images["t1"] = images["t1"].astype(np.float32)
    classes = rng.integers(0, 4, SHAPE).astype(np.uint8)
    case = _find_case(write_case(folder, 0, "HGG", images, classes, naming), extension)
    paths = list(dict.fromkeys((*case.images.values(), case.segmentation)))
    for path in paths:
        if not path.exists():
            SimpleITK.WriteImage(SimpleITK.ReadImage(str(path).removesuffix(".gz")), str(path))
    valid = {path: path.read_bytes() for path in paths}
    damaged = [paths[0]]

    def write(rng):
        damaged[0].write_bytes(valid[damaged[0]])
        damaged[0] = path = choose(rng, [*paths, paths[-1]])
        data = mutations.mutate_nifti(mutations.expand(valid[path]), rng)
        path.write_bytes(mutations.compress(data, rng) if extension == ".nii.gz" else data)
        return path

    def check(volumes):
        assert all(volume.ndim == 3 and volume.size for volume in volumes)
        assert all(np.isfinite(volume).all() for volume in volumes), "values are not finite"

    def look(inspect):
        inspection = inspect(case)
        table(compare_cases([inspection]))
        if inspection.errors:
            raise InputError(inspection.errors[0])

    def read_one():
        if not case.edition.components or damaged[0] == case.segmentation:
            check([read_volume(damaged[0])[0]])

    return write, (
        lambda: read_note(damaged[0]),
        lambda: look(lambda case: inspect_headers([case])[0]),
        lambda: look(inspect_case),
        read_one,
        lambda: check(read_case(case).volumes),
    )


def _find_case(path, extension):
    """Returns the case of `write_case`, with another extension."""
    edition = EDITIONS["2017"]
    if path.is_dir():
        names = edition.suffixes | {"seg": edition.segmentation}
        images = {name: path / f"{path.name}{end}{extension}" for name, end in names.items()}
        return Case(path.name, path, edition, images, images.pop("seg"), None)
    name, images = path.name.removesuffix(extension), dict.fromkeys(MODALITIES, path)
    segmentation = path.parents[1] / "labelsTr" / path.name
    return Case(name, path.parent, EDITIONS["msd"], images, segmentation, None)


def patch_file(folder):
    """Patches, and their settings."""
    path = folder / "patches.h5"
    write_noise(path, np.random.default_rng(0), "float16")
    valid = path.read_bytes()

    def write(rng):
        path.unlink()  # HDF5 knows a file that it has failed to close.
        path.write_bytes(valid)
        mutate_hdf5(path, rng)
        return path

    def read(split):
        reader = PatchReader(path, split)
        for indices in ([0], range(len(reader))) if len(reader) else ():
            images, classes = reader.read(indices)
            assert images.shape == (len(indices), 128, 128, 4), images.shape
            assert classes.shape == (len(indices), 128, 128), classes.shape
            assert images.dtype in ("float16", "float32") and classes.dtype == "uint8"

    return write, (
        lambda: read_settings(path),
        lambda: read("train"),
        lambda: read("validation"),
    )


def journal(folder):
    """The journal of an extraction that was ended, to go on with or to replace."""
    path, image = folder / "patches.h5", folder / "a.nii"
    image.touch()
    case = Case("a", folder, EDITIONS["2017"], dict.fromkeys(MODALITIES, image), image, None)
    settings = AGREEMENT | {"cases": ["a", "b"]}
    step = {
        "case": "a",
        "files": file_states(case),
        "centers": noise_patches(2, np.random.default_rng(0)).centers.tolist(),
        "class_counts": [1, 2, 3, 4],
        "warnings": ["Odd."],
    }
    with contextlib.suppress(KeyboardInterrupt), resuming(path, settings, False) as unfinished:
        unfinished.add(step)
        raise KeyboardInterrupt
    damaged = journal_path(path)
    lines = damaged.read_bytes().splitlines()
    written = []

    def write(rng):
        index, new = int(rng.integers(len(lines))), list(lines)
        new[index] = mutations.mutate_json(json.loads(lines[index]), rng)
        written[:] = [b"\n".join([*new, choose(rng, (b"", b"", b"\n", b"{"))])]
        damaged.write_bytes(written[0])
        return damaged

    def read(resume):
        damaged.write_bytes(written[0])
        partial_path(path).write_bytes(bytes(2**19))
        with resuming(path, settings, resume) as unfinished:
            with laying_out(unfinished.path, "float16") as (file, disk):
                keep_cases(file, disk, unfinished.steps, [case], lambda _: "train")
            assert np.sum([step["class_counts"] for step in unfinished.steps], axis=0).size < 5

    return write, (lambda: read(True), lambda: read(False))


def predictions_record(folder):
    """`config.json` of a folder of segmentations."""
    path = folder / "config.json"
    record = {"networks": ["best.keras"], "method": {"flips": False, "fill_holes": True}}
    write = json_writer(path, record | {"settings": {"slices": [1, 2]}, "versions": {"a": "1"}})
    method = {"flips": False, "fill_holes": True}
    return write, (
        lambda: read_record(folder),
        lambda: check_output(folder, [], False, method),
    )


def json_writer(path, value):
    """Returns the function that writes a value to a file of JSON, damaged."""

    def write(rng):
        path.write_bytes(mutations.mutate_json(value, rng))
        return path

    return write


def scores(folder):
    """The tables of the scores, of which the summary is drawn from the other."""
    path = folder / "scores.csv"
    rows = [
        {"case": case, "region": region} | dict.fromkeys(METRICS, "0.5")
        for case in ("a", "b")
        for region in REGIONS
    ]
    cells = [list(rows[0]), *(list(row.values()) for row in rows)]

    def write(rng):
        path.write_bytes(mutations.mutate_csv(cells, rng))
        return path

    def read():
        if rows := read_scores(folder):
            describe_summary(summarize(rows))

    return write, (read, lambda: write_scores(folder, "c", []))


def grades(folder):
    """`name_mapping.csv` above cases."""
    path = folder / "name_mapping.csv"
    cells = [["Grade", "BraTS_2019_subject_ID", "BraTS_2020_subject_ID"]]
    cells += [[grade, f"A{index}", f"B{index}"] for index, grade in enumerate(["HGG", "LGG"] * 2)]

    def write(rng):
        path.write_bytes(mutations.mutate_csv(cells, rng))
        return path

    return write, (lambda: read_grades(folder, [folder / "A0"]),)


def planted(folder):
    """No reader, but what one may do wrong, by the number of the input: for the driver's test."""
    path = folder / "file.bin"
    draws = {np.random.default_rng([seed, *b"planted"]).bytes(8): seed for seed in range(9)}

    def write(rng):
        path.write_bytes(rng.bytes(8))
        return path

    def hog(seconds):
        taken = np.ones(10**8)  # 800 MB.
        time.sleep(seconds)
        del taken

    def refuse(message):
        raise InputError(message)

    faults = {
        1: lambda: os.kill(os.getpid(), signal.SIGSEGV),
        2: lambda: time.sleep(60),
        3: lambda: hog(60),
        4: lambda: hog(0),
        5: lambda: {}["planted"],
        6: lambda: refuse(f"{path} is damaged."),
        7: lambda: refuse("It is damaged."),
    }
    return write, (lambda: faults.get(draws[path.read_bytes()], lambda: None)(),)
