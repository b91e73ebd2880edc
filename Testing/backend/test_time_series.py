"""Through time: what heals never comes back, whatever a network says, and a series is written whole or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from prediction_bench import FollowsThePrecedent, Recorder
from tiny_models import a_pipeline

from PostOpPredictorLib.cli.predict import summary_text
from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID
from PostOpPredictorLib.model.pipeline import PredictedSlices
from PostOpPredictorLib.model.triplet import TripletBatch
from PostOpPredictorLib.prediction.outcome_volume import CAVITY_LABELS, cavity_probability, outcome_labels
from PostOpPredictorLib.prediction.predictor import predict
from PostOpPredictorLib.prediction.request import PredictionRequest, PredictionResult
from PostOpPredictorLib.prediction.time_series import BECOMES, SENTENCE, Receding

pytestmark = pytest.mark.usefixtures("already_in_mni")

DAYS = (30.0, 1.0, 90.0)
HEALS = ("cavity_ml", "blood_ml", "air_ml", "oedema_ml")


@dataclass
class GetsWorse(FollowsThePrecedent):
    """A model that knows time and has it backwards: blood, air, oedema and the cavity all grow with the days."""

    cancel_after: int = 10**6

    def refuse_unknown(self, **_: bool) -> None: ...

    def __call__(self, triplets: TripletBatch, **settings: Any) -> PredictedSlices:
        if len(self.calls) >= self.cancel_after:
            raise Cancelled("Cancelled; nothing was written.")
        self.calls.append(settings)
        self.batches.append(triplets)
        assert triplets.days is not None
        reach = 4.0 + 0.08 * float(triplets.days[0])
        rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
        away = ((rows - 80) ** 2 + (columns - 88) ** 2).sqrt()
        labels = torch.where(away < reach, torch.where(rows < 78, 5, torch.where(columns > 90, 3, 1)), 0)
        labels = torch.where((away >= reach) & (away < 1.5 * reach), 4, labels)
        chance = torch.nn.functional.one_hot(labels.long(), 6).permute(2, 0, 1).float()
        chance = 0.9 * chance[None].expand(len(triplets), -1, -1, -1).clone()
        chance[:, 0] += 0.1
        image = self.render(triplets, chance, torch.zeros(1))
        return PredictedSlices(image, chance, torch.zeros(len(triplets), 3, 128, 128))


class Heals(GetsWorse):
    """The same with a cavity that shrinks within the tumour, so that more of the core lies beside it every day."""

    def __call__(self, triplets: TripletBatch, **settings: Any) -> PredictedSlices:
        assert triplets.days is not None
        return super().__call__(dataclasses.replace(triplets, days=100.0 - triplets.days), **settings)


@pytest.fixture(scope="module")
def model() -> GetsWorse:
    return GetsWorse()


@pytest.fixture(scope="module")
def done(bench: dict[str, Any], model: GetsWorse, tmp_path_factory: pytest.TempPathFactory) -> PredictionResult:
    out = tmp_path_factory.mktemp("out") / "series"
    return predict(PredictionRequest(**bench, out=out, series=DAYS, report=False), Recorder(), load=lambda _: model)


def test_every_day_has_its_figures_and_files_the_earliest_first(done: PredictionResult) -> None:
    entries = done.summary["series"]
    assert [entry["days"] for entry in entries] == sorted(DAYS)
    for entry, name in zip(entries, ("day-001", "day-030", "day-090"), strict=True):
        for kind in ("postop_mni", "cavity_mask_mni"):
            path = done.files[f"{name}/{kind}"]
            assert path == done.folder / entry["files"][kind] and path.parent == done.folder / "series" / name
            assert TEMPLATE_GRID.holds(sitk.ReadImage(str(path)))
        assert entry["sentence"] == SENTENCE and "Simulated" in SENTENCE


def test_the_days_are_printed_and_the_headline_is_of_none_of_them(done: PredictionResult) -> None:
    lines = summary_text(done.as_dict()).splitlines()
    assert any(line.startswith("Without a day: tumour core") for line in lines)
    assert [line.split(":")[0] for line in lines if line.startswith("Day ")] == ["Day 1", "Day 30", "Day 90"]
    assert SENTENCE in lines


def test_what_a_model_lets_grow_with_time_is_held_back(done: PredictionResult) -> None:
    entries = done.summary["series"]
    assert all(entries[0][figure] > 0 for figure in HEALS)
    for earlier, later in pairwise(entries):
        for figure in HEALS:
            assert later[figure] <= earlier[figure], figure


def test_what_was_taken_does_not_come_back_as_residual_tumour(bench: dict[str, Any], tmp_path: Path) -> None:
    request = PredictionRequest(**bench, out=tmp_path / "series", series=DAYS, report=False)
    entries = predict(request, Recorder(), load=lambda _: Heals()).summary["series"]
    assert entries[0]["cavity_ml"] > entries[-1]["cavity_ml"] > 0, "the cavity shrinks within the tumour"
    assert all(later["residual_ml"] <= earlier["residual_ml"] for earlier, later in pairwise(entries))


def test_the_cavity_of_a_later_day_lies_within_that_of_an_earlier_one(done: PredictionResult) -> None:
    masks = [
        sitk.GetArrayFromImage(sitk.ReadImage(str(done.files[f"{name}/cavity_mask_mni"]))) > 0
        for name in ("day-001", "day-030", "day-090")
    ]
    assert masks[0].any()
    for earlier, later in pairwise(masks):
        assert not (later & ~earlier).any()


def test_all_days_have_the_same_precedent_and_the_same_noise(done: PredictionResult, model: GetsWorse) -> None:
    by_day: dict[float, tuple[dict[str, Any], TripletBatch]] = {}
    for call, batch in zip(model.calls, model.batches, strict=True):
        assert batch.days is not None
        by_day.setdefault(float(batch.days[0]), (call, batch))
    first = by_day[1.0]
    for day in sorted(DAYS):
        call, batch = by_day[day]
        assert call["seed"] == first[0]["seed"] and call["mode"] == first[0]["mode"]
        assert torch.equal(batch.instruction_post, first[1].instruction_post)
        assert batch.has_days is not None and bool(batch.has_days.all())


def random_outcomes(seed: int) -> np.ndarray:
    values = np.exp(3 * np.random.default_rng(seed).standard_normal((6, 4, 12, 12)).astype(np.float32))
    return values / values.sum(axis=0)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_heals_grows_voxel_by_voxel_and_probabilities_sum_to_one(seed: int) -> None:
    receding = Receding()
    told = [receding(random_outcomes(10 * seed + day)) for day in range(4)]
    np.testing.assert_array_equal(told[0], random_outcomes(10 * seed))
    for earlier, later in pairwise(told):
        assert np.all(cavity_probability(later) <= cavity_probability(earlier) + 1e-6)
        one, two = outcome_labels(earlier), outcome_labels(later)
        assert not np.any(np.isin(two, CAVITY_LABELS) & ~np.isin(one, CAVITY_LABELS))
        for label in BECOMES:
            assert (two == label).sum() <= (one == label).sum()
    for one_day in told:
        np.testing.assert_allclose(one_day.sum(axis=0), 1.0, atol=1e-5)
        assert one_day.min() >= 0


def test_an_outcome_that_recedes_by_itself_stays_as_it_was_said() -> None:
    receding, before = Receding(), random_outcomes(3)
    receding(before)
    later = before * 0.5
    later[0] += 0.5
    np.testing.assert_allclose(receding(later), later, atol=1e-6)


def test_a_model_that_knows_no_time_refuses_before_the_patient_is_read(bench: dict[str, Any], tmp_path: Path) -> None:
    progress, plain = Recorder(), a_pipeline(panel=128)
    for asked in ({"series": DAYS}, {"days": 30.0}):
        with pytest.raises(InputError, match="not trained with a time since surgery"):
            predict(PredictionRequest(**bench, out=tmp_path / "out", **asked), progress, load=lambda _: plain)
    assert not any("Reading" in stage for stage in progress.stages)
    assert not (tmp_path / "out").exists()


def test_a_real_network_with_time_gives_a_series_that_recedes(bench: dict[str, Any], tmp_path: Path) -> None:
    timed = a_pipeline(panel=128, time=True)
    request = PredictionRequest(**bench, out=tmp_path / "out", series=(0.0, 2.5, 365.0), report=False)
    entries = predict(request, Recorder(), load=lambda _: timed).summary["series"]
    assert [entry["days"] for entry in entries] == [0.0, 2.5, 365.0]
    assert all(later[name] <= earlier[name] for earlier, later in pairwise(entries) for name in HEALS)
    assert len({entry["files"]["postop_mni"] for entry in entries}) == 3


def test_a_model_that_draws_images_only_has_no_series(bench: dict[str, Any], tmp_path: Path) -> None:
    drawer = GetsWorse(has_renderer=False)
    with pytest.raises(InputError, match="has no series"):
        predict(PredictionRequest(**bench, out=tmp_path / "out", series=DAYS), load=lambda _: drawer)


@pytest.mark.parametrize("batches", [3, 7])
def test_a_cancel_during_a_series_writes_nothing_and_loses_nothing(
    bench: dict[str, Any], tmp_path: Path, batches: int
) -> None:
    predict(PredictionRequest(**bench, out=tmp_path / "out", report=False), load=lambda _: GetsWorse())
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    request = PredictionRequest(**bench, out=tmp_path / "out", series=DAYS, overwrite=True)
    with pytest.raises(Cancelled):
        predict(request, load=lambda _: GetsWorse(cancel_after=batches))
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


BAD_DAYS: tuple[Callable[[], Any], ...] = (
    lambda: {"series": (-1.0,)},
    lambda: {"series": (1.0, 366.0)},
    lambda: {"series": (float("nan"),)},
    lambda: {"days": float("inf")},
)


@pytest.mark.parametrize("asked", BAD_DAYS)
def test_days_out_of_range_are_refused_with_a_sentence(bench: dict[str, Any], asked: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match=r"give 0 to 365\."):
        PredictionRequest(**bench, out=Path("out"), **asked())
