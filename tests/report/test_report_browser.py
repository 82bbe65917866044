"""The report in Chromium, from disk: sorting, and the viewer's colors, slices and sides.

The tests read the pictures back from the page as a person sees it.
"""

import io
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from brats.editions import CLASSES, REGIONS, classes_to_labels
from brats.predictions.record import segmentation_path
from brats.report.case_files import update_case_file
from brats.report.page import write_report
from brats.scores.tables import METRICS
from brats.volumes.files import write_volume
from brats.volumes.geometry import Geometry
from tests.synthetic import write_case

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)"),
]
# WebGL without a graphics card; root in a container has no sandbox.
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SHAPE = (24, 40, 36)
NECROSIS, EDEMA, ENHANCING = 1, 2, 3
TUMOR_SLICES = slice(8, 16)
BEST, WORST, MIDDLE, NO_REFERENCE = """a #%? é'"<b>""", "b", "c", "d"
# Dice of whole tumor, core and enhancing; mean 0.8, 0.2 and 0.5.
DICE = {BEST: (0.7, 0.8, 0.9), WORST: (0.4, 0.1, 0.1), MIDDLE: (0.5, 0.2, 0.8)}
ONE_MM, CORNER = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
TO_LEFT = Geometry(ONE_MM, CORNER, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
STORED = Geometry(ONE_MM, CORNER, (-1.0, 0, 0, 0, 1, 0, 0, 0, 1))
TO_RIGHT = Geometry(ONE_MM, (-35.0, 0.0, 0.0), TO_LEFT.direction, STORED)


def write_predictions(folder):
    """Writes cases with enhancing tumor predicted in the patient's right half; returns records too.

    The reference is necrosis; in one case edema surrounds enhancing tumor. The files of another
    case store their columns from the left to the right. The brain is bright in T1ce only.
    """
    image = np.zeros(SHAPE, dtype=np.int16)
    image[2:22, 4:36, 4:32] = 500
    image[2:22, 36:38, 4:32] = 3000
    t1ce = np.where(image, 3000, 0).astype(np.int16)
    t1ce[2, 4:36, 4:32] = 500
    block, nested = np.zeros((2, *SHAPE), dtype=np.uint8)
    block[TUMOR_SLICES, 12:20, 7:15] = 1
    nested[TUMOR_SLICES, 8:26, 7:25] = EDEMA
    nested[TUMOR_SLICES, 12:22, 11:21] = ENHANCING
    references = {NO_REFERENCE: None, MIDDLE: nested}
    cases, records = [], {}
    for case_id in (*DICE, NO_REFERENCE):
        geometry = TO_RIGHT if case_id == WORST else TO_LEFT
        reference = references.get(case_id, NECROSIS * block)
        case = write_case(folder / "cases" / case_id, geometry, image, reference, t1ce)
        labels = classes_to_labels(ENHANCING * block, case.edition)
        write_volume(segmentation_path(folder, case), labels, geometry)
        cases.append(case)
        # The distances order the cases differently than Dice: the best one is the farthest.
        scores = [
            {"region": region} | dict.fromkeys(METRICS, 0.25) | {"dice": x, "hausdorff_mm": 100 * x}
            for region, x in zip(REGIONS, DICE.get(case_id, ()), strict=False)
        ]
        record = {"case": case_id, "networks": [], "settings": {}, "warnings": []}
        volumes_ml = dict(zip(CLASSES[1:], (1.0, 2.0, 4.0), strict=True))
        records[case_id] = record | {"volumes_ml": volumes_ml, "scores": scores}
    return cases, records


def write_page(folder, cases, records, failures):
    heads = {case.id: update_case_file(folder, case) for case in cases}
    (folder / "scores.png").write_bytes(b"")
    scores = [row for record in records.values() for row in record["scores"]]
    return write_report(folder, records, heads, failures, scores)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    return write_page(folder, *write_predictions(folder), {"e": "<i>lost</i>"})


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, report):
    """The open report, which may not log messages or request anything during a test."""
    page = browser.new_page(viewport={"width": 900, "height": 600})
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    yield page
    own = {path.as_uri() for path in (report.parent / "report").iterdir()}
    assert messages == [] and requests[0] == report.as_uri() and set(requests[1:]) <= own
    page.close()


