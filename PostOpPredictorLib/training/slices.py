"""Prepared slices: the one file that training reads, and the batches drawn from it."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import max_pool2d

from ..cases.case import EARLY_DAYS, SEQUENCES
from ..errors import InputError
from ..model.alignment import with_aligned_instruction
from ..model.config import PostOpConfig
from ..model.panels import Placement
from ..model.triplet import CORE_LABELS, ON_PIXELS, TripletBatch, label_mask

SPLITS = ("train", "val", "test")
_REQUIRED = (
    "tumour",
    "outcome",
    "brain",
    "resection",
    "resection_known",
    "shift",
    "shift_known",
    "z_mm",
    "days",
    "case",
    "split",
    "kind",
    "institution",
    "neighbours",
    "neighbours_elsewhere",
)
_ON_PIXELS = ("query_post", "query_outcome", "query_shift", "lesion")


@dataclass(frozen=True)
class TrainingBatch:
    """Triplets with the answer.

    ``query_post`` (B, 1, y, x); ``query_outcome`` (B, y, x); ``query_shift`` (B, 3, y / 2, x / 2) mm; ``lesion``
    (B, 1, y, x): 1 near the tumour or anything the operation changed; ``whole``: the triplets before cropping;
    ``shift_known`` (B,) bool: False where ``query_shift`` is 0 because nobody knows it.
    """

    triplets: TripletBatch
    query_post: Tensor
    query_outcome: Tensor
    query_shift: Tensor
    lesion: Tensor
    whole: TripletBatch
    shift_known: Tensor

    def to(self, device: torch.device | str) -> TrainingBatch:
        """The same batch on another device."""
        return TrainingBatch(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def __len__(self) -> int:
        return len(self.triplets)

    def rows(self, part: slice) -> TrainingBatch:
        """Some of its slices."""
        nested = {"triplets": self.triplets.rows(part), "whole": self.whole.rows(part)}
        return replace(self, **nested, **{name: getattr(self, name)[part] for name in (*_ON_PIXELS, "shift_known")})

    def on_panel(self, panel: int, zoom: int = 1) -> TrainingBatch:
        """The same batch enlarged by ``zoom`` and padded to the model's square panel; crops stay crops, their whole
        slices are padded."""
        place = Placement.of(panel, self.whole.query_pre, zoom)
        if place.filled:
            return self
        whole = place.pad_triplets(self.whole)
        pixels = {name: place.enlarge(getattr(self, name)) for name in _ON_PIXELS if name != "query_post"}
        pixels["query_post"] = place.enlarge_image(self.query_post)
        if self.triplets.query_pre.shape != self.whole.query_pre.shape:
            return replace(self, triplets=place.enlarge_triplets(self.triplets), whole=whole, **pixels)
        padded = {name: place.pad(array, 2 if name == "query_shift" else 1) for name, array in pixels.items()}
        return replace(self, triplets=whole, whole=whole, **padded)


class PreparedSlices:
    """Rows of ``postop library prepare``'s file, held in memory as uint8."""

    aligned = False
    beside = False
    still = False
    context: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        """Raises ``InputError`` when the file is missing, damaged, or not made by 'postop library prepare'."""
        try:
            with safe_open(path, framework="pt") as file:
                self.metadata = {k: json.loads(v) for k, v in (file.metadata() or {}).items() if v[:1] in ("[", "{")}
                self.arrays: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError) as error:
            raise InputError(
                f"{path} could not be read as prepared slices ({error}). Make it with 'postop library prepare'."
            ) from error
        missing = [name for name in _REQUIRED if name not in self.arrays]
        self.sequences = tuple(
            s for s in SEQUENCES if all(f"{part}_{s}" in self.arrays for part in ("pre", "post", "has"))
        )
        if missing or not self.sequences:
            raise InputError(f"{path} lacks '{(missing or ['pre_T1w'])[0]}'. Make it with 'postop library prepare'.")

    def shown_to(self, model: PostOpConfig) -> Self:
        """The same slices as ``model`` wants to see them: precedents aligned, slices beside and further scans read,
        nothing shifted.

        Raises ``InputError`` where slices beside are wanted and not every slice was prepared, or scans that are not in
        the file.
        """
        if model.neighbour_slices and self.metadata.get("version", {}).get("slice_step", 1) != 1:
            raise InputError(
                "The model sees the slices beside each, but not every slice was prepared. Prepare them all."
            )
        missing = [name for name in model.context_sequences if name not in self.sequences]
        if missing:
            raise InputError(
                f"The model sees {missing[0]} beside what it draws, but the prepared slices hold "
                f"{', '.join(self.sequences)}. Prepare cases that have it, or change 'context_sequences'."
            )
        view = copy.copy(self)
        view.aligned, view.beside = model.align_instruction, model.neighbour_slices
        view.still = not model.tissue_shift
        view.context = model.context_sequences
        return view

    @property
    def knows_shift(self) -> bool:
        """Whether it is known of any training slice how the tissue moved; of imported real pairs it is not."""
        return bool((self.arrays["shift_known"][self.arrays["split"] == SPLITS.index("train")] > 0).any())

    def unaligned(self) -> Self:
        """The same with precedents as they lie, for a pipeline, which aligns them itself."""
        view = copy.copy(self)
        view.aligned = False
        return view

    @property
    def panel(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        height, width = self.arrays["tumour"].shape[1:]
        return height, width

    def cases(self, split: str | None = None) -> set[str]:
        """Ids of the cases that slices were taken of; ``split``: only of those that had it then."""
        chosen = self.arrays["case"]
        if split is not None:
            chosen = chosen[self.arrays["split"] == SPLITS.index(split)]
        return {self.metadata["cases"][number] for number in chosen.unique().tolist()}

    def rows(self, split: str, *kinds: int, sequence: str | None = None) -> Tensor:
        """Indices of the slices of a split with at least one neighbour.

        ``kinds``: only these, 0 phantom, 1 semi-real, 2 real; all when left out. ``sequence``: only those that have it.
        """
        chosen = (self.arrays["split"] == SPLITS.index(split)) & (self.arrays["neighbours"][:, 0] >= 0)
        if sequence is not None:
            chosen &= self.arrays[f"has_{sequence}"] > 0
        if kinds:
            chosen &= torch.isin(self.arrays["kind"], torch.tensor(kinds, dtype=self.arrays["kind"].dtype))
        return chosen.nonzero()[:, 0]

    def batch(
        self,
        rows: Tensor,
        instruction: Tensor,
        sequence: str,
        crop: int,
        generator: torch.Generator,
        *,
        mirrored: Tensor | None = None,
    ) -> TrainingBatch:
        """Slices ``rows`` with the slices ``instruction`` as precedents, cropped around the tumour if ``crop`` > 0.

        An ``instruction`` of -1 is "no similar case". ``mirrored`` (B,) bool: which are turned left for right, each
        with its precedent; the grid's middle is that of MNI space.
        """
        whole = self._triplets(rows, instruction, sequence)
        post = self._image(f"post_{sequence}", rows)
        outcome = self.arrays["outcome"][rows]
        shift = self.arrays["shift"][rows].float() / 10 * (not self.still)
        if mirrored is not None:
            turn = _Mirror(mirrored)
            whole = replace(whole, **{name: turn(getattr(whole, name)) for name in ON_PIXELS})
            post, outcome, shift = turn(post), turn(outcome), turn.shift(shift)
        lesion = _near(label_mask(whole.query_tumour, CORE_LABELS) + (outcome > 0)[:, None].float())
        known = (self.arrays["shift_known"][rows] > 0) | self.still
        if not crop:
            return TrainingBatch(whole, post, outcome, shift, lesion, whole, known)
        corners = _corners(label_mask(whole.query_tumour, CORE_LABELS), crop, generator)
        cut = _Cutter(corners, crop)
        triplets = replace(whole, **{name: cut(getattr(whole, name)) for name in ON_PIXELS}, corner=corners)
        return TrainingBatch(triplets, cut(post), cut(outcome), cut(shift, 2), cut(lesion), whole, known)

    def draw_instruction(
        self,
        rows: Tensor,
        neighbours: int,
        generator: torch.Generator,
        *,
        sequence: str | None = None,
        elsewhere: float = 0.0,
    ) -> Tensor:
        """For each row one of its ``neighbours`` most similar slices, at random (the paper's top 15).

        ``elsewhere``: share of rows whose instruction is of another institution, where there is one. With ``sequence``
        only slices that have it; -1 for a row none of whose neighbours has.
        """
        candidates = self.arrays["neighbours"][rows][:, :neighbours]
        if elsewhere > 0:
            others = self.arrays["neighbours_elsewhere"][rows][:, :neighbours]
            wanted = torch.rand(len(rows), generator=generator) < elsewhere
            candidates = torch.where((wanted & (others[:, 0] >= 0))[:, None], others, candidates)
        there = candidates >= 0
        if sequence is not None:
            there &= self.arrays[f"has_{sequence}"][candidates.clamp(min=0).long()] > 0
        # Those that are there first, in their order.
        order = (~there).to(torch.uint8).argsort(dim=1, stable=True)
        pick = (torch.rand(len(rows), generator=generator) * there.sum(dim=1).clamp(min=1)).long()
        chosen = order[torch.arange(len(rows)), pick][:, None]
        return torch.where(there.gather(1, chosen), candidates.gather(1, chosen), -1)[:, 0].long()

    def _triplets(self, rows: Tensor, instruction: Tensor, sequence: str) -> TripletBatch:
        missing, instruction = instruction < 0, instruction.clamp(min=0)
        institution, days = self.arrays["institution"], self.arrays["days"]
        triplets = TripletBatch(
            query_pre=self._image(f"pre_{sequence}", rows),
            query_tumour=self.arrays["tumour"][rows],
            query_brain=self.arrays["brain"][rows][:, None].float(),
            instruction_pre=self._image(f"pre_{sequence}", instruction),
            instruction_post=self._image(f"post_{sequence}", instruction),
            instruction_tumour=self.arrays["tumour"][instruction],
            instruction_outcome=self.arrays["outcome"][instruction],
            z_mm=self.arrays["z_mm"][rows],
            query_plan=self.arrays["resection"][rows],
            has_plan=self.arrays["resection_known"][rows] > 0,
            days=days[rows].clamp(min=0),
            has_days=days[rows] >= 0,
            shown_days=torch.where(days[instruction] >= 0, days[instruction], EARLY_DAYS),
            own_institution=institution[rows] == institution[instruction],
        )
        if self.beside:
            triplets = replace(triplets, query_beside=self._beside(rows, f"pre_{sequence}"))
        if self.context:
            triplets = replace(triplets, **self._context(rows, sequence))
        if missing.any():
            triplets = triplets.without_instruction(missing)
        return with_aligned_instruction(triplets) if self.aligned else triplets

    def _context(self, rows: Tensor, sequence: str) -> dict[str, Tensor]:
        """The further scans and whether they are there, in the order of ``SEQUENCES``; the one that is drawn is not."""
        height, width = self.panel
        scans, there = torch.zeros(len(rows), len(SEQUENCES), height, width), torch.zeros(len(rows), len(SEQUENCES))
        for name in self.context:
            if name != sequence:
                at = SEQUENCES.index(name)
                there[:, at] = self.arrays[f"has_{name}"][rows] > 0
                scans[:, at] = self._image(f"pre_{name}", rows)[:, 0] * there[:, at, None, None]
        return {"query_context": scans, "has_context": there > 0}

    def _beside(self, rows: Tensor, name: str) -> Tensor:
        """Scan and core one slice below and above (B, 4, y, x): rows of a case follow each other upwards."""
        case = self.arrays["case"]
        found = []
        for step in (-1, 1):
            other = (rows + step).clamp(0, len(case) - 1)
            found.append(torch.where(case[other] == case[rows], other, rows))
        scans = [self._image(name, other) for other in found]
        return torch.cat([*scans, *(label_mask(self.arrays["tumour"][other], CORE_LABELS) for other in found)], dim=1)

    def _image(self, name: str, rows: Tensor) -> Tensor:
        return self.arrays[name][rows][:, None].float() / 255


@dataclass(frozen=True)
class _Cutter:
    corners: Tensor
    side: int

    def __call__(self, array: Tensor, shrink: int = 1) -> Tensor:
        side = self.side // shrink
        boxes = (self.corners // shrink).tolist()
        return torch.stack([image[..., y : y + side, x : x + side] for image, (y, x) in zip(array, boxes, strict=True)])


@dataclass(frozen=True)
class _Mirror:
    """Turns the ``chosen`` (B,) slices left for right."""

    chosen: Tensor

    def __call__(self, array: Tensor) -> Tensor:
        """Of images, masks and labels (B, ..., y, x)."""
        return torch.where(self.chosen.view(-1, *[1] * (array.ndim - 1)), array.flip(-1), array)

    def shift(self, shift: Tensor) -> Tensor:
        """Of displacements (B, 3, y, x), whose first channel runs from left to right."""
        sign = torch.ones(len(shift), 3, 1, 1)
        sign[self.chosen, 0] = -1
        return self(shift) * sign


def _corners(mask: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    """Row and column (multiples of 8) of a square that holds the tumour's centre, moved about at random: (B, 2)."""
    height, width = mask.shape[-2:]
    corners = []
    for image in mask[:, 0]:
        points = image.nonzero().float()
        centre = points.mean(dim=0) if len(points) else torch.tensor([height / 2, width / 2])
        jitter = (torch.rand(2, generator=generator) - 0.5) * crop / 3
        corners.append((centre + jitter - crop / 2) / 8)
    limit = torch.tensor([(height - crop) // 8, (width - crop) // 8])
    return torch.stack(corners).round().long().clamp(min=0).minimum(limit) * 8


def _near(mask: Tensor, reach: int = 4) -> Tensor:
    """A square window, along rows and then along columns: the same and several times faster."""
    side = 2 * reach + 1
    along_rows = max_pool2d(mask.clamp(max=1), (1, side), stride=1, padding=(0, reach))
    return max_pool2d(along_rows, (side, 1), stride=1, padding=(reach, 0))
