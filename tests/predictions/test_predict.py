"""predict.py: what it writes of a case, and what running it again does.

Most tests replace the network by a quick one, see `quick` in conftest.py.
"""

import hashlib
import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from brats.volumes.files import read_volume, write_volume
from engine.prediction import cases as prediction
from engine.prediction.segment import Segmentation
from tests.synthetic import contents

TUMOR = ("necrosis", "edema", "enhancing")


def times(folder):
    """Returns when each segmentation and record was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}


def read_record(output, case_id):
    return json.loads((output / f"{case_id}.json").read_text())


def image_path(root, case_id, name="t2"):
    return root / case_id / f"{case_id}_{name}.nii.gz"


def change_voxel(path):
    volume, geometry = read_volume(path)
    volume = volume.copy()
    volume[4, 36, 32] = 1 if volume[4, 36, 32] != 1 else 2
    write_volume(path, volume, geometry)


@pytest.fixture
def done(root, network, tmp_path, start, quick):
    """A folder of finished predictions with probabilities, and the flags that made it."""
    output, flags = tmp_path / "done", ("--weights", network, "--probabilities")
    assert start(root, output, *flags).code == 0
    quick.clear()
    return output, flags


def test_the_record_of_a_case_says_how_it_was_made_and_its_scores(done, ids, root, network):
    output, _ = done
    record = read_record(output, ids[0])
    assert (record["format"], record["version"], record["case"]) == ("brats-prediction", 2, ids[0])
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    assert record["networks"] == [{"path": str(network), "sha256": digest}]
    assert record["settings"] == {
        "full_slices": False, "flips": False, "fill_holes": False,
        "min_lesion_ml": 0, "min_enhancing_ml": 0, "labels": [],
    }  # fmt: skip
    paths = [image_path(root, ids[0], name) for name in ("flair", "t1", "t1ce", "t2", "seg")]
    assert record["inputs"] == {
        f"{ids[0]}/{path.name}": {
            "size": path.stat().st_size,
            "time": path.stat().st_mtime_ns,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in paths
    }
    labels = {name: read_volume(image_path(root, ids[0], name))[0] for name in ("flair", "seg")}
    found = read_volume(output / f"{ids[0]}.nii.gz")[0] > 0
    whole, core, enhancing = record["scores"]
    tumor = labels["seg"] > 0
    assert [row["region"] for row in (whole, core, enhancing)] == ["whole", "core", "enhancing"]
    assert whole["dice"] == 2 * np.sum(tumor & found) / (tumor.sum() + found.sum())
    assert record["device"] and record["versions"]["keras"] and record["commit"]
    # The phantom has few slices, and all of its brain is predicted as tumor.
    assert [text[:16] for text in record["warnings"]] == ["The brain has 6.", "100 % of the bra"]
    assert record["slices"] == []
    _, geometry = read_volume(output / f"{ids[0]}.nii.gz")
    enhancing_ml = round(np.count_nonzero(found) * np.prod(geometry.spacing_mm) / 1000, 3)
    assert record["volumes_ml"] == {"necrosis": 0, "edema": 0, "enhancing": enhancing_ml}


def test_a_case_has_its_volume_record_pictures_and_probabilities(done, ids):
    assert sorted(contents(done[0])) == sorted(
        itertools.chain.from_iterable(
            (f"{case_id}.json", f"{case_id}.nii.gz", f"figures/{case_id}-modalities.png")
            + tuple(f"probabilities/{case_id}-{name}.nii.gz" for name in TUMOR)
            for case_id in ids
        )
    )


def test_what_is_done_is_left_alone(done, root, start):
    output, flags = done
    before = times(output)
    result = start(root, output, *flags)
    assert result.code == 0 and "Done already: 3 of 3 cases." in result.out
    assert times(output) == before
    assert start(root, output, *flags[:2]).code == 0  # Nor without probabilities.
    assert times(output) == before


def test_an_incomplete_case_is_named_with_what_is_missing(done, ids, root, start, quick):
    output, flags = done
    next(root.glob(f"{ids[0]}/*_t2.nii.gz")).unlink()
    for more in ((), ("--cases", ids[0])):
        result = start(root, output, *flags, *more)
        assert result.code == 1 and f"{ids[0]} has 0 files for t2" in result.err


def test_probabilities_of_an_older_segmentation_do_not_stay_beside_a_new_one(
    done, ids, root, start, quick
):
    output, (*weights, _) = done
    assert start(root, output, *weights, "--cases", ids[0], "--overwrite").code == 0
    left = {path.name.rpartition("-")[0] for path in (output / "probabilities").iterdir()}
    assert left == set(ids[1:])


@pytest.mark.parametrize("lost", ["{}.nii.gz", "probabilities/{}-edema.nii.gz", "{}.*"])
def test_a_case_of_which_something_is_missing_is_segmented_again(
    done, ids, root, start, quick, lost
):
    output, flags = done
    expected = contents(output)
    for path in output.glob(lost.format(ids[1])):
        path.unlink()
    assert start(root, output, *flags).code == 0
    assert len(quick) == 1 and contents(output) == expected


def test_lost_pictures_and_other_slices_are_drawn_without_the_network(
    done, ids, root, start, quick
):
    output, flags = done
    expected = contents(output)
    (output / "figures" / f"{ids[2]}-modalities.png").unlink()
    assert start(root, output, *flags).code == 0
    assert contents(output) == expected
    assert start(root, output, *flags, "--slices", 2, 7, "--cases", ids[0]).code == 0
    assert (output / "figures" / f"{ids[0]}-7.png").is_file()
    assert read_record(output, ids[0])["slices"] == [2, 7]
    before = times(output)
    assert start(root, output, *flags, "--slices", 7, "--cases", ids[0]).code == 0
    assert times(output) == before and quick == []


def test_a_case_whose_image_changed_is_segmented_again(done, ids, root, start, quick):
    output, flags = done
    path = image_path(root, ids[1])
    os.utime(path, (0, 0))  # The same content.
    assert start(root, output, *flags).code == 0 and quick == []
    change_voxel(path)
    result = start(root, output, *flags)
    assert f"{ids[1]} is segmented again: {ids[1]}/{path.name} changed." in result.out
    assert len(quick) == 1
    assert start(root, output, *flags).code == 0 and len(quick) == 1  # The new one is recorded.


def test_a_new_or_changed_reference_only_scores_again(done, ids, root, start, quick):
    output, flags = done
    scores, before = read_record(output, ids[0])["scores"], times(output)
    path = image_path(root, ids[0], "seg")
    labels, geometry = read_volume(path)
    for reference, dice in ((None, None), (labels * 0, 0), (labels, scores[0]["dice"])):
        path.unlink()
        if reference is not None:
            write_volume(path, reference, geometry)
        result, record = start(root, output, *flags), read_record(output, ids[0])
        assert result.code == 0
        assert [row["dice"] for row in record["scores"][:1]] == ([] if dice is None else [dice])
        ml = f"ml  necrosis 0.0  edema 0.0  enhancing {record['volumes_ml']['enhancing']:.1f}\n"
        assert f"{ids[0]}  {ml if dice is None else f'Dice  whole {dice:.3f}'}" in result.out
        path.touch()  # To be removed again.
    assert quick == []
    assert [name for name, time in times(output).items() if time != before[name]] == [
        f"{ids[0]}.json"
    ]


def test_another_network_and_other_settings_are_an_error_that_names_both(
    done, ids, root, start, network, other_network, quick
):
    output, _ = done
    before = contents(output)
    old, new = (hashlib.sha256(each.read_bytes()).hexdigest() for each in (network, other_network))
    flags = ("--weights", other_network, "--flips", "--min-lesion-ml", 5)
    result = start(root, output, *flags)
    assert result.code == 1 and contents(output) == before
    difference = f"networks ['{old}'], not ['{new}']; flips False, not True; min_lesion_ml 0.0, not"
    assert f"{output}/{ids[0]}.nii.gz was made with {difference}" in result.err
    assert start(root, output, *flags, "--overwrite").code == 0
    assert read_record(output, ids[2])["networks"][0]["sha256"] == new


def test_the_same_network_in_another_place_is_the_same(done, root, start, network, tmp_path, quick):
    moved = shutil.copy(network, tmp_path / "moved.keras")
    assert start(root, done[0], "--weights", moved, "--probabilities").code == 0
    assert quick == []


def test_a_segmentation_of_another_tool_is_replaced_only_if_asked(
    ids, root, network, tmp_path, start, quick
):
    output, flags = tmp_path / "out", ("--weights", network)
    output.mkdir()
    foreign = shutil.copy(image_path(root, ids[1], "seg"), output / f"{ids[1]}.nii.gz")
    before = contents(output)
    for scored in (False, True):
        result = start(root, output, *flags)
        assert result.code == 1 and quick == []
        assert f"{foreign} was made by another tool. Add --overwrite" in result.err
        assert contents(output).items() >= before.items()
        assert scored or start(root, output, "--score-only").code == 0
    foreign.unlink()  # Its record alone is in no one's way.
    assert start(root, output, *flags).code == 0
    foreign.write_bytes(before[foreign.name])
    assert start(root, output, *flags, "--overwrite").code == 0
    assert foreign.read_bytes() != before[foreign.name]


def test_another_tool_s_file_in_the_place_of_ours_is_not_done_and_not_scored_as_ours(
    done, ids, root, start, quick
):
    output, flags = done
    path = shutil.copy(image_path(root, ids[1], "seg"), output / f"{ids[1]}.nii.gz")
    result = start(root, output, *flags)
    assert result.code == 1 and f"{path} was made by another tool. Add --overwrite" in result.err
    assert start(root, output, "--score-only").code == 0
    assert [bool(read_record(output, case_id)["networks"]) for case_id in ids] == [1, 0, 1]
    assert start(root, output, *flags).code == 1 and quick == []


def test_files_of_done_cases_that_cannot_be_read_any_more_hold_up_no_other(done, ids, root, start):
    output, flags = done
    path = image_path(root, ids[0])
    path.unlink()
    path.symlink_to(path.name)  # The system calls it a loop.
    (output / f"{ids[1]}.json").write_text("{")
    (output / f"{ids[2]}.nii.gz").unlink()
    result = start(root, output, *flags)
    assert result.code == 1 and f"Error: Cannot read {path}" in result.err
    assert f"{ids[1]}.json is damaged" in result.err
    assert f"2 of 3 cases failed, see above: {ids[1]}, {ids[0]}." in result.err
    assert all((output / f"{case_id}.nii.gz").exists() for case_id in ids)


def test_a_slice_that_a_case_has_not_is_a_warning(done, ids, root, start, quick):
    output, flags = done
    result = start(root, output, *flags, "--cases", ids[0], "--slices", 12, 5, 9)
    sentence = "There is no picture of slice 12, 9: the case has axial slices 0 to 7."
    assert result.code == 0 and f"{ids[0]}: Warning: {sentence}" in result.out
    assert sentence in read_record(output, ids[0])["warnings"]
    assert {path.name for path in (output / "figures").glob(f"{ids[0]}-*")} == {
        f"{ids[0]}-5.png", f"{ids[0]}-modalities.png"
    }  # fmt: skip


def test_probabilities_lie_where_the_case_lies_one_volume_per_class(done, ids, root):
    flair, geometry = read_volume(image_path(root, ids[0], "flair"))
    labels, _ = read_volume(done[0] / f"{ids[0]}.nii.gz")
    for name, expected in zip(TUMOR, (0.3, 0.1, 0.5), strict=True):
        path = done[0] / "probabilities" / f"{ids[0]}-{name}.nii.gz"
        volume, place = read_volume(path)
        assert volume.dtype == np.float32 and place.is_close_to(geometry)
        np.testing.assert_allclose(volume[labels > 0], expected, rtol=0, atol=1 / 8192 + 1e-6)
        assert not volume[flair == 0].any()


def test_settings_reach_the_segmenter_and_the_postprocessing(
    root, ids, network, tmp_path, start, quick, monkeypatch
):
    built = []

    def build_holed(networks, batch_size, full_slices, flips, probabilities):
        built.append((len(networks), batch_size, full_slices, flips, probabilities))

        def segment(channels):
            classes = np.zeros(channels.shape[:3], dtype=np.uint8)
            classes[2:7, 10:20, 10:20] = 2
            classes[4, 15, 15] = 0
            classes[4, 40, 40] = classes[5, 12, 12] = 3
            return Segmentation(classes)

        return segment

    monkeypatch.setattr(prediction, "build_segmenter", build_holed)
    flags = ["--weights", network, "--cases", ids[0], "--batch-size", 3, "--flips"]
    cleaning = ["--fill-holes", "--min-lesion-ml", 0.009, "--min-enhancing-ml", 0.002]
    for output, more, expected in (("plain", [], (0, 4, 4)), ("cleaned", cleaning, (2, 0, 1))):
        assert start(root, tmp_path / output, *flags, *more).code == 0
        labels, _ = read_volume(tmp_path / output / f"{ids[0]}.nii.gz")
        assert (labels[4, 15, 15], labels[4, 40, 40], labels[5, 12, 12]) == expected
    assert read_record(tmp_path / "cleaned", ids[0])["settings"]["min_enhancing_ml"] == 0.002
    assert built[0] == (1, 3, False, True, False)


class KilledError(BaseException):
    """What a process that is killed at this point does not live to see."""


def test_killed_before_any_file_gets_its_name_it_ends_with_the_same_files(
    done, ids, root, start, monkeypatch
):
    output, flags = done
    flags = (*flags, "--overwrite", "--cases", ids[0])
    expected, replace = contents(output), Path.replace
    for number in itertools.count(1):
        count = itertools.count(1)

        def replace_or_die(path, target, number=number, count=count):
            if next(count) == number:
                raise KilledError
            return replace(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace_or_die)
            try:
                assert start(root, output, *flags).code == 0
                break
            except KilledError:
                pass
        assert start(root, output, *flags[:3]).code == 0
        assert contents(output) == expected
    assert number == 1 + 5  # Three probabilities, the record and the volume.


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--run-dir {out}", "{out} is not a run folder"),
        ("--weights {network} --output {root}/out", "lies in --data-root {root}"),
        ("--weights {network} --cases X", "No case is called X. Found 3 cases"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(
    small_cases, network, tmp_path, start, flags, message
):
    places = {"out": tmp_path / "out", "network": network, "root": small_cases}
    result = start(small_cases, tmp_path / "out", *flags.format(**places).split())
    assert result.code == 1 and result.err.count("\n") == 1
    assert result.err.startswith("Error: ") and message.format(**places) in result.err
    assert not (tmp_path / "out").exists() and not (small_cases / "out").exists()
