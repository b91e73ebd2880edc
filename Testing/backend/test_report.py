"""report.html: what is in it, that it needs nothing else, and that it names no patient and no path."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from plan_bench import KnowsPlans
from prediction_bench import Recorder, in_mni, on_disk, small_library, template_patient
from synthetic_cases import made_up_case

from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.errors import Cancelled
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.prediction.figure import PLANES, lps_array
from PostOpPredictorLib.prediction.patient import align
from PostOpPredictorLib.prediction.plan_request import PlanRequest, StructureRequest
from PostOpPredictorLib.prediction.predictor import predict
from PostOpPredictorLib.prediction.report.meanings import headline
from PostOpPredictorLib.prediction.report.other_pictures import days, sequences
from PostOpPredictorLib.prediction.report.picture import Arrow, Contour, Overlay, colours_of, draw
from PostOpPredictorLib.prediction.report.sureness import colour_bar
from PostOpPredictorLib.prediction.report.view import View
from PostOpPredictorLib.prediction.report.written import HEADER, LIMITS
from PostOpPredictorLib.prediction.request import PredictionRequest, PredictionResult
from PostOpPredictorLib.retrieval.slice_index import SliceIndex

pytestmark = pytest.mark.usefixtures("already_in_mni")

VOID = {"meta", "img", "line", "br", "link", "input"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MOST_BYTES = 3_000_000


class Page(HTMLParser):
    """Reads a page, fails on tags that are not closed in order, and keeps what it says and shows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        """All visible text, single spaces."""
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "img":
            self.pictures.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A library of three cases, a patient on disk and a structure beside the tumour."""
    folder = tmp_path_factory.mktemp("bench")
    pre, tumour = on_disk(folder / "DOE^JANE" / "19520317")
    structure = folder / "DOE^JANE" / "DOE^JANE_tract.nii.gz"
    labels = sitk.ReadImage(str(tumour))
    sitk.WriteImage(sitk.Cast(labels == 2, sitk.sitkUInt8), str(structure))
    return {
        "library": small_library(folder / "library").folder,
        "pre": pre,
        "tumour": tumour,
        "structure": structure,
        "model": folder,
    }


def predicted(bench: dict[str, Any], out: Path, progress: Any = None, **changes: Any) -> PredictionResult:
    asked = {name: bench[name] for name in ("pre", "tumour", "library", "model")}
    model = KnowsPlans(shift_mm=2.0, noise=0.3)
    return predict(PredictionRequest(out=out, sequence="T1w", **asked, **changes), progress, lambda _: model)


@pytest.fixture(scope="module")
def whole(bench: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> PredictionResult:
    """A prediction with all that this model can be asked."""
    return predicted(
        bench,
        tmp_path_factory.mktemp("whole") / "out",
        uncertainty=True,
        noise_samples=2,
        k=2,
        plans=(PlanRequest("Core <b>only</b>", margin_mm=0.0), PlanRequest("Wide", margin_mm=5.0)),
        structures=(StructureRequest("tract", bench["structure"]),),
    )


@pytest.fixture(scope="module")
def page(whole: PredictionResult) -> Page:
    return Page(whole.files["report"].read_text(encoding="utf-8"))


def test_the_report_is_the_last_word_of_every_prediction(whole: PredictionResult) -> None:
    assert whole.files["report"].name == "report.html"
    assert whole.summary["report"] == {"file": "report.html"}
    provenance = json.loads(whole.files["provenance"].read_text(encoding="utf-8"))
    assert provenance["result"]["report"] == {"file": "report.html"}


def test_no_report_is_written_where_none_is_asked(bench: dict[str, Any], tmp_path: Path) -> None:
    result = predicted(bench, tmp_path / "out", report=False)
    assert "report" not in result.files and "report" not in result.summary
    assert not list((tmp_path / "out").glob("*.html"))


def test_it_is_one_file_that_needs_nothing_else(page: Page, whole: PredictionResult) -> None:
    html = whole.files["report"].read_text(encoding="utf-8")
    assert len(html.encode()) < MOST_BYTES
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "base"})
    for tag, name, value in page.attributes:
        if name in ("src", "href", "srcset", "poster", "data", "action"):
            assert value.startswith("data:image/jpeg;base64,"), (tag, name, value[:40])
        assert not name.startswith("on")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)


def test_every_picture_can_be_read_and_shows_something(page: Page) -> None:
    assert len(page.pictures) >= 9 + 9 + 3 + 2 * 3 + 3 * 3 + 2 * 4
    for picture in page.pictures:
        image = Image.open(io.BytesIO(base64.b64decode(str(picture["src"]).split(",", 1)[1])))
        image.load()
        assert image.size == (int(str(picture["width"])), int(str(picture["height"])))
        assert np.asarray(image).std() > 5.0, picture["alt"]
        assert picture["alt"]


def numbers_in(value: Any) -> Iterator[str]:
    """Every number of a summary, as it is printed."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in ("files", "number"):
                yield from numbers_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from numbers_in(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def test_every_number_of_the_result_is_in_it(page: Page, whole: PredictionResult) -> None:
    numbers = list(numbers_in(whole.summary))
    assert len(numbers) > 60
    shown = set(re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", page.text))
    missing = [number for number in numbers if number not in shown and number.lstrip("-") not in shown]
    assert missing == []


def test_every_sentence_for_the_reader_is_in_it(page: Page, whole: PredictionResult) -> None:
    summary = whole.summary
    sentences = [
        summary["similarity"]["sentence"],
        summary["shift"]["midline_sentence"],
        summary["uncertainty"]["calibration_sentence"],
        summary["uncertainty"]["influence_sentence"],
        summary["registration"],
        *(plan["read_out"]["rano_sentence"] for plan in summary["plans"]),
        *(warning for plan in summary["plans"] for warning in plan["warnings"]),
        *LIMITS,
    ]
    for sentence in sentences:
        assert " ".join(sentence.split()) in page.text


def test_it_says_on_every_page_what_it_is(page: Page, whole: PredictionResult) -> None:
    html = whole.files["report"].read_text(encoding="utf-8")
    head = html[html.index("<thead>") : html.index("</thead>")]
    assert HEADER in head, "a table's head is repeated on every printed page"
    for words in ("research use", "not for clinical decisions", "simulated operations"):
        assert words in HEADER


def test_nothing_of_the_patient_and_no_path_is_in_it(
    page: Page, whole: PredictionResult, bench: dict[str, Any], tmp_path: Path
) -> None:
    html = whole.files["report"].read_text(encoding="utf-8")
    for secret in (
        "DOE",
        "JANE",
        "19520317",
        "nii.gz",
        str(bench["library"]),
        str(whole.folder),
        bench["pre"].parts[1],
    ):
        assert secret not in page.text, secret
    plain = re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)
    assert "DOE^" not in plain and not re.search(r"(/tmp|/home|/root|/work|[A-Z]:\\)", plain)


def test_what_a_person_typed_is_text_and_not_html(page: Page) -> None:
    assert "Core <b>only</b>" in page.text
    assert ("b", "class") not in {(tag, name) for tag, name, _ in page.attributes}


def test_sections_of_what_was_not_asked_are_left_out(bench: dict[str, Any], tmp_path: Path) -> None:
    result = predicted(bench, tmp_path / "out")
    page = Page(result.files["report"].read_text(encoding="utf-8"))
    for heading in ("Plans compared", "How sure", "Through time", "Further sequences"):
        assert heading not in page.text
    for heading in ("In the patient's own scan", "In MNI space", "Precedents", "Limits", "How it was made"):
        assert heading in page.text


def test_a_precedent_whose_cavity_is_a_proxy_says_so(bench: dict[str, Any], tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    core = np.isin(sitk.GetArrayFromImage(template_patient(WORKING_GRID)[1]), (1, 4))
    library.add(made_up_case("0001", core, cavity="proxy"))
    library.add(made_up_case("0002", np.roll(core, 2, axis=2), cavity="labelled"))
    SliceIndex.open(library)
    result = predicted({**bench, "library": library.folder}, tmp_path / "out")
    told = json.loads(result.files["precedents"].read_text(encoding="utf-8"))["precedents"]
    assert [case["cavity"] for case in told] == ["proxy", "labelled"]
    page = Page(result.files["report"].read_text(encoding="utf-8"))
    assert page.text.count("a proxy: derived from other labels, not drawn") == 1


def test_no_similar_case_is_said_first_and_loudly(bench: dict[str, Any], tmp_path: Path) -> None:
    result = predicted(bench, tmp_path / "out", institution="south")
    assert result.summary["no_similar_case"]
    page = Page(result.files["report"].read_text(encoding="utf-8"))
    assert ("div", "class", "notice none") in page.attributes
    text = page.text
    assert text.index("NO SIMILAR CASE") < text.index("In the patient's own scan")
    assert "No operated case of the library lies like this one." in text


def test_a_cancel_while_the_report_is_written_leaves_nothing(bench: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        predicted(bench, tmp_path / "out", Recorder("Writing the report"))
    assert not list(tmp_path.iterdir())


def test_right_and_left_are_where_the_letters_say() -> None:
    """The tumour of ``template_patient`` is on the patient's left: in the right half of axial and coronal pictures."""
    scan, labels = template_patient()
    patient = align(scan, labels, in_mni(scan))
    for view in (View.in_mni(patient), View.of_scan(patient), View.on_working_grid(patient)):
        labels_there = patient.labels_mni if view.grid.size == (197, 233, 189) else patient.labels
        array = view.array(labels_there) if view.grid.size != (128, 128, 104) else patient.tumour
        for plane in PLANES[:2]:
            cut = view.cut(array, plane) > 0
            assert np.flatnonzero(cut.any(axis=0)).mean() > cut.shape[1] / 2 + 10


@pytest.mark.parametrize("parts", [1, 3])
def test_planes_are_interpolated_as_the_whole_volume_would_be(parts: int) -> None:
    scan, labels = template_patient()
    patient = align(scan, labels, in_mni(scan))
    shape = WORKING_GRID.shape if parts == 1 else (*WORKING_GRID.shape, parts)
    image = WORKING_GRID.image(np.random.default_rng(0).random(shape, np.float32))
    turned = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.1, -0.2, 0.3, (4.0, 5.0, 6.0))
    for view in (View.in_mni(patient), View.of_scan(patient)):
        for transform in (None, turned):
            whole = lps_array(view.grid.resample(image, transform))
            planes = view.array(image, transform)
            assert planes.shape == whole.shape
            for plane in PLANES:
                for part in range(parts):
                    shown, wanted = (
                        view.cut(array[..., part] if parts > 1 else array, plane) for array in (planes, whole)
                    )
                    assert wanted.any()
                    np.testing.assert_allclose(shown, wanted, atol=1e-4)


def test_a_line_an_arrow_and_a_colour_lie_where_they_should() -> None:
    grey = np.full((40, 60), 0.4, np.float32)
    mask = np.zeros((40, 60), np.float32)
    mask[10:20, 30:50] = 1.0
    values = np.zeros((40, 60), np.float32)
    values[30:38, 5:15] = 10.0
    picture = draw(
        grey,
        "test",
        4.0,
        [Contour(mask, "#00ff00")],
        Overlay(values, 0.0, 10.0, "viridis"),
        [Arrow((10.0, 5.0), (20.0, 5.0))],
    )
    assert (picture.width, picture.height) == (240, 160)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.uri.split(",", 1)[1]))), float)
    green = (shown[..., 1] > 180) & (shown[..., 0] < 120) & (shown[..., 2] < 120)
    rows, columns = np.nonzero(green[:100])  # below is the map, which is green at its rim
    assert abs(rows.min() - 40) <= 4 and abs(rows.max() - 80) <= 4
    assert abs(columns.min() - 120) <= 4 and abs(columns.max() - 200) <= 4
    yellow = shown[34 * 4, 10 * 4]
    assert np.abs(yellow - (0.85 * colours_of("viridis", np.array([1.0]))[0] + 0.15 * 102)).max() < 25
    assert shown[22, 60, 0] > 200 and shown[22, 60, 2] < 190, "the arrow"
    assert np.abs(shown[150, 200] - 102).max() < 12, "elsewhere the image is as it was"


