"""What a person plans as a mask on the MNI grid, with what is doubtful about it; refused where it makes no sense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...errors import InputError
from ...imaging.grid import WORKING_GRID
from ..outcome_volume import tumour_core
from ..patient import Patient
from ..plan_request import PlanRequest, SpareRequest
from .mask_reading import read_plan_mask, read_structure_mask
from .patient_space import PatientSpace

LEAST_IN_BRAIN = 0.5
WHOLLY_IN_BRAIN = 0.95
LITTLE_OF_THE_CORE = 0.5
MUCH_OF_THE_PLAN = 0.5
WORTH_TELLING_ML = 0.1


@dataclass(frozen=True)
class Plan:
    """``mask`` bool (z, y, x) on WORKING_GRID: the tissue to be taken, within the brain and touching the core."""

    name: str
    description: str
    mask: np.ndarray
    warnings: tuple[str, ...] = ()


def names_of(requests: Sequence[PlanRequest]) -> list[str]:
    """The plans' names; one without a name is called by its number. Raises ``InputError`` for the same name twice."""
    names = [" ".join(request.name.split()) or f"plan {at}" for at, request in enumerate(requests, start=1)]
    refuse_same("plan", names)
    return names


def called_plan(name: str) -> str:
    """The plan in an error sentence."""
    return f"the plan '{name}'"


def called_spared(at: int, plan: str) -> str:
    """The structure number ``at`` that ``plan`` (as called) spares, in an error sentence."""
    return f"structure {at} that {plan} spares"


def called_structure(name: str) -> str:
    """A structure that distances are told to, in an error sentence."""
    return f"the structure '{name}'"


def refuse_same(kind: str, names: Sequence[str]) -> None:
    """Raise ``InputError`` when two of ``names`` are the same but for the case of letters."""
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise InputError(f"Two {kind}s are called '{name}'. Give each a name of its own.")
        seen.add(name.casefold())


def plan_of(request: PlanRequest, name: str, patient: Patient) -> Plan:
    """Make the mask of ``request``. Raises ``InputError`` for a plan that cannot be followed."""
    space = PatientSpace(patient.registration.transform)
    core = tumour_core(patient.tumour)
    called = called_plan(name)
    warnings: list[str] = []
    if request.mask is not None:
        mask, description = _drawn(request, patient, called, warnings), "a drawn resection"
    else:
        assert request.margin_mm is not None
        mask, description = _around_the_core(request.margin_mm, core, patient, space, called, warnings)
    if not (mask & core).any():
        raise InputError(f"{_first_up(called)} does not touch the tumour core. Draw it on this scan, over the tumour.")
    if request.spare:
        mask = _spared(mask, core, request.spare, patient, space, called, warnings)
        description += _sparing(request.spare)
    taken = float((mask & core).sum() / core.sum())
    if taken < LITTLE_OF_THE_CORE:
        warnings.append(f"It takes only {taken:.0%} of the tumour core.")
    return Plan(name, description, mask, tuple(warnings))


def _drawn(request: PlanRequest, patient: Patient, called: str, warnings: list[str]) -> np.ndarray:
    assert request.mask is not None
    drawn = read_plan_mask(request.mask, patient, called)
    if drawn.in_brain < LEAST_IN_BRAIN:
        raise InputError(
            f"Only {drawn.in_brain:.0%} of {called} lies inside the brain. Draw it on this scan, over the tumour."
        )
    if drawn.in_brain < WHOLLY_IN_BRAIN:
        warnings.append(f"{1.0 - drawn.in_brain:.0%} of it lies outside the brain and is left out.")
    mask = drawn.marked & (patient.brain > 0)
    if not mask.any():
        raise InputError(
            f"{_first_up(called)} is smaller than one voxel of {WORKING_GRID.spacing[0]} mm. Draw a larger one."
        )
    return mask


