"""Plans, structures and further scans as they are written on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from PostOpPredictorLib.cli.predict_options import days_from, further_scans, plan_from, structure_from
from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.prediction.plan_request import PlanRequest, SpareRequest, StructureRequest


def test_plans_of_the_command_line_are_understood() -> None:
    assert plan_from("wide=margin:5") == PlanRequest("wide", margin_mm=5.0)
    assert plan_from("a b=plan.nii.gz") == PlanRequest("a b", mask=Path("plan.nii.gz"))
    assert plan_from("x=margin:-3,spare:motor.nii.gz:10,spare:C:\\tract.nii") == PlanRequest(
        "x", margin_mm=-3.0, spare=(SpareRequest(Path("motor.nii.gz"), 10.0), SpareRequest(Path("C:\\tract.nii"), 0.0))
    )
    assert structure_from("m=motor.nii.gz") == StructureRequest("m", Path("motor.nii.gz"))
    assert further_scans(["T2w=t2.nii.gz"], ["T2w", "FLAIR"]) == {"T2w": Path("t2.nii.gz")}
    assert days_from(["1, 30,90"]) == days_from(["1", "30,90"]) == (1.0, 30.0, 90.0) and days_from([]) == ()


@pytest.mark.parametrize(
    "text",
    [
        *("wide", "=margin:5", "x=", "x=margin:", "x=margin:five", "x=margin:nan", "x=margin:50", "x=margin:-6"),
        *("x=spare:m.nii.gz:3", "x=margin:3,spare::3", "x=margin:3,spare:m.nii:99", "x=margin:3,spare:m.nii:1.2.3"),
    ],
)
def test_what_is_no_plan_is_a_sentence(text: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_from(text)
    assert str(caught.value).endswith(".")


def test_other_options_that_are_not_understood_are_sentences() -> None:
    for call in (
        lambda: structure_from("x"),
        lambda: further_scans(["PET=x.nii"], ["T2w"]),
        lambda: further_scans(["T2w=x.nii", "T2w=y.nii"], ["T2w"]),
        lambda: days_from(["1", "2,soon"]),
    ):
        with pytest.raises(InputError):
            call()
