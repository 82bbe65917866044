"""The report without a browser: what it shows of which cases, and that no text becomes markup."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
from html import escape
from html.parser import HTMLParser
from urllib.parse import unquote

import matplotlib.image
import numpy as np
import pytest
import SimpleITK

from brats.editions import CLASSES, classes_to_labels
from brats.files import read_table
from brats.predictions.record import read_record, record_path, segmentation_path, write_record
from brats.report.derived import write_derived
from brats.report.images import MAX_GRAY, quantize, read_case_images
from brats.report.page import VIEWER
from brats.report.tables import best_end, format_score
from brats.scores.tables import score_case
from brats.volumes.files import read_volume, write_volume
from brats.volumes.geometry import Geometry
from tests.synthetic import write_case

LPS = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)  # Columns to the left, rows to posterior, slices up.
GEOMETRY = Geometry((3.0, 2.0, 1.0), (5.0, -7.0, 11.0), LPS)
SPACING = (1.0, 2.0, 3.0)  # The same along (z, y, x).
SHAPE = (15, 24, 26)
BRAIN = (slice(2, 11), slice(6, 18), slice(5, 22))
BOX = (slice(0, 14), slice(3, 21), slice(2, 25))  # With a margin of 3, but inside the volume.
HOSTILE = """=a"b'<i>&#%? é"""


def brain():
    image = np.zeros(SHAPE, dtype=np.int16)
    image[BRAIN] = np.arange(image[BRAIN].size).reshape(image[BRAIN].shape) % 90 + 10
    return image


def tumor(index):
    """Returns 2 x 2 x 2 voxels of a class inside the brain."""
    classes = np.zeros(SHAPE, dtype=np.uint8)
    classes[7:9, 10:12, 8:10] = index
    return classes


def predict(folder, case_id, reference=None, geometry=GEOMETRY):
    """Writes a case, its segmentation and its record; returns the case."""
    case = write_case(folder / "cases" / case_id, geometry, brain(), reference)
    write_volume(
        segmentation_path(folder, case), classes_to_labels(tumor(3), case.edition), geometry
    )
    scores = []
    if reference is not None:
        scores = score_case(case_id, tumor(3), reference, SPACING, case.edition)
    record = {"networks": [], "settings": {}, "inputs": {}, "warnings": [], "slices": []}
    volumes_ml = dict(zip(CLASSES[1:], (0.0, 1.0, 0.25), strict=True))
    write_record(folder, case, record | {"volumes_ml": volumes_ml, "scores": scores})
    return case


def change_record(folder, case, **fields):
    write_record(folder, case, read_record(folder, case) | fields)


class Page(HTMLParser):
    """The rows of the table of cases: their attributes, text and volumes, by case."""

    def __init__(self, folder):
        super().__init__()
        self.rows, self.text, self.volumes, self._case = {}, {}, {}, None
        self.feed((folder / "report.html").read_text(encoding="utf-8"))
        for case_id, attributes in self.rows.items():
            if "data-file" in attributes:
                path = folder / unquote(attributes["data-file"])
                call = path.read_text().splitlines()[1]
                volumes = json.loads(call.removeprefix("receiveVolumes(").removesuffix(");"))
                decoded = {name: base64.b64decode(text) for name, text in volumes.items()}
                self.volumes[case_id] = decoded

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "data-case" in attributes:
            self._case = attributes["data-case"]
            self.rows[self._case], self.text[self._case] = attributes, ""

    def handle_endtag(self, tag):
        if tag == "tbody":
            self._case = None

    def handle_data(self, data):
        if self._case:
            self.text[self._case] += f" {data}"


@pytest.fixture
def predicted(tmp_path, monkeypatch):
    """Cases with predictions in `tmp_path`; case "one" has a reference."""

    def write_plots(path, rows):
        SimpleITK.WriteImage(SimpleITK.Image(4, 3, SimpleITK.sitkUInt8), str(path))

    monkeypatch.setattr("brats.report.derived.write_score_boxes", write_plots)
    references = {HOSTILE: None, "one": tumor(1), "two": None}
    return [predict(tmp_path, *each) for each in references.items()]


def report(folder, cases, failures=()):
    """Writes the report; returns its rows and its text without the viewer's."""
    write_derived(folder, cases, dict(failures))
    text = (folder / "report.html").read_text()
    return Page(folder), text.split('<script type="text/plain" id="niivue">')[0]


def test_only_cases_with_a_record_and_a_segmentation_are_shown(predicted, tmp_path):
    segmentation_path(tmp_path, predicted[2]).unlink()
    record = record_path(tmp_path, predicted[1])
    shutil.copy(record, tmp_path / "one.old.json")
    (tmp_path / "._one.json").write_text("{")  # As macOS adds it.
    unrecorded = predict(tmp_path, "unrecorded")
    record_path(tmp_path, unrecorded).unlink()
    page, text = report(tmp_path, [*predicted, unrecorded])
    assert list(page.rows) == [HOSTILE, "one"]
    assert {row["case"] for row in read_table(tmp_path / "scores.csv")} == {"one"}
    assert "<p>2 cases</p>" in text  # Without networks they are another tool's.


