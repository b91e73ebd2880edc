"""What the module asks for is what the backend understands."""

from __future__ import annotations

from pathlib import Path

import pytest
from PostOpPredictorModule.Settings import PredictionSettings

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.job_options import request_from_options
from PostOpPredictorLib.prediction.request import PredictionRequest


def asked(folder: Path, settings: PredictionSettings, **options: object) -> PredictionRequest:
    files = {"pre": "scan.nrrd", "tumour": "tumour.nrrd", "out": "made"}
    return request_from_options(PredictionRequest, {**settings.asJobOptions(), **files, **options}, folder)


def test_every_setting_reaches_the_backend(tmp_path: Path) -> None:
    settings = PredictionSettings(
        uncertainty=True,
        noiseSamples=12,
        follow="case-2",
        exclude=("case-1", "case-9"),
        days=14.0,
        series=(1.0, 90.0),
        report=False,
    )
    request = asked(tmp_path, settings, more={"FLAIR": "more-1.nrrd"})
    assert (request.uncertainty, request.noise_samples, request.report) == (True, 12, False)
    assert (request.follow, request.exclude) == ("case-2", ("case-1", "case-9"))
    assert (request.days, request.series) == (14.0, (1.0, 90.0))
    assert request.more == {"FLAIR": tmp_path / "more-1.nrrd"}


def test_the_defaults_are_the_backends_own(tmp_path: Path) -> None:
    plain = PredictionRequest(tmp_path / "scan.nrrd", tmp_path / "tumour.nrrd", tmp_path / "made")
    assert asked(tmp_path, PredictionSettings()) == plain
    assert asked(tmp_path, PredictionSettings(follow="")) == plain, "an empty parameter follows nobody"


def test_what_the_backend_refuses_is_said_by_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="noise_samples"):
        asked(tmp_path, PredictionSettings(noiseSamples=1))
