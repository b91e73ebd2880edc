"""One patient before and after surgery, held in memory on the working grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.uint8]

CaseKind = Literal["phantom", "semi-real"]
Split = Literal["train", "val", "test"]

SEQUENCES = ("T1w", "T1wCE", "T2w", "FLAIR")
"""What a scan may be, in the order in which they stand everywhere."""

EARLY_DAYS = 1.0
"""When the scan after surgery is taken where nothing else is said: within three days, as guidelines ask."""


@dataclass(frozen=True)
class SimulatedCase:
    """A simulated operation. All arrays are (z, y, x) on WORKING_GRID.

    Images are float32 in [0, 1] and exactly 0 outside the brain. ``tumour`` has the labels 0 none, 1 necrotic or
    non-enhancing core, 2 oedema, 4 enhancing; ``outcome`` 0 unchanged, 1 cavity fluid, 2 residual tumour, 3 blood,
    4 post-operative oedema, 5 air. ``shift`` (z, y, x, 3) is a pull-back in mm, components (x, y, z) LPS:
    post(p) = pre(p + shift(p)). ``resection`` (0 or 1) is the tissue that was taken, in pre-operative space: what a
    plan of resection names. Both are None where they are not known (real pairs).
    """

    case_id: str
    patient_id: str
    institution: str
    kind: CaseKind
    split: Split
    attributes: Mapping[str, str | float]
    pre: Mapping[str, FloatArray]
    post: Mapping[str, FloatArray]
    brain_pre: LabelArray
    brain_post: LabelArray
    tumour: LabelArray
    outcome: LabelArray
    shift: FloatArray | None
    resection: LabelArray | None = None
