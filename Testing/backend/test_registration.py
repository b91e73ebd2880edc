"""A scan is laid over MNI space to about a millimetre, the same in every run, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from PostOpPredictorLib.errors import Cancelled, InputError, RegistrationFailed
from PostOpPredictorLib.evaluation import registration_benchmark
from PostOpPredictorLib.evaluation.registration_benchmark import misaligned_case, target_errors_mm
from PostOpPredictorLib.imaging import alignment, template
from PostOpPredictorLib.imaging.alignment import Search
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID, WORKING_GRID, Grid
from PostOpPredictorLib.imaging.moving_scan import MovingScan, prepare
from PostOpPredictorLib.imaging.registration import register_to_mni
from PostOpPredictorLib.imaging.registration_quality import agreement, judge, least_metric
from PostOpPredictorLib.imaging.volumes import read_labels, read_volume

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)
FSL_GRID = Grid((182, 218, 182), (1.0, 1.0, 1.0), (90.0, 126.0, -72.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))


class Steps:
    """Progress that remembers."""

    def __init__(self, cancel_at: int | None = None) -> None:
        self.done: list[float] = []
        self.cancel_at = cancel_at

    def stage(self, name: str) -> None: ...

    def log(self, text: str) -> None: ...

    def step(self, done: int, total: int) -> None:
        if self.cancel_at is not None and done >= self.cancel_at:
            raise Cancelled("Cancelled.")
        self.done.append(done / total)


@pytest.fixture(scope="module")
def case():
    return misaligned_case(3)


@pytest.fixture(scope="module")
def scan(case) -> MovingScan:
    return prepare(case.image, case.tumour, None)


@pytest.fixture(scope="module")
def steps() -> Steps:
    return Steps()


@pytest.fixture(scope="module")
def found(case, steps: Steps):
    return register_to_mni(case.image, case.tumour, progress=steps)


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def dice(one: sitk.Image, other: sitk.Image) -> float:
    a, b = array(one) > 0, array(other) > 0
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def test_a_known_misalignment_is_found_to_less_than_a_millimetre(case, found):
    assert target_errors_mm(case.truth, IDENTITY).mean() > 10
    assert target_errors_mm(case.truth, found.transform).mean() < 1.0
    assert found.quality.passed
    assert not found.already_in_mni


def test_the_transform_is_ready_for_resampling_onto_mni(case, found):
    brain = array(template.brain_mask()) > 0
    values = array(TEMPLATE_GRID.resample(case.image, found.transform))[brain]
    assert np.corrcoef(values, array(template.t1())[brain])[0, 1] > 0.7


def test_the_inverse_brings_a_point_back(found):
    there = found.transform.TransformPoint((10.0, -20.0, 30.0))
    assert found.transform.GetInverse().TransformPoint(there) == pytest.approx((10.0, -20.0, 30.0), abs=1e-6)


def test_the_brain_mask_of_a_stripped_scan_lies_on_the_template(found):
    assert TEMPLATE_GRID.holds(found.brain_mask)
    assert found.brain_mask.GetPixelID() == sitk.sitkUInt8
    assert dice(found.brain_mask, template.brain_mask()) > 0.96


def test_progress_only_grows_and_ends_at_the_end(found, steps: Steps):
    assert steps.done == sorted(steps.done)
    assert steps.done[-1] == 1.0
    assert len(steps.done) > 5


def test_a_cancelled_registration_stops(case):
    with pytest.raises(Cancelled):
        register_to_mni(case.image, progress=Steps(cancel_at=1))


def test_the_search_gives_the_very_same_on_one_thread_and_on_several(scan: MovingScan):
    start = alignment._starts(scan.brain)[0]
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    results = []
    try:
        for count in (1, 2, 2):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
            metric, moved = Search.of(scan)._attempt(start, alignment._COARSE, True)[0]
            results.append((metric, *moved.GetParameters()))
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    assert results[0] == results[1] == results[2]


def test_the_tumour_does_not_count(case, scan: MovingScan):
    counts = Grid.of(case.tumour).resample(scan.counts, interpolator=sitk.sitkNearestNeighbor)
    assert not (array(counts)[array(case.tumour) > 0] > 0).any()
    assert array(scan.counts).mean() > 0.9


@pytest.mark.parametrize(
    "turned",
    [
        lambda image: sitk.DICOMOrient(image, "LAS"),
        lambda image: sitk.DICOMOrient(image, "RAS"),
        lambda image: sitk.DICOMOrient(image, "PIR"),
    ],
    ids=["left-handed", "turned", "permuted"],
)
def test_the_order_of_the_axes_in_the_file_makes_no_difference(case, scan: MovingScan, turned):
    other = prepare(turned(case.image), turned(case.tumour), None)
    assert Grid.of(scan.image).holds(other.image, 1e-6)
    assert np.allclose(array(other.image), array(scan.image), atol=1e-5)
    assert np.array_equal(array(other.counts), array(scan.counts))


def test_quality_asks_for_more_detail_where_the_outlines_agree_less():
    assert least_metric(0.90) > least_metric(0.95) > least_metric(0.99) > 0


def test_a_tumour_on_the_left_stays_on_the_left_whatever_the_header_says(case, found):
    labels = np.zeros(TEMPLATE_GRID.shape, np.uint8)
    labels[90:110, 110:130, 40:60] = 1
    in_mni = TEMPLATE_GRID.image(labels)
    assert TEMPLATE_GRID.image(labels).TransformIndexToPhysicalPoint((50, 120, 100))[0] > 0
    drawn = Grid.of(case.image).resample(in_mni, found.transform.GetInverse(), sitk.sitkNearestNeighbor)
    for axes in ("LPS", "LAS", "RAS", "PIR"):
        back = TEMPLATE_GRID.resample(sitk.DICOMOrient(drawn, axes), found.transform, sitk.sitkNearestNeighbor)
        assert dice(back, in_mni) > 0.9


def test_oblique_axes_show_the_same_head(case, scan: MovingScan):
    turn = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.25)
    whole = Grid.of(case.image)
    middle = case.image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in whole.size])
    corner = np.subtract(middle, turn.TransformPoint((145.0, 145.0, 145.0)))
    oblique = Grid((145, 145, 145), (2.0, 2.0, 2.0), tuple(corner.tolist()), turn.GetMatrix())
    other = prepare(oblique.resample(case.image), None, None)
    resampled = array(Grid.of(scan.image).resample(other.image))
    inside = array(scan.brain) > 0
    assert np.corrcoef(resampled[inside], array(scan.image)[inside])[0, 1] > 0.95


def test_nan_does_not_reach_the_search():
    values = array(template.t1())
    values[np.random.default_rng(0).random(values.shape) < 0.01] = np.nan
    assert register_to_mni(TEMPLATE_GRID.image(values)).already_in_mni


@pytest.mark.parametrize("grid", [TEMPLATE_GRID, WORKING_GRID, FSL_GRID], ids=["template", "working", "FSL"])
def test_a_volume_in_mni_space_is_left_where_it_is(grid: Grid):
    noise = np.random.default_rng(0).normal(0, 0.03, grid.shape)
    in_mni = array(grid.resample(template.t1()))
    found = register_to_mni(grid.image(((in_mni**1.3 + noise * (in_mni > 0)) * 700).astype(np.float32)))
    assert found.already_in_mni
    assert found.transform.TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
    assert found.quality.passed


def test_the_size_of_the_grid_alone_does_not_make_it_mni_space():
    turn = sitk.AffineTransform(3)
    turn.SetCenter((0, -18, 8))
    turn.Rotate(1, 2, 0.12)
    elsewhere = prepare(TEMPLATE_GRID.resample(template.t1(), turn), None, None)
    assert agreement(elsewhere, IDENTITY)[0] > 0.85
    assert not Search.of(elsewhere).is_in_place()


def test_quality_tells_a_right_place_from_a_wrong_one(case, scan: MovingScan):
    right = judge(scan, case.truth)
    assert right.passed
    assert right.overlap > 0.95
    assert right.metric > 0.8
    for wrong in (_moved(case.truth, (30, 0, 0)), _moved(case.truth, (0, 0, 15)), IDENTITY):
        verdict = judge(scan, wrong)
        assert not verdict.passed
        assert "could not be aligned" in verdict.sentence
        assert f"{verdict.overlap:.2f}" in verdict.sentence


def _moved(transform: sitk.AffineTransform, by: tuple[float, float, float]) -> sitk.AffineTransform:
    other = sitk.AffineTransform(transform)
    other.SetTranslation([t + b for t, b in zip(transform.GetTranslation(), by, strict=True)])
    return other


@pytest.mark.slow
def test_a_brain_upside_down_is_refused():
    upside_down = array(template.t1())[::-1].copy()
    with pytest.raises(RegistrationFailed, match="could not be aligned to MNI space"):
        register_to_mni(TEMPLATE_GRID.image(upside_down))


def test_a_brain_mask_elsewhere_is_an_input_error(case):
    empty = case.tumour * 0
    with pytest.raises(InputError, match="brain mask does not overlap"):
        register_to_mni(case.image, brain=empty)


@pytest.mark.slow
def test_a_full_head_with_neck_is_aligned_and_stripped():
    case = misaligned_case(5, full_head=True)
    found = register_to_mni(case.image, case.tumour)
    assert target_errors_mm(case.truth, found.transform).mean() < 1.5
    assert dice(found.brain_mask, template.brain_mask()) > 0.93


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_head_of_6_5_mm_slices_is_aligned(real_data: Path, tmp_path: Path):
    """The head of brain2 and the stripped scan of the same patient end at the same place."""
    from PostOpPredictorLib.cli.app import app

    folder = real_data / "pyradiomics_brain2"
    out = tmp_path / "out"
    arguments = ["register", "--pre", str(folder / "brain2_image.nrrd"), "--out", str(out)]
    arguments += ["--tumor", str(folder / "brain2_label.nrrd"), "--labels", "any", "--json"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    quality = json.loads((out / "quality.json").read_text())
    assert quality["passed"]
    assert quality["brain_overlap"] > 0.9
    mask = read_labels(out / "brain_mask_space-MNI152NLin2009aSym.nii.gz")
    assert dice(mask, template.brain_mask()) > 0.93
    tumour = read_labels(out / "tumour_mask_space-MNI152NLin2009aSym.nii.gz")
    assert array(tumour)[array(mask) > 0].sum() > 0.98 * array(tumour).sum() > 0
    to_patient = sitk.ReadTransform(str(out / "from-MNI_to-patient.tfm"))
    to_mni = sitk.ReadTransform(str(out / "from-patient_to-MNI.tfm"))
    assert to_mni.TransformPoint(to_patient.TransformPoint((5.0, 6.0, 7.0))) == pytest.approx((5, 6, 7), abs=1e-4)
    again = TEMPLATE_GRID.resample(read_volume(folder / "brain2_image.nrrd"), to_patient)
    written = read_volume(out / "preop_space-MNI152NLin2009aSym.nii.gz")
    assert np.allclose(array(written), array(again), atol=0.1)


def test_the_benchmark_prints_its_summary_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    result = registration_benchmark.CaseResult(0, 20.0, 0.2, 0.4, 0.97, 0.9, 9.0, 9.0)
    monkeypatch.setattr(registration_benchmark, "evaluate_case", lambda *_, **__: result)
    monkeypatch.setattr("sys.argv", ["benchmark", "--cases", "2", "--json"])
    registration_benchmark.main()
    assert json.loads(capsys.readouterr().out)["summary"]["mean_mm"] == 0.2
