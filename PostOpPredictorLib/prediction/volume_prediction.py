"""One patient's volume through the model: slices in, and back one outcome volume that does not flicker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from ..cases.case import FloatArray, LabelArray
from ..cases.library import LibraryCase
from ..errors import InputError, OutOfMemory
from ..imaging.grid import WORKING_GRID
from ..model.triplet import TripletBatch
from ..progress import PartOf, Progress, SilentProgress
from .fusion import BRIGHT_FLUID, fuse, warp_tissue
from .image_only_outcome import near_tumour, outcome_probability_of_image
from .instruction import Instruction
from .outcome_volume import (
    OUTCOME_COUNT,
    cavity_probability,
    change_weight,
    ended,
    outcome_labels,
    smooth_shift,
    smooth_through_plane,
    with_visible_tumour,
    without_islands,
)
from .plans.following import follow_plan, reach_of
from .triplet_slices import end_taper, slices_with_tumour, triplet_batch

SLICES_AT_ONCE = 16


class Pipeline(Protocol):
    """What is asked of ``model.PostOpPipeline``."""

    has_renderer: bool

    def refuse_unknown(self, *, plan: bool = False, days: bool = False) -> None: ...

    def __call__(self, triplets: TripletBatch, **settings: Any) -> Any: ...

    def render(
        self, triplets: TripletBatch, outcome_probability: torch.Tensor, shift_mm: torch.Tensor
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class CasePrediction:
    """A predicted outcome; all arrays (z, y, x) on WORKING_GRID.

    ``image`` float32 [0, 1], 0 outside the brain, = (1 - change) * warp(pre, shift) + change * synthesised. ``outcome``
    uint8 outcome labels. ``outcome_probability`` (6, z, y, x). ``shift`` (z, y, x, 3) mm, LPS, pull-back. ``slices``:
    those the model has seen. ``sequence``: that of ``image`` and ``synthesised``. ``drawn_outcome`` (slices, 6, y, x):
    what ``synthesised`` was drawn from; None from a model that draws images only.
    """

    image: FloatArray
    outcome: LabelArray
    outcome_probability: FloatArray
    shift: FloatArray
    change: FloatArray
    synthesised: FloatArray
    slices: tuple[int, ...]
    sequence: str = "T1w"
    drawn_outcome: FloatArray | None = None

    @property
    def cavity_probability(self) -> FloatArray:
        """Probability of the hole and what filled it, float32 (z, y, x)."""
        return cavity_probability(self.outcome_probability)


def predict_case(
    pipe: Pipeline,
    pre: FloatArray,
    tumour: LabelArray,
    brain: LabelArray,
    precedent: LibraryCase | Instruction | None,
    *,
    sequence: str,
    mode: str = "mean",
    steps: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    guidance: float | None = None,
    start: str = "noise",
    plan: LabelArray | None = None,
    days: float | None = None,
    own_institution: bool = False,
    context: Mapping[str, FloatArray] | None = None,
    slices: Sequence[int] | None = None,
    settle: Callable[[FloatArray], FloatArray] | None = None,
    progress: Progress | None = None,
) -> CasePrediction:
    """Predict the whole post-operative volume of one patient.

    ``pre`` float32 [0, 1], ``tumour`` labels and ``brain`` 0/1 are (z, y, x) on WORKING_GRID; ``precedent`` None means
    "no similar case". ``plan`` uint8 (z, y, x): 1 where tissue is to be taken, and the prediction follows
    it; ``days`` since surgery; ``own_institution``: whether the precedent was operated where the patient will be;
    ``context``: further scans of the patient by their sequence, like ``pre``, for a model that sees them.
    ``slices`` (indices along z) defaults to all that hold tumour or plan and a margin. ``settle`` has the last word on
    a structure model's outcome probabilities (6, z, y, x), before they are drawn. The same ``seed`` gives the same
    volume. Raises ``InputError`` for a plan or a time that the model does not know, and for a sequence whose fluid is
    bright where the model draws images only: it tells the cavity by dark fluid.
    """
    progress = progress or SilentProgress()
    _refuse_impossible(pipe, sequence, plan, days)
    instruction = Instruction.of_case(precedent, sequence) if isinstance(precedent, LibraryCase) else precedent
    reach = reach_of(tumour, plan)
    everywhere = slices_with_tumour(reach, brain)
    chosen = tuple(slices) if slices is not None else everywhere
    asked: dict[str, Any] = {"plan": plan, "days": days, "own_institution": own_institution, "context": context}
    batches = [triplet_batch(pre, tumour, brain, instruction, part, **asked) for part in _parts(chosen)]
    settings: dict[str, Any] = {"mode": mode, "steps": steps, "samples": samples, "seed": seed, "guidance": guidance}
    settings["start"] = start
    if pipe.has_renderer:
        settings["draw"] = False  # it is drawn from the smoothed structure below
    drawn = _drawn(pipe, batches, settings, progress)
    inside, ending = brain > 0, end_taper(chosen, reach)
    shift = smooth_shift(_volume_of_shift(drawn.shift, chosen) * ending[..., None], inside)
    drawn_outcome = None
    if drawn.outcome is None:
        synthesised = _volume(drawn.image, chosen)
        concerned = inside & (end_taper(everywhere, reach) > 0)
        probability = outcome_probability_of_image(synthesised, pre, tumour, concerned, ending > 0)
        weight = near_tumour(tumour > 0) * inside * ending
    else:
        told = ended(_volume_of_outcome(drawn.outcome, chosen), ending)
        probability = without_islands(smooth_through_plane(told, inside), reach)
        probability = probability if plan is None else follow_plan(probability, shift, tumour, inside, plan)
        probability = probability if settle is None else settle(probability)
        drawn_outcome = np.ascontiguousarray(probability[:, list(chosen)].swapaxes(0, 1))
        synthesised = _synthesised(pipe, batches, chosen, drawn, drawn_outcome, shift, progress)
        weight = change_weight(outcome_labels(probability) > 0, inside) * np.minimum(2.0 * ending, 1.0)
    probability = with_visible_tumour(probability, tumour * inside, shift)
    image = fuse(warp_tissue(pre, shift, brain, sequence), synthesised, weight, brain)
    outcome = outcome_labels(probability)
    return CasePrediction(image, outcome, probability, shift, weight, synthesised, chosen, sequence, drawn_outcome)


def _refuse_impossible(pipe: Pipeline, sequence: str, plan: LabelArray | None, days: float | None) -> None:
    """Raise ``InputError`` for what the model cannot do, before anything is worked on."""
    if not pipe.has_renderer and sequence in BRIGHT_FLUID:
        raise InputError(
            f"This model draws images only and tells the cavity by dark fluid, but on {sequence} fluid is bright. "
            "Choose a structure model, or a T1-weighted scan."
        )
    if not pipe.has_renderer and plan is not None:
        raise InputError("This model draws images only, so it cannot follow a plan. Choose a structure model.")
    if plan is not None or days is not None:
        pipe.refuse_unknown(plan=plan is not None, days=days is not None)


def render_sequence(
    pipe: Pipeline,
    case: CasePrediction,
    pre: FloatArray,
    tumour: LabelArray,
    brain: LabelArray,
    instruction: Instruction | None,
    *,
    sequence: str,
    progress: Progress | None = None,
    **asked: Any,
) -> CasePrediction:
    """The predicted operation ``case`` seen in another ``sequence``, fused as the first one: all but the image stays.

    ``pre`` is the patient's scan and ``instruction`` the precedent's pair of that sequence (None: the brightness of its
    tissues is not known); arrays as for ``predict_case``, ``asked``: its ``plan``, ``days`` and ``own_institution``.
    Raises ``InputError`` for a model that draws images only.
    """
    if not pipe.has_renderer or case.drawn_outcome is None:
        raise InputError(
            "This model draws one image and no structure, so no further sequence can be drawn from it. "
            "Choose a structure model, or leave the further scans out."
        )
    batches = [triplet_batch(pre, tumour, brain, instruction, part, **asked) for part in _parts(case.slices)]
    synthesised = _rendered(pipe, batches, case.slices, case.drawn_outcome, case.shift, progress or SilentProgress())
    image = fuse(warp_tissue(pre, case.shift, brain, sequence), synthesised, case.change, brain)
    return replace(case, image=image, synthesised=synthesised, sequence=sequence)


def _parts(chosen: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [chosen[i : i + SLICES_AT_ONCE] for i in range(0, len(chosen), SLICES_AT_ONCE)]


@dataclass(frozen=True)
class _DrawnSlices:
    image: FloatArray
    outcome: FloatArray | None
    shift: FloatArray | None


def _drawn(pipe: Pipeline, batches: list[TripletBatch], settings: dict[str, Any], progress: Progress) -> _DrawnSlices:
    progress.stage("Predicting the operation")
    answers = []
    for number, batch in enumerate(batches):
        progress.step(number, len(batches))
        part = PartOf(progress, number, len(batches), fine=True, logs=True)
        with torch.inference_mode():
            answers.append(_called(pipe, batch, {**settings, "progress": part}))
    progress.step(len(batches), len(batches))
    outcomes = [answer.outcome_probability for answer in answers]
    shifts = [answer.shift_mm for answer in answers]
    return _DrawnSlices(
        _stacked([answer.image[:, 0] for answer in answers]),
        None if outcomes[0] is None else _stacked(outcomes),
        None if shifts[0] is None else _stacked(shifts),
    )


def _called(pipe: Pipeline, batch: TripletBatch, settings: dict[str, Any]) -> Any:
    try:
        return pipe(batch, **settings)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(
            f"There was too little memory to predict {len(batch)} slices at once. "
            "Choose --device cpu, fewer --samples, or close other programs."
        ) from error


def _synthesised(
    pipe: Pipeline,
    batches: list[TripletBatch],
    chosen: tuple[int, ...],
    drawn: _DrawnSlices,
    drawn_outcome: FloatArray,
    shift: FloatArray,
    progress: Progress,
) -> FloatArray:
    """The image of a structure: rendered, or for a pipeline without a renderer as it came with the structure."""
    if not pipe.has_renderer:
        return _volume(drawn.image, chosen)
    return _rendered(pipe, batches, chosen, drawn_outcome, shift, progress)


def _rendered(
    pipe: Pipeline,
    batches: list[TripletBatch],
    chosen: tuple[int, ...],
    drawn_outcome: FloatArray,
    shift: FloatArray,
    progress: Progress,
) -> FloatArray:
    """Draw the image from the smoothed structure; ``drawn_outcome`` (slices, 6, y, x)."""
    progress.stage("Drawing the scan")
    counts = [len(batch) for batch in batches]
    outcomes = torch.from_numpy(drawn_outcome).split(counts)
    pulls = torch.from_numpy(np.ascontiguousarray(np.moveaxis(shift[list(chosen)], -1, 1))).split(counts)
    drawn = []
    for number, (batch, outcome, pull) in enumerate(zip(batches, outcomes, pulls, strict=True)):
        progress.step(number, len(batches))
        with torch.inference_mode():
            drawn.append(pipe.render(batch, outcome, pull)[:, 0])
    progress.step(len(batches), len(batches))
    return _volume(_stacked(drawn), chosen)


def _stacked(tensors: list[torch.Tensor]) -> FloatArray:
    return torch.cat([tensor.detach().float().cpu() for tensor in tensors]).numpy()


def _volume(slices: FloatArray, chosen: Sequence[int]) -> FloatArray:
    volume = np.zeros(WORKING_GRID.shape, np.float32)
    volume[list(chosen)] = slices
    return volume


def _volume_of_outcome(slices: FloatArray, chosen: Sequence[int]) -> FloatArray:
    volume = np.zeros((OUTCOME_COUNT, *WORKING_GRID.shape), np.float32)
    volume[0] = 1.0
    volume[:, list(chosen)] = slices.swapaxes(0, 1)
    return volume


def _volume_of_shift(slices: FloatArray | None, chosen: Sequence[int]) -> FloatArray:
    volume = np.zeros((*WORKING_GRID.shape, 3), np.float32)
    if slices is not None:
        volume[list(chosen)] = np.moveaxis(slices, 1, -1)
    return volume
