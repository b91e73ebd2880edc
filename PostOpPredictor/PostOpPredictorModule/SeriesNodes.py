"""The predicted days as one sequence of Slicer's: a volume that shows the day which is chosen, and its browser."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer
import vtk
from slicer.i18n import tr as _

from .NodeBuilding import fillingImage, placeVoxels
from .ResultAttributes import recordOf
from .WindowLevel import GreyWindow

if TYPE_CHECKING:
    from .ResultFiles import DayFiles

SEQUENCE, BROWSER, SHOWN = "series-sequence", "series-browser", "series-postop"
ROLES = (SEQUENCE, BROWSER, SHOWN)
INDEX_NAME, INDEX_UNIT = "time", "day"

MakeNode = Callable[[str, str, str], Any]
"""(class, role, name) -> a new marked node of the result in the scene."""


@dataclass(frozen=True)
class SeriesNodes:
    """``volume`` shows the chosen day (synthetic, MNI space); ``days`` and ``records`` go by the same number."""

    sequence: slicer.vtkMRMLSequenceNode
    browser: slicer.vtkMRMLSequenceBrowserNode
    volume: slicer.vtkMRMLScalarVolumeNode
    days: tuple[float, ...]
    records: tuple[Mapping[str, Any], ...] = ()

    @property
    def chosen(self) -> int:
        """Number of the day that is shown, from 0."""
        return int(self.browser.GetSelectedItemNumber())

    def choose(self, number: int) -> None:
        """Show the day ``number``; outside the series nothing happens."""
        if 0 <= number < len(self.days):
            self.browser.SetSelectedItemNumber(number)
            _bringUpToDate(self.browser, self.volume)


def addSeries(
    days: Sequence[DayFiles], makeNode: MakeNode, preop: slicer.vtkMRMLScalarVolumeNode, window: GreyWindow
) -> Generator[None, None, None]:
    """Add the sequence of ``days``, one a step, with the first day shown; the voxels lie in the scene once.

    ``preop``: the scan before surgery in MNI space; the series is where it is. In an application that was built
    without Slicer's sequences every day becomes a volume of its own.
    """
    if not _knowsSequences():
        for day in days:
            yield from _addAlone(day, makeNode, preop, window)
        return
    sequence = makeNode("vtkMRMLSequenceNode", SEQUENCE, _("Predicted days (synthetic)"))
    sequence.SetIndexName(INDEX_NAME)
    sequence.SetIndexUnit(INDEX_UNIT)
    shown = makeNode("vtkMRMLScalarVolumeNode", SHOWN, _("Predicted post-op through time (synthetic)"))
    shown.CreateDefaultDisplayNodes()
    window.apply(shown)
    for day in days:
        yield from _addDay(sequence, day, shown)
        yield
    browser = makeNode("vtkMRMLSequenceBrowserNode", BROWSER, _("Days after surgery"))
    # In one go: the module Sequences would make a volume of its own for a browser that has none.
    changes = browser.StartModify()
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(shown, sequence, False)
    browser.SetPlaybackRateFps(2.0)
    browser.SetSelectedItemNumber(0)
    browser.EndModify(changes)
    _bringUpToDate(browser, shown)
    shown.SetAndObserveTransformNodeID(preop.GetTransformNodeID())
    yield


def _addDay(
    sequence: slicer.vtkMRMLSequenceNode, day: DayFiles, shown: slicer.vtkMRMLScalarVolumeNode
) -> Generator[None, None, None]:
    """Slicer overwrites what shows a day, its attributes too, so each day bears the marks of the result."""
    volume = slicer.vtkMRMLScalarVolumeNode()
    volume.SetName(shown.GetName())
    for name in shown.GetAttributeNames():
        volume.SetAttribute(name, shown.GetAttribute(name))
    placeVoxels(volume, day.postop, (yield from fillingImage(vtk.vtkImageData(), day.postop.array)))
    sequence.SetDataNodeAtValue(volume, f"{day.days:g}")


def _addAlone(day: DayFiles, makeNode: MakeNode, preop: Any, window: GreyWindow) -> Generator[None, None, None]:
    voxels = yield from fillingImage(vtk.vtkImageData(), day.postop.array)
    name = _("Predicted post-op, day {days:g} (synthetic)").format(days=day.days)
    volume = makeNode("vtkMRMLScalarVolumeNode", SHOWN, name)
    volume.CreateDefaultDisplayNodes()
    window.apply(volume)
    placeVoxels(volume, day.postop, voxels)
    volume.SetAndObserveTransformNodeID(preop.GetTransformNodeID())
    yield


def _knowsSequences() -> bool:
    """Whether the scene can hold a sequence; it is told what one is where no module did so."""
    for name in ("vtkMRMLSequenceNode", "vtkMRMLSequenceBrowserNode"):
        nodeClass = getattr(slicer, name, None)
        if nodeClass is None:
            return False
        if not slicer.mrmlScene.GetTagByClassName(name):
            slicer.mrmlScene.RegisterNodeClass(nodeClass())
    return True


def _bringUpToDate(browser: slicer.vtkMRMLSequenceBrowserNode, shown: slicer.vtkMRMLScalarVolumeNode) -> None:
    """The module Sequences does this by itself with its next event; a script would see the day before until then."""
    module = getattr(slicer.modules, "sequences", None)
    if module is not None:
        module.logic().UpdateProxyNodesFromSequences(browser)
    else:
        shown.CopyContent(browser.GetMasterSequenceNode().GetNthDataNode(browser.GetSelectedItemNumber()))


def seriesOf(byRole: Mapping[str, Any]) -> SeriesNodes | None:
    """The series among the marked nodes of a result; None where there is none, or a part of it was removed."""
    sequence, browser, volume = (byRole.get(role) for role in ROLES)
    if sequence is None or browser is None or volume is None:
        return None
    days = tuple(float(sequence.GetNthIndexValue(number)) for number in range(sequence.GetNumberOfDataNodes()))
    found = recordOf(sequence).get("result", {}).get("series")
    records = tuple(found) if isinstance(found, list) and len(found) == len(days) else ()
    return SeriesNodes(sequence, browser, volume, days, records)


def showSequenceToolBar(series: SeriesNodes) -> bool:
    """Let Slicer's own tool bar play the series; False where there is none (no main window)."""
    module = getattr(slicer.modules, "sequences", None)
    if not hasattr(module, "setToolBarActiveBrowserNode"):
        return False
    module.setToolBarActiveBrowserNode(series.browser)
    module.setToolBarVisible(True)
    return True
