"""The report without a browser: what it holds, for which cases, and that nothing breaks out."""

import base64
import gzip
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
import SimpleITK

from brats.editions import classes_to_labels
from brats.predictions.record import segmentation_path
from brats.predictions.record import write_record
from brats.report.images import MAX_GRAY, bounding_box, quantize, read_case_images
from brats.report.page import VIEWER, json_for_html, write_report
from brats.report.tables import best_end, format_score, metric_label
from brats.scores.tables import score_case, write_scores
from brats.volumes.files import read_volume, write_volume
from brats.volumes.geometry import Geometry
from tests.synthetic import write_case

LPS = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)  # Columns to the left, rows to posterior, slices up.
GEOMETRY = Geometry((3.0, 2.0, 1.0), (5.0, -7.0, 11.0), LPS)
SHAPE = (15, 24, 26)
BRAIN = (slice(4, 12), slice(6, 18), slice(5, 22))
HOSTILE = """a"b'<i>&"""


def brain(dtype=np.int16):
    image = np.zeros(SHAPE, dtype=dtype)
    image[BRAIN] = np.arange(image[BRAIN].size).reshape(image[BRAIN].shape) % 90 + 10
    return image


def tumor(index, column=8):
    """Returns 2 x 2 x 2 voxels of a class amid the brain."""
    classes = np.zeros(SHAPE, dtype=np.uint8)
    classes[7:9, 10:12, column : column + 2] = index
    return classes


def predict(folder, case, classes, reference=None, geometry=GEOMETRY):
    labels = classes_to_labels(classes, case.edition)
    write_volume(segmentation_path(folder, case), labels, geometry)
    if reference is not None:
        rows = score_case(case.id, classes, reference, geometry.spacing_mm[::-1])
        write_scores(folder, case.id, rows)


class Page(HTMLParser):
    """The rows of the table of cases, as far as the tests ask."""

    def __init__(self, path):
        super().__init__()
        self.rows, self.volumes, self.text, self._place = {}, {}, {}, None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "data-case" in attributes:
            self._case = attributes["data-case"]
            self.rows[self._case], self.volumes[self._case] = attributes, {}
            self.text[self._case] = ""
        elif "data-volume" in attributes:
            self._place = attributes["data-volume"]

    def handle_endtag(self, tag):
        self._place = None
        if tag == "tbody":
            self._case = None

    def handle_data(self, data):
        if self._place:
            self.volumes[self._case][self._place] = base64.b64decode(data)
        elif getattr(self, "_case", None):
            self.text[self._case] += f" {data}"


def decode(volume, folder):
    (folder / "decoded.nii.gz").write_bytes(volume)
    return read_volume(folder / "decoded.nii.gz")


@pytest.fixture
def cases(tmp_path):
    """Predictions in `tmp_path`: of a hostile name, of a case with ground truth, of one without."""
    references = {HOSTILE: None, "one": tumor(1), "two": None}
    cases = []
    for case_id, reference in references.items():
        case = write_case(tmp_path / "cases" / case_id, GEOMETRY, brain(), reference)
        predict(tmp_path, case, tumor(3), reference)
        cases.append(case)
    write_record(tmp_path, {"method": {}, "networks": ["runs/<x>"], "settings": {"batch_size": 2}})
    return cases


def test_a_row_for_every_case_that_has_a_segmentation(cases, tmp_path):
    absent = write_case(tmp_path / "absent", GEOMETRY, brain())
    page = Page(write_report(tmp_path, [*cases, absent])[0])
    assert list(page.rows) == [case.id for case in cases]


def test_only_a_case_with_ground_truth_has_scores_and_a_reference(cases, tmp_path):
    page = Page(write_report(tmp_path, cases)[0])
    assert set(page.volumes["one"]) == {"flair", "t1ce", "prediction", "reference"}
    assert set(page.volumes["two"]) == {"flair", "t1ce", "prediction"}
    # The prediction is enhancing where the reference is necrosis: whole and core agree.
    assert page.text["one"].split()[1:4] == ["1.000", "1.000", "0.000"]
    assert set(page.text["two"].split()[1:]) == {"–"}


def test_without_any_scores_or_record_the_report_shows_the_cases(tmp_path):
    case = write_case(tmp_path / "case", GEOMETRY, brain())
    predict(tmp_path, case, tumor(3))
    path, _ = write_report(tmp_path, [case])
    assert list(Page(path).rows) == ["case"]
    assert "there is no ground truth" in path.read_text()
    assert "has no config.json" in path.read_text()