def test_the_colour_bar_tells_its_unit_and_its_colours() -> None:
    bar = colour_bar(0.0, 20.0, "% of something", "magma")
    assert (bar.low, bar.high, bar.unit) == ("0", "20", "% of something")
    first, last = (round(float(v)) for v in colours_of("magma", np.array([0.0, 1.0]))[:, 0])
    assert bar.gradient.startswith(f"linear-gradient(90deg, rgb({first} ") and f"rgb({last} " in bar.gradient


@pytest.mark.parametrize(
    ("before", "moved", "after", "told"),
    [
        (6.4, -2.1, 4.3, "6.4 L → 4.3 L mm"),
        (-3.0, 4.0, 1.0, "3.0 R → 1.0 L mm"),
        (None, -2.0, None, "moves 2.0 mm R"),
        (5.0, None, None, "5.0 mm L"),
        (None, None, None, "not readable"),
    ],
)
def test_the_midline_is_told_by_side(before: float, moved: float, after: float, told: str) -> None:
    shift = {
        "largest_mm": 1.0,
        "mean_near_cavity_mm": 1.0,
        "midline_before_mm": before,
        "midline_mm": moved,
        "midline_after_mm": after,
    }
    figures = {"tumour_ml": 1.0, "cavity_ml": 1.0, "residual_ml": 0.0, "eor_percent": 100.0, "shift": shift}
    assert next(figure.value for figure in headline(figures) if figure.name == "Midline") == told


