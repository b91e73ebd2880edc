"""What the model is shown for each slice: the query and one operated case as its instruction."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ..cases.case import SEQUENCES

CORE_LABELS = (1, 4)
OEDEMA_LABEL = 2
ON_PIXELS = (
    *("query_pre", "query_tumour", "query_brain", "query_plan", "query_beside", "query_context"),
    *("instruction_pre", "instruction_post", "instruction_tumour", "instruction_outcome"),
)
"""The fields of a triplet that are images, masks or labels (..., y, x)."""
OUTCOME_LABELS = ("unchanged", "cavity", "residual tumour", "blood", "oedema", "air")
HOLE_LABELS = (1, 3, 5)


@dataclass(frozen=True)
class TripletBatch:
    """B axial slices of MNI space at 1.5 mm.

    Images (B, 1, y, x) float32 in [0, 1], 0 outside the brain; label maps (B, y, x) uint8.
    ``query_tumour`` and ``instruction_tumour``: 1 core, 2 oedema, 4 enhancing.
    ``instruction_outcome``: indices of ``OUTCOME_LABELS``.
    ``z_mm`` (B,): MNI height of the slice.
    ``corner`` (B, 2): row and column of the first pixel in the full panel (crops in training).
    ``has_instruction`` (B,) bool: False where no similar case was found; then the instruction's arrays are all zero.
    ``query_plan`` (B, y, x) uint8: 1 where tissue is to be taken; ``has_plan`` (B,) bool: False where there is no plan.
    ``days`` (B,) since surgery of the slice that is wanted, where ``has_days`` (B,) bool; ``shown_days`` (B,) of
    the instruction's. ``own_institution`` (B,) bool: whether the instruction was operated where the query will be.
    ``query_beside`` (B, 4, y, x): the query's scan one slice below and above, and its tumour core there (0 or 1); the
    slice itself where there is no other (in training also at the outermost prepared slices).
    ``query_context`` (B, 4, y, x): the query's scans in ``SEQUENCES``, 0 where one is not there or is ``query_pre``'s
    own; ``has_context`` (B, 4) bool: which are.
    """

    query_pre: Tensor
    query_tumour: Tensor
    query_brain: Tensor
    instruction_pre: Tensor
    instruction_post: Tensor
    instruction_tumour: Tensor
    instruction_outcome: Tensor
    z_mm: Tensor
    corner: Tensor | None = None
    has_instruction: Tensor | None = None
    query_plan: Tensor | None = None
    has_plan: Tensor | None = None
    days: Tensor | None = None
    has_days: Tensor | None = None
    shown_days: Tensor | None = None
    own_institution: Tensor | None = None
    query_beside: Tensor | None = None
    query_context: Tensor | None = None
    has_context: Tensor | None = None

    def __post_init__(self) -> None:
        size = self.query_pre.shape[0]
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and value.shape[0] != size:
                raise ValueError(f"{item.name} holds {value.shape[0]} slices, query_pre {size}; give the same number.")
        if self.corner is None:
            object.__setattr__(self, "corner", torch.zeros(size, 2, dtype=torch.long))
        if self.has_instruction is None:
            object.__setattr__(self, "has_instruction", torch.ones(size, dtype=torch.bool))
        if self.query_plan is None:
            object.__setattr__(self, "query_plan", torch.zeros_like(self.query_tumour))
        for name in ("has_plan", "has_days", "own_institution"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, torch.zeros(size, dtype=torch.bool))
        for name in ("days", "shown_days"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, torch.ones(size))
        if self.query_beside is None:
            core = label_mask(self.query_tumour, CORE_LABELS).to(self.query_pre)
            object.__setattr__(self, "query_beside", torch.cat([self.query_pre] * 2 + [core] * 2, dim=1))
        if self.query_context is None:
            context = torch.zeros_like(self.query_pre).expand(-1, len(SEQUENCES), -1, -1)
            object.__setattr__(self, "query_context", context)
        if self.has_context is None:
            object.__setattr__(self, "has_context", torch.zeros(size, len(SEQUENCES), dtype=torch.bool))

    def __len__(self) -> int:
        return self.query_pre.shape[0]

    def to(self, device: torch.device | str) -> TripletBatch:
        """The same batch on another device."""
        return replace(self, **{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def rows(self, index: slice | Tensor) -> TripletBatch:
        """Some of its slices."""
        return replace(self, **{item.name: getattr(self, item.name)[index] for item in fields(self)})

    def without_instruction(self, drop: Tensor | None = None) -> TripletBatch:
        """The batch with the instruction blanked where ``drop`` (B,) bool is True; everywhere when left out."""
        drop = torch.ones_like(self.has_instruction) if drop is None else drop.to(self.query_pre.device)
        keep = ~drop
        image_keep = keep[:, None, None, None].to(self.query_pre.dtype)
        label_keep = keep[:, None, None].to(self.instruction_tumour.dtype)
        return replace(
            self,
            instruction_pre=self.instruction_pre * image_keep,
            instruction_post=self.instruction_post * image_keep,
            instruction_tumour=self.instruction_tumour * label_keep,
            instruction_outcome=self.instruction_outcome * label_keep,
            has_instruction=self.has_instruction & keep,
        )

    def without_plan(self, drop: Tensor | None = None) -> TripletBatch:
        """The batch with no plan where ``drop`` (B,) bool is True; everywhere when left out."""
        assert self.query_plan is not None and self.has_plan is not None
        drop = torch.ones_like(self.has_plan) if drop is None else drop.to(self.query_pre.device)
        keep = ~drop
        return replace(
            self,
            query_plan=self.query_plan * keep[:, None, None].to(self.query_plan.dtype),
            has_plan=self.has_plan & keep,
        )

    def without_time(self, drop: Tensor) -> TripletBatch:
        """The batch with no days since surgery where ``drop`` (B,) bool is True."""
        assert self.has_days is not None
        return replace(self, has_days=self.has_days & ~drop.to(self.has_days.device))

    def without_context(self, drop: Tensor) -> TripletBatch:
        """The batch without the scans for which ``drop`` (B, 4) bool is True."""
        assert self.query_context is not None and self.has_context is not None
        keep = ~drop.to(self.has_context.device)
        context = self.query_context * keep[:, :, None, None].to(self.query_context.dtype)
        return replace(self, query_context=context, has_context=self.has_context & keep)


def label_mask(labels: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """(B, y, x) label maps to a (B, 1, y, x) float mask of the ``wanted`` labels."""
    mask = torch.zeros_like(labels, dtype=torch.bool)
    for label in wanted:
        mask |= labels == label
    return mask[:, None].float()


def outcome_maps(labels: Tensor) -> Tensor:
    """(B, y, x) outcome labels to (B, 5, y, x) float masks of cavity, residual tumour, blood, oedema, air."""
    return torch.stack([labels == index for index in range(1, len(OUTCOME_LABELS))], dim=1).float()