def test_whatever_scores_the_table_has_are_shown(cases, tmp_path):
    table = tmp_path / "scores.csv"
    header, *lines = table.read_text().splitlines()
    table.write_text("\n".join([header + ",surface_mm", *(f"{x},8.25" for x in lines)]))
    path, _ = write_report(tmp_path, cases)
    assert "<small>surface_mm</small>" in path.read_text()
    assert Page(path).text["one"].split()[-3:] == ["8.2", "8.2", "8.2"]


def test_a_failed_case_has_its_message_and_no_scores_whatever_lies_in_the_folder(cases, tmp_path):
    page = Page(write_report(tmp_path, cases, {"one": "no <FLAIR>", "gone": "lost"})[0])
    assert "no <FLAIR>" in page.text["one"] and "1.000" not in page.text["one"]
    assert "lost" in page.text["gone"] and page.rows["gone"]["class"] == "failed"
    assert not page.volumes["one"] and page.volumes["two"]


def test_a_case_that_cannot_be_read_is_shown_as_failed_and_the_others_are_shown(cases, tmp_path):
    damaged = cases[-1].images["t1ce"]
    damaged.write_bytes(b"damaged")
    path, unreadable = write_report(tmp_path, cases, {"gone": "lost"})
    page = Page(path)
    assert page.rows["two"]["class"] == "failed" and "two_t1ce.nii.gz begins" in page.text["two"]
    assert page.volumes["one"]
    # The caller is told, and the top of the page: two of the three cases are left.
    assert list(unreadable) == ["two"] and str(damaged) in unreadable["two"]
    top = path.read_text().split('<table id="cases">')[0]
    assert "<p>2 cases, segmented by" in top
    assert all(f"<li><b>{case_id}</b>" in top for case_id in ("gone", "two"))


def test_all_cases_that_can_be_read_are_not_returned_as_unreadable(cases, tmp_path):
    assert write_report(tmp_path, cases, {"gone": "lost"})[1] == {}


def test_a_segmentation_of_another_size_is_a_failure(cases, tmp_path):
    labels = classes_to_labels(tumor(3)[1:], cases[0].edition)
    write_volume(segmentation_path(tmp_path, cases[0]), labels, GEOMETRY)
    with pytest.raises(ValueError, match=r"\(14, 24, 26\).*\(15, 24, 26\)"):
        read_case_images(tmp_path, cases[0])


def test_the_volumes_lie_where_the_case_lies(cases, tmp_path):
    volumes = Page(write_report(tmp_path, cases)[0]).volumes["one"]
    box = tuple(slice(window.start - 3, window.stop + 3) for window in BRAIN)
    # Spacing in x, y, z; the box begins at column 2, row 3 and slice 1.
    origin_mm = (5 + 3 * 2, -7 + 2 * 3, 11 + 1 * 1)
    for name, expected in {"prediction": tumor(3), "reference": tumor(1)}.items():
        volume, geometry = decode(volumes[name], tmp_path)
        np.testing.assert_array_equal(volume, expected[box])
        assert geometry.is_close_to(Geometry(GEOMETRY.spacing_mm, origin_mm, LPS))
    flair, _ = decode(volumes["flair"], tmp_path)
    np.testing.assert_array_equal(flair, quantize(brain())[box])
    row = Page(tmp_path / "report.html").rows["one"]
    assert row["data-first"] == "2 3 1"
    # The first of two equal slices; the medians of rows 10, 11 and columns 8, 9, rounded down.
    assert row["data-start"] == "8 10 7"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_volumes_stored_in_another_direction_are_turned(axis, tmp_path):
    # The same patient, stored with one axis of (x, y, z) the other way around.
    direction = np.eye(3)
    direction[axis, axis] = -1
    origin_mm = [0.0, 0, 0]
    origin_mm[axis] = SHAPE[::-1][axis] - 1.0
    stored = Geometry((1.0, 1.0, 1.0), tuple(origin_mm), tuple(direction.ravel()))
    turned = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), LPS, stored)
    case = write_case(tmp_path / "turned", turned, brain())
    predict(tmp_path, case, tumor(3), geometry=turned)
    images = read_case_images(tmp_path, case)
    volume, geometry = decode(images.volumes["prediction"], tmp_path)
    np.testing.assert_array_equal(volume, tumor(3)[1:15, 3:21, 2:25])
    assert geometry.is_close_to(Geometry((1.0, 1.0, 1.0), (2.0, 3.0, 1.0), LPS))


