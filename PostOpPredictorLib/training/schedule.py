"""Learning rate over the course of a training run."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, warmup_steps: int, steps: int) -> float:
    """Linear warm-up from 0 to 1, then half a cosine down to 0.01 at ``steps``."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