def test_records_of_cases_that_are_not_given_are_in_no_table(predicted, tmp_path):
    text, _ = write_derived(tmp_path, predicted[2:], {})
    assert "leave out 2 older results" in text and "Mean" not in text
    assert [row["case"] for row in read_table(tmp_path / "volumes.csv")] == ["two"]
    assert not (tmp_path / "scores.csv").exists()


def test_only_a_case_with_a_reference_has_scores_and_a_reference(predicted, tmp_path):
    page, text = report(tmp_path, predicted)
    assert list(page.volumes["one"]) == ["flair", "t1", "t1ce", "t2", "prediction", "reference"]
    assert list(page.volumes["two"]) == ["flair", "t1", "t1ce", "t2", "prediction"]
    # The prediction is enhancing where the reference is necrosis: whole and core agree.
    assert page.text["one"].split()[1:4] == ["1.000", "1.000", "0.000"]
    assert set(page.text["two"].split()[1:-5]) == {"–"}
    assert '<span class="note">mean Dice, median 1.000, 1 case</span>' in text


def test_without_scores_there_are_volumes_and_nothing_of_scores(predicted, tmp_path):
    report(tmp_path, predicted)
    change_record(tmp_path, predicted[1], scores=[])
    page, text = report(tmp_path, predicted[2:])
    assert {path.suffix for path in tmp_path.iterdir()} == {"", ".gz", ".json", ".html", ".csv"}
    assert [path.name for path in tmp_path.glob("*.csv")] == ["volumes.csv"]  # Scores are removed.
    # Necrosis, edema, enhancing; core is the first and the third, whole tumor all of them.
    assert page.text["two"].split() == ["two", "0.0", "1.0", "0.2", "0.2", "1.2"]
    shown = text.split("<body>")[1].split('<dialog id="viewer"')[0]
    assert not re.search("Dice|Box plots|<select|Statistics|reference|–", shown)


def test_volumes_are_a_table_of_all_cases_with_and_without_a_reference(predicted, tmp_path):
    report(tmp_path, predicted)
    rows = read_table(tmp_path / "volumes.csv")
    assert [row.pop("case") for row in rows] == [f"'{HOSTILE}", "one", "two"]
    expected = {"necrosis": "0.0", "edema": "1.0", "enhancing": "0.25", "core": "0.25"}
    expected["whole"] = "1.25"
    assert rows == 3 * [{f"{name}_ml": ml for name, ml in expected.items()}]


def test_networks_settings_and_warnings_come_from_the_records(predicted, tmp_path):
    for index, case in enumerate(predicted):
        networks = [{"path": f"runs/<{min(index, 1)}>", "sha256": "ab"}]
        settings = {"flips": True, "fill_holes": index == 1}
        change_record(tmp_path, case, networks=networks, settings=settings)
    change_record(tmp_path, predicted[2], warnings=["The image is </script><dark>."])
    assert "different settings" in write_derived(tmp_path, predicted, {})[0]
    page, text = report(tmp_path, predicted)
    assert "<p>3 cases, each segmented by some of runs/&lt;0&gt; and runs/&lt;1&gt;</p>" in text
    settings = {"network": "runs/&lt;0&gt;, SHA-256 ab", "settings.flips": "true"}
    for name, value in (settings | {"settings.fill_holes": "false or true"}).items():
        assert f'<th scope="row">{name}</th><td>{value}</td>' in text
    assert "1 warning" in page.text["two"] and text.count("dark") == 1
    assert "The image is </script><dark>." in page.text["two"]


def test_failed_and_unreadable_cases_have_a_message_and_no_scores(predicted, tmp_path):
    damaged = predicted[2].images["t1ce"]
    damaged.write_bytes(b"damaged")
    failures = {"one": "no <FLAIR>", "gone": "lost"}
    _, unreadable = write_derived(tmp_path, predicted, failures)
    assert list(unreadable) == ["two"] and str(damaged) in unreadable["two"]
    page, text = Page(tmp_path), (tmp_path / "report.html").read_text()
    for case_id, message in (failures | unreadable).items():
        assert f"<li><b>{case_id}</b> {escape(message)}</li>" in text
    assert list(page.rows) == [HOSTILE] and "<p>1 case</p>" in text and "mean Dice" not in text
    assert HOSTILE not in text


@pytest.mark.parametrize("changed", [{"warnings": 7}, {"segmentation_sha256": "another"}])
def test_a_record_that_is_damaged_or_of_another_file_fails_its_case_only(
    predicted, tmp_path, changed
):
    path = record_path(tmp_path, predicted[0])
    change_record(tmp_path, predicted[0], **changed)
    _, unreadable = write_derived(tmp_path, predicted, {})
    assert list(unreadable) == [HOSTILE] and str(path) in unreadable[HOSTILE]
    assert list(Page(tmp_path).volumes) == ["one", "two"]


