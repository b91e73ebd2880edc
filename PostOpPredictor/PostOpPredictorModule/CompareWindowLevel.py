"""One window and level for scans of different scanners: each scan's brightness is mapped onto the pre-op scan's."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer.util
import vtk

DARK_PERCENTILE, BRIGHT_PERCENTILE = 5.0, 95.0
_STRIDE = 3  # every third voxel along each axis tells the percentiles as well as all of them


class CompareWindowLevel:
    """Keeps the window and level of several volumes the same, in units of the reference volume.

    Volumes in ``sameScale`` share the reference's intensities (the prediction is drawn in them); those in ``scaled``
    are other people's scans: their dark and bright brain are mapped onto the reference's. When the user changes the
    window of one of them, the others follow. ``remove()`` gives every display node back what it had.
    """

    def __init__(self, reference: Any, sameScale: list[Any], scaled: list[Any]) -> None:
        self._reference = reference.GetDisplayNode()
        self._scales: dict[Any, tuple[float, float]] = {}
        self._before: dict[Any, tuple[float, float, bool]] = {}
        self._observers: list[tuple[Any, int]] = []
        self._applying = False
        own = intensityRange(reference)
        for volume in [reference, *sameScale]:
            self._follow(volume, own, own)
        for volume in scaled:
            self._follow(volume, intensityRange(volume), own)

    def share(self) -> None:
        """Give all volumes the window and level of the reference."""
        self._apply(self._reference.GetWindow(), self._reference.GetLevel())

    def remove(self) -> None:
        """Stop following and restore each display node's own window, level and automatic choice of them."""
        for display, observer in self._observers:
            display.RemoveObserver(observer)
        for display, (window, level, automatic) in self._before.items():
            if display.GetScene() is not None:
                display.SetWindowLevel(window, level)
                display.SetAutoWindowLevel(automatic)
        self._observers, self._scales, self._before = [], {}, {}

    def _follow(self, volume: Any, own: tuple[float, float], reference: tuple[float, float]) -> None:
        display = volume.GetDisplayNode()
        if display in self._scales:
            return
        factor = (own[1] - own[0]) / (reference[1] - reference[0])
        self._scales[display] = (factor, own[0] - factor * reference[0])
        self._before[display] = (display.GetWindow(), display.GetLevel(), bool(display.GetAutoWindowLevel()))
        self._observers.append((display, display.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified)))

    def _onModified(self, display: Any, _event: str) -> None:
        if self._applying:
            return
        factor, offset = self._scales[display]
        self._apply(display.GetWindow() / factor, (display.GetLevel() - offset) / factor)

    def _apply(self, window: float, level: float) -> None:
        self._applying = True
        try:
            for display, (factor, offset) in self._scales.items():
                display.SetAutoWindowLevel(False)
                display.SetWindowLevel(window * factor, level * factor + offset)
        finally:
            self._applying = False


def intensityRange(volume: Any) -> tuple[float, float]:
    """Dark and bright end of the voxels that are not background, in the volume's own units; never an empty range."""
    voxels = slicer.util.arrayFromVolume(volume)[::_STRIDE, ::_STRIDE, ::_STRIDE]
    tissue = voxels[voxels > 0]
    if tissue.size == 0:
        return 0.0, 1.0
    dark, bright = np.percentile(tissue, (DARK_PERCENTILE, BRIGHT_PERCENTILE))
    return float(dark), float(max(bright, dark + np.finfo(np.float32).eps * max(abs(dark), 1.0)))
