"""What the tests of prediction share: a patient made from the MNI template, a library, a model without weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from synthetic_cases import made_up_case

from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.errors import Cancelled
from PostOpPredictorLib.imaging import template
from PostOpPredictorLib.imaging.grid import WORKING_GRID, Grid
from PostOpPredictorLib.imaging.registration import Registration, RegistrationQuality
from PostOpPredictorLib.model.pipeline import PredictedSlices
from PostOpPredictorLib.model.triplet import CORE_LABELS, TripletBatch, label_mask
from PostOpPredictorLib.retrieval.slice_index import SliceIndex

UNITS = 800.0
HAND_GRID = Grid(size=(68, 82, 66), spacing=(3.0, 3.0, 3.0), origin=(-101.0, -108.0, -78.0))
"""A coarse scan, not on the template's grid, so that a test is quick."""
CENTRE_MM = (36.0, 20.0, 22.0)


@dataclass
class FollowsThePrecedent:
    """Predicts the precedent's outcome; without a precedent the tumour core becomes the cavity.

    ``shift_mm`` moves all tissue along x; ``noise`` adds probability that depends on the seed.
    """

    shift_mm: float = 0.0
    noise: float = 0.0
    has_renderer: bool = True
    has_structure: bool = True
    calls: list[dict[str, Any]] = field(default_factory=list)
    batches: list[TripletBatch] = field(default_factory=list)

    def __call__(self, triplets: TripletBatch, **settings: Any) -> PredictedSlices:
        self.calls.append(settings)
        self.batches.append(triplets)
        settings["progress"].step(0, 1)
        labels = triplets.instruction_outcome.long()
        core = label_mask(triplets.query_tumour, CORE_LABELS)[:, 0].long()
        labels = torch.where(triplets.has_instruction[:, None, None], labels, core)
        chance = torch.nn.functional.one_hot(labels, 6).permute(0, 3, 1, 2).float()
        generator = torch.Generator().manual_seed(settings["seed"])
        chance = chance * (1 - self.noise * torch.rand(chance.shape[-2:], generator=generator))
        chance[:, 0] += 1 - chance.sum(dim=1)
        shift = torch.zeros(len(triplets), 3, *chance.shape[-2:])
        shift[:, 0] = self.shift_mm
        image = self.render(triplets, chance, shift)
        return PredictedSlices(image, chance, shift) if self.has_structure else PredictedSlices(image)

    def render(self, triplets: TripletBatch, outcome_probability: torch.Tensor, shift_mm: torch.Tensor) -> torch.Tensor:
        dark = outcome_probability[:, 1:].sum(dim=1, keepdim=True)
        return (triplets.query_pre * (1 - dark) + 0.06 * dark) * triplets.query_brain


def in_mni(image: sitk.Image, *_: Any, **__: Any) -> Registration:
    """Stands in for the registration of a scan that lies in MNI space already."""
    quality = RegistrationQuality(overlap=0.97, metric=-0.6, passed=True, sentence="The scan lies in MNI space.")
    return Registration(sitk.AffineTransform(3), template.brain_mask(), quality, True)


def template_patient(grid: Grid = HAND_GRID, radius_mm: float = 14.0) -> tuple[sitk.Image, sitk.Image]:
    """The MNI template in scanner units with a ball of tumour (core 1 in a rim 4 in oedema 2), and its label map."""
    brain = sitk.GetArrayFromImage(grid.resample(template.brain_mask(), interpolator=sitk.sitkNearestNeighbor))
    scan = sitk.GetArrayFromImage(grid.resample(template.t1())) * UNITS + 20.0 * brain
    z, y, x = np.meshgrid(*(np.arange(size) for size in grid.shape), indexing="ij")
    axes = np.reshape(grid.direction, (3, 3)) * np.asarray(grid.spacing)
    points = np.stack([x, y, z], axis=-1) @ axes.T + np.asarray(grid.origin)
    distance = np.linalg.norm(points - np.asarray(CENTRE_MM), axis=-1)
    labels = np.select([distance < 0.6 * radius_mm, distance < radius_mm, distance < 1.5 * radius_mm], [1, 4, 2], 0)
    labels = (labels * (brain > 0)).astype(np.uint8)
    scan = np.where(labels == 4, UNITS * 1.1, np.where(labels == 1, UNITS * 0.3, scan)) * (brain > 0)
    return grid.image(scan.astype(np.float32)), grid.image(labels)


def small_library(folder: Path) -> CaseLibrary:
    """Three cases: "0001" overlaps the patient's tumour well, "0002" less, "0003" (institution "south") not at all."""
    library = CaseLibrary.create(folder)
    _, labels = template_patient(WORKING_GRID)
    core = np.isin(sitk.GetArrayFromImage(labels), (1, 4))
    library.add(made_up_case("0001", np.roll(core, 1, axis=2), institution="north"))
    library.add(made_up_case("0002", np.roll(core, 6, axis=2), institution="north", seed=1))
    library.add(made_up_case("0003", np.roll(core, -45, axis=2), institution="south", seed=2))
    SliceIndex.open(library)
    return library


def on_disk(folder: Path, grid: Grid = HAND_GRID) -> tuple[Path, Path]:
    """The patient's two files."""
    scan, labels = template_patient(grid)
    folder.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(scan, str(folder / "DOE^JANE_T1.nii.gz"))
    sitk.WriteImage(labels, str(folder / "DOE^JANE_seg.nii.gz"))
    return folder / "DOE^JANE_T1.nii.gz", folder / "DOE^JANE_seg.nii.gz"


class Recorder:
    """A ``Progress`` that remembers the stages, and cancels in the stage named ``cancel_in`` (at its last step)."""

    def __init__(self, cancel_in: str | None = None) -> None:
        self.cancel_in, self.stages, self.texts = cancel_in, [""], [""]

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def step(self, done: int, total: int) -> None:
        if self.stages[-1] == self.cancel_in and done == total:
            raise Cancelled("Cancelled; nothing was written.")

    def log(self, text: str) -> None:
        self.texts.append(text)
