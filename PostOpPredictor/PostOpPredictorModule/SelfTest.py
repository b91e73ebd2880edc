"""What "Reload and Test" runs: a whole prediction of the phantom patient, in the scene, with the shipped model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

LIBRARY_CASES = 3
LIBRARY_SEED = 7
SMALLEST_CAVITY_ML = 1.0


class PostOpPredictorTest(ScriptedLoadableModuleTest):
    """Needs the packages of the section Set-up; takes about a minute, the first time one more."""

    libraryFolder: Path | None = None
    """The library to take precedents from; None makes one of a few phantom patients in the user's cache."""

    def setUp(self) -> None:
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self, **_options: Any) -> None:
        """Run the tests one after the other."""
        for test in (self.test_prediction, self.test_removal):
            self.setUp()
            test()

    def test_prediction(self) -> None:
        """The phantom patient is predicted, and the nodes say what a surgeon would look at."""
        nodes = self._predicted()
        summary = f"cavity {self._cavityMl(nodes):.1f} ml"
        self.assertGreater(self._cavityMl(nodes), SMALLEST_CAVITY_ML, summary)
        self.assertEqual(nodes.postop.GetImageData().GetDimensions(), nodes.preop.GetImageData().GetDimensions())
        self.assertGreater(self._changedVoxels(nodes), 0, "the predicted scan is a copy of the one before")
        self.assertEqual(nodes.postop.GetAttribute("PostOpPredictor.Synthetic"), "1")
        self.assertIs(nodes.source, slicer.mrmlScene.GetNodeByID(nodes.source.GetID()))
        self.assertEqual([precedent.rank for precedent in nodes.precedents], [1, 2, 3])
        self.assertEqual(nodes.table.GetNumberOfRows(), LIBRARY_CASES)

    def test_removal(self) -> None:
        """Removing the results leaves the scene as it was before the prediction."""
        before = self._loadPatient()
        kept = self._nodeIds()
        self._predict(*before)
        self.assertGreater(len(self._nodeIds() - kept), 0)
        self._logic().removeResults()
        self.assertEqual(self._nodeIds(), kept)

    def _predicted(self) -> Any:
        return self._predict(*self._loadPatient())

    def _loadPatient(self) -> tuple[Any, Any]:
        from .SampleData import loadPhantomPatient

        return loadPhantomPatient()

    def _predict(self, volume: Any, segmentation: Any) -> Any:
        from .Settings import PredictionSettings

        settings = PredictionSettings(libraryFolder=self.libraryFolder or smallLibrary(), device="auto")
        return self._logic().predict(volume, segmentation, ("enhancing", "necrotic"), settings=settings)

    @staticmethod
    def _logic() -> Any:
        from .Logic import PostOpPredictorLogic

        return PostOpPredictorLogic()

    @staticmethod
    def _nodeIds() -> set[str]:
        """The nodes that are saved with the scene."""
        nodes = [slicer.mrmlScene.GetNthNode(n) for n in range(slicer.mrmlScene.GetNumberOfNodes())]
        return {node.GetID() for node in nodes if node.GetSaveWithScene()}

    @staticmethod
    def _changedVoxels(nodes: Any) -> int:
        from slicer.util import arrayFromVolume

        return int((arrayFromVolume(nodes.postop) != arrayFromVolume(nodes.preop)).sum())

    @staticmethod
    def _cavityMl(nodes: Any) -> float:
        import slicer.util

        segmentId = nodes.cavity.GetSegmentation().GetNthSegmentID(0)
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(nodes.cavity, segmentId, nodes.postop)
        spacing = nodes.postop.GetSpacing()
        return float((voxels > 0).sum()) * spacing[0] * spacing[1] * spacing[2] / 1000.0


def smallLibrary() -> Path:
    """A library of a few phantom patients in the user's cache; made by the backend when it is not there."""
    from PostOpPredictorLib.shipped import user_cache

    from .BackendProcess import pythonExecutable
    from .SampleData import runBackend

    folder = user_cache() / "self-test-library"
    with tempfile.TemporaryDirectory() as temporary:
        options = ["--cases", str(LIBRARY_CASES), "--seed", str(LIBRARY_SEED), "--workers", "1", "--json"]
        command = [pythonExecutable(), "-m", "PostOpPredictorLib", "library", "phantom", str(folder), *options]
        runBackend(command, Path(temporary) / "cancel")
    return folder


__all__ = ["PostOpPredictorTest", "smallLibrary"]
