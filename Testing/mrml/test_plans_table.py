"""The read-out of the plans: rows, columns, sentences, and what is not known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from PostOpPredictorModule.PlansTable import PlanFigures, fillPlansTable, planFigures, planSentences

READ_OUT = {
    "plan_ml": 40.0,
    "resected_ml": 28.0,
    "resected_enhancing_ml": 20.0,
    "residual_ml": 3.4,
    "residual_enhancing_ml": 0.4,
    "residual_non_enhancing_ml": 3.0,
    "eor_percent": 89.2,
    "rano_class": "3",
    "rano_sentence": "RANO resect class 3: submaximal.",
    "cavity_ml": 38.0,
    "healthy_taken_ml": 9.5,
    "structures": [{"name": "tract", "distance_mm": 4.2, "overlap_ml": 0.0}],
    "eloquent": [
        {"region": "hand", "overlap_ml": 0.2, "percent_of_region": 3.4, "distance_mm": 0.0},
        {"region": "speech", "overlap_ml": 1.26, "percent_of_region": 12.0, "distance_mm": 0.0},
        {"region": "sight", "overlap_ml": 0.0, "percent_of_region": 0.0, "distance_mm": 31.0},
    ],
}
SUMMARY = {
    "cavity_ml": 36.0,
    "residual_ml": 1.5,
    "eor_percent": 95.0,
    "plans": [
        {
            "number": 1,
            "name": "Careful",
            "description": "tumour - 2 mm",
            "read_out": READ_OUT,
            "dice_cavity_plan": 0.91,
            "warnings": ["It is small.", "And near."],
        },
        {
            "number": 2,
            "read_out": {"residual_ml": 0.0, "structures": [{"name": "tract", "distance_mm": 0.0, "overlap_ml": 0.7}]},
        },
    ],
}


@pytest.fixture
def rows() -> list[PlanFigures]:
    return planFigures(SUMMARY)


def cells(table: Any, name: str) -> list[Any]:
    array = table.GetTable().GetColumnByName(name)
    return [array.GetValue(row) for row in range(array.GetNumberOfTuples())]


def test_the_prediction_without_a_plan_is_the_first_row(rows: list[PlanFigures]) -> None:
    assert [(one.number, one.name) for one in rows] == [(0, "No plan"), (1, "Careful"), (2, "Plan 2")]
    assert [one.value("residual_ml") for one in rows] == [1.5, 3.4, 0.0]
    assert planFigures({"residual_ml": 1.0}) == []


def test_the_table_holds_every_figure_in_its_unit(scene: Any, rows: list[PlanFigures]) -> None:
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    fillPlansTable(table, rows)
    assert cells(table, "plan") == ["No plan", "Careful", "Plan 2"]
    assert cells(table, "residual_ml") == [1.5, 3.4, 0.0]
    assert cells(table, "eor_percent")[:2] == [95.0, 89.2]
    assert cells(table, "rano_class") == ["", "3", ""]
    assert cells(table, "warnings") == ["", "It is small. And near.", ""]
    assert math.isnan(cells(table, "healthy_taken_ml")[0])
    assert np.allclose(cells(table, "distance_tract"), [math.nan, 4.2, 0.0], equal_nan=True)
    assert table.GetColumnUnitLabel("residual_ml") == "ml"
    assert table.GetColumnTitle("distance_tract") == "Distance to tract"
    assert table.GetLocked()


def test_eloquent_areas_are_told_as_overlap_and_not_as_a_deficit(scene: Any, rows: list[PlanFigures]) -> None:
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    fillPlansTable(table, rows)
    assert cells(table, "eloquent")[1] == "speech 1.3 ml (12 % of it); hand 0.2 ml (3 % of it)"
    assert "no prediction of deficit" in table.GetColumnTitle("eloquent")
    text = planSentences(rows[1])
    assert "Overlap with eloquent areas: speech 1.3 ml (12 % of it), hand 0.2 ml (3 % of it)" in text
    assert text[-1] == "(from a functional atlas: overlap, not a prediction of deficit)"


def test_sentences_say_what_the_plan_takes_and_leaves(rows: list[PlanFigures]) -> None:
    text = planSentences(rows[1])
    assert text[:4] == [
        "Careful: tumour - 2 mm",
        "28.0 ml of tumour resected, residual enhancing 0.4 ml, non-enhancing 3.0 ml, 9.5 ml beyond the tumour",
        "RANO resect class 3: submaximal.",
        "Distance to 'tract': 4.2 mm",
    ]
    assert "The cavity overlaps 'tract' by 0.7 ml" in planSentences(rows[2])


def test_without_overlap_the_nearest_area_is_told() -> None:
    far = [{"region": name, "overlap_ml": 0.0, "distance_mm": mm} for name, mm in (("sight", 31.0), ("hand", 13.54))]
    text = planSentences(PlanFigures(1, "A", "", {"eloquent": far}))
    assert "Overlap with eloquent areas: none (nearest: hand, 13.5 mm)" in text
    assert "Overlap with eloquent areas: none" in planSentences(PlanFigures(1, "A", "", {"eloquent": []}))


@pytest.mark.parametrize("broken", [{"plans": [3]}, {"plans": None}, {"plans": [{"read_out": None}]}, {}])
def test_a_summary_of_another_shape_breaks_nothing(scene: Any, broken: dict[str, Any]) -> None:
    rows = planFigures(broken)
    fillPlansTable(scene.AddNewNodeByClass("vtkMRMLTableNode"), rows)
    for row in rows:
        assert planSentences(row)


def test_an_imported_result_has_its_table_and_its_days(scene: Any, tmp_path: Any) -> None:
    from finished_prediction import node_ids
    from PostOpPredictorModule.ResultNodes import findResults, removeRun
    from written_result import DAYS, written_result

    before = node_ids()
    nodes = written_result(tmp_path / "made").added()
    assert cells(nodes.plansTable, "plan") == ["No plan", "careful", "Plan 2"]
    assert nodes.series.days == DAYS
    assert nodes.series.volume in nodes.displayed()
    assert findResults(scene)[0].series.volume is nodes.series.volume
    removeRun(slicer.mrmlScene, nodes.runId)
    assert node_ids() == before


@pytest.mark.parametrize(("nothing_similar", "said"), [(False, "what the followed case suggests"), (True, "no case")])
def test_the_row_without_a_plan_says_what_it_follows(nothing_similar: bool, said: str) -> None:
    """Which need not be the most similar case: the user may have chosen another."""
    first = planFigures({**SUMMARY, "no_similar_case": nothing_similar})[0]
    assert said in first.description
    assert "most similar" not in first.description
