"""Plans, structures and further scans as they are written on the command line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from PostOpPredictorLib.cli.predict_options import days_from, further_scans, plan_from, structure_from
from PostOpPredictorLib.conversation import Conversation
from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.prediction import predictor
from PostOpPredictorLib.prediction.live import session
from PostOpPredictorLib.prediction.plan_request import PlanRequest, SpareRequest, StructureRequest
from PostOpPredictorLib.prediction.request import PredictionRequest
from PostOpPredictorLib.progress import SilentProgress


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


@pytest.mark.parametrize("names", [("motor",), ("tract", "Tract")], ids=["not there", "twice"])
@pytest.mark.parametrize("way", ["prediction", "session"])
def test_structures_that_cannot_be_used_are_refused_before_the_long_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, names: tuple[str, ...]
) -> None:
    for module in (predictor, session):
        monkeypatch.setattr(module, "open_tools", lambda *_: pytest.fail("the model was loaded"))
    (tmp_path / "tract.nii").touch()
    structures = tuple(StructureRequest(name, tmp_path / f"{name.lower()}.nii") for name in names)
    request = PredictionRequest(tmp_path / "pre.nii", tmp_path / "tumour.nii", tmp_path / "out", structures=structures)
    with pytest.raises(InputError, match=r"does not exist. Check the path|Two structures are called"):
        if way == "prediction":
            predictor.predict(request)
        else:
            talk = Conversation(lambda *_: None, lambda: None, io.BytesIO(), tmp_path)
            session.hold_session(request, SilentProgress(), talk)
