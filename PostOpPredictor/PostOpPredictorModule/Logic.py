"""The module's logic: predictions as nodes, for the panel and for scripts."""

from __future__ import annotations

import atexit
import concurrent.futures
import uuid
import weakref
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .Errors import PredictionError
from .InputExport import exportInputs
from .InputWatch import InputWatch
from .PlanExport import exportPlans
from .PredictionRun import PredictionRun, RunCallbacks
from .ResultFiles import ResultFiles, readResult
from .ResultImport import ResultImport
from .ResultNodes import PredictionNodes, findResults, removeRun, showInSpace
from .Settings import PredictionInputs, PredictionSettings
from .Timers import TimerFactory
from .WindowLevel import GreyWindow
from .WorkingFolder import makeWorkingFolder, removeWorkingFolder

if TYPE_CHECKING:
    from .ParameterNode import PostOpPredictorParameterNode


class PostOpPredictorLogic(ScriptedLoadableModuleLogic):
    """Predicts in a separate process and adds what comes back to the scene. One run at a time.

    ``timer`` makes what polls the process (see ``Timers``); Qt's timer in Slicer when left out.
    """

    def __init__(self, timer: TimerFactory | None = None) -> None:
        super().__init__()
        self._timer = timer
        self._run: PredictionRun | None = None
        self._closeObservation: tuple[slicer.vtkMRMLScene, int] | None = None
        # Weakly, so that Python's exit list does not keep the logic of a reloaded module alive.
        itself = weakref.ref(self)
        self._atExit = lambda: (logic := itself()) is not None and logic.cleanup()
        atexit.register(self._atExit)

    def getParameterNode(self) -> PostOpPredictorParameterNode:
        """The parameters of the module in the scene, wrapped."""
        from .ParameterNode import PostOpPredictorParameterNode

        return PostOpPredictorParameterNode(super().getParameterNode())

    @property
    def currentRun(self) -> PredictionRun | None:
        """The run that goes on now."""
        return self._run

    def predict(
        self,
        volume: slicer.vtkMRMLScalarVolumeNode,
        segmentation: slicer.vtkMRMLSegmentationNode | slicer.vtkMRMLLabelMapVolumeNode,
        segmentIds: Sequence[str] = (),
        *,
        brainSegmentation: slicer.vtkMRMLSegmentationNode | None = None,
        brainSegmentId: str = "",
        settings: PredictionSettings | None = None,
        waitForCompletion: bool = True,
        callbacks: RunCallbacks | None = None,
    ) -> PredictionNodes | PredictionRun:
        """Predict the post-operative scan of one patient.

        ``volume``: T1-weighted scan before surgery. ``segmentation``: the tumour; ``segmentIds``: the segments to be
        resected (of a label map: its labels as text), when empty those that the panel would tick: the tumour core
        without oedema, by their names. The inputs are not changed. Raises ``PredictionError``, also when nothing could
        be started; what goes wrong later comes to ``callbacks.failed`` when not waiting.

        Waiting for the nodes:

        >>> from PostOpPredictor import PostOpPredictorLogic, PredictionSettings, RunCallbacks
        >>> logic = PostOpPredictorLogic()
        >>> volume = slicer.util.getNode("T1")
        >>> tumour = slicer.util.getNode("Tumour")
        >>> nodes = logic.predict(volume, tumour, settings=PredictionSettings(precedents=1))
        >>> nodes.postop.GetAttribute("PostOpPredictor.Synthetic")
        '1'
        >>> sorted(name for name in nodes.summary if name.endswith("_ml"))
        ['cavity_ml', 'residual_ml', 'tumour_ml']
        >>> logic.removeResults(nodes)

        Going on at once; the callbacks come from the main thread while the application's event loop runs:

        >>> run = logic.predict(
        ...     volume,
        ...     tumour,
        ...     waitForCompletion=False,
        ...     callbacks=RunCallbacks(failed=lambda error: print(error.code)),
        ... )
        >>> run.isRunning
        True
        >>> run.cancel()
        >>> while run.isRunning:
        ...     run.poll()  # in Slicer a timer does this
        cancelled
        """
        inputs = PredictionInputs(volume, segmentation, tuple(segmentIds), brainSegmentation, brainSegmentId)
        run = self.startPrediction(inputs, settings or PredictionSettings(), callbacks or RunCallbacks())
        return run.wait() if waitForCompletion else run

    def startPrediction(
        self, inputs: PredictionInputs, settings: PredictionSettings, callbacks: RunCallbacks
    ) -> PredictionRun:
        """Export the inputs and start the backend; the result is added to the scene when it is there.

        Raises ``PredictionError``: "busy", or what is wrong with the inputs. A scene that is closed meanwhile stops the
        run ("scene_closed"). Inputs that are edited or removed meanwhile do not: the prediction shows what was
        exported, and a warning says so (the work of minutes is not thrown away; ``source`` is None if it is gone).
        """
        self._refuseSecondRun()
        scene = slicer.mrmlScene
        folder = makeWorkingFolder()
        try:
            files = exportInputs(inputs, folder)
            plans = exportPlans(settings.plans, settings.structures, inputs.volume, folder)
            watch = InputWatch(inputs)
        except BaseException:
            removeWorkingFolder(folder)
            raise
        options = {
            **settings.asJobOptions(),
            **files.asJobOptions(),
            **plans.asJobOptions(),
            "out": str(folder / "prediction"),
        }
        run = self._start(
            folder,
            "predict",
            options,
            lambda message: _addedToScene(scene, message, folder, watch),
            callbacks,
            settings=settings,
            shownAs={**files.shownAs, **plans.shownAs},
        )
        # Examining the computer and making a library have nothing to do with the scene.
        self._closeObservation = (scene, scene.AddObserver(scene.StartCloseEvent, self._onSceneCloses))
        return run

    def runDoctor(self, callbacks: RunCallbacks) -> PredictionRun:
        """Let the backend examine the computer; the run's result is ``{"well": bool, "findings": [...]}``."""
        self._refuseSecondRun()
        return self._start(makeWorkingFolder(), "doctor", {}, _unchanged, callbacks)

    def makeDemonstrationLibrary(self, callbacks: RunCallbacks) -> PredictionRun:
        """Simulate the patients of the demonstration library now; the run's result names folder and number of cases."""
        self._refuseSecondRun()
        return self._start(makeWorkingFolder(), "demonstration_library", {}, _unchanged, callbacks)

    def results(self) -> list[PredictionNodes]:
        """The predictions that are in the scene now, newest first."""
        return findResults(slicer.mrmlScene)

    def removeResults(self, nodes: PredictionNodes | None = None) -> None:
        """Remove one prediction, or all of them, with all that was added with it."""
        for one in self.results() if nodes is None else [nodes]:
            removeRun(slicer.mrmlScene, one.runId)

    def showInSpace(self, nodes: PredictionNodes, space: str) -> None:
        """Show a prediction where the patient lies in the scene ("patient") or in MNI space ("mni")."""
        showInSpace(nodes, space)

    def cleanup(self) -> None:
        """Stop what runs and let go of the scene; called when the module is reloaded and when Slicer exits."""
        if self._run is not None:
            sentence = _("The prediction was stopped, because the module was closed.")
            self._run.stop(PredictionError("cancelled", sentence))
        self._stopWatchingScene()
        atexit.unregister(self._atExit)

    def _refuseSecondRun(self) -> None:
        if self._run is not None:
            raise PredictionError("busy", _("A prediction is running already. Wait for it, or cancel it first."))

    def _start(self, folder: Path, *job: Any, **more: Any) -> PredictionRun:
        self._run = PredictionRun(folder, *job, ended=self._onEnded, timer=self._timer, **more)
        return self._run

    def _onEnded(self, _run: PredictionRun) -> None:
        self._run = None
        self._stopWatchingScene()

    def _onSceneCloses(self, *_arguments: Any) -> None:
        if self._run is not None:
            sentence = _("The scene was closed, so the prediction was stopped. Nothing was added.")
            self._run.stop(PredictionError("scene_closed", sentence))

    def _stopWatchingScene(self) -> None:
        if self._closeObservation is not None:
            scene, tag = self._closeObservation
            scene.RemoveObserver(tag)
            self._closeObservation = None


