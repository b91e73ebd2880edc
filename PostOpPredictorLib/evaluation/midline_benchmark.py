"""How exactly the midline before surgery is read, on the simulated patients of the demonstration library.

Where a simulated patient's midline lies is known: every place of the patient comes from a known place of the template,
whose midline is x = 0. ``python -m PostOpPredictorLib.evaluation.midline_benchmark --cases 40``
"""

from __future__ import annotations

import argparse

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..cases.phantom.anatomy import LOW, coarse_tissue, random_person
from ..cases.phantom.atlas import template_anatomy
from ..cases.phantom.cohort import PlannedCase, phantom_cohort_plan
from ..cases.phantom.fields import upsample
from ..cases.phantom.tumour import grow, random_plan
from ..imaging.grid import WORKING_GRID
from ..prediction.demonstration_library import DEMONSTRATION_SEED, demonstration_library
from ..prediction.midline import BACK, FRONT, SEPTUM, midline_of
from ..progress import SilentProgress

SAME = sitk.Transform(3, sitk.sitkIdentity)


def source_x(entry: PlannedCase) -> np.ndarray:
    """For every voxel (z, y, x) of WORKING_GRID the x (mm) of the template's place that it shows, as in ``cohort``."""
    body, mass = np.random.default_rng(np.random.SeedSequence([entry.seed, entry.index])).spawn(2)
    person = random_person(body, template_anatomy())
    push = grow(mass, coarse_tissue(person), random_plan(mass)).push
    lattice = np.stack(np.meshgrid(*(np.arange(size) for size in push.shape[1:]), indexing="ij"))
    places = lattice + push[::-1] / (WORKING_GRID.spacing[0] * LOW)
    own = np.stack([ndimage.map_coordinates(part, places, order=1, mode="nearest") for part in person.flow])
    flow = upsample((push + own).astype(np.float32), WORKING_GRID.shape, LOW)
    z, y, x = (
        WORKING_GRID.origin[axis] + WORKING_GRID.spacing[axis] * np.arange(WORKING_GRID.size[axis])
        for axis in (2, 1, 0)
    )
    points = np.stack([x[None, None] + flow[0], y[None, :, None] + flow[1], z[:, None, None] + flow[2]])
    return np.tensordot(person.affine[0, :3], points, axes=1) + person.affine[0, 3]


def true_midline_mm(entry: PlannedCase) -> float:
    """The septum's distance from the line between the ends of the fissure, positive to the patient's left."""
    source = source_x(entry)
    septum, front, back = (_crossing(source[block.voxels[:2]]) for block in (SEPTUM, FRONT, BACK))
    along = (SEPTUM.y_centre - FRONT.y_centre) / (BACK.y_centre - FRONT.y_centre)
    return septum - (front + along * (back - front))


def _crossing(rows: np.ndarray) -> float:
    """Mean x (mm) at which ``rows`` (z, y, x) pass through 0."""
    before = np.argmax(rows >= 0.0, axis=-1)[..., None] - 1
    low, high = (np.take_along_axis(rows, before + one, axis=-1) for one in (0, 1))
    voxel = before - low / (high - low)
    return float(WORKING_GRID.origin[0] + WORKING_GRID.spacing[0] * voxel.mean())


def main() -> None:
    """Print the errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=40)
    arguments = parser.parse_args()
    library = demonstration_library(SilentProgress(), arguments.cases)
    found, scans, by_fissure = [], 0, 0
    for entry in phantom_cohort_plan(arguments.cases, DEMONSTRATION_SEED):
        case, truth = library.case(entry.case_id), true_midline_mm(entry)
        for sequence in case.sequences:
            scans += 1
            midline = midline_of(case.pre(sequence), sequence, SAME)
            if midline is not None:
                by_fissure += midline.by_fissure
                found.append((truth, midline.before_mm, midline.by_fissure))
    table = np.array([(truth, told) for truth, told, whole in found if whole])
    error = np.abs(table[:, 0] - table[:, 1])
    print(
        f"{scans} scans of {arguments.cases} simulated patients; septum found in {len(found)}, of those {by_fissure} "
        f"with both ends of the fissure."
    )
    print(
        f"There: true distance {np.abs(table[:, 0]).mean():.2f} mm in the mean, error {error.mean():.2f} mm in the "
        f"mean, {np.percentile(error, 90):.2f} mm at the 90th percentile, correlation {np.corrcoef(table.T)[0, 1]:.3f}."
    )


if __name__ == "__main__":
    main()
