"""Is the difference between two systems more than chance? One difference a patient, signs flipped at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EXACT_UP_TO = 14
FLIPS = 10_000


def sign_flip_p(differences: Sequence[float | None], seed: int = 0) -> float | None:
    """Two-sided p of the mean difference under the hypothesis that each patient's sign is a coin toss.

    Exact for up to 14 patients, else from 10,000 flips; None for fewer than two patients. ``None`` values are left out.
    """
    known = np.array([value for value in differences if value is not None], dtype=np.float64)
    if known.size < 2:
        return None
    observed = abs(known.mean())
    if known.size <= EXACT_UP_TO:
        bits = np.arange(2**known.size)[:, None] >> np.arange(known.size) & 1
        means = np.abs((known * (1 - 2 * bits)).mean(axis=1))
        return float((means >= observed - 1e-12).mean())
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(FLIPS, known.size))
    means = np.abs((known * signs).mean(axis=1))
    return float((1 + (means >= observed - 1e-12).sum()) / (1 + FLIPS))
