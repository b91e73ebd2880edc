"""Fixtures for the tests of whole predictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prediction_bench import in_mni, on_disk, small_library

from PostOpPredictorLib.prediction import patient as patient_module
from PostOpPredictorLib.prediction import patient_prediction


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A library of three cases and a patient on disk, as options of a prediction."""
    folder = tmp_path_factory.mktemp("bench")
    pre, tumour = on_disk(folder / "patient")
    return {"library": small_library(folder / "library").folder, "pre": pre, "tumour": tumour, "model": folder}


@pytest.fixture(scope="module")
def already_in_mni() -> Iterator[pytest.MonkeyPatch]:
    """The patient lies in MNI space already, so nothing is registered; the model needs no folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patient_module, "register_to_mni", in_mni)
        patch.setattr(patient_prediction, "verify", lambda folder: "0" * 64)
        yield patch
