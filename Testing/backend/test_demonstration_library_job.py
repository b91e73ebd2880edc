"""The demonstration library on request: the job that the Slicer module's button starts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from PostOpPredictorLib.jobs import run_job


def run(tmp_path: Path, cases: int) -> list[dict[str, object]]:
    """Run the job and return its lines."""
    job, stream = tmp_path / "job.json", io.StringIO()
    job.write_text(json.dumps({"schema": 1, "command": "demonstration_library", "options": {"cases": cases}}))
    assert run_job(job, stream) == 0
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_library_is_made_with_its_index_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTOP_CACHE", str(tmp_path / "cache"))
    lines = run(tmp_path, 1)
    folder = tmp_path / "cache" / "demonstration-library"
    assert lines[-1] == {"type": "result", "library": str(folder), "cases": 1}
    assert (folder / "index" / "slices").is_dir(), "the first prediction should not have to make it"
    assert any(line["type"] == "progress" for line in lines)
    assert not any(line["type"] == "stage" for line in run(tmp_path, 1)), "nothing is simulated twice"