def _around_the_core(
    margin_mm: float, core: np.ndarray, patient: Patient, space: PatientSpace, called: str, warnings: list[str]
) -> tuple[np.ndarray, str]:
    if margin_mm == 0.0:
        return core.copy(), "the tumour core"
    if margin_mm > 0.0:
        mask, beyond_ml = grown(core, margin_mm, patient.brain > 0, space)
        if beyond_ml > WORTH_TELLING_ML:
            warnings.append(f"It stops at the midline: {beyond_ml:.1f} ml of the margin beyond it are left out.")
        return mask, f"the tumour core and {margin_mm:g} mm around it"
    mask = shrunk(core, -margin_mm, space)
    if not mask.any():
        raise InputError(
            f"{_first_up(called)} leaves nothing to take: no part of the tumour core lies {-margin_mm:g} mm or more "
            "within its border. Give a smaller negative margin."
        )
    return mask, f"the tumour core without its outer {-margin_mm:g} mm"


def grown(core: np.ndarray, margin_mm: float, brain: np.ndarray, space: PatientSpace) -> tuple[np.ndarray, float]:
    """``core`` and the brain within ``margin_mm`` (the patient's) of it, and the ml that lie beyond the midline.

    What is added lies on the same side of MNI's midline as the core nearest to it: the falx is not crossed. The midline
    is the template's plane; one that the tumour pushed aside is not followed.
    """
    reach = 2 + int(np.ceil(margin_mm / (2.0 * space.half_voxel_mm) * 1.5))
    near = ndimage.binary_dilation(core, np.ones((3, 3, 3)), iterations=reach) & brain & ~core
    voxels = np.argwhere(near)
    distance, nearest = space.nearest(voxels, core, margin_mm)
    same_side = _left_of_midline(voxels) == _left_of_midline(nearest)
    within = distance <= margin_mm
    mask = core & brain
    mask[tuple(voxels[within & same_side].T)] = True
    return mask, float((within & ~same_side).sum()) * space.voxel_ml


def shrunk(core: np.ndarray, depth_mm: float, space: PatientSpace) -> np.ndarray:
    """What of ``core`` lies more than ``depth_mm`` (the patient's) within its border."""
    voxels = np.argwhere(core)
    distance, _ = space.nearest(voxels, ~core, depth_mm)
    mask = np.zeros_like(core)
    mask[tuple(voxels[distance > depth_mm].T)] = True
    return mask


def _spared(
    mask: np.ndarray,
    core: np.ndarray,
    spare: Sequence[SpareRequest],
    patient: Patient,
    space: PatientSpace,
    called: str,
    warnings: list[str],
) -> np.ndarray:
    kept = mask.copy()
    for at, one in enumerate(spare, start=1):
        structure = read_structure_mask(one.mask, patient, called_spared(at, called)).marked
        voxels = np.argwhere(kept)
        # From border to border, so half a voxel more than to the voxel's centre.
        least = one.distance_mm + space.half_voxel_mm if one.distance_mm > 0.0 else 0.0
        distance, _ = space.nearest(voxels, structure, least)
        kept[tuple(voxels[distance <= least].T)] = False
    if not (kept & core).any():
        raise InputError(
            f"{_first_up(called)} has nothing of the tumour left to take: all of it lies within the distance that is "
            "to be spared. Give a smaller distance, or a larger plan."
        )
    lost = 1.0 - float(kept.sum() / mask.sum())
    if lost > MUCH_OF_THE_PLAN:
        warnings.append(f"What is to be spared cuts {lost:.0%} of it away.")
    elif lost == 0.0:
        warnings.append("What is to be spared lies beyond it: nothing was cut away.")
    return kept


def _sparing(spare: Sequence[SpareRequest]) -> str:
    if len(spare) == 1:
        return f", {spare[0].distance_mm:g} mm away from what is to be spared"
    return f", {len(spare)} structures spared"


def _left_of_midline(voxels: np.ndarray) -> np.ndarray:
    return WORKING_GRID.origin[0] + voxels[:, 2] * WORKING_GRID.spacing[0] > 0.0


def _first_up(text: str) -> str:
    return text[0].upper() + text[1:]
