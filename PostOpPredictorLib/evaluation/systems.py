"""What is compared: the trivial answers, the ceilings, and the model. Each turns a test patient and a precedent into
an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from ..cases.case import EARLY_DAYS, FloatArray
from ..errors import LibraryError
from ..model.composite import cavity_box, composite
from ..model.panels import Placement
from ..prediction.fusion import fuse, warp_tissue
from ..prediction.instruction import Instruction
from ..prediction.outcome_volume import CAVITY_LABELS, OUTCOME_COUNT, RESIDUAL_LABEL, change_weight
from ..prediction.triplet_slices import slices_with_tumour, triplet_batch
from ..prediction.volume_prediction import predict_case
from .query_case import QueryCase

SLICES_AT_ONCE = 16


@dataclass(frozen=True)
class Answer:
    """What a system says comes out of the operation; arrays (z, y, x) on WORKING_GRID.

    ``image`` float32 in [0, 1]. ``cavity`` and ``residual`` bool, ``None`` where the system is no predictor of them.
    """

    image: FloatArray
    cavity: np.ndarray | None
    residual: np.ndarray | None


class System(Protocol):
    """One way to answer. ``note`` is the sentence under the table that says where its cavity comes from."""

    @property
    def name(self) -> str: ...

    @property
    def note(self) -> str: ...

    def predict_case(self, case: QueryCase, precedent: Instruction | None) -> Answer:
        """The answer for ``case``; ``precedent`` is ``None`` when no similar case was found or none is wanted. Must
        not read the truth."""
        ...


class CopyOfPre:
    """Nothing changes: the scan before surgery is the prediction."""

    name = "copy of pre-op"
    note = "its cavity is empty and its residual tumour is the whole tumour core"

    def predict_case(self, case: QueryCase, precedent: Instruction | None) -> Answer:
        return Answer(case.pre, np.zeros(case.pre.shape, bool), case.core)


class RetrievedPost:
    """The precedent's own post-operative scan, as it is."""

    name = "retrieved post-op"
    note = "cavity and residual tumour are the precedent's own masks"

    def predict_case(self, case: QueryCase, precedent: Instruction | None) -> Answer:
        if precedent is None:
            return CopyOfPre().predict_case(case, None)
        return Answer(precedent.post, np.isin(precedent.outcome, CAVITY_LABELS), precedent.outcome == RESIDUAL_LABEL)


class Composite:
    """The paper's Q_comp: the precedent's post-operative scan inside the box of its cavity, the patient's own scan
    elsewhere."""

    name = "composite"
    note = (
        "its cavity is the precedent's cavity inside the box; its residual tumour is the precedent's inside the box "
        "and the patient's own tumour core outside it"
    )

    def predict_case(self, case: QueryCase, precedent: Instruction | None) -> Answer:
        if precedent is None:
            return CopyOfPre().predict_case(case, None)
        pre, post = (torch.from_numpy(np.ascontiguousarray(volume))[:, None] for volume in (case.pre, precedent.post))
        outcome = torch.from_numpy(np.ascontiguousarray(precedent.outcome))
        box = cavity_box(outcome)[:, 0].numpy() > 0
        residual = np.where(box, precedent.outcome == RESIDUAL_LABEL, case.core)
        return Answer(composite(pre, post, outcome)[:, 0].numpy(), np.isin(precedent.outcome, CAVITY_LABELS), residual)


@dataclass(frozen=True)
class AutoencoderCeiling:
    """The true post-operative scan encoded and decoded: no image of a latent model can be better."""

    pipe: Any
    name: str = "autoencoder ceiling (sees the truth)"
    note: str = "it is no predictor; an exact rearrangement of pixels reaches the best value of every metric"

    def predict_case(self, case: QueryCase, precedent: Instruction | None) -> Answer:
        image = np.zeros_like(case.post)
        for part in _parts(case.slices):
            slices = torch.from_numpy(case.post[list(part)])[:, None].to(self.pipe.device)
            place = Placement.of(self.pipe.config_tree.panel, slices, self.pipe.config_tree.zoom)
            with torch.inference_mode():
                latents = self.pipe.autoencoder.to_latents(place.pad(place.enlarge_image(slices)))
                decoded = place.cut(self.pipe.autoencoder.to_image(latents))
            image[list(part)] = decoded[:, 0].float().cpu().numpy().clip(0.0, 1.0)
        return Answer(image, None, None)


