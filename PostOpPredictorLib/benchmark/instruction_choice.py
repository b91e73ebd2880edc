"""Training slices whose instruction is chosen at random or by the whole image, for the rows that are retrieved so."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from ..errors import InputError
from ..training.slices import PreparedSlices

GUIDED, RANDOM, IMAGE = "guided", "random", "image"
_CELLS = 32
_PART = 512


class _View(PreparedSlices):
    """The same slices; nothing is copied."""

    def __init__(self, slices: PreparedSlices) -> None:
        self.metadata, self.arrays, self.sequences = slices.metadata, slices.arrays, slices.sequences
        if "patient" not in self.arrays:
            raise InputError("The prepared slices do not tell patients apart. Make them with 'postop library prepare'.")

    def others(self, row: int) -> Tensor:
        """(N,) bool: slices of other patients in the row's split."""
        patient, split = self.arrays["patient"], self.arrays["split"]
        return (patient != patient[row]) & (split == split[row])


class RandomInstructions(_View):
    """The instruction is any slice of another patient of the same split."""

    def draw_instruction(
        self,
        rows: Tensor,
        neighbours: int,
        generator: torch.Generator,
        *,
        sequence: str | None = None,
        elsewhere: float = 0.0,
    ) -> Tensor:
        drawn = []
        there = torch.ones(1, dtype=torch.bool) if sequence is None else self.arrays[f"has_{sequence}"] > 0
        for row in rows.tolist():
            others = (self.others(row) & there).nonzero()[:, 0]
            if not len(others):
                raise InputError("A random instruction needs slices of two patients in each split. Add more cases.")
            drawn.append(others[torch.randint(len(others), (1,), generator=generator)])
        return torch.cat(drawn).long()


class ImageInstructions(_View):
    """One of the slices of other patients that look most alike before surgery: cosine of coarse, centred slices.

    ``sequence``: by which scan; slices without it have no neighbours. For "any" one that all slices have, if there is
    one.
    """

    def __init__(self, slices: PreparedSlices, sequence: str) -> None:
        super().__init__(slices)
        everywhere = [name for name in self.sequences if self.arrays[f"has_{name}"].all()]
        self._by = sequence if sequence in self.sequences else (everywhere or self.sequences)[-1]
        count = slices.arrays["neighbours"].shape[1]
        self.arrays = {**slices.arrays, "neighbours": self._nearest(count)}

    def _nearest(self, count: int) -> Tensor:
        vectors = self._vectors()
        nearest = torch.full((len(vectors), count), -1, dtype=torch.int32)
        has = self.arrays[f"has_{self._by}"] > 0
        guided = (self.arrays["neighbours"][:, 0] >= 0) & has
        for part in torch.arange(len(vectors)).split(_PART):
            similar = vectors[part] @ vectors.T
            for place, row in enumerate(part.tolist()):
                similar[place][~(self.others(row) & has)] = -2
            best = similar.topk(min(count, len(vectors)), dim=1)
            found = torch.where(best.values > -2, best.indices, -1).int()
            nearest[part, : found.shape[1]] = found
        # Rows that no other entry trains on are not trained on here either.
        nearest[~guided] = -1
        return nearest

    def _vectors(self) -> Tensor:
        parts = []
        for part in self.arrays[f"pre_{self._by}"].split(_PART):
            coarse = adaptive_avg_pool2d(part[:, None].float(), _CELLS).flatten(1)
            brain = coarse > 0
            mean = coarse.sum(dim=1, keepdim=True) / brain.sum(dim=1, keepdim=True).clamp(min=1)
            parts.append(normalize((coarse - mean) * brain, dim=1))
        return torch.cat(parts)


class OnePair(_View):
    """One training slice with its answer: of those that have the sequence the one with the largest cavity."""

    def rows(self, split: str, *kinds: int, sequence: str | None = None) -> Tensor:
        """It alone, in every split; nothing where it is of another kind."""
        train = PreparedSlices.rows(self, "train", sequence=sequence)
        if not len(train):
            return train
        holes = torch.isin(self.arrays["outcome"][train], torch.tensor([1, 3, 5], dtype=torch.uint8)).sum(dim=(1, 2))
        chosen = train[holes.argmax()][None]
        return chosen if not kinds or int(self.arrays["kind"][chosen]) in kinds else chosen[:0]


def slices_for(choice: str, slices: PreparedSlices, sequence: str) -> PreparedSlices:
    """``slices`` with instructions chosen "guided" (as prepared), "random" or by "image" of that ``sequence``."""
    if choice == RANDOM:
        return RandomInstructions(slices)
    return ImageInstructions(slices, sequence) if choice == IMAGE else slices