def _addedToScene(
    scene: slicer.vtkMRMLScene, message: dict[str, Any], folder: Path, watch: InputWatch
) -> Generator[None, None, PredictionNodes]:
    """Read the files in ``folder`` in a thread, and remove them there; then add the nodes."""
    files = yield from _readInThread(message, folder)
    warnings = [*_warningsOf(message), *watch.warnings()]
    source = watch.volume()
    steps = ResultImport(scene, files, uuid.uuid4().hex, source, GreyWindow.ofNode(source), warnings).steps()
    return (yield from steps)


def _readAndRemoved(message: dict[str, Any], folder: Path) -> ResultFiles:
    """The system takes a while to remove hundreds of megabytes; the panel has to be usable meanwhile."""
    files = readResult(message)
    removeWorkingFolder(folder)
    return files


def _readInThread(message: dict[str, Any], folder: Path) -> Generator[None, None, ResultFiles]:
    reader = concurrent.futures.ThreadPoolExecutor(1, "PostOpPredictor reading")
    try:
        reading = reader.submit(_readAndRemoved, message, folder)
        while not reading.done():
            concurrent.futures.wait([reading], timeout=0.005)
            yield
        return reading.result()
    finally:
        # Waits, because the folder that is read from is removed next.
        reader.shutdown(wait=True)


def _warningsOf(message: dict[str, Any]) -> list[str]:
    if not message.get("no_similar_case"):
        return []
    return [
        _(
            "No similar case: no operated patient of the library had a tumour like this one. "
            "The prediction follows no example; read it with more doubt."
        )
    ]


def _unchanged(message: dict[str, Any]) -> Generator[None, None, dict[str, Any]]:
    yield
    return message
