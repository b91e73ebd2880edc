"""What stands for the logic, the compare view and the installer where a test needs to say how they behave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

SUMMARY = {
    "no_similar_case": False,
    "precedent_iou": 0.4321,
    "tumour_ml": 31.4,
    "cavity_ml": 36.25,
    "residual_ml": 1.84,
    "eor_percent": 94.2,
}


class FakeRun:
    """A run that goes on until the test ends it through ``callbacks``."""

    def __init__(self, logic: FakeLogic, callbacks: Any) -> None:
        self._logic, self.callbacks = logic, callbacks
        self.isRunning, self.cancels = True, 0

    def cancel(self) -> None:
        self.cancels += 1

    def stop(self, error: Any) -> None:
        if self.isRunning:
            self.fail(error)

    def finish(self, result: Any) -> None:
        self._over()
        self.callbacks.finished(result)

    def fail(self, error: Any) -> None:
        self._over()
        self.callbacks.failed(error)

    def _over(self) -> None:
        self.isRunning = False
        self._logic.currentRun = None


class FakeLogic(ScriptedLoadableModuleLogic):
    """Records what the panel asks for. ``refusal``: raised in the place of the next start.

    ``immovable``: raised when a result is to be moved.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moduleName = "PostOpPredictor"
        self.currentRun: FakeRun | None = None
        self.starts: list[tuple[Any, Any]] = []
        self.runs: list[FakeRun] = []
        self.inScene: list[Any] = []
        self.spaces: list[tuple[Any, str]] = []
        self.refusal: Exception | None = None
        self.immovable: Exception | None = None
        self.cleanups = 0

    def getParameterNode(self) -> Any:
        from PostOpPredictorModule.ParameterNode import PostOpPredictorParameterNode

        return PostOpPredictorParameterNode(super().getParameterNode())

    def startPrediction(self, inputs: Any, settings: Any, callbacks: Any) -> FakeRun:
        if self.refusal is not None:
            raise self.refusal
        self.starts.append((inputs, settings))
        return self._begun(callbacks)

    def runDoctor(self, callbacks: Any) -> FakeRun:
        return self._begun(callbacks)

    def makeDemonstrationLibrary(self, callbacks: Any) -> FakeRun:
        return self._begun(callbacks)

    def results(self) -> list[Any]:
        return [one for one in self.inScene if one.postop.GetScene() is not None]

    def removeResults(self, nodes: Any = None) -> None:
        for one in list(self.inScene) if nodes is None else [nodes]:
            self.inScene.remove(one)
            slicer.mrmlScene.RemoveNode(one.postop)

    def showInSpace(self, nodes: Any, space: str) -> None:
        if self.immovable is not None:
            raise self.immovable
        self.spaces.append((nodes, space))
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode") if space == "patient" else None
        nodes.postop.SetAndObserveTransformNodeID(transform.GetID() if transform is not None else None)

    def cleanup(self) -> None:
        self.cleanups += 1

    def _begun(self, callbacks: Any) -> FakeRun:
        assert self.currentRun is None, "the panel started a second run"
        self.currentRun = FakeRun(self, callbacks)
        self.runs.append(self.currentRun)
        return self.currentRun


class FakeCompareView:
    """Records what it is asked to show."""

    def __init__(self) -> None:
        self.isShown = False
        self.columns: tuple[Any, ...] = ()
        self.calls: list[tuple[Any, ...]] = []
        self.problem: Exception | None = None
        self.whenChanged: Callable[[], None] = lambda: None

    def made(self, whenChanged: Callable[[], None]) -> FakeCompareView:
        """What the panel's factory returns."""
        self.whenChanged = whenChanged
        return self

    def show(self, nodes: Any, precedents: Any = None) -> None:
        if self.problem is not None:
            raise self.problem
        self.isShown = True
        self.calls.append(("show", nodes, list(precedents)))

    def showPlans(self, nodes: Any, columns: Any = None) -> None:
        if self.problem is not None:
            raise self.problem
        self.isShown, self.columns = True, tuple(columns)
        self.calls.append(("showPlans", nodes, list(columns)))

    def showLive(self, live: Any) -> None:
        if self.problem is not None:
            raise self.problem
        self.isShown = True
        self.calls.append(("showLive", live))

    def sliceOffsetMm(self) -> float | None:
        return None

    def setPrecedents(self, ranks: Any) -> None:
        self.calls.append(("setPrecedents", list(ranks)))

    def setOrientation(self, orientation: str) -> None:
        self.calls.append(("setOrientation", orientation))

    def setReveal(self, amount: float) -> None:
        self.calls.append(("setReveal", amount))

    def reset(self) -> None:
        self.isShown, self.columns = False, ()
        self.calls.append(("reset",))


