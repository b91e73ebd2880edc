"""A layout manager without Qt: the real slice logics, displayable managers and renderers, drawn off screen.

``OffscreenLayoutManager`` answers what the extension asks of ``slicer.app.layoutManager()``, under Slicer's own names.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import slicer
import vtk

DISPLAYABLE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
BAR_HEIGHT = 22
"""Pixels that the coloured bar above each view takes."""
Box = tuple[int, int, int, int]


class OffscreenSliceView:
    """What qMRMLSliceView offers: a render window with the blended slice and what the displayable managers draw."""

    def __init__(self, sliceNode: Any, sliceLogic: Any) -> None:
        self._logic = sliceLogic
        self._renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(True)
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._window.SetInteractor(self._interactor)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        image = vtk.vtkActor2D()
        image.SetMapper(self._mapper)
        image.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(image)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(sliceLogic.GetMRMLApplicationLogic())
        for name in DISPLAYABLE_MANAGERS:
            if hasattr(slicer, name) and not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._managers = factory.InstantiateDisplayableManagers(self._renderer)
        self._managers.SetMRMLDisplayableNode(sliceNode)
        self.scheduledRenders = 0

    def renderWindow(self) -> Any:
        return self._window

    def scheduleRender(self) -> None:
        self.scheduledRenders += 1

    def picture(self) -> Any:
        """Draw; returns vtkImageData, RGB, first row at the bottom."""
        width, height, _slices = self._logic.GetSliceNode().GetDimensions()
        self._window.SetSize(width, height)
        self._logic.UpdatePipeline()
        self._mapper.SetInputConnection(self._logic.GetImageDataConnection())
        self._window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.ReadFrontBufferOff()
        grab.Update()
        return grab.GetOutput()

    def close(self) -> None:
        self._managers.SetMRMLDisplayableNode(None)
        self._window.Finalize()


class OffscreenSliceWidget:
    """What qMRMLSliceWidget offers."""

    def __init__(self, sliceNode: Any, applicationLogic: Any) -> None:
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(applicationLogic)
        self._logic.SetSliceNode(sliceNode)
        self._logic.SetMRMLScene(sliceNode.GetScene())
        self._view: OffscreenSliceView | None = None

    def sliceLogic(self) -> Any:
        return self._logic

    def sliceView(self) -> OffscreenSliceView:
        if self._view is None:
            self._view = OffscreenSliceView(self._logic.GetSliceNode(), self._logic)
        return self._view

    def close(self) -> None:
        if self._view is not None:
            self._view.close()
        self._logic.SetMRMLScene(None)


class OffscreenLayoutManager:
    """Makes a slice widget for every slice node, as Slicer does, and gives those in the layout their size."""

    def __init__(self, scene: Any, applicationLogic: Any, width: int = 1200, height: int = 640) -> None:
        self._scene, self._applicationLogic = scene, applicationLogic
        self._size = (width, height)
        self._widgets: dict[str, OffscreenSliceWidget] = {}
        self._logics = vtk.vtkCollection()
        applicationLogic.SetSliceLogics(self._logics)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        self._observers = [
            (scene, scene.AddObserver(scene.NodeAddedEvent, self._onNodeAdded)),
            (scene, scene.AddObserver(scene.NodeRemovedEvent, self._onNodeRemoved)),
        ]
        self._layoutLogic = slicer.vtkMRMLLayoutLogic()
        self._layoutLogic.SetMRMLScene(scene)
        layoutNode = self._layoutLogic.GetLayoutNode()
        self._observers.append((layoutNode, layoutNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onLayout)))

    def layoutLogic(self) -> Any:
        return self._layoutLogic

    def setLayout(self, number: int) -> None:
        self._layoutLogic.GetLayoutNode().SetViewArrangement(number)

    def sliceWidget(self, name: str) -> OffscreenSliceWidget | None:
        return self._widgets.get(name)

    def sliceViewNames(self) -> list[str]:
        return list(self._widgets)

    def boxes(self) -> dict[str, Box]:
        """Place (x, y from the top, width, height) of every slice view of the layout, bars included."""
        description = self._layoutLogic.GetLayoutNode().GetCurrentLayoutDescription()
        return _boxes(ET.fromstring(description), (0, 0, *self._size)) if description else {}

    def size(self) -> tuple[int, int]:
        return self._size

    def close(self) -> None:
        for subject, observer in self._observers:
            subject.RemoveObserver(observer)
        for widget in self._widgets.values():
            widget.close()
        self._widgets.clear()
        self._logics.RemoveAllItems()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, _scene: Any, _event: str, node: Any) -> None:
        if node is not None and node.IsA("vtkMRMLSliceNode") and node.GetLayoutName() not in self._widgets:
            widget = OffscreenSliceWidget(node, self._applicationLogic)
            self._widgets[node.GetLayoutName()] = widget
            self._logics.AddItem(widget.sliceLogic())

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _scene: Any, _event: str, node: Any) -> None:
        if node is not None and node.IsA("vtkMRMLSliceNode"):
            widget = self._widgets.pop(node.GetLayoutName(), None)
            if widget is not None:
                self._logics.RemoveItem(widget.sliceLogic())
                widget.close()

    def _onLayout(self, *_args: Any) -> None:
        for name, (_x, _y, width, height) in self.boxes().items():
            if name in self._widgets:
                self._widgets[name].sliceLogic().ResizeSliceNode(width, height - BAR_HEIGHT)


def _boxes(element: ET.Element, box: Box) -> dict[str, Box]:
    """Share ``box`` among the items of a layout by their ``splitSize``; other views than slice views get theirs too."""
    if element.tag == "view":
        return {element.get("singletontag", ""): box} if element.get("class") == "vtkMRMLSliceNode" else {}
    items = element.findall("item") if element.tag == "layout" else list(element)
    sizes = [float(item.get("splitSize", 1)) for item in items]
    x, y, width, height = box
    found: dict[str, Box] = {}
    start = 0.0
    for item, size in zip(items, sizes, strict=True):
        first, last = start / sum(sizes), (start + size) / sum(sizes)
        start += size
        if element.get("type") == "horizontal":
            left, right = round(first * width), round(last * width)
            part = (x + left, y, right - left, height)
        elif element.get("type") == "vertical":
            top, bottom = round(first * height), round(last * height)
            part = (x, y + top, width, bottom - top)
        else:
            part = box
        for child in item if element.tag == "layout" else [item]:
            found |= _boxes(child, part)
    return found
