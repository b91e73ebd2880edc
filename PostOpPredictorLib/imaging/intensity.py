"""The window that maps a scan's own intensities to [0, 1] and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError

_LOW_PERCENTILE = 0.5
_HIGH_PERCENTILE = 99.5


@dataclass(frozen=True)
class IntensityWindow:
    """A linear map of scanner units: ``low`` becomes 0, ``high`` becomes 1."""

    low: float
    high: float

    @classmethod
    def of(cls, array: np.ndarray, brain: np.ndarray) -> IntensityWindow:
        """The window of percentiles 0.5 to 99.5 of ``array`` where ``brain`` (same shape) is not 0.

        Raises ``InputError`` when the brain is empty or constant.
        """
        values = np.asarray(array)[np.asarray(brain) > 0]
        values = values[np.isfinite(values)]
        if values.size == 0:
            raise InputError(
                "The brain mask is empty within the scan, so its intensities cannot be scaled. Give a brain mask that "
                "covers the brain."
            )
        low, high = (float(v) for v in np.percentile(values, (_LOW_PERCENTILE, _HIGH_PERCENTILE)))
        if not high > low:
            raise InputError(
                f"The scan has the same value ({low:g}) nearly everywhere inside the brain. Choose the T1-weighted "
                "scan, not a mask."
            )
        return cls(low, high)

    def normalise(self, array: np.ndarray) -> np.ndarray:
        """``array`` in scanner units -> float32 in [0, 1], clipped; non-finite values become 0."""
        scaled = (np.asarray(array, dtype=np.float32) - self.low) / (self.high - self.low)
        return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0).astype(np.float32)

    def restore(self, array: np.ndarray) -> np.ndarray:
        """``array`` in [0, 1] -> float32 in scanner units."""
        return (np.asarray(array, dtype=np.float32) * (self.high - self.low) + self.low).astype(np.float32)
