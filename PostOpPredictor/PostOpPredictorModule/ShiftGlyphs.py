"""The predicted movement of tissue as arrows in slice views, from where it was to where it is after surgery."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util
import vtk

from .CompareLayout import PREDICTED, PREOP, isCompareViewName
from .ResultAttributes import COLOURS_ROLE, RUN_ID, markNode

SPACING_MM = 8.0
LENGTH_PERCENT = 300.0
"""Of the way that tissue moves: some millimetres would hardly be seen."""
LEAST_SHOWN_MM, MOST_SHOWN_MM = 0.5, 30.0
COLOURS_BY_MM = ((0.5, 0.45, 0.70, 0.95), (3.0, 0.95, 0.90, 0.45), (8.0, 0.95, 0.40, 0.20))
"""mm -> red, green, blue."""


def showGlyphs(shift: slicer.vtkMRMLGridTransformNode, isShown: bool) -> None:
    """Show or hide the arrows of ``shift`` in all slice views; what is made for it is removed with the prediction."""
    display = shift.GetDisplayNode()
    if display is None:
        if not isShown or shift.GetScene() is None:
            return
        display = _displayed(shift)
    if isShown:
        _keepToOwnViews(display)
    display.SetVisibility(isShown)
    display.SetVisibility2D(isShown)


def _keepToOwnViews(display: Any) -> None:
    """Another patient's scan has no arrows of this one. The views of the compare view need not be there yet."""
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    own = [one.GetID() for one in views if not isCompareViewName(one.GetLayoutName())]
    changes = display.StartModify()
    display.RemoveAllViewNodeIDs()
    for viewId in (*own, *(f"vtkMRMLSliceNode{tag}" for tag in (PREOP, PREDICTED))):
        display.AddViewNodeID(viewId)
    display.EndModify(changes)


def areGlyphsShown(shift: Any) -> bool:
    """Whether the arrows of ``shift`` (None: there are none) are on."""
    display = shift.GetDisplayNode() if shift is not None else None
    return display is not None and bool(display.GetVisibility2D()) and bool(display.GetVisibility())


def _displayed(shift: slicer.vtkMRMLGridTransformNode) -> Any:
    scene = shift.GetScene()
    display = scene.CreateNodeByClass("vtkMRMLTransformDisplayNode")
    display.UnRegister(None)
    display.SetVisibility(False)
    scene.AddNode(display)
    colours = _colours(scene, shift.GetAttribute(RUN_ID))
    display.SetAndObserveColorNodeID(colours.GetID())
    display.SetVisualizationMode(slicer.vtkMRMLTransformDisplayNode.VIS_MODE_GLYPH)
    display.SetGlyphType(slicer.vtkMRMLTransformDisplayNode.GLYPH_TYPE_ARROW)
    display.SetGlyphSpacingMm(SPACING_MM)
    display.SetGlyphScalePercent(LENGTH_PERCENT)
    display.SetGlyphDisplayRangeMinMm(LEAST_SHOWN_MM)
    display.SetGlyphDisplayRangeMaxMm(MOST_SHOWN_MM)
    display.SetVisibility3D(False)
    # Slicer's slice views look at the list of views only when they get to know of the display.
    _keepToOwnViews(display)
    shift.SetAndObserveDisplayNodeID(display.GetID())
    return display


def _colours(scene: slicer.vtkMRMLScene, runId: str) -> slicer.vtkMRMLProceduralColorNode:
    node = scene.CreateNodeByClass("vtkMRMLProceduralColorNode")
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName("PostOpPredictor shift (mm)"))
    markNode(node, COLOURS_ROLE, runId, {})
    function = vtk.vtkColorTransferFunction()
    for point in COLOURS_BY_MM:
        function.AddRGBPoint(*point)
    node.SetAndObserveColorTransferFunction(function)
    scene.AddNode(node)
    return node
