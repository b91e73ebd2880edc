"""How sure, and why: two spreads, what each precedent changes, and the files that tell it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from prediction_bench import FollowsThePrecedent, Recorder

from PostOpPredictorLib.cli.predict import summary_text
from PostOpPredictorLib.errors import Cancelled, LibraryError
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID, WORKING_GRID
from PostOpPredictorLib.prediction.predictor import predict
from PostOpPredictorLib.prediction.request import PredictionRequest, PredictionResult
from PostOpPredictorLib.prediction.uncertainty.ensemble import RunningSpread
from PostOpPredictorLib.prediction.uncertainty.influence import influences

pytestmark = pytest.mark.usefixtures("already_in_mni")

STAGE = "How sure: other noise, other precedents"


def asked(bench: dict[str, Any], out: Path, pipe: FollowsThePrecedent, **changes: Any) -> PredictionResult:
    request = PredictionRequest(**{**bench, "out": out, "uncertainty": True, "noise_samples": 3, "k": 2, **changes})
    return predict(request, Recorder(), load=lambda _: pipe)


@pytest.fixture(scope="module")
def noisy(bench: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> PredictionResult:
    """Two precedents, and a model whose answer depends on the noise."""
    return asked(bench, tmp_path_factory.mktemp("noisy") / "out", FollowsThePrecedent(noise=0.4))


def array(result: PredictionResult, kind: str) -> np.ndarray:
    image = sitk.ReadImage(str(result.files[kind]))
    assert TEMPLATE_GRID.holds(image), kind
    return sitk.GetArrayFromImage(image)


def test_the_two_spreads_are_told_apart(bench: dict[str, Any], tmp_path: Path, noisy: PredictionResult) -> None:
    summary = noisy.summary["uncertainty"]
    assert summary["largest_noise"] > 1 and summary["largest_precedents"] > 1
    assert (summary["precedents"], summary["noise_samples"]) == (2, 3)
    still = asked(bench, tmp_path / "still", FollowsThePrecedent(noise=0.0))
    assert still.summary["uncertainty"]["largest_noise"] == 0.0, "a model without noise has no spread over it"
    assert still.summary["uncertainty"]["largest_precedents"] > 1, "but the precedents still differ"
    assert not array(still, "spread_noise_mni").any()


def test_no_spread_where_the_scan_is_the_patients_own(noisy: PredictionResult) -> None:
    own = array(noisy, "postop_mni") == array(noisy, "preop_mni")
    noise, precedents = array(noisy, "spread_noise_mni"), array(noisy, "spread_precedents_mni")
    assert noise.max() > 1 and precedents.max() > 1 and min(noise.min(), precedents.min()) >= 0
    far = own & (array(noisy, "cavity_agreement_mni") == 0) & (array(noisy, "tumour_mni") == 0)
    assert far.mean() > 0.5
    assert (noise[far] > 1).mean() < 0.01 and (precedents[far] > 1).mean() < 0.01
    outside = array(noisy, "preop_mni") == 0
    assert not noise[outside & (array(noisy, "tumour_mni") == 0)].any()


def test_agreement_is_the_mean_of_the_precedents_cavities(bench: dict[str, Any], tmp_path: Path) -> None:
    both = asked(bench, tmp_path / "both", FollowsThePrecedent())
    alone = [
        predict(PredictionRequest(**bench, out=tmp_path / case, k=1, follow=case), load=lambda _: FollowsThePrecedent())
        for case in ("0001", "0002")
    ]
    mean = np.mean([array(one, "cavity_probability_mni") for one in alone], axis=0)
    np.testing.assert_allclose(array(both, "cavity_agreement_mni"), mean, atol=0.01)
    volumes = both.summary["uncertainty"]["cavity_ml_by_precedent"]
    assert volumes == [one.summary["cavity_ml"] for one in alone]
    assert both.summary["uncertainty"]["cavity_ml_range"] == [min(volumes), max(volumes)]


def test_the_printed_lines_tell_the_doubt(noisy: PredictionResult) -> None:
    lines, sure = summary_text(noisy.as_dict()), noisy.summary["uncertainty"]
    volumes = ", ".join(f"{volume:.1f}" for volume in sure["cavity_ml_by_precedent"])
    assert f"Cavity after each precedent: {volumes} ml" in lines
    assert f"{sure['largest_noise']:.0f} % over noise" in lines and sure["calibration_sentence"] in lines


def test_influence_is_the_change_of_the_mean_without_a_precedent() -> None:
    cavities = [np.full(WORKING_GRID.shape, value, np.float32) for value in (0.0, 0.0, 0.6)]
    owed = influences(cavities)
    np.testing.assert_allclose([one.change[0, 0, 0] for one in owed], [0.1, 0.1, -0.2], atol=1e-6)
    assert [one.percent for one in owed] == pytest.approx([25.0, 25.0, 50.0], abs=0.01)
    assert owed[2].ml == pytest.approx(0.2 * np.prod(WORKING_GRID.shape) * 1.5**3 / 1000, rel=1e-3)
    assert [one.percent for one in influences([cavities[0]] * 3)] == [0.0, 0.0, 0.0], "no change, no share"


def test_the_precedents_know_their_influence(noisy: PredictionResult) -> None:
    record = json.loads(noisy.files["precedents"].read_text())
    entries = record["precedents"]
    assert [entry["case_id"] for entry in entries] == ["0001", "0002"]
    assert all(entry["influence_ml"] > 0.1 for entry in entries)
    assert sum(entry["influence_percent"] for entry in entries) == pytest.approx(100.0, abs=0.05)
    change = array(noisy, "influence_1_mni")
    assert -1 <= change.min() < -0.05 and 0.05 < change.max() <= 1, "it takes cavity away here and adds it there"
    assert np.abs(change).sum() / 1000 == pytest.approx(entries[0]["influence_ml"], rel=0.05)


def test_a_single_precedent_is_weighed_against_none(bench: dict[str, Any], tmp_path: Path) -> None:
    pipe = FollowsThePrecedent()
    one = asked(bench, tmp_path / "out", pipe, k=1)
    summary = one.summary["uncertainty"]
    assert "without any precedent" in summary["influence_sentence"]
    assert "no spread over precedents" in summary["precedents_sentence"] and summary["largest_precedents"] is None
    assert "spread_precedents_mni" not in one.files and "influence_2_mni" not in one.files
    assert not pipe.batches[-1].has_instruction.any(), "the last prediction is without a precedent"
    assert summary["influence"][0]["influence_percent"] == 100.0 and array(one, "influence_1_mni").any()


def test_without_a_similar_case_there_is_spread_over_noise_only(bench: dict[str, Any], tmp_path: Path) -> None:
    alone = asked(bench, tmp_path / "out", FollowsThePrecedent(noise=0.4), institution="south")
    summary = alone.summary["uncertainty"]
    assert alone.summary["no_similar_case"] and summary["precedents"] == 0
    assert summary["largest_noise"] > 1 and summary["influence"] == [] and summary["cavity_ml_by_precedent"] == []
    assert {kind for kind in alone.files if kind.startswith(("spread", "influence"))} == {"spread_noise_mni"}


def test_every_slice_with_its_own_precedent_is_weighed_against_whole_volumes(
    bench: dict[str, Any], tmp_path: Path
) -> None:
    pipe = FollowsThePrecedent()
    result = asked(bench, tmp_path / "out", pipe, per="slice")
    assert result.summary["uncertainty"]["precedents"] == 2
    modes = [call["mode"] for call in pipe.calls]
    batches = modes.count("sample") // 3
    assert modes.count("mean") == 3 * batches, "the prediction itself follows no single case and is none of the two"


def test_noise_samples_differ_in_their_seed_only(bench: dict[str, Any], tmp_path: Path) -> None:
    pipe = FollowsThePrecedent()
    asked(bench, tmp_path / "out", pipe, seed=5)
    sampled = [call for call in pipe.calls if call["mode"] == "sample"]
    assert sorted({call["seed"] for call in sampled}) == [5, 6, 7]
    assert {call["steps"] for call in sampled} == {5} and {call["guidance"] for call in sampled} == {None}


def test_not_asked_not_answered(bench: dict[str, Any], tmp_path: Path) -> None:
    plain = asked(bench, tmp_path / "out", FollowsThePrecedent(), uncertainty=False)
    assert "uncertainty" not in plain.summary and "spread_noise_mni" not in plain.files
    assert "influence_ml" not in json.loads(plain.files["precedents"].read_text())["precedents"][0]


def test_a_cancel_among_the_samples_leaves_nothing(bench: dict[str, Any], tmp_path: Path) -> None:
    request = PredictionRequest(**bench, out=tmp_path / "out", uncertainty=True, noise_samples=2)
    with pytest.raises(Cancelled):
        predict(request, Recorder(cancel_in=STAGE), load=lambda _: FollowsThePrecedent())
    assert not (tmp_path / "out").exists()


def test_a_precedent_deleted_meanwhile_is_a_sentence_and_nothing_is_written(
    bench: dict[str, Any], tmp_path: Path
) -> None:
    library = shutil.copytree(bench["library"], tmp_path / "library")

    class DeletesTheSecond(FollowsThePrecedent):
        def __call__(self, triplets: Any, **settings: Any) -> Any:
            shutil.rmtree(library / "sub-0002", ignore_errors=True)
            return super().__call__(triplets, **settings)

    with pytest.raises(LibraryError, match="0002"):
        asked({**bench, "library": library}, tmp_path / "out", DeletesTheSecond())
    assert not (tmp_path / "out").exists()


def test_spread_is_that_of_numpy() -> None:
    images = np.random.default_rng(0).random((4, *WORKING_GRID.shape), np.float32)
    images[:, 0] = 0.3
    spread = RunningSpread()
    assert not spread.deviation().any()
    for image in images:
        spread.add(image)
    of_four_normal_values = 0.9213  # how much too small their standard deviation is on average, by the tables
    np.testing.assert_allclose(spread.deviation(), images.std(axis=0, ddof=1) / of_four_normal_values, atol=1e-4)
    assert not spread.deviation()[0].any(), "equal images have exactly no spread"
