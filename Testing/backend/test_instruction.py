"""What the model is shown of its precedents: slice by slice, and when their scans were taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from synthetic_cases import made_up_case

from PostOpPredictorLib.cases.case import EARLY_DAYS
from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.prediction.instruction import Instruction


def test_every_slice_is_its_own_precedents_and_the_time_is_that_of_most(tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    early = library.add(made_up_case("1", seed=1))
    late = library.add(made_up_case("2", seed=2, days_since_surgery=90.5))
    shown = Instruction.of_slices({50: (early, 51), 52: (late, 53), 53: (late, 54)}, "T1w")
    assert np.array_equal(shown.post[50], early.post("T1w")[51])
    assert np.array_equal(shown.post[53], late.post("T1w")[54])
    assert not shown.post[51].any()
    assert shown.days == 90.5
    assert Instruction.of_slices({50: (early, 50), 51: (early, 51), 52: (late, 52)}, "T1w").days == EARLY_DAYS
