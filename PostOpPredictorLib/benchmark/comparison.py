"""Every row against a reference, patient by patient: difference, interval, p."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluation.bootstrap import Interval, paired_interval
from ..evaluation.measures import Value
from ..evaluation.metrics import METRIC, Metric
from ..evaluation.summary import RowSummary
from .paired import sign_flip_p

COMPARED = ("ssim_full", "ssim_brain", "ssim_peri", "psnr_peri", "lpips_full", "cavity_dice", "cavity_hd95_mm")


@dataclass(frozen=True)
class Comparison:
    """Reference minus row; ``p`` from flipped signs, not corrected for the number of comparisons."""

    reference: str
    row: str
    metric: Metric
    interval: Interval
    p: float | None

    @property
    def verdict(self) -> str:
        """Whether the reference is "better" or "worse" than the row (interval without 0), or neither is shown."""
        if not self.interval.excludes_zero:
            return "no difference shown"
        return "better" if self.interval.mean * self.metric.better > 0 else "worse"


def comparisons(
    reference: tuple[str, RowSummary], others: Sequence[tuple[str, RowSummary]], resamples: int, seed: int
) -> list[Comparison]:
    """The reference against each of ``others`` in the metrics that both have; (title, summary) each."""
    found = []
    for title, other in others:
        for key in COMPARED:
            ours, theirs = (_column(summary, key, list(reference[1].patients)) for summary in (reference[1], other))
            interval = paired_interval(ours, theirs, resamples=resamples, seed=seed)
            if interval is None:
                continue
            both = zip(ours, theirs, strict=True)
            differences = [None if one is None or two is None else one - two for one, two in both]
            found.append(Comparison(reference[0], title, METRIC[key], interval, sign_flip_p(differences, seed)))
    return found


def _column(summary: RowSummary, key: str, patients: Sequence[str]) -> list[Value]:
    return [summary.patients[patient].get(key) for patient in patients]
