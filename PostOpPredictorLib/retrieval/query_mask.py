"""A query from a tumour mask alone, which must already lie in MNI space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..cases.bids import CORE_LABELS
from ..errors import InputError
from ..imaging import template
from ..imaging.grid import WORKING_GRID
from ..imaging.tumour_mask import tumour_labels
from ..imaging.volumes import read_labels

LEAST_INSIDE_BRAIN = 0.5


def core_in_mni(path: Path, labels: str) -> NDArray[np.bool_]:
    """The tumour core (z, y, x) on WORKING_GRID of the label map at ``path``, read by ``labels``.

    Raises ``InputError`` when it has no core, or lies mostly outside the MNI brain: then it is in the patient's space.
    """
    image = tumour_labels(read_labels(path), labels)
    core = np.isin(WORKING_GRID.resample_labels(image), CORE_LABELS)
    brain = WORKING_GRID.resample(template.brain_mask(), interpolator=sitk.sitkNearestNeighbor)
    voxel_mm3 = float(np.prod(image.GetSpacing()))
    whole = float(np.isin(sitk.GetArrayViewFromImage(image), CORE_LABELS).sum()) * voxel_mm3
    inside = float((core & (sitk.GetArrayViewFromImage(brain) > 0)).sum()) * float(np.prod(WORKING_GRID.spacing))
    if inside < LEAST_INSIDE_BRAIN * whole or not core.any():
        raise InputError(
            f"Only {inside / whole:.0%} of the tumour in {path} lies inside the MNI brain, so the mask is not in MNI "
            "space. Give the scan that it was drawn on with --pre."
        )
    return core