@pytest.fixture(scope="module")
def with_more() -> Any:
    """What the report reads of a prediction with a series and a further sequence."""
    scan, labels = template_patient()
    patient = align(scan, labels, in_mni(scan))
    view = View.in_mni(patient)
    before = view.array(patient.scan_mni)
    cavity = (view.array(patient.labels_mni) > 0).astype(np.float32)
    day = {"days": 7.0, "cavity_ml": 12.5, "blood_ml": 1.25, "air_ml": 0.5, "oedema_ml": 8.0, "residual_ml": 0.25}
    files = {
        "day-007/postop_mni": before * (1 - cavity),
        "day-007/cavity_mask_mni": cavity,
        "preop_mni_FLAIR": before,
        "postop_mni_FLAIR": before * (1 - cavity),
    }
    return SimpleNamespace(
        mni=view,
        before=patient.window.normalise(before),
        unit=patient.window.normalise,
        read=files.get,
        summary={"series": [day, {**day, "days": 180.0}], "more": [{"sequence": "FLAIR", "warnings": ["seen"]}]},
    )


def test_every_day_has_its_volumes_and_its_picture_where_it_was_written(with_more: Any) -> None:
    first, second = days(with_more)
    assert (first.days, second.days) == (7.0, 180.0)
    assert dict(first.figures)["blood"] == 1.25 and len(first.figures) == 5
    assert first.picture is not None and "day 7" in first.picture.alt
    assert second.picture is None