class FakeLivePreview:
    """Records what it is asked; the test says what came of it through ``tell``."""

    def __init__(self, whereToLook: Callable[[], float | None], changed: Callable[[], None]) -> None:
        self._changed = changed
        self.isRunning = self.isReady = False
        self.sentence, self.readOut, self.nodes = "", {}, None
        self.starts: list[tuple[Any, ...]] = []
        self.plans: list[Any] = []
        self.refusal: Exception | None = None
        self.cleanups = 0

    def start(self, inputs: Any, settings: Any, structures: Any = ()) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.starts.append((inputs, settings, list(structures)))
        self.tell("Getting the patient ready ...", isRunning=True)

    def setPlan(self, plan: Any) -> None:
        self.plans.append(plan)

    def stop(self, sentence: str = "") -> None:
        self.tell(sentence, isRunning=False, isReady=False, readOut={}, nodes=None)

    def tell(self, sentence: str, **state: Any) -> None:
        """Say this, and be in this state."""
        vars(self).update(state, sentence=sentence)
        self._changed()

    def cleanup(self) -> None:
        self.cleanups += 1


class RecordingInstaller:
    """Says that things are missing until they are "installed"; ``trouble`` is raised in the place of installing."""

    def __init__(
        self, torch: str | None = "2.13.0", extension: bool = True, missing: tuple[str, ...] = (), replaced: Any = ()
    ) -> None:
        self.torch, self.extension, self.missing, self.replaced = torch, extension, tuple(missing), tuple(replaced)
        self.calls: list[Any] = []
        self.trouble: Exception | None = None
        self.during: Callable[[], None] = lambda: None
        self.works = True

    def torchVersion(self) -> str | None:
        return self.torch

    def hasTorchExtension(self) -> bool:
        return self.extension

    def missingPackages(self) -> tuple[str, ...]:
        return self.missing

    def installTorch(self) -> None:
        self._record("installTorch")
        self.torch = "2.13.0" if self.works else None

    def installPackages(self) -> None:
        self._record("installPackages")
        self.missing = () if self.works else self.missing

    def installFromFolder(self, folder: Path) -> None:
        self._record(("installFromFolder", folder))
        self.torch, self.missing = "2.13.0", ()

    def replacedWhileLoaded(self) -> tuple[str, ...]:
        return self.replaced if self.calls else ()

    def _record(self, call: Any) -> None:
        self.calls.append(call)
        self.during()
        if self.trouble is not None:
            raise self.trouble


def fake_result(run_id: str = "run-1", precedents: int = 3, **summary: Any) -> Any:
    """A prediction as the panel sees it; its volume is in the scene, nothing else is."""
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"T1ce predicted post-op ({run_id})")
    volume.SetAttribute("PostOpPredictor.Role", "postop")
    volume.SetAttribute("PostOpPredictor.Synthetic", "1")
    found = [
        SimpleNamespace(
            rank=rank,
            iou=0.5 - 0.0679 * rank,
            attributes={
                "case_id": f"case-{rank:04d}",
                "followed": rank == 1,
                "eor_percent": 100.0 - 6.5 * rank,
                "source": "phantom",
                "institution": f"site {rank + 3}",
            },
            tumour=None,
            influence=None,
        )
        for rank in range(1, precedents + 1)
    ]
    images = ("preop", "tumour", "generated", "spreadPrecedents", "spreadNoise", "uncertainty", "cavityAgreement")
    nothing = dict.fromkeys(("source", "shift", "report", "series", *images))
    return SimpleNamespace(
        runId=run_id,
        postop=volume,
        precedents=tuple(found),
        plans=(),
        more=(),
        summary={**SUMMARY, **summary},
        warnings=(),
        **nothing,
    )
