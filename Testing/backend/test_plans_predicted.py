"""Plans the whole way: from the request to the files, the table and the figures of each."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from plan_bench import KnowsPlans
from prediction_bench import HAND_GRID, Recorder, on_disk, small_library

from PostOpPredictorLib.cli.plans_table import plans_lines
from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID
from PostOpPredictorLib.prediction.plan_request import PlanRequest, SpareRequest, StructureRequest
from PostOpPredictorLib.prediction.plans.eloquent_areas import LABEL
from PostOpPredictorLib.prediction.plans.plan_files import slug_of
from PostOpPredictorLib.prediction.predictor import predict
from PostOpPredictorLib.prediction.request import PredictionRequest, PredictionResult

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("already_in_mni")]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bench")
    pre, tumour = on_disk(folder / "patient")
    library = small_library(folder / "library").folder
    return {"library": library, "pre": pre, "tumour": tumour, "model": folder, "report": False}


@pytest.fixture(scope="module")
def structure_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mask = np.zeros(HAND_GRID.shape, np.uint8)
    at = np.rint((np.array([36.0, 50.0, 22.0]) - HAND_GRID.origin) / 3.0).astype(int)
    mask[at[2] - 1 : at[2] + 2, at[1] - 1 : at[1] + 2, at[0] - 1 : at[0] + 2] = 1
    path = tmp_path_factory.mktemp("structures") / "DOE^JANE_tract.nii.gz"
    sitk.WriteImage(HAND_GRID.image(mask), str(path))
    return path


@pytest.fixture(scope="module")
def done(bench: dict[str, Any], structure_file: Path, tmp_path_factory: pytest.TempPathFactory) -> PredictionResult:
    """Two plans and a structure, written."""
    request = PredictionRequest(
        **bench,
        out=tmp_path_factory.mktemp("out") / "prediction",
        plans=(PlanRequest("Small", margin_mm=-3.0), PlanRequest("", margin_mm=5.0)),
        structures=(StructureRequest("tract", structure_file),),
    )
    return predict(request, Recorder(), load=lambda _: KnowsPlans())


def test_every_plan_has_its_figures(done: PredictionResult) -> None:
    small, wide = done.summary["plans"]
    assert (small["number"], small["name"], wide["number"], wide["name"]) == (1, "Small", 2, "plan 2")
    for plan in (small, wide):
        told = plan["read_out"]
        assert told["resected_ml"] + told["residual_ml"] == pytest.approx(done.summary["tumour_ml"], abs=0.02)
        assert told["residual_ml"] == pytest.approx(
            told["residual_enhancing_ml"] + told["residual_non_enhancing_ml"], abs=0.02
        )
        assert plan["dice_cavity_plan"] > 0.9 and plan["eloquent_label"] == LABEL
    assert small["read_out"]["rano_class"] in ("3A", "3B") and wide["read_out"]["residual_ml"] == 0.0
    assert wide["read_out"]["eor_percent"] == 100.0 and wide["read_out"]["healthy_taken_ml"] < 0.1
    assert small["read_out"]["structures"][0]["distance_mm"] > wide["read_out"]["structures"][0]["distance_mm"] > 0


def test_the_prediction_itself_is_row_0(done: PredictionResult) -> None:
    nobody = done.summary["without_plan"]
    assert nobody["number"] == 0 and nobody["read_out"]["plan_ml"] is None
    assert nobody["read_out"]["residual_ml"] == pytest.approx(done.summary["residual_ml"], abs=0.01)
    assert nobody["read_out"]["eor_percent"] == pytest.approx(done.summary["eor_percent"], abs=0.11)
    assert nobody["read_out"]["cavity_ml"] == pytest.approx(done.summary["cavity_ml"], abs=0.01)


def test_every_plan_has_its_files_and_they_agree(done: PredictionResult) -> None:
    for plan in done.summary["plans"]:
        number = plan["number"]
        assert set(plan["files"]) == {
            *("postop_mni", "postop_patient", "plan_mni", "cavity_mask_mni", "residual_mask_mni", "outcome_mni")
        }
        images = {}
        for kind, name in plan["files"].items():
            assert done.files[f"plan-{number}/{kind}"] == done.folder / name
            images[kind] = sitk.ReadImage(str(done.folder / name))
            assert kind == "postop_patient" or TEMPLATE_GRID.holds(images[kind])
        arrays = {kind: sitk.GetArrayFromImage(image) for kind, image in images.items()}
        assert arrays["plan_mni"].sum() / 1000 == pytest.approx(plan["read_out"]["plan_ml"], rel=0.06)
        assert arrays["cavity_mask_mni"].sum() / 1000 == pytest.approx(plan["read_out"]["cavity_ml"], rel=0.06)
        assert np.array_equal(arrays["residual_mask_mni"] > 0, arrays["outcome_mni"] == 2)
    assert done.summary["plans"][0]["files"]["postop_mni"].startswith("plans/1_small/")
    assert done.summary["plans"][1]["files"]["postop_mni"].startswith("plans/2_plan-2/")


def test_the_table_holds_all_plans(done: PredictionResult) -> None:
    rows = list(csv.DictReader(done.files["plans_table"].open(encoding="utf-8")))
    assert [row["number"] for row in rows] == ["0", "1", "2"]
    assert float(rows[2]["residual_ml"]) == 0.0 and float(rows[1]["distance_mm tract"]) > 0


def test_the_printed_table_begins_without_a_plan(done: PredictionResult) -> None:
    text = "\n".join(plans_lines(done.as_dict()))
    assert text.index("0 without a plan") < text.index("1 Small") < text.index("2 plan 2")
    assert "RANO class" in text and "tract" in text
    assert plans_lines({"folder": ""}) == []


def test_nothing_of_the_plans_names_a_file_of_the_patient(done: PredictionResult) -> None:
    provenance = (done.folder / "provenance.json").read_text(encoding="utf-8")
    assert "DOE" not in provenance + json.dumps(done.summary) + done.files["plans_table"].read_text(encoding="utf-8")
    assert json.loads(provenance)["result"]["plans"][0]["name"] == "Small"


def test_cancelling_among_the_plans_leaves_nothing(bench: dict[str, Any], tmp_path: Path) -> None:
    class AmongThePlans(Recorder):
        def step(self, done: int, total: int) -> None:
            if self.stages.count("Predicting the operation") == 2:
                raise Cancelled("Cancelled; nothing was written.")

    request = PredictionRequest(
        **bench, out=tmp_path / "out", plans=(PlanRequest("a", margin_mm=0.0), PlanRequest("b", margin_mm=3.0))
    )
    with pytest.raises(Cancelled):
        predict(request, AmongThePlans(), load=lambda _: KnowsPlans())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"plans": (PlanRequest("Same", margin_mm=0.0), PlanRequest("same ", margin_mm=3.0))}, "Two plans"),
        ({"structures": (StructureRequest("a", Path("x")), StructureRequest("A", Path("y")))}, "Two structures"),
        ({"plans": (PlanRequest("a", mask=Path("nowhere.nii.gz")),)}, "does not exist"),
        ({"structures": (StructureRequest("a", Path("nowhere.nii.gz")),)}, "does not exist"),
        ({"plans": (PlanRequest("a", margin_mm=0.0, spare=(SpareRequest(Path("no.nii"), 1.0),)),)}, "does not exist"),
    ],
)
def test_what_is_wrong_at_first_sight_is_told_before_the_long_work(
    changes: dict[str, Any], sentence: str, bench: dict[str, Any], tmp_path: Path
) -> None:
    progress = Recorder()
    with pytest.raises(InputError, match=sentence):
        predict(PredictionRequest(**bench, out=tmp_path / "out", **changes), progress, load=lambda _: KnowsPlans())
    assert progress.stages == [""] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["plan", "spared", "structure"])
def test_a_mask_of_another_space_or_an_empty_one_is_told_before_the_long_work(
    what: str, bench: dict[str, Any], structure_file: Path, tmp_path: Path
) -> None:
    mask = sitk.ReadImage(str(structure_file))
    empty, elsewhere = tmp_path / "empty.nii.gz", tmp_path / "elsewhere.nii.gz"
    sitk.WriteImage(mask * 0, str(empty))
    mask.SetOrigin((900.0, 0.0, 0.0))
    sitk.WriteImage(mask, str(elsewhere))
    asked = {
        "plan": (lambda file: {"plans": (PlanRequest("wide", mask=file),)}, "the plan 'wide'"),
        "spared": (
            lambda file: {"plans": (PlanRequest("wide", margin_mm=0.0, spare=(SpareRequest(file, 1.0),)),)},
            "structure 1 that the plan 'wide' spares",
        ),
        "structure": (lambda file: {"structures": (StructureRequest("tract", file),)}, "the structure 'tract'"),
    }
    changes, called = asked[what]
    for file, sentence in ((empty, "is empty"), (elsewhere, "is in another space")):
        progress = Recorder()
        request = PredictionRequest(**bench, out=tmp_path / "out", **changes(file))
        with pytest.raises(InputError, match=f"{called}.*{sentence}"):
            predict(request, progress, load=lambda _: KnowsPlans())
        assert progress.stages == [""] and not (tmp_path / "out").exists()


def test_an_earlier_prediction_that_holds_a_plan_is_not_replaced(done: PredictionResult, bench: dict[str, Any]) -> None:
    plan = done.files["plan-1/plan_mni"]
    request = PredictionRequest(**bench, out=done.folder, overwrite=True, plans=(PlanRequest("again", mask=plan),))
    with pytest.raises(InputError, match="would be overwritten"):
        predict(request, Recorder(), load=lambda _: KnowsPlans())
    assert plan.exists()


def test_names_of_folders_fit_every_system() -> None:
    assert slug_of("Größe: 5 mm / <motor>?") == "groe-5-mm-motor" and slug_of("...") == "plan"
    assert len(slug_of("x" * 300)) == 40