@dataclass(frozen=True)
class AppearanceCeiling:
    """The model's renderer with the true outcome and shift: what a perfect structure would give."""

    pipe: Any
    name: str = "appearance ceiling (sees the true structure)"
    note: str = "it is given the true outcome labels and tissue shift, and draws the scan from them"

    def predict_case(self, case: QueryCase, precedent: Instruction | None) -> Answer:
        shift = case.case.shift()
        if shift is None:
            raise LibraryError(
                f"Case {case.case.case_id} has no stored shift, so there is no appearance ceiling for it."
            )
        probability = np.eye(OUTCOME_COUNT, dtype=np.float32)[case.outcome]
        drawn = np.zeros_like(case.pre)
        for part in _parts(slices_with_tumour(case.tumour, case.brain)):
            index = list(part)
            outcome = torch.from_numpy(np.ascontiguousarray(np.moveaxis(probability[index], -1, 1)))
            pull = torch.from_numpy(np.ascontiguousarray(np.moveaxis(shift[index], -1, 1)))
            batch = triplet_batch(case.pre, case.tumour, case.brain, precedent, part)
            with torch.inference_mode():
                drawn[index] = self.pipe.render(batch, outcome, pull)[:, 0].float().cpu().numpy()
        inside = case.brain > 0
        weight = change_weight(case.outcome > 0, inside)
        return Answer(fuse(warp_tissue(case.pre, shift, case.brain, case.sequence), drawn, weight, inside), None, None)


@dataclass(frozen=True)
class OurModel:
    """The model behind ``postop predict``, by the same function, in one sampling mode.

    ``raw``: the image as it was drawn, without the patient's own tissue laid around it. ``own_institution``: it is told
    that its precedents are of the patient's own. ``timed``: it is told when the true scan was taken. ``start`` and
    ``guidance``: see ``PostOpPipeline``.
    """

    pipe: Any
    mode: str
    seed: int = 0
    steps: int | None = None
    samples: int | None = None
    note: str = "cavity and residual tumour are the model's own outcome labels"
    raw: bool = False
    own_institution: bool = False
    timed: bool = False
    start: str = "noise"
    guidance: float | None = None

    @property
    def name(self) -> str:
        return f"ours, {self.mode}"

    def predict_case(self, case: QueryCase, precedent: Instruction | None) -> Answer:
        prediction = predict_case(
            self.pipe,
            case.pre,
            case.tumour,
            case.brain,
            precedent,
            sequence=case.sequence,
            mode=self.mode,
            steps=self.steps,
            samples=self.samples,
            seed=self.seed,
            guidance=self.guidance,
            start=self.start,
            days=(case.case.days_since_surgery or EARLY_DAYS) if self.timed else None,
            own_institution=self.own_institution,
            context=case.context_for(self.pipe),
            slices=self._drawn(case),
        )
        outcome = prediction.outcome
        image = prediction.synthesised if self.raw else prediction.image
        return Answer(image, np.isin(outcome, CAVITY_LABELS), outcome == RESIDUAL_LABEL)

    def _drawn(self, case: QueryCase) -> tuple[int, ...] | None:
        """None: all. A model of images draws each slice by itself, so those that are not measured need not be drawn; a
        structure is smoothed through the planes."""
        return None if case.is_whole or self.pipe.has_renderer else case.slices


def _parts(slices: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [slices[i : i + SLICES_AT_ONCE] for i in range(0, len(slices), SLICES_AT_ONCE)]
