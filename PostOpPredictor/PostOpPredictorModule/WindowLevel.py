"""Grey levels that compare: every result volume is shown as the pre-operative scan is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer

PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class GreyWindow:
    """The values shown as black and as white."""

    black: float
    white: float

    @classmethod
    def ofNode(cls, volume: slicer.vtkMRMLScalarVolumeNode | None) -> GreyWindow | None:
        """How ``volume`` is shown now; None where that cannot be said."""
        display = volume.GetScalarVolumeDisplayNode() if volume is not None else None
        if display is None or display.GetWindow() <= 0:
            return None
        return cls(display.GetWindowLevelMin(), display.GetWindowLevelMax())

    @classmethod
    def ofValues(cls, array: np.ndarray) -> GreyWindow:
        """From the 0.5th to the 99.5th percentile of what is not 0 (the brain)."""
        values = array[array != 0]
        black, white = np.percentile(values, PERCENTILES) if values.size else (0.0, 1.0)
        return cls(float(black), float(max(white, black + 1e-6)))

    def carriedOver(self, here: GreyWindow, there: GreyWindow) -> GreyWindow:
        """This window on another scale, on which ``there`` looks as ``here`` does on this one."""
        scale = (there.white - there.black) / (here.white - here.black)
        return GreyWindow(
            there.black + (self.black - here.black) * scale, there.black + (self.white - here.black) * scale
        )

    def apply(self, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Show ``volume`` so."""
        display = volume.GetScalarVolumeDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(self.black, self.white)