def test_a_further_sequence_is_shown_before_and_after(with_more: Any) -> None:
    (flair,) = sequences(with_more)
    assert [caption for caption, _, _ in flair.pictures] == ["before", "before", "predicted", "predicted"]
    assert [synthetic for _, synthetic, _ in flair.pictures] == [False, False, True, True]
    assert flair.pictures[0][2].uri != flair.pictures[2][2].uri


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)")
def test_chromium_prints_it_with_the_statement_on_every_page(whole: PredictionResult, tmp_path: Path) -> None:
    printed = tmp_path / "report.pdf"
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={printed}"]
    done = subprocess.run([*command, whole.files["report"].as_uri()], capture_output=True, timeout=240, check=False)
    assert printed.is_file() and printed.stat().st_size > 50_000, done.stderr[-2000:]
    assert printed.read_bytes().startswith(b"%PDF")
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed (Debian: apt install poppler-utils); only that it prints was checked")
    text = subprocess.run(["pdftotext", "-layout", printed, "-"], capture_output=True, text=True, check=True).stdout
    pages = [one for one in text.split("\f") if one.strip()]
    assert 4 <= len(pages) <= 10
    for number, one in enumerate(pages, start=1):
        assert HEADER in " ".join(one.split()), f"page {number}"
    size = subprocess.run(["pdfinfo", printed], capture_output=True, text=True, check=True).stdout
    assert "A4" in size
