"""A simulated patient in a scanner's own space, as a hospital would send it, with the truth kept back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..cases.case import FloatArray, LabelArray, SimulatedCase
from ..imaging.grid import WORKING_GRID, Grid
from ..prediction.patient import Patient

SCANNER_UNITS = 1200.0
SCANNER_NOISE = 6.0
ROTATION_DEGREES = (6.0, -5.0, 9.0)
ENLARGEMENT = (1.03, 1.05, 1.02)
OFFSET_MM = (4.0, -22.0, 15.0)
SCAN_GRID = Grid(size=(200, 240, 210), spacing=(1.0, 1.0, 1.0), origin=(-96.0, -128.0, -92.0))


@dataclass(frozen=True)
class DemoPatient:
    """``scan``, ``true_post`` (scanner units) and ``labels`` on SCAN_GRID; ``to_mni`` maps points to true MNI."""

    case: SimulatedCase
    scan: sitk.Image
    true_post: sitk.Image
    labels: sitk.Image
    to_mni: sitk.Transform


@dataclass(frozen=True)
class Truth:
    """What really happened in the simulation, on WORKING_GRID in the space and grey levels of a prediction."""

    post: FloatArray
    outcome: LabelArray


def demo_patient(case: SimulatedCase, sequence: str, seed: int = 0) -> DemoPatient:
    """Turn, scale and shift the simulated head, and scan it before and after at 1 mm with scanner noise."""
    to_mni = _misplaced().GetInverse()
    noise = np.random.default_rng(seed)
    return DemoPatient(
        case=case,
        scan=_scanned(case.pre[sequence], case.brain_pre, to_mni, noise),
        true_post=_scanned(case.post[sequence], case.brain_post, to_mni, noise),
        labels=SCAN_GRID.image(SCAN_GRID.resample_labels(WORKING_GRID.image(case.tumour), to_mni)),
        to_mni=to_mni,
    )


def truth_for(demo: DemoPatient, patient: Patient) -> Truth:
    """The simulated outcome where the registration of ``patient`` put the brain, so that both can be compared."""
    transform = patient.registration.transform
    post = patient.window.normalise(sitk.GetArrayFromImage(WORKING_GRID.resample(demo.true_post, transform)))
    path = sitk.CompositeTransform([demo.to_mni, transform])
    labels = WORKING_GRID.resample_labels(WORKING_GRID.image(demo.case.outcome), path)
    return Truth((post * (patient.brain > 0)).astype(np.float32), labels)


def _scanned(image: FloatArray, brain: LabelArray, to_mni: sitk.Transform, noise: np.random.Generator) -> sitk.Image:
    exact = SCAN_GRID.resample(WORKING_GRID.image(image * np.float32(SCANNER_UNITS)), to_mni)
    inside = SCAN_GRID.resample(WORKING_GRID.image(brain), to_mni, sitk.sitkNearestNeighbor)
    array = sitk.GetArrayFromImage(exact)
    noisy = array + noise.normal(0.0, SCANNER_NOISE, array.shape)
    held = sitk.GetArrayFromImage(inside) > 0
    return SCAN_GRID.image(np.where(held, np.clip(noisy, 1.0, None), 0.0).astype(np.float32))


def _misplaced() -> sitk.AffineTransform:
    """Maps MNI to the scanner's space: how this patient lay in the scanner, and that the head is a little larger."""
    turned = sitk.Euler3DTransform((0.0, 0.0, 0.0), *(math.radians(angle) for angle in ROTATION_DEGREES), OFFSET_MM)
    affine = sitk.AffineTransform(3)
    matrix = np.reshape(turned.GetMatrix(), (3, 3)) @ np.diag(ENLARGEMENT)
    affine.SetMatrix(matrix.ravel().tolist())
    affine.SetTranslation(OFFSET_MM)
    return affine
