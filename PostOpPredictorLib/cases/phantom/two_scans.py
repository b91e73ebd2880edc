"""Both scans of a phantom: one scanner protocol before surgery and again some days or months after it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .fields import BoolArray, FloatArray
from .scanner import misplaced, misregistration, one_window, random_settings, scan, some_days_later
from .signal import T1_SEQUENCES

Images = dict[str, FloatArray]


def both_scans(
    pre: Mapping[str, FloatArray],
    post: Mapping[str, FloatArray],
    brain: BoolArray,
    scanner: np.random.Generator,
    water: Mapping[str, np.random.Generator],
    later: Mapping[str, np.random.Generator] | None = None,
) -> tuple[Images, Images, BoolArray]:
    """Images before and after in [0, 1], and the brain after, from noise-free signals (z, y, x).

    T1w and T1wCE share the protocol that ``scanner`` draws, each other sequence has a generator of its own in
    ``water``: no sequence changes another one. With ``later`` (generators for T1w and each sequence of ``water``) the
    second visit is another one of the same patient: the first images stay, bit for bit.
    """
    first = random_settings(scanner, brain)
    second = some_days_later(scanner, first, brain)
    offset = misregistration(scanner)
    before = scan({s: pre[s] for s in T1_SEQUENCES}, brain, first, scanner)
    visit = scanner
    if later is not None:
        visit = later["T1w"]
        second, offset = some_days_later(visit, first, brain), misregistration(visit)
    moved, brain_post = misplaced(post, brain, offset)
    after = scan({s: moved[s] for s in T1_SEQUENCES}, brain_post, second, visit)
    for sequence, own in water.items():
        first = random_settings(own, brain)
        before |= scan({sequence: pre[sequence]}, brain, first, own)
        again = own if later is None else later[sequence]
        second = some_days_later(again, first, brain)
        after |= scan({sequence: moved[sequence]}, brain_post, second, again)
    return *one_window(before, after, brain, brain_post), brain_post
