"""The panel of the module: joins the parts in ``panels`` with the logic, the scene and the module's life."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget

from .CompareOutlines import freeSavedDisplays
from .CompareView import CompareView
from .Errors import PredictionError
from .Installation import Installer, SlicerInstaller
from .Logic import PostOpPredictorLogic
from .panels.DevicePanel import DevicePanel, troubleText
from .panels.FoldersPanel import FoldersPanel
from .panels.InputsPanel import InputsPanel
from .panels.MessagePanel import MessagePanel, Offer
from .panels.OptionsPanel import OptionsPanel
from .panels.ResultsPanel import ResultsPanel
from .panels.RunPanel import RunPanel
from .panels.SetUpPanel import SetUpPanel
from .PredictionRun import RunCallbacks
from .ResultAttributes import ROLE
from .Settings import PredictionSettings

_NO_FAILURE = frozenset({"cancelled", "scene_closed"})
_SECTION_BY_CODE = {
    "missing_package": "setUpCollapsibleButton",
    "no_backend": "setUpCollapsibleButton",
    "no_weights": "modelCollapsibleButton",
    "bad_weights": "modelCollapsibleButton",
    "bad_library": "modelCollapsibleButton",
}


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
        self._run: Any = None
        self._examination: Any = None
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
        self._stopExamination()
        self.logic.cleanup()
        self.compareView.reset()
        self.setParameterNode(None)
        self.removeObservers()
        inner = (self.inputsPanel, self.setUpPanel, self.foldersPanel, self.runPanel)
        for panel in (*inner, self.whatIfPanel, self.resultsPanel):
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
        self.setUpPanel = SetUpPanel(ui, self._installer, self.messages, self._onSetUpChanged, self._examine)
        self.foldersPanel = FoldersPanel(ui, self.messages, self._onFoldersChanged, self._makeDemonstrationLibrary)
        self.devicePanel = DevicePanel(ui, self._examine)
        self.runPanel = RunPanel(ui, self._predict, self._cancel)
        self._maps = MapOverlay()
        self.whyPanel = WhyPanel(ui, self._maps, self._predictAgain, lambda: self.resultsPanel.precedentsSelected())
        self.howSurePanel = HowSurePanel(ui, self._maps, self._predictAgain)
        self.livePreview = (self._livePreviewFactory or LivePreview)(
            lambda: self.compareView.sliceOffsetMm(), self._onLiveChanged
        )
        inputs, settings = self.inputsPanel.inputs, self.optionsPanel.settings
        self.whatIfPanel: Any = None
        self.whatIfPanel = WhatIfPanel(
            ui, self.compareView, self.livePreview, self.messages, inputs, settings, self._start
        )
        self.timePanel = TimePanel(ui, settings, self._start)
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

    def _onLiveChanged(self) -> None:
        if self.whatIfPanel is not None:
            self.whatIfPanel.liveChanged()

    def _onSetUpChanged(self) -> None:
        self.foldersPanel.update()
        self._lock()
        self._updateReason()

    def _onFoldersChanged(self) -> None:
        self.setUpPanel.examine()
        self._updateReason()

    def _updateReason(self, *_args: Any) -> None:
        reason = self._reason()
        self.runPanel.setReason(reason)
        again = _("A prediction is running.") if self._run is not None else reason
        for panel in (self.whyPanel, self.howSurePanel, self.timePanel):
            panel.setReason(again)
        self.whatIfPanel.setReason(again, reason)

    def _reason(self) -> str:
        return self.setUpPanel.reason() or self.inputsPanel.reason()

    def _predict(self) -> None:
        self._start(self.optionsPanel.settings())

    def _predictAgain(self) -> None:
        """The user changed something about the prediction that is shown, and wants to see it."""
        if self._run is None and not self._reason():
            self._predict()

    def _start(self, settings: PredictionSettings) -> None:
        inputs = self.inputsPanel.inputs()
        callbacks = self._callbacks(self._onPredicted)
        self._begin(lambda: self.logic.startPrediction(inputs, settings, callbacks))

    def _makeDemonstrationLibrary(self) -> None:
        callbacks = self._callbacks(self._onLibraryMade)
        self._begin(lambda: self.logic.makeDemonstrationLibrary(callbacks))

    def _begin(self, start: Callable[[], Any]) -> None:
        self._stopExamination()
        self.messages.clear()
        self.runPanel.started()
        try:
            self._run = start()
        except PredictionError as error:
            self._onFailed(error)
        self._lock()

    def _callbacks(self, finished: Callable[[Any], None]) -> RunCallbacks:
        panel = self.runPanel
        return RunCallbacks(panel.stage, panel.progress, panel.log, finished, self._onFailed)

    def _cancel(self) -> None:
        if self._run is not None:
            self.runPanel.cancelling()
            self._run.cancel()

    def _onPredicted(self, nodes: Any) -> None:
        self._ended()
        self.resultsPanel.refresh(prefer=nodes)
        self.ui.resultsCollapsibleButton.collapsed = False
        self.ui.whyCollapsibleButton.collapsed = False
        others = nodes.warnings[1:] if nodes.summary.get("no_similar_case") else nodes.warnings
        if others:
            self.messages.show("warning", " ".join(others))

    def _onLibraryMade(self, _result: Mapping[str, Any]) -> None:
        self._ended()
        self.setUpPanel.examine()
        self.foldersPanel.examine()

    def _onFailed(self, error: PredictionError) -> None:
        self._ended()
        kind = "note" if error.code in _NO_FAILURE else "error"
        self.messages.show(kind, error.message, error.logTail, self._offers(error))

    def _ended(self) -> None:
        self._run = None
        self.runPanel.ended()
        self._lock()

    def _lock(self) -> None:
        isRunning = self._run is not None
        self.foldersPanel.setLocked(isRunning or self.setUpPanel.isBusy)
        self.devicePanel.setLocked(isRunning or self.setUpPanel.isBusy or self._examination is not None)
        self._updateReason()

    def _offers(self, error: PredictionError) -> list[Offer]:
        """What the user may agree to; nothing of it happens without a click."""
        offers: list[Offer] = []
        for proposal in error.proposals:
            text = _("Try again: {proposal}").format(proposal=proposal.label)
            offers.append((text, lambda settings=proposal.settings: self._retry(settings)))
        if self.whyPanel.handChoice.isMade():
            offers.append((_("Back to automatic choice of the case"), self._predictAutomatically))
        section = getattr(self.ui, _SECTION_BY_CODE.get(error.code, ""), None)
        if section is not None:
            text = _("Open '{section}'").format(section=section.text)
            offers.append((text, lambda: setattr(section, "collapsed", False)))
        return offers

    def _retry(self, settings: PredictionSettings) -> None:
        reason = self._reason()
        if reason:
            self.messages.show("error", reason)
        elif self._run is None:
            self.optionsPanel.adopt(settings)
            self._start(settings)

    def _predictAutomatically(self) -> None:
        self.whyPanel.handChoice.takeBack()
        self._predictAgain()

    def _examine(self) -> None:
        if self._run is not None or self._examination is not None:
            return
        callbacks = RunCallbacks(finished=self._onExamined, failed=self._onExaminationFailed)
        try:
            self._examination = self.logic.runDoctor(callbacks)
        except PredictionError as error:
            self.devicePanel.failed(error.message)
            return
        self.devicePanel.examining()
        self._lock()

    def _onExamined(self, result: Mapping[str, Any]) -> None:
        self._examination = None
        self.devicePanel.show(result)
        troubles = [troubleText(one) for one in result.get("findings", []) if one["state"] == "problem"]
        if troubles:
            self.messages.show("error", "\n".join(troubles))
        self._lock()

    def _onExaminationFailed(self, error: PredictionError) -> None:
        self._examination = None
        self.devicePanel.failed(error.message)
        self._lock()

    def _stopExamination(self) -> None:
        """A prediction does not wait for the examination."""
        if self._examination is not None:
            self._examination.stop(PredictionError("cancelled", _("The examination was interrupted.")))


def _firstOfTheUser(className: str) -> Any:
    """The scene's first node of exactly this class that is not a result of ours."""
    nodes = slicer.util.getNodesByClass(className)
    return next((node for node in nodes if node.GetClassName() == className and not node.GetAttribute(ROLE)), None)
