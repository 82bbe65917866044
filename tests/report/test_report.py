"""The report without a browser: what it shows of which cases, and that no text becomes markup."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
import SimpleITK

from brats.editions import classes_to_labels
from brats.predictions.record import segmentation_path
from brats.report.images import MAX_GRAY, quantize, read_case_images
from brats.report.page import VIEWER, write_report
from brats.report.tables import best_end, format_score
from brats.scores.tables import score_case
from brats.volumes.files import read_volume, write_volume
from brats.volumes.geometry import Geometry
from tests.synthetic import write_case

LPS = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)  # Columns to the left, rows to posterior, slices up.
GEOMETRY = Geometry((3.0, 2.0, 1.0), (5.0, -7.0, 11.0), LPS)
SHAPE = (15, 24, 26)
BRAIN = (slice(2, 11), slice(6, 18), slice(5, 22))
BOX = (slice(0, 14), slice(3, 21), slice(2, 25))  # With a margin of 3, but inside the volume.
HOSTILE = """a"b'<i>&"""


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
    """Writes a case and its segmentation; returns the case and its record."""
    case = write_case(folder / "cases" / case_id, geometry, brain(), reference)
    write_volume(
        segmentation_path(folder, case), classes_to_labels(tumor(3), case.edition), geometry
    )
    scores = []
    if reference is not None:
        scores = score_case(case_id, tumor(3), reference, geometry.spacing_mm[::-1])
    record = {"case": case_id, "networks": [], "settings": {}, "warnings": [], "scores": scores}
    return case, record


class Page(HTMLParser):
    """The rows of the table of cases: their attributes, volumes and text, by case."""

    def __init__(self, path):
        super().__init__()
        self.rows, self.volumes, self.text, self._place, self._case = {}, {}, {}, None, None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "data-case" in attributes:
            self._case = attributes["data-case"]
            self.rows[self._case], self.volumes[self._case] = attributes, {}
            self.text[self._case] = ""
        self._place = attributes.get("data-volume")

    def handle_endtag(self, tag):
        self._place = None
        if tag == "tbody":
            self._case = None

    def handle_data(self, data):
        if self._place:
            self.volumes[self._case][self._place] = base64.b64decode(data)
        elif self._case:
            self.text[self._case] += f" {data}"


@pytest.fixture
def predicted(tmp_path):
    """Cases and records of predictions in `tmp_path`; case "one" has a reference."""
    references = {HOSTILE: None, "one": tumor(1), "two": None}
    cases, records = zip(*(predict(tmp_path, *each) for each in references.items()), strict=True)
    return list(cases), {record["case"]: record for record in records}


def report(folder, predicted, failures=()):
    """Writes the report; returns its rows and its text before and after the rows."""
    path, _ = write_report(folder, *predicted, dict(failures))
    return Page(path), path.read_text().split('<script type="text/plain" id="niivue">')[0]


def test_cases_with_a_record_and_a_segmentation_are_shown(predicted, tmp_path):
    cases, records = predicted
    segmentation_path(tmp_path, cases[2]).unlink()
    unrecorded, _ = predict(tmp_path, "unrecorded")
    page, text = report(tmp_path, ([*cases, unrecorded], records))
    assert list(page.rows) == [HOSTILE, "one"]
    assert "<p>2 cases</p>" in text  # Without networks they are another tool's.


def test_only_a_case_with_a_reference_has_scores_and_a_reference(predicted, tmp_path):
    page, text = report(tmp_path, predicted)
    assert set(page.volumes["one"]) == {"flair", "t1ce", "prediction", "reference"}
    assert set(page.volumes["two"]) == {"flair", "t1ce", "prediction"}
    # The prediction is enhancing where the reference is necrosis: whole and core agree.
    assert page.text["one"].split()[1:4] == ["1.000", "1.000", "0.000"]
    assert set(page.text["two"].split()[1:]) == {"–"}
    assert '<span class="note">mean Dice, median 1.000, 1 case</span>' in text


def test_without_scores_there_are_no_columns_of_scores(predicted, tmp_path):
    cases, records = predicted
    page, text = report(tmp_path, (cases[2:], records))
    assert page.text["two"].split() == ["two"]
    assert "there is no reference" in text and "Box plots" not in text


def test_networks_settings_and_warnings_come_from_the_records(predicted, tmp_path):
    records = predicted[1]
    for index, record in enumerate(records.values()):
        record["networks"] = [{"path": f"runs/<{min(index, 1)}>", "sha256": "ab"}]
        record["settings"] = {"flips": True, "fill_holes": index == 1}
    records["two"]["warnings"] = ["The image is <dark>."]
    page, text = report(tmp_path, predicted)
    assert "<p>3 cases, each segmented by some of runs/&lt;0&gt; and runs/&lt;1&gt;</p>" in text
    settings = {"network": "runs/&lt;0&gt;, SHA-256 ab", "settings.flips": "true"}
    for name, value in (settings | {"settings.fill_holes": "false or true"}).items():
        assert f'<th scope="row">{name}</th><td>{value}</td>' in text
    assert "The image is <dark>." in page.text["two"] and text.count("dark") == 1


def test_failed_and_unreadable_cases_have_a_message_and_no_scores(predicted, tmp_path):
    cases, records = predicted
    damaged = cases[2].images["t1ce"]
    damaged.write_bytes(b"damaged")
    failures = {"one": "no <FLAIR>", "gone": "lost"}
    path, unreadable = write_report(tmp_path, cases, records, failures)
    assert list(unreadable) == ["two"] and str(damaged) in unreadable["two"]
    page, text = Page(path), path.read_text()
    for case_id, message in (failures | unreadable).items():
        assert page.rows[case_id]["class"] == "failed" and message in page.text[case_id]
        assert not page.volumes.get(case_id) and f"<li><b>{case_id}</b>" in text
    assert page.volumes[HOSTILE] and "<p>1 case</p>" in text and "mean Dice" not in text
    assert "no <FLAIR>" not in text and HOSTILE not in text


def test_a_segmentation_of_another_size_is_refused(predicted, tmp_path):
    case = predicted[0][0]
    labels = classes_to_labels(tumor(3)[1:], case.edition)
    write_volume(segmentation_path(tmp_path, case), labels, GEOMETRY)
    with pytest.raises(ValueError, match=r"\(14, 24, 26\).*\(15, 24, 26\)\. Resample"):
        read_case_images(tmp_path, case)


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
    thumbnail = read_case_images(tmp_path, predicted[0][1]).thumbnail
    picture = matplotlib.image.imread(io.BytesIO(thumbnail))
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


def test_same_files_give_the_same_bytes(predicted, tmp_path):
    first = write_report(tmp_path, *predicted, {})[0].read_bytes()
    assert write_report(tmp_path, *predicted, {})[0].read_bytes() == first


def test_best_ends_and_numbers_of_scores():
    ends = {"num_missed": "min", "num_false": "min", "num_lesions": "", "predicted_ml": ""}
    ends |= {"lesion_dice": "max", "hausdorff_mm": "min"}
    assert {name: best_end(name) for name in ends} == ends
    assert format_score("dice", 0.12345) == "0.123"
    assert format_score("hausdorff_mm", 373.12866) == "373.1"
    assert [format_score("num_false", value) for value in (3, 10.0, 1.5)] == ["3", "10", "1.5"]


def test_the_page_requests_nothing_outside_itself(predicted, tmp_path):
    SimpleITK.WriteImage(SimpleITK.Image(4, 3, SimpleITK.sitkUInt8), str(tmp_path / "scores.png"))
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
