"""Pre-op scan, prediction and precedents side by side, in a layout of our own that leaves no trace when it is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from . import CompareFraming
from .CompareContents import CompareContents, isThere
from .CompareLayout import (
    MOST_PRECEDENTS,
    ORIENTATIONS,
    PREDICTED,
    PREOP,
    CompareSlot,
    isCompareLayout,
    layoutId,
    layoutXml,
    slotsFor,
)

if TYPE_CHECKING:
    from .ResultNodes import PrecedentNodes, PredictionNodes

_AFTER_EVERYBODY_ELSE = -10.0


class CompareView:
    """Shows a prediction: pre-op | predicted | one column per precedent, scan before over scan after surgery.

    Views are linked among themselves only. The tumour is outlined in the pre-op view, the predicted cavity in the
    predicted view, each precedent's own tumour and cavity in its two views. ``reset()`` brings the previous layout back
    and takes away everything that ``show()`` added. The same happens by itself when the scene is closed, when the
    pre-op scan or the prediction is removed from it, and when the user chooses another layout (which then stays).
    When the nodes are moved between MNI and patient space the views follow.
    While nothing is shown every method but ``show`` does nothing.

    Example::

        compareView = CompareView()
        compareView.show(predictionNodes)       # with the most similar precedent
        compareView.setPrecedents([1, 3])       # two precedents
        compareView.setReveal(0.5)              # half faded to the pre-op scan
        compareView.reset()
    """

    def __init__(
        self,
        layoutManager: Any = None,
        afterLayout: Callable[[Callable[[], None]], None] | None = None,
        whenChanged: Callable[[], None] | None = None,
    ) -> None:
        """``layoutManager``: of the application, looked up when it is needed, unless given here.

        ``afterLayout``: calls its argument once the views have their final size; a Qt timer of zero unless given here.
        ``whenChanged``: called after ``isShown`` or ``precedents`` changed, for whatever reason.
        """
        self._givenLayoutManager = layoutManager
        self._afterLayout = afterLayout or _afterPendingEvents
        self._layoutManager: Any = None
        self._scene: Any = None
        self._previousLayout = slicer.vtkMRMLLayoutNode.SlicerLayoutNone
        self._layoutWasSaved = True
        self._nodes: PredictionNodes | None = None
        self._slots: list[CompareSlot] = []
        self._ranks: tuple[int, ...] = ()
        self._contents: CompareContents | None = None
        self._observers: list[tuple[Any, int]] = []
        self._whenChanged = whenChanged or (lambda: None)

    @property
    def isShown(self) -> bool:
        """Whether the compare layout is on, put there by this object."""
        return self._nodes is not None

    @property
    def precedents(self) -> tuple[int, ...]:
        """Ranks of the precedents now shown, from left to right."""
        return self._ranks if self.isShown else ()

    @property
    def reveal(self) -> float:
        """How much of the pre-op scan lies over the prediction, 0 to 1."""
        return self._sliceLogic(PREDICTED).GetSliceCompositeNode().GetForegroundOpacity() if self.isShown else 0.0

    def show(self, nodes: PredictionNodes, precedents: Sequence[int] | None = None) -> None:
        """Show ``nodes`` with the precedents of these ranks (None: the most similar one, if there is any).

        Raises ``RuntimeError`` where Slicer runs without a main window, ``ValueError`` for a rank that is not there or
        nodes that are no longer in the scene; the layout is then as it was.
        """
        layoutManager = self._givenLayoutManager or slicer.app.layoutManager()
        if layoutManager is None:
            raise RuntimeError(_("The compare view needs Slicer's main window, and Slicer runs without one."))
        if precedents is None:
            precedents = [one.rank for one in nodes.precedents[:1]]
        _checkNodes(nodes)
        ranks = _checkedRanks(nodes, precedents)
        if self.isShown:
            self._nodes = nodes
            self._arrange(ranks)
        else:
            self._begin(layoutManager, nodes, ranks)
        self._whenLaidOut(self.fit)
        self._whenChanged()

    def setPrecedents(self, ranks: Sequence[int]) -> None:
        """Show the precedents of these ranks, in this order, and keep the plane that is being looked at.

        Raises ``ValueError`` for a rank that the prediction does not have.
        """
        if self._nodes is None:
            return
        ranks = _checkedRanks(self._nodes, ranks)
        reveal, sliceToRas = self.reveal, self._sliceToRas()
        self._arrange(ranks)
        self.setReveal(reveal)
        self._whenLaidOut(lambda: self._fitIn(sliceToRas))
        self._whenChanged()

    def setReveal(self, opacity: float) -> None:
        """Fade the pre-op scan over the prediction: 0 shows the prediction alone, 1 the pre-op scan alone."""
        if self.isShown:
            self._sliceLogic(PREDICTED).GetSliceCompositeNode().SetForegroundOpacity(min(max(float(opacity), 0.0), 1.0))

    def setOrientation(self, orientation: str) -> None:
        """Turn all views: "Axial", "Coronal" or "Sagittal". Raises ``ValueError`` for another word."""
        if orientation not in ORIENTATIONS:
            raise ValueError(
                _("The orientation '{name}' is not one of {known}.").format(
                    name=orientation, known=", ".join(ORIENTATIONS)
                )
            )
        for logic in self._sliceLogics():
            logic.GetSliceNode().SetOrientation(orientation)
        self.fit()

    def fit(self) -> None:
        """Look at the plane that cuts most of the tumour (without one: of the cavity), the whole brain in view."""
        if self._nodes is not None:
            tumour = CompareFraming.voxelsOf(self._nodes.tumour)
            self._frame(tumour if len(tumour) else CompareFraming.voxelsOf(self._nodes.cavity))

    def reset(self) -> None:
        """Leave: the layout as it was before ``show``, and nothing of ours in the scene. May be called at any time."""
        if not self.isShown:
            return
        self._nodes = None
        for subject, observer in self._observers:
            subject.RemoveObserver(observer)
        self._dropContents()
        layoutNode = self._layoutManager.layoutLogic().GetLayoutNode()
        if isCompareLayout(layoutNode.GetViewArrangement()):
            layoutNode.SetViewArrangement(self._previousLayout)
        layoutNode.SetSaveWithScene(self._layoutWasSaved)
        self._removeViews({slot.tag for slot in self._slots})
        _forgetLayouts(layoutNode)
        self._observers, self._slots, self._scene, self._layoutManager = [], [], None, None
        self._whenChanged()

    def _begin(self, layoutManager: Any, nodes: PredictionNodes, ranks: tuple[int, ...]) -> None:
        self._layoutManager, self._nodes = layoutManager, nodes
        layoutNode = layoutManager.layoutLogic().GetLayoutNode()
        self._scene = layoutNode.GetScene()
        self._previousLayout = layoutNode.GetViewArrangement()
        # A scene saved now opens in the layout that is on by then: nobody else knows ours.
        self._layoutWasSaved = layoutNode.GetSaveWithScene()
        layoutNode.SetSaveWithScene(False)
        self._observe(self._scene, self._scene.StartCloseEvent, self._onSceneStartClose)
        self._observe(self._scene, self._scene.NodeRemovedEvent, self._onNodeRemoved)
        self._arrange(ranks)
        self._observe(layoutNode, vtk.vtkCommand.ModifiedEvent, self._onLayoutModified)

    def _observe(self, subject: Any, event: Any, react: Callable[..., None]) -> None:
        self._observers.append((subject, subject.AddObserver(event, react, _AFTER_EVERYBODY_ELSE)))

    def _onSceneStartClose(self, *_args: Any) -> None:
        # At the end of closing it would be too late: the layout logic brings back the layout that was on at its start.
        self.reset()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _scene: Any, _event: str, node: Any) -> None:
        if self._nodes is not None and node in (self._nodes.preop, self._nodes.postop):
            self.reset()

    def _onLayoutModified(self, layoutNode: Any, _event: str) -> None:
        if not isCompareLayout(layoutNode.GetViewArrangement()):
            self._afterLayout(self._resetIfLeft)

    def _resetIfLeft(self) -> None:
        if self.isShown and not isCompareLayout(self._layoutManager.layoutLogic().GetLayoutNode().GetViewArrangement()):
            self.reset()

    def _arrange(self, ranks: tuple[int, ...]) -> None:
        """Bring up the layout for these precedents and fill it; where that fails, everything is as before ``show``."""
        self._dropContents()
        before, self._slots, self._ranks = self._slots, slotsFor(ranks), ranks
        try:
            self._switchLayout()
            self._removeViews({slot.tag for slot in before} - {slot.tag for slot in self._slots})
            self._contents = CompareContents(self._layoutManager, self._scene, self._slots)
            self._contents.fill(self._nodes, self._shownPrecedents(), lambda: self._afterLayout(self.fit))
        except BaseException:
            self.reset()
            raise

    def _switchLayout(self) -> None:
        layoutNode = self._layoutManager.layoutLogic().GetLayoutNode()
        number, xml = layoutId(len(self._ranks)), layoutXml(self._slots)
        if not layoutNode.AddLayoutDescription(number, xml):
            layoutNode.SetLayoutDescription(number, xml)
        layoutNode.SetViewArrangement(number)

    def _shownPrecedents(self) -> list[PrecedentNodes]:
        byRank = {precedent.rank: precedent for precedent in self._nodes.precedents}
        return [byRank[rank] for rank in self._ranks]

    def _dropContents(self) -> None:
        if self._contents is not None:
            self._contents.remove()
            self._contents = None

    def _removeViews(self, tags: set[str]) -> None:
        """Take views that are no longer in the layout out of the scene, with what their logic keeps there.

        The slice node goes first: its logic lets go then, and would make a composite node anew otherwise.
        """
        for tag in sorted(tags):
            widget = self._layoutManager.sliceWidget(tag)
            if widget is None:
                continue
            logic = widget.sliceLogic()
            ours = [
                logic.GetSliceNode(),
                logic.GetSliceModelNode(),
                logic.GetSliceModelDisplayNode(),
                logic.GetSliceModelTransformNode(),
                logic.GetSliceCompositeNode(),
            ]
            for node in ours:
                if isThere(node):
                    self._scene.RemoveNode(node)

    def _sliceLogic(self, tag: str) -> Any:
        return self._layoutManager.sliceWidget(tag).sliceLogic()

    def _sliceLogics(self) -> list[Any]:
        return [self._sliceLogic(slot.tag) for slot in self._slots]

    def _sliceToRas(self) -> np.ndarray:
        return np.copy(slicer.util.arrayFromVTKMatrix(self._sliceLogic(PREOP).GetSliceNode().GetSliceToRAS()))

    def _fitIn(self, sliceToRas: np.ndarray) -> None:
        """Zoom to the brain in the plane and orientation of ``sliceToRas`` (4, 4)."""
        if self._nodes is None:
            return
        for logic in self._sliceLogics():
            node = logic.GetSliceNode()
            node.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(sliceToRas))
            node.UpdateMatrices()
        self._frame(sliceToRas[None, :3, 3])

    def _frame(self, target: np.ndarray) -> None:
        volumes = [self._nodes.preop, *(one.pre for one in self._shownPrecedents() if isThere(one.pre))]
        CompareFraming.frame(self._sliceLogics(), CompareFraming.brainCorners(volumes), target)

    def _whenLaidOut(self, action: Callable[[], None]) -> None:
        """Now, for scripts that go on at once, and again when Qt has given the views their size."""
        action()
        self._afterLayout(action)


def _checkNodes(nodes: PredictionNodes) -> None:
    if not (isThere(nodes.preop) and isThere(nodes.postop)):
        raise ValueError(_("The prediction is no longer in the scene. Predict again to compare."))


def _checkedRanks(nodes: PredictionNodes, ranks: Sequence[int]) -> tuple[int, ...]:
    known = [precedent.rank for precedent in nodes.precedents]
    chosen = tuple(dict.fromkeys(ranks))
    for rank in chosen:
        if rank not in known:
            raise ValueError(
                _("The prediction has no precedent {rank}; it has {known}.").format(
                    rank=rank, known=", ".join(map(str, known)) or _("none")
                )
            )
    if len(chosen) > MOST_PRECEDENTS:
        raise ValueError(_("At most {most} precedents fit beside the prediction.").format(most=MOST_PRECEDENTS))
    return chosen


def _forgetLayouts(layoutNode: Any) -> None:
    for precedents in range(MOST_PRECEDENTS + 1):
        layoutNode.SetLayoutDescription(layoutId(precedents), "")


def _afterPendingEvents(action: Callable[[], None]) -> None:
    import qt

    qt.QTimer.singleShot(0, action)
