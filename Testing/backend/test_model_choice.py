"""Without a named model the shipped one that knows what is asked is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.prediction.model_choice import model_folder_of
from PostOpPredictorLib.prediction.request import PredictionRequest
from PostOpPredictorLib.shipped import COMPACT, FOLLOW_UP, shipped_model_folder


@pytest.fixture(autouse=True)
def the_shipped_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTOP_MODEL", raising=False)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({}, COMPACT),
        ({"sequence": "T1wCE", "more": {"T1w": Path("t1.nii")}}, COMPACT),
        ({"days": 1.0}, FOLLOW_UP),
        ({"series": (14.0, 60.0)}, FOLLOW_UP),
        ({"sequence": "FLAIR"}, FOLLOW_UP),
        ({"more": {"T2w": Path("t2.nii")}}, FOLLOW_UP),
    ],
)
def test_the_model_knows_what_is_asked(asked: dict[str, Any], name: str) -> None:
    request = PredictionRequest(Path("pre.nii"), Path("tumour.nii"), Path("out"), **asked)
    assert model_folder_of(request) == shipped_model_folder(name)


def test_a_named_model_is_taken_whatever_is_asked() -> None:
    request = PredictionRequest(Path("pre.nii"), Path("tumour.nii"), Path("out"), model=Path("own"), days=30.0)
    assert model_folder_of(request) == Path("own")


def test_the_shipped_models_know_what_they_are_chosen_for() -> None:
    compact, later = (
        PostOpPipeline.from_pretrained(shipped_model_folder(name)).config_tree for name in (COMPACT, FOLLOW_UP)
    )
    assert compact.plan and later.plan
    assert later.time and {"T1w", "T1wCE", "T2w", "FLAIR"} <= set(later.sequences)
    assert not compact.time and set(compact.sequences) == {"T1w", "T1wCE"}
