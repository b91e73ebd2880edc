"""Scan, prediction, precedents and plans side by side, in a layout of our own that leaves no trace when it is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from .CompareContents import CompareContents
from .CompareLayout import MOST_PRECEDENTS, ORIENTATIONS
from .CompareScreens import (
    Column,
    CompareScreen,
    checkedColumns,
    isThere,
    liveScreen,
    planScreen,
    precedentScreen,
)
from .CompareViews import CompareViews

if TYPE_CHECKING:
    from .LiveNodes import LiveNodes
    from .PredictionNodes import PredictionNodes

_AFTER_EVERYBODY_ELSE = -10.0


class CompareView:
    """Shows a prediction: pre-op | predicted | one column per precedent, scan before over scan after surgery; or its
    plans: pre-op | no plan | plan 1 | plan 2; or the live preview beside the scan.

    Views are linked among themselves only. The tumour is outlined in the pre-op view, the predicted cavity in the
    predicted views (with the plan and the residual tumour in those of plans), each precedent's own tumour and cavity in
    its two views. ``reset()`` brings the previous layout back
    and takes away everything that ``show()`` added. The same happens by itself when the scene is closed, when the
    pre-op scan or the prediction is removed from it, and when the user chooses another layout (which then stays).
    When the nodes are moved between MNI and patient space the views follow.
    While nothing is shown every method but ``show`` does nothing.

    Example::

        compareView = CompareView()
        compareView.show(predictionNodes)       # with the most similar precedent
        compareView.setPrecedents([1, 3])       # two precedents
        compareView.setReveal(0.5)              # half faded to the pre-op scan
        compareView.showPlans(predictionNodes, ["before", 0, 1, 2])
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
        self._views: CompareViews | None = None
        self._nodes: PredictionNodes | None = None
        self._ranks: tuple[int, ...] = ()
        self._columns: tuple[Column, ...] = ()
        self._contents: CompareContents | None = None
        self._observers: list[tuple[Any, int]] = []
        self._whenChanged = whenChanged or (lambda: None)

    @property
    def isShown(self) -> bool:
        """Whether the compare layout is on, put there by this object."""
        return self._views is not None

    @property
    def precedents(self) -> tuple[int, ...]:
        """Ranks of the precedents now shown, from left to right."""
        return self._ranks

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the comparison of plans that is shown; empty while another one is, or none."""
        return self._columns

    @property
    def reveal(self) -> float:
        """How much of the pre-op scan lies over the predictions, 0 to 1."""
        return self._views.reveal if self._views is not None else 0.0

    def show(self, nodes: PredictionNodes, precedents: Sequence[int] | None = None) -> None:
        """Show ``nodes`` with the precedents of these ranks (None: the most similar one, if there is any).

        Raises ``RuntimeError`` where Slicer runs without a main window, ``ValueError`` for a rank that is not there or
        nodes that are no longer in the scene; the layout is then as it was.
        """
        if precedents is None:
            precedents = [one.rank for one in nodes.precedents[:1]]
        layoutManager = self._layoutManagerNow()
        _checkNodes(nodes.preop, nodes.postop)
        ranks = _checkedRanks(nodes, precedents)
        self._show(layoutManager, precedentScreen(nodes, ranks))
        self._nodes, self._ranks = nodes, ranks
        self._whenChanged()

    def showPlans(self, nodes: PredictionNodes, columns: Sequence[Column] | None = None) -> None:
        """Show plans side by side: "before", 0 for no plan, and numbers of plans, at most four (None: the first four).

        While plans are compared the plane that is looked at is kept. Raises as ``show`` does.
        """
        layoutManager = self._layoutManagerNow()
        _checkNodes(nodes.preop, nodes.postop)
        chosen = checkedColumns(nodes, columns)
        keeps = bool(self._columns) and self._nodes is nodes
        self._show(layoutManager, planScreen(nodes, chosen), keeps)
        self._nodes, self._columns = nodes, chosen
        self._whenChanged()

    def showLive(self, live: LiveNodes) -> None:
        """Show the live preview beside the scan. Raises as ``show`` does."""
        layoutManager = self._layoutManagerNow()
        _checkNodes(live.preop, live.postop)
        self._show(layoutManager, liveScreen(live))
        self._whenChanged()

    def setPrecedents(self, ranks: Sequence[int]) -> None:
        """Show the precedents of these ranks, in this order, and keep the plane that is being looked at.

        Nothing happens while plans or the live preview are shown. Raises ``ValueError`` for a rank that the prediction
        does not have.
        """
        if self._nodes is None or self._columns:
            return
        nodes, ranks = self._nodes, _checkedRanks(self._nodes, ranks)
        self._show(self._layoutManagerNow(), precedentScreen(nodes, ranks), keeps=True)
        self._nodes, self._ranks = nodes, ranks
        self._whenChanged()

    def setReveal(self, opacity: float) -> None:
        """Fade the pre-op scan over the predictions: 0 shows the prediction alone, 1 the pre-op scan alone."""
        if self._views is not None:
            self._views.setReveal(opacity)

    def setOrientation(self, orientation: str) -> None:
        """Turn all views: "Axial", "Coronal" or "Sagittal". Raises ``ValueError`` for another word."""
        if orientation not in ORIENTATIONS:
            raise ValueError(
                _("The orientation '{name}' is not one of {known}.").format(
                    name=orientation, known=", ".join(ORIENTATIONS)
                )
            )
        if self._views is not None:
            self._views.setOrientation(orientation)
            self._views.fit()

    def fit(self) -> None:
        """Look at the plane that cuts most of the tumour (without one: of the cavity), the whole brain in view."""
        if self._views is not None:
            self._views.fit()

    def reset(self) -> None:
        """Leave: the layout as it was before ``show``, and nothing of ours in the scene. May be called at any time."""
        if self._views is None:
            return
        views, self._views = self._views, None
        self._forgetWhatIsShown()
        for subject, observer in self._observers:
            subject.RemoveObserver(observer)
        self._observers = []
        self._dropContents()
        views.leave()
        self._whenChanged()

    def sliceOffsetMm(self) -> float | None:
        """Where the axial plane lies that is looked at, RAS z in mm; None while nothing or another plane is shown."""
        if self._views is None:
            return None
        node = self._views.firstNode
        return float(node.GetSliceToRAS().GetElement(2, 3)) if node.GetOrientation() == ORIENTATIONS[0] else None

    def _layoutManagerNow(self) -> Any:
        if self._views is not None:
            return self._views.layoutManager
        layoutManager = self._givenLayoutManager or slicer.app.layoutManager()
        if layoutManager is None:
            raise RuntimeError(_("The compare view needs Slicer's main window, and Slicer runs without one."))
        return layoutManager

    def _show(self, layoutManager: Any, screen: CompareScreen, keeps: bool = False) -> None:
        """Bring up ``screen``; ``keeps``: reveal and plane stay as they are."""
        kept = (self._views.reveal, self._views.sliceToRas) if keeps and self._views is not None else None
        if self._views is not None:
            self._arrange(self._views, screen)
        else:
            self._begin(layoutManager, screen)
        if kept is None:
            self._whenLaidOut(self.fit)
        else:
            self.setReveal(kept[0])
            self._whenLaidOut(lambda: self._fitIn(kept[1]))

    def _begin(self, layoutManager: Any, screen: CompareScreen) -> None:
        self._views = views = CompareViews(layoutManager)
        self._observe(views.scene, views.scene.StartCloseEvent, self._onSceneStartClose)
        self._observe(views.scene, views.scene.NodeRemovedEvent, self._onNodeRemoved)
        self._arrange(views, screen)
        self._observe(views.layoutNode, vtk.vtkCommand.ModifiedEvent, self._onLayoutModified)

    def _observe(self, subject: Any, event: Any, react: Callable[..., None]) -> None:
        self._observers.append((subject, subject.AddObserver(event, react, _AFTER_EVERYBODY_ELSE)))

    def _onSceneStartClose(self, *_args: Any) -> None:
        # At the end of closing it would be too late: the layout logic brings back the layout that was on at its start.
        self.reset()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _scene: Any, _event: str, node: Any) -> None:
        screen = self._views.screen if self._views is not None else None
        if screen is not None and node in screen.needed:
            self.reset()

    def _onLayoutModified(self, *_args: Any) -> None:
        if self._views is not None and self._views.areLeft:
            self._afterLayout(self._resetIfLeft)

    def _resetIfLeft(self) -> None:
        if self._views is not None and self._views.areLeft:
            self.reset()

    def _arrange(self, views: CompareViews, screen: CompareScreen) -> None:
        """Bring up the layout of ``screen`` and fill it; where that fails, everything is as before ``show``."""
        self._dropContents()
        self._forgetWhatIsShown()
        try:
            views.switchTo(screen)
            self._contents = CompareContents(views.layoutManager, views.scene, screen)
            self._contents.fill(lambda: self._afterLayout(self.fit))
        except BaseException:
            self.reset()
            raise

    def _forgetWhatIsShown(self) -> None:
        self._nodes, self._ranks, self._columns = None, (), ()

    def _dropContents(self) -> None:
        if self._contents is not None:
            self._contents.remove()
            self._contents = None

    def _fitIn(self, sliceToRas: np.ndarray) -> None:
        if self._views is not None:
            self._views.fitIn(sliceToRas)

    def _whenLaidOut(self, action: Callable[[], None]) -> None:
        """Now, for scripts that go on at once, and again when Qt has given the views their size."""
        action()
        self._afterLayout(action)


def _checkNodes(*nodes: Any) -> None:
    if not all(isThere(node) for node in nodes):
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


def _afterPendingEvents(action: Callable[[], None]) -> None:
    import qt

    qt.QTimer.singleShot(0, action)
