"""Text over a slice view, on an actor of our own: Data Probe rewrites the texts of the view's own corners."""

from __future__ import annotations

from typing import Any

import vtk

AMBER = (1.0, 0.72, 0.2)
WHITE = (0.92, 0.92, 0.92)
_BELOW_THE_EDGE = 6  # pixels
_FONT_SIZE = 15
_LINE_HEIGHT = 20


class CompareCaptions:
    """The texts that the compare view puts at the upper edge of its views; ``remove()`` takes them off again."""

    def __init__(self) -> None:
        self._shown: list[tuple[Any, Any, Any]] = []

    def add(self, sliceView: Any, text: str, colour: tuple[float, float, float], line: int = 0) -> None:
        """Write ``text`` at the middle of the upper edge of ``sliceView`` (a qMRMLSliceView), or some lines below."""
        renderer = sliceView.renderWindow().GetRenderers().GetFirstRenderer()
        actor = vtk.vtkTextActor()
        actor.SetInput(text)
        edge = vtk.vtkCoordinate()
        edge.SetCoordinateSystemToNormalizedViewport()
        edge.SetValue(0.5, 1.0)
        place = actor.GetPositionCoordinate()
        place.SetCoordinateSystemToViewport()
        place.SetReferenceCoordinate(edge)
        place.SetValue(0, -_BELOW_THE_EDGE - line * _LINE_HEIGHT)
        style = actor.GetTextProperty()
        style.SetFontSize(_FONT_SIZE)
        style.SetBold(True)
        style.SetColor(*colour)
        style.SetShadow(True)
        style.SetJustificationToCentered()
        style.SetVerticalJustificationToTop()
        actor.SetPickable(False)
        renderer.AddViewProp(actor)
        self._shown.append((sliceView, renderer, actor))
        sliceView.scheduleRender()

    def remove(self) -> None:
        """Take every text off; a view that has gone in the meantime is passed over."""
        for sliceView, renderer, actor in self._shown:
            renderer.RemoveViewProp(actor)
            sliceView.scheduleRender()
        self._shown = []
