"""The RANO resect class of a resection, by absolute residual volumes.

Karschnia et al., Neuro-Oncology 2023; 25:940-954, doi 10.1093/neuonc/noac193: class 1 no contrast-enhancing and at most
5 cm3 of non-enhancing tumour left, 2A no enhancing, 2B at most 1 cm3, 3A at most 5 cm3, 3B more, 4 biopsy.
"""

from __future__ import annotations

from dataclasses import dataclass

NOTHING_CM3 = 0.05
"""Less is told as 0.0 cm3."""
NEAR_TOTAL_CM3 = 1.0
SUBTOTAL_CM3 = 5.0
SUPRAMAXIMAL_CM3 = 5.0


@dataclass(frozen=True)
class ResectClass:
    """``name`` "1", "2A" ... "4", or None where the labels do not tell it; ``sentence`` says why, with its limits."""

    name: str | None
    sentence: str


def resect_class(
    enhancing_before: float, enhancing_left: float, non_enhancing_left: float | None, resected: float
) -> ResectClass:
    """The class from volumes in cm3. ``non_enhancing_left``: non-enhancing core and T2/FLAIR abnormality that stay;
    None where the labels mark no abnormality, so that class 1 cannot be told from 2A.
    """
    if enhancing_before <= 0.0:
        return ResectClass(None, "The labels mark no enhancing tumour, so there is no RANO resect class.")
    if resected < NOTHING_CM3:
        return ResectClass("4", "RANO class 4 (biopsy): no tumour is taken.")
    left = f"{enhancing_left:.1f} cm3 of enhancing tumour left"
    if enhancing_left >= NOTHING_CM3:
        for most, name, term in ((NEAR_TOTAL_CM3, "2B", "near total"), (SUBTOTAL_CM3, "3A", "subtotal")):
            if enhancing_left <= most:
                return ResectClass(name, f"RANO class {name} ({term}): {left}.")
        return ResectClass("3B", f"RANO class 3B (partial): {left}.")
    if non_enhancing_left is None:
        return ResectClass(
            "2A",
            f"RANO class 2A (complete) or better: {left}. The labels mark no T2/FLAIR abnormality, as class 1 needs.",
        )
    rest = f"{non_enhancing_left:.1f} cm3 of non-enhancing tumour and T2/FLAIR abnormality"
    if non_enhancing_left <= SUPRAMAXIMAL_CM3:
        return ResectClass("1", f"RANO class 1 (supramaximal): {left}, {rest}.")
    return ResectClass("2A", f"RANO class 2A (complete): {left}, {rest}; oedema without tumour counts in it.")
