"""predict.py on images that no network can segment, and on networks and results that are wrong."""

import json

import numpy as np
import pytest

from brats.predictions.write import prediction_warnings
from brats.volumes.case import RawCase
from brats.volumes.files import read_volume, write_volume
from brats.volumes.geometry import Geometry
from tests.synthetic import write_constant_network


def warnings(output, case_id):
    return json.loads((output / f"{case_id}.json").read_text())["warnings"]


def test_a_case_that_no_network_can_segment_fails_alone_or_is_forced(
    root, ids, network, tmp_path, start, quick
):
    output, flags = tmp_path / "out", ("--weights", network)
    rng = np.random.default_rng(0)
    for path in (root / ids[1]).glob("*_[ft]*"):  # The images.
        volume, geometry = read_volume(path)
        write_volume(path, volume + rng.integers(1, 50, volume.shape, volume.dtype), geometry)
    result = start(root, output, *flags)
    assert result.code == 1 and f"Case {ids[1]} in {root / ids[1]} cannot be used" in result.err
    assert [path.stem for path in sorted(output.glob("*.json"))] == [ids[0], ids[2]]
    assert start(root, output, *flags, "--force").code == 0
    assert any("not skull-stripped" in text for text in warnings(output, ids[1]))
    # Forced or not, it is done, and its warnings stay when it is scored again.
    (output / "figures" / f"{ids[1]}-modalities.png").unlink()
    assert start(root, output, *flags).code == 0
    assert any("not skull-stripped" in text for text in warnings(output, ids[1]))
    assert len(quick) == 3


def test_a_network_with_values_that_are_not_finite_is_named_and_writes_nothing(
    root, tmp_path, start
):
    path = write_constant_network(tmp_path / "diverged.keras", (np.nan, 0.3, 0.1, 0.5))
    result = start(root, tmp_path / "out", "--weights", path)
    assert result.code == 1 and f"The probabilities of {path} are not finite" in result.err
    assert not [each for each in (tmp_path / "out").rglob("*") if each.is_file()]


@pytest.mark.parametrize(
    ("edema_ml", "enhancing_ml", "expected"),
    [
        (0, 0, ["The prediction holds no tumor"]),
        (233, 100, []),  # A third of a brain of 1,000 voxels of 1 ml.
        (234, 100, ["33 % of the brain is predicted as tumor"]),
        (0, 150, []),
        (0, 151, ["151 ml are predicted as enhancing tumor"]),
    ],
)
def test_suspicious_predictions_are_marked(edema_ml, enhancing_ml, expected):
    image = np.repeat([1, 0], 1000).reshape(20, 10, 10)
    geometry = Geometry((10, 10, 10), (0, 0, 0), tuple(np.eye(3).ravel()))
    volumes_ml = {"edema": edema_ml, "enhancing": enhancing_ml}
    classes = np.array([edema_ml + enhancing_ml])
    found = prediction_warnings(classes, RawCase([image] * 4, None, geometry), volumes_ml)
    assert [text.partition(",")[0].partition(".")[0] for text in found] == expected