def test_without_cases_the_report_speaks_of_no_images(predicted, tmp_path):
    _, text = report(tmp_path, predicted, {case.id: "lost" for case in predicted})
    assert "<p>No cases</p>" in text and not re.search("of patients|Open a case", text)


def test_the_file_of_a_case_is_made_again_only_if_its_files_changed(predicted, tmp_path):
    def times():
        return {path.stem: path.stat().st_mtime_ns for path in tmp_path.glob("report/*.js")}

    report(tmp_path, predicted)
    before, content = times(), (tmp_path / "report.html").read_bytes()
    report(tmp_path, predicted)
    assert times() == before and before.keys() == {HOSTILE, "one", "two"}
    assert (tmp_path / "report.html").read_bytes() == content
    os.utime(predicted[1].images["t2"], (0, 0))
    report(tmp_path, predicted)
    after = times()
    assert after["one"] > before["one"] and before | {"one": 0} == after | {"one": 0}


def test_volumes_are_cut_to_the_brain_and_keep_their_place(predicted, tmp_path):
    page, _ = report(tmp_path, predicted)
    # Spacing in x, y, z; the box begins at column 2, row 3 and slice 0.
    place = Geometry(GEOMETRY.spacing_mm, (5 + 3 * 2, -7 + 2 * 3, 11 + 1 * 0), LPS)
    expected = {"prediction": tumor(3), "reference": tumor(1), "flair": quantize(brain())}
    for name, array in expected.items():
        assert page.volumes["one"][name][4:8] == bytes(4)  # No time in the header of gzip.
        (tmp_path / "decoded.nii.gz").write_bytes(page.volumes["one"][name])
        volume, geometry = read_volume(tmp_path / "decoded.nii.gz")
        np.testing.assert_array_equal(volume, array[BOX])
        assert geometry.is_close_to(place)
    assert page.rows["one"]["data-first"] == "2 3 0"
    # The first of two equal slices; the medians of rows 10, 11 and columns 8, 9, rounded down.
    assert page.rows["one"]["data-start"] == "8 10 7"


def test_thumbnail_shows_prediction_then_reference_at_the_largest_slice(predicted, tmp_path):
    thumbnail = read_case_images(tmp_path, predicted[1]).thumbnail
    picture = matplotlib.image.imread(io.BytesIO(thumbnail))[..., :3]
    height, width = 12 + 2 * 3, 17 + 2 * 3  # The brain's box, with its margin.
    assert picture.shape == (height, 2 * width + 4, 3)
    red, green, blue = np.moveaxis(picture, -1, 0)
    yellow = np.argwhere((red > 0.4) & (red == green) & (blue < red - 0.3))
    only_red = np.argwhere((red > 0.4) & (green < red - 0.3))
    # Rows 10 and 11, columns 8 and 9, in a box that begins at row 3 and column 2.
    assert yellow.tolist() == [[7, 6], [7, 7], [8, 6], [8, 7]]
    assert only_red.tolist() == [[y, x + width + 4] for y, x in yellow.tolist()]


def test_gray_levels_are_0_outside_the_brain_and_rise_inside_it():
    # The 99.5th percentile of 201 values is the second largest.
    volume = np.array([0] + [-100] + [0] + [50] * 198 + [200, 9999], dtype=np.float32)
    gray = quantize(volume)
    assert gray[[0, 1, 2, -2, -1]].tolist() == [0, 1, 0, MAX_GRAY, MAX_GRAY]
    assert set(gray[3:-2]) == {1 + (MAX_GRAY - 1) // 2}
    assert not quantize(np.zeros((2, 3, 4))).any()


def test_best_ends_and_numbers_of_scores():
    ends = {"num_missed": "min", "num_false": "min", "num_lesions": "", "predicted_ml": ""}
    ends |= {"lesion_dice": "max", "hausdorff_mm": "min"}
    assert {name: best_end(name) for name in ends} == ends
    assert format_score("dice", 0.12345) == "0.123"
    assert format_score("hausdorff_mm", 373.12866) == "373.1"
    assert [format_score("num_false", value) for value in (3, 10.0, 1.5)] == ["3", "10", "1.5"]


def test_the_page_requests_nothing_outside_itself(predicted, tmp_path):
    _, own = report(tmp_path, predicted)
    plots = base64.b64encode((tmp_path / "scores.png").read_bytes()).decode()
    assert f"base64,{plots}" in own
    addresses = re.findall(r"""(?:src|href)=["']([^"']{0,30})""", own)
    assert all(address.startswith("data:image/png") for address in addresses)
    assert "default-src 'none'" in own


def test_the_bundled_viewer_is_the_noted_one_and_can_stand_in_a_script_element():
    content = (VIEWER / "niivue.umd.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() in (VIEWER / "README.md").read_text()
    # The first would end the element, the second begin a comment in which nothing ends it.
    assert b"</script" not in content.lower() and b"<!--" not in content