def case_order(page):
    return [row.get_attribute("data-case") for row in page.locator("#cases tbody tr").all()]


def open_case(page, case_id):
    page.get_by_role("button", name=case_id, exact=True).click()
    page.locator("#viewer[aria-busy=false]").wait_for()


def picture(page):
    """Returns the viewer's picture, red, green, blue in [0, 1], `(height, width, 3)`."""
    return matplotlib.image.imread(io.BytesIO(page.locator("#canvas").screenshot()))[..., :3]


def places(page, color):
    """Returns rows and columns of the pixels of a color."""
    red, green, blue = np.moveaxis(picture(page), -1, 0)
    masks = {
        "yellow": (red > 0.5) & (green > 0.5) & (blue < 0.5 * red),
        "red": (red > 0.5) & (green < 0.5 * red) & (blue < 0.5 * red),
        "white": np.minimum(np.minimum(red, green), blue) > 0.98,
    }
    return np.nonzero(masks[color])


def count(page, color):
    return places(page, color)[0].size


def test_the_page_shows_every_case_and_sorts_by_a_column_both_ways(page):
    assert case_order(page) == [BEST, WORST, MIDDLE, NO_REFERENCE]
    widths = page.eval_on_selector_all("#cases img", "all => all.map(each => each.naturalWidth)")
    assert len(widths) == 4 and min(widths) > 0
    assert page.locator(".notes li").inner_text() == "e <i>lost</i>"
    core = page.get_by_role("columnheader", name="Dice core")
    core.get_by_role("button").click()
    assert case_order(page) == [WORST, MIDDLE, BEST, NO_REFERENCE]
    core.get_by_role("button").click()
    assert case_order(page) == [BEST, MIDDLE, WORST, NO_REFERENCE]
    assert core.get_attribute("aria-sort") == "descending"


def test_worst_and_best_by_the_chosen_score_and_by_name(page):
    page.get_by_role("button", name="Worst first").click()
    assert case_order(page)[:3] == [WORST, MIDDLE, BEST]
    page.get_by_label("Show").select_option("Hausdorff distance (mm)")
    headers = page.locator("#cases th[data-metric]:visible")
    assert [text.split()[0] for text in headers.all_inner_texts()] == ["Hausdorff"] * 3
    page.get_by_role("button", name="Best first").click()
    assert case_order(page)[:3] == [WORST, MIDDLE, BEST]
    page.get_by_role("button", name="By name").click()
    assert case_order(page) == [BEST, WORST, MIDDLE, NO_REFERENCE]


def test_the_prediction_can_be_turned_off_and_on_and_made_opaque(page):
    open_case(page, BEST)
    drawn = count(page, "yellow")
    # 8 x 8 voxels of a box of 39 x 34, which fills the canvas' height; the rim fades.
    voxel = picture(page).shape[0] / 39
    assert (7 * voxel) ** 2 < drawn < (8 * voxel) ** 2
    page.get_by_label("Overlay").uncheck()
    assert count(page, "yellow") == 0
    page.locator("#canvas").press("o")
    assert count(page, "yellow") == drawn
    before = picture(page)
    page.get_by_label("Opacity").fill("1")
    assert np.abs(picture(page) - before).max() > 0.1


@pytest.mark.parametrize("case_id", [BEST, WORST])
def test_the_patients_right_is_at_the_left_however_it_is_stored(case_id, page):
    open_case(page, case_id)
    width = picture(page).shape[1]
    _, columns = places(page, "yellow")
    assert columns.size and columns.max() < width / 2


def test_the_viewer_shows_the_reference_or_its_outline_if_there_is_one(page):
    open_case(page, BEST)
    assert count(page, "red") == 0
    page.get_by_label("Labels").select_option("reference")
    assert count(page, "yellow") == 0
    filled, white = count(page, "red"), count(page, "white")
    assert filled > 0
    page.get_by_label("Labels").select_option("prediction, reference outlined")
    # White lines around 6 x 6 of the 8 x 8 voxels.
    assert count(page, "red") == 0 and count(page, "white") > white
    assert 0 < count(page, "yellow") < (7 / 8) ** 2 * filled
    page.keyboard.press("Escape")
    open_case(page, NO_REFERENCE)
    page.locator("#canvas").press("l")
    assert page.get_by_label("Labels").is_hidden() and count(page, "yellow") > 0


