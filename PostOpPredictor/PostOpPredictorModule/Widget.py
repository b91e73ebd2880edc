"""The panel of the module: joins the parts in ``panels`` with the logic, the scene and the module's life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget

from .CompareOutlines import freeSavedDisplays
from .CompareView import CompareView
from .Installation import Installer, SlicerInstaller
from .Logic import PostOpPredictorLogic
from .panels.FoldersPanel import FoldersPanel
from .panels.InputsPanel import InputsPanel
from .panels.MessagePanel import MessagePanel
from .panels.OptionsPanel import OptionsPanel
from .panels.ResultsPanel import ResultsPanel
from .panels.Runs import Runs
from .panels.SetUpPanel import SetUpPanel
from .ResultAttributes import ROLE


class PostOpPredictorWidget(ScriptedLoadableModuleWidget, slicer.util.VTKObservationMixin):
    """One prediction at a time; the panel stays usable while it runs, also from other modules.

    A second click on the button cancels. Closing the scene stops a prediction; reloading the module and leaving
    Slicer stop every run. ``logicFactory``, ``compareViewFactory``, ``installer`` and
    ``livePreviewFactory`` are for tests.
    """

    def __init__(
        self,
        parent: Any = None,
        *,
        logicFactory: Callable[[], Any] = PostOpPredictorLogic,
        compareViewFactory: Callable[..., Any] = CompareView,
        installer: Installer | None = None,
        livePreviewFactory: Callable[..., Any] | None = None,
    ) -> None:
        self._logicFactory, self._compareViewFactory = logicFactory, compareViewFactory
        self._livePreviewFactory = livePreviewFactory
        self._installer = installer or SlicerInstaller()
        self._parameterNode: Any = None
        self._guiTag: Any = None
        self.logic: Any = None
        # Without a parent this calls setup() already; it initializes the observation mixin too.
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Load the .ui and connect everything; nothing is installed, downloaded or started."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PostOpPredictor.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        for name, section in (
            ("Why", self.ui.whyCollapsibleButton),
            ("HowSure", self.ui.howSureCollapsibleButton),
            ("WhatIf", self.ui.whatIfCollapsibleButton),
            ("ThroughTime", self.ui.timeCollapsibleButton),
        ):
            section.layout().addWidget(slicer.util.loadUI(self.resourcePath(f"UI/{name}.ui")))
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        for widget in (uiWidget, self.ui.WhatIf):
            widget.setMRMLScene(slicer.mrmlScene)
        self.logic = self._logicFactory()
        self.compareView = self._compareViewFactory(whenChanged=self._onCompareChanged)
        self._makePanels()
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self._onSceneImported)
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        self._freeSavedDisplays()
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """The module is reloaded, or Slicer ends: stop what runs and let go of everything."""
        self.runs.stopExamination()
        self.logic.cleanup()
        self.compareView.reset()
        self.setParameterNode(None)
        self.removeObservers()
        inner = (self.inputsPanel, self.setUpPanel, self.foldersPanel)
        for panel in (*inner, self.runs, self.whatIfPanel, self.whyPanel, self.resultsPanel):
            panel.cleanup()

    def enter(self) -> None:
        """The user opens the module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """The user opens another module: a run goes on, but the panel follows the scene no more."""
        self._disconnectGui()

    def onSceneStartClose(self, caller: Any = None, event: Any = None) -> None:
        """The scene is about to be closed, and the parameter node with it; the logic stops a prediction by itself."""
        self.compareView.reset()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any = None, event: Any = None) -> None:
        """The scene is empty now; a panel that is shown needs a parameter node again."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Take the scene's parameter node, and choose scan and segmentation where nothing is chosen yet."""
        parameters = self.logic.getParameterNode()
        for name, className in (("inputVolume", "vtkMRMLScalarVolumeNode"), ("tumour", "vtkMRMLSegmentationNode")):
            node = _firstOfTheUser(className)
            if getattr(parameters, name) is None and node is not None:
                setattr(parameters, name, node)
        self.setParameterNode(parameters)

    def setParameterNode(self, parameters: Any) -> None:
        """Show and follow another parameter node, or none."""
        self._disconnectGui()
        self._parameterNode = parameters
        if parameters is not None:
            self._guiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        for panel in self._panelsOfParameters():
            panel.setParameterNode(parameters)
        self._updateReason()

    def _makePanels(self) -> None:
        # Not at the top: Slicer imports this file when it starts, and every module of ours adds to that.
        from .LivePreview import LivePreview
        from .MapOverlay import MapOverlay
        from .panels.HowSurePanel import HowSurePanel
        from .panels.TimePanel import TimePanel
        from .panels.WhatIfPanel import WhatIfPanel
        from .panels.WhyPanel import WhyPanel

        ui = self.ui
        self.messages = MessagePanel(ui)
        self.inputsPanel = InputsPanel(ui, self._updateReason)
        self.optionsPanel = OptionsPanel(ui)
        self.runs = runs = Runs(
            ui,
            self.logic,
            self.messages,
            self.inputsPanel,
            self.optionsPanel,
            reason=self._reason,
            handChoice=lambda: self.whyPanel.handChoice,
            changed=self._lock,
            predicted=self._onPredicted,
            libraryMade=self._onLibraryMade,
        )
        self.setUpPanel = SetUpPanel(ui, self._installer, self.messages, self._onSetUpChanged, runs.examine)
        self.foldersPanel = FoldersPanel(ui, self.messages, self._onFoldersChanged, runs.makeDemonstrationLibrary)
        self._maps = MapOverlay()
        self.whyPanel = WhyPanel(ui, self._maps, runs.predictAgain, lambda: self.resultsPanel.precedentsSelected())
        self.howSurePanel = HowSurePanel(ui, self._maps, runs.predictAgain)
        self.livePreview = (self._livePreviewFactory or LivePreview)(
            self.compareView.sliceOffsetMm, lambda: self.whatIfPanel.liveChanged()
        )
        inputs, settings = self.inputsPanel.inputs, self.optionsPanel.settings
        self.whatIfPanel = WhatIfPanel(
            ui, self.compareView, self.livePreview, self.messages, inputs, settings, runs.start
        )
        self.timePanel = TimePanel(ui, settings, runs.start)
        self.resultsPanel = ResultsPanel(
            ui,
            self.logic,
            self.compareView,
            self.messages,
            self.messages.clear,
            self._maps,
            (self.whyPanel, self.howSurePanel, self.whatIfPanel, self.timePanel),
            self.whyPanel.ranks,
            self.whyPanel.placed,
        )

    def _panelsOfParameters(self) -> tuple[Any, ...]:
        inner = (self.inputsPanel, self.optionsPanel, self.setUpPanel, self.foldersPanel)
        return (*inner, self.whatIfPanel, self.timePanel, self.whyPanel, self.howSurePanel, self.resultsPanel)

    def _disconnectGui(self) -> None:
        if self._parameterNode is not None and self._guiTag is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            node = self._parameterNode.parameterNode
            self.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        self._guiTag = None

    def _onParametersModified(self, caller: Any = None, event: Any = None) -> None:
        for panel in self._panelsOfParameters():
            if panel is not self.setUpPanel:
                panel.update()
        self._updateReason()

    def _onSceneImported(self, caller: Any = None, event: Any = None) -> None:
        """Results may have come with the scene."""
        self._freeSavedDisplays()
        if self._parameterNode is not None:
            self.resultsPanel.refresh()

    def _freeSavedDisplays(self) -> None:
        if not self.compareView.isShown:
            freeSavedDisplays(slicer.mrmlScene)

    def _onNodeRemoved(self, caller: Any = None, event: Any = None) -> None:
        """The user may have removed the result that is shown."""
        if self._maps.volume is not None and self._maps.volume.GetScene() is None:
            self._maps.remove()
        nodes = self.resultsPanel.nodes
        if nodes is not None and nodes.postop.GetScene() is None:
            self.resultsPanel.refresh()

    def _onCompareChanged(self) -> None:
        self.resultsPanel.compareChanged()

    def _onSetUpChanged(self) -> None:
        self.foldersPanel.update()
        self._lock()
        self._updateReason()

    def _onFoldersChanged(self) -> None:
        self.setUpPanel.examine()
        self._updateReason()

    def _updateReason(self, *_args: Any) -> None:
        reason = self._reason()
        self.runs.runPanel.setReason(reason)
        again = _("A prediction is running.") if self.runs.isRunning else reason
        for panel in (self.whyPanel, self.howSurePanel, self.timePanel):
            panel.setReason(again)
        self.whatIfPanel.setReason(again, reason)

    def _reason(self) -> str:
        return self.setUpPanel.reason() or self.inputsPanel.reason()

    def _onPredicted(self, nodes: Any) -> None:
        self.resultsPanel.refresh(prefer=nodes)
        self.ui.resultsCollapsibleButton.collapsed = False
        self.ui.whyCollapsibleButton.collapsed = False
        others = nodes.warnings[1:] if nodes.summary.get("no_similar_case") else nodes.warnings
        if others:
            self.messages.show("warning", " ".join(others))

    def _onLibraryMade(self) -> None:
        self.setUpPanel.examine()
        self.foldersPanel.examine()

    def _lock(self) -> None:
        isBusy = self.runs.isRunning or self.setUpPanel.isBusy
        self.foldersPanel.setLocked(isBusy)
        self.runs.devicePanel.setLocked(isBusy or self.runs.isExamining)
        self._updateReason()


def _firstOfTheUser(className: str) -> Any:
    """The scene's first node of exactly this class that is not a result of ours."""
    nodes = slicer.util.getNodesByClass(className)
    return next((node for node in nodes if node.GetClassName() == className and not node.GetAttribute(ROLE)), None)
