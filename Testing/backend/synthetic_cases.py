"""Small made-up cases for the tests of the library and of retrieval: boxes and random values, no anatomy."""

from __future__ import annotations

import numpy as np

from PostOpPredictorLib.cases.case import SimulatedCase
from PostOpPredictorLib.imaging.grid import WORKING_GRID

SHAPE = WORKING_GRID.shape


def box(z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
    """A boolean (z, y, x) volume on the working grid that is True in the half-open box."""
    mask = np.zeros(SHAPE, bool)
    mask[slice(*z), slice(*y), slice(*x)] = True
    return mask


def blob(rng: np.random.Generator, radius: float | None = None) -> np.ndarray:
    """A random ragged ellipsoid on the working grid (boolean z, y, x)."""
    centre = rng.uniform((35, 40, 40), (70, 90, 90))
    radii = (radius or rng.uniform(4, 10)) * rng.uniform(0.7, 1.4, 3)
    axes = np.ogrid[tuple(slice(size) for size in SHAPE)]
    distance = sum(((axis - middle) / size) ** 2 for axis, middle, size in zip(axes, centre, radii, strict=True))
    mask = distance < 1
    mask[mask] = rng.random(int(mask.sum())) < 0.9
    return mask


def made_up_case(
    case_id: str = "0001",
    core: np.ndarray | None = None,
    *,
    patient_id: str | None = None,
    institution: str = "north",
    split: str = "train",
    kind: str = "phantom",
    seed: int = 0,
    with_shift: bool = True,
    **attributes: str | float,
) -> SimulatedCase:
    """A case whose tumour core is ``core`` (a box when left out), with cavity over half of it and a constant shift."""
    rng = np.random.default_rng(seed)
    core = box((40, 60), (50, 70), (30, 50)) if core is None else core
    brain = np.zeros(SHAPE, np.uint8)
    brain[10:95, 12:116, 20:108] = 1
    coarse = rng.random((13, 16, 16), dtype=np.float32)
    texture = np.kron(coarse, np.ones((8, 8, 8), np.float32)) * brain
    tumour = np.where(core, 4, 0).astype(np.uint8)
    outcome = np.where(core & (np.arange(SHAPE[2]) % 2 == 0), 1, 0).astype(np.uint8)
    outcome[core & (outcome == 0)] = 2
    shift = np.zeros((*SHAPE, 3), np.float32) + np.array([1.0, -2.0, 0.5], np.float32)
    return SimulatedCase(
        case_id=case_id,
        patient_id=patient_id or case_id,
        institution=institution,
        kind=kind,  # type: ignore[arg-type]
        split=split,  # type: ignore[arg-type]
        attributes=attributes,
        pre={"T1w": texture, "T1wCE": np.where(core, np.float32(1), texture)},
        post={"T1w": texture[::-1] * brain, "T1wCE": np.where(outcome == 1, np.float32(0.1), texture)},
        brain_pre=brain,
        brain_post=brain,
        tumour=tumour,
        outcome=outcome,
        shift=shift if with_shift else None,
    )