def test_whole_tumor_and_core_are_outlined_on_bright_tissue(page):
    open_case(page, MIDDLE)
    page.get_by_label("Labels").select_option("prediction, reference outlined")
    page.get_by_label("Opacity").fill("0.1")
    page.get_by_label("Image").select_option("T1ce")
    # The box begins at row 1 and column 1, and has 39 x 34 voxels. The whole tumor has columns 7 to
    # 24, the core 11 to 20. Black lines show on bright tissue.
    gray = picture(page).mean(axis=-1)
    voxel = gray.shape[0] / 39
    left = (gray.shape[1] - 34 * voxel) / 2
    line = gray[int((17 - 0.5) * voxel)]
    black = [c for c in range(5, 31) if line[int(left + (c - 0.5) * voxel)] < 0.2]
    assert black == [6, 11, 20, 25]


def test_slices_are_scrolled_by_wheel_keys_and_slider(page):
    open_case(page, BEST)
    number = page.locator("#slice-number")
    assert number.inner_text() == "8"  # The first of the slices with most tumor.
    page.locator("#canvas").press("ArrowDown")
    assert number.inner_text() == "7" and count(page, "yellow") == 0
    page.locator("#canvas").hover()
    page.mouse.wheel(0, 100)
    page.wait_for_function("document.getElementById('slice-number').value !== '7'")
    assert number.inner_text() in ("6", "8")
    # The numbers are those of the file: rows 12 to 19 and columns 7 to 14 hold tumor.
    for plane, first in (("axial", 8), ("coronal", 12), ("sagittal", 7)):
        page.get_by_label("Plane").select_option(plane)
        page.locator("#slice").fill(str(first - 1))
        assert count(page, "yellow") == 0
        page.locator("#slice").fill(str(first))
        assert count(page, "yellow") > 0


def test_keys_go_to_the_next_case_in_the_order_of_the_table(page):
    page.get_by_role("button", name="Worst first").click()
    open_case(page, WORST)
    titles = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        page.locator("#canvas").press(key)
        page.locator("#viewer[aria-busy=false]").wait_for()
        titles.append(page.locator("#viewer-case").inner_text())
    assert titles == [MIDDLE, BEST, MIDDLE]
    lines = [line.split() for line in page.locator("#viewer-results tr").all_inner_texts()]
    assert lines[1] == ["Dice", "0.500", "0.200", "0.800"]
    # Necrosis and enhancing tumor are the core.
    assert lines[-5:] == [
        ["necrosis", "1.0"], ["edema", "2.0"], ["enhancing", "4.0"], ["core", "5.0"],
        ["whole", "7.0"],
    ]  # fmt: skip


@pytest.mark.parametrize("metric", ["dice", "volume_ml", ""])
def test_on_a_narrow_screen_the_table_scrolls_and_no_number_breaks(metric, page):
    page.set_viewport_size({"width": 600, "height": 900})
    page.locator("#metric").select_option(metric)
    assert page.evaluate("document.documentElement.scrollWidth") == 600
    lines = page.eval_on_selector_all(
        "#cases td[data-value]:not([hidden])", "all => all.map(each => each.firstChild).map("
        "text => { const r = document.createRange(); r.selectNode(text);"
        " return r.getClientRects().length; })",
    )  # fmt: skip
    assert set(lines) == {1}


def test_a_page_without_its_folder_says_what_is_missing(browser, report, tmp_path):
    moved = Path(shutil.copy(report, tmp_path))
    with browser.new_page() as page:
        page.goto(moved.as_uri())
        page.get_by_role("button", name=WORST, exact=True).click()
        page.locator("#notice", has_text="Cannot load report/b.js").wait_for()


def test_without_webgl_the_viewer_says_so_and_shows_the_thumbnail(page):
    page.evaluate("() => { HTMLCanvasElement.prototype.getContext = () => null; }")
    open_case(page, BEST)
    assert "no WebGL 2" in page.locator("#notice").inner_text()
    assert page.locator("#notice img").is_visible()
    page.get_by_role("button", name="Next case").click()
    assert page.locator("#viewer-case").inner_text() == WORST