def test_the_thumbnail_is_prediction_then_ground_truth_at_the_largest_slice(cases, tmp_path):
    picture = matplotlib.image.imread(io.BytesIO(read_case_images(tmp_path, cases[1]).thumbnail))
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


def test_the_box_holds_all_volumes_with_a_margin_of_three_inside_the_volume():
    first, second = np.zeros((12, 20, 30)), np.zeros((12, 20, 30))
    first[1, 8, 10], second[4, 9, 28] = 1, 1
    assert bounding_box([first, second]) == (slice(0, 8), slice(5, 13), slice(7, 30))
    assert bounding_box([np.zeros((2, 3, 4))]) == (slice(0, 2), slice(0, 3), slice(0, 4))


def test_same_files_give_the_same_bytes(cases, tmp_path):
    first = write_report(tmp_path, cases)[0].read_bytes()
    assert write_report(tmp_path, cases)[0].read_bytes() == first


def test_volumes_carry_no_time(cases, tmp_path):
    volume = Page(write_report(tmp_path, cases)[0]).volumes["one"]["flair"]
    assert volume[4:8] == bytes(4)  # The time in the header of gzip, RFC 1952.
    assert gzip.decompress(volume)


def test_no_name_or_message_becomes_markup(cases, tmp_path):
    text = write_report(tmp_path, cases, {"x": "<script>alert(1)</script>"})[0].read_text()
    assert HOSTILE in Page(tmp_path / "report.html").rows
    assert HOSTILE not in text and "<script>alert" not in text and "runs/<x>" not in text


def test_json_cannot_end_its_script_element():
    value = {"a": "</script><!--"}
    assert "<" not in json_for_html(value)
    assert json.loads(json_for_html(value)) == value


def test_the_box_plots_are_embedded_if_there_are_any(cases, tmp_path):
    assert "Box plots" not in write_report(tmp_path, cases)[0].read_text()
    SimpleITK.WriteImage(SimpleITK.Image(4, 3, SimpleITK.sitkUInt8), str(tmp_path / "scores.png"))
    plots = base64.b64encode((tmp_path / "scores.png").read_bytes()).decode()
    assert f"base64,{plots}" in write_report(tmp_path, cases)[0].read_text()


def test_settings_of_nested_dicts_are_named_by_their_path(cases, tmp_path):
    text = write_report(tmp_path, cases)[0].read_text()
    assert '<th scope="row">settings.batch_size</th><td>2</td>' in text


def test_labels_ends_and_numbers_of_scores():
    assert metric_label("hausdorff95_mm") == "HD95 (mm)"
    assert metric_label("surface_mm") == "surface_mm"  # A score that is not ours.
    assert [best_end(name) for name in ("num_missed", "num_false", "num_lesions")] == [
        "min",
        "min",
        "",
    ]
    assert [best_end(name) for name in ("lesion_dice", "hausdorff_mm", "predicted_ml")] == [
        "max",
        "min",
        "",
    ]
    assert format_score("dice", "0.12345") == "0.123"
    assert format_score("hausdorff_mm", "373.12866") == "373.1"
    assert [format_score("num_false", text) for text in ("3", "1.5")] == ["3", "1.5"]
    assert [format_score("dice", text) for text in ("", "nan")] == ["–", "–"]


def test_the_page_asks_for_nothing_outside_itself(cases, tmp_path):
    text = write_report(tmp_path, cases)[0].read_text()
    own = text.split('<script type="text/plain" id="niivue">')[0]
    addresses = re.findall(r"""(?:src|href)=["']([^"']{0,30})""", own)
    assert addresses and all(address.startswith("data:image/png") for address in addresses)
    assert "default-src 'none'" in own


def test_the_bundled_viewer_is_the_one_that_is_noted():
    digest = hashlib.sha256((VIEWER / "niivue.umd.js").read_bytes()).hexdigest()
    assert digest in (VIEWER / "README.md").read_text()


def test_the_bundled_viewer_can_stand_in_a_script_element():
    # These would end it, or begin a comment in which "</script>" does not end it.
    text = (VIEWER / "niivue.umd.js").read_text(encoding="utf-8").lower()
    assert "</script" not in text and "<!--" not in text
