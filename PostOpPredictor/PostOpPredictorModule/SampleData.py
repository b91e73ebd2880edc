"""The sample data: a phantom patient, simulated on this computer, so nothing is downloaded and nobody is shown."""

from __future__ import annotations

import collections
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
import slicer.util
from slicer.i18n import tr as _

if TYPE_CHECKING:
    from .Terminology import SegmentTerm

CATEGORY = "PostOpPredictor"
SAMPLE_NAME = "PostOpPredictorPhantom"
VOLUME_NAME = "PhantomPatient_T1wCE"
SEGMENTATION_NAME = "PhantomPatient_Tumour"
FILES = {VOLUME_NAME: "T1wCE.nii.gz", SEGMENTATION_NAME: "tumour.nii.gz"}
CHECKSUMS = "checksums.json"
SECONDS_BETWEEN_LOOKS = 0.02
MOST_MESSAGES = 5_000

Watcher = Callable[[dict[str, Any]], bool]
"""Gets every message of the backend and returns False when the user wants to stop."""


def registerSampleData() -> None:
    """Add the phantom patient to the Sample Data module; a custom application may have none."""
    try:
        import SampleData
    except ModuleNotFoundError:
        return
    logic = SampleData.SampleDataLogic
    # Categories have titles of their own since Slicer 5.12.
    logic.registerCustomSampleDataCategory(CATEGORY, title=_("Post-operative prediction"))
    folder = sampleFolder()
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        # Only the custom downloader can make the files; once made, they are also found at these addresses.
        uris=[(folder / name).as_uri() for name in FILES.values()],
        fileNames=[f"{SAMPLE_NAME}-{name}" for name in FILES.values()],
        nodeNames=list(FILES),
        loadFileTypes=["VolumeFile", "SegmentationFile"],
        thumbnailFileName=str(Path(__file__).parents[1] / "Resources" / "Icons" / "PostOpPredictor.png"),
        customDownloader=downloadSample,
    )


def sampleFolder() -> Path:
    """The folder in the user's cache that holds the files once they were made; another version has another one."""
    import PostOpPredictorLib
    from PostOpPredictorLib.shipped import user_cache

    return user_cache() / "sample-data" / PostOpPredictorLib.__version__


def downloadSample(source: Any = None) -> list[Any]:
    """What the button in the Sample Data module calls: make what is missing, load it and show it.

    Returns [volume, segmentation]. An error is shown, as for other sample data, and gives an empty list.
    """
    from .Errors import PredictionError

    try:
        nodes = loadPhantomPatient()
    except PredictionError as error:
        if error.code != "cancelled":
            slicer.util.errorDisplay(error.message, detailedText="\n".join(error.logTail))
        return []
    layoutManager = slicer.app.layoutManager()
    if layoutManager is not None:
        slicer.util.setSliceViewerLayers(background=nodes[0], fit=True)
    return list(nodes)


def loadPhantomPatient(watcher: Watcher | None = None) -> tuple[Any, Any]:
    """Add the phantom patient's scan before surgery (T1wCE) and tumour segmentation to the scene, and return them.

    The first call simulates the patient in a process of its own, which takes some ten seconds. Raises
    ``PredictionError`` when that does not succeed; then nothing is added.
    """
    from .ImageFiles import readImage
    from .NodeBuilding import fillSegmentation, fillVolume

    folder = sampleFolder()
    if not isIntact(folder):
        _simulate(folder, watcher)
    scan, labels = (readImage(folder / name) for name in FILES.values())
    scene = slicer.mrmlScene
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(VOLUME_NAME))
    fillVolume(volume, scan)
    volume.CreateDefaultDisplayNodes()
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(SEGMENTATION_NAME))
    fillSegmentation(segmentation, labels, _terms(), volume)
    segmentation.GetDisplayNode().SetVisibility(True)
    return volume, segmentation


def isIntact(folder: Path) -> bool:
    """Whether the files are there and are still what was made (SHA-256)."""
    try:
        expected = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        found = {name: slicer.util.computeChecksum("SHA256", str(folder / name)) for name in FILES.values()}
    except (OSError, ValueError):
        return False
    return bool(found == expected)


def _terms() -> dict[int, SegmentTerm]:
    from .Terminology import ALTERED_STRUCTURE, SegmentTerm

    neoplasm, necrosis, oedema = "SCT^108369006^Neoplasm", "SCT^6574001^Necrosis", "SCT^79654002^Edema"
    return {
        4: SegmentTerm("enhancing", _("Enhancing tumour"), (0.95, 0.55, 0.15), ALTERED_STRUCTURE, neoplasm),
        1: SegmentTerm("necrotic", _("Necrotic core"), (0.95, 0.80, 0.10), ALTERED_STRUCTURE, necrosis),
        2: SegmentTerm("oedema", _("Oedema"), (0.55, 0.88, 0.89), ALTERED_STRUCTURE, oedema),
    }


def _simulate(folder: Path, watcher: Watcher | None) -> None:
    from .BackendProcess import backendCommand
    from .WorkingFolder import makeWorkingFolder, removeWorkingFolder

    working = makeWorkingFolder()
    try:
        jobFile = working / "job.json"
        job = {"schema": 1, "command": "sample", "options": {"out": str(folder)}}
        jobFile.write_text(json.dumps(job), encoding="utf-8")
        with _progressDialog() if watcher is None else contextlib.nullcontext(watcher) as watch:
            runBackend(backendCommand(jobFile), jobFile.with_name("job.json.cancel"), watch)
    finally:
        removeWorkingFolder(working)


def runBackend(command: list[str], cancelFile: Path, watch: Watcher = lambda _message: True) -> None:
    """Run a command that speaks JSON lines and wait, while the application stays alive; raises ``PredictionError``."""
    from .BackendProcess import BackendProcess, backendEnvironment

    try:
        process = BackendProcess(command, cancelFile, backendEnvironment())
    except (ImportError, OSError) as error:
        raise _cannotStart(error) from error
    seen: collections.deque[dict[str, Any]] = collections.deque(maxlen=MOST_MESSAGES)
    try:
        while not process.poll():
            messages = list(process.messages(SECONDS_BETWEEN_LOOKS))
            seen += messages
            for message in [*messages, {"type": "waiting"}]:
                if not watch(message):
                    process.cancel()
            time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        process.kill()
    _raiseUnlessDone(seen, process.exitCode)


def _cannotStart(error: Exception) -> Exception:
    from .Errors import PredictionError

    message = _("The backend could not be started ({error}). Open the section Set-up.").format(error=error)
    return PredictionError("no_backend", message)


def _raiseUnlessDone(seen: Sequence[dict[str, Any]], exitCode: int | None) -> None:
    from .Errors import errorFromBackend, errorOfSilentEnd

    log = [str(message["text"]) for message in seen if message["type"] == "log"]
    last = next((message for message in reversed(seen) if message["type"] in ("result", "error")), None)
    if last is None:
        raise errorOfSilentEnd(exitCode, log)
    if last["type"] == "error":
        raise errorFromBackend(str(last["code"]), str(last["message"]), log)


@contextlib.contextmanager
def _progressDialog() -> Any:
    """A dialog with a Cancel button where there is a main window; else only the events are looked after."""
    app = getattr(slicer, "app", None)
    window = None if app is None else slicer.util.mainWindow()
    if window is None:
        yield lambda _message: _processEvents(app)
        return
    text = _("Simulating a patient (about ten seconds, only once)")
    dialog = slicer.util.createProgressDialog(parent=window, maximum=0, labelText=text, windowTitle=CATEGORY)
    try:
        yield lambda _message: _processEvents(app) and not dialog.wasCanceled
    finally:
        dialog.close()


def _processEvents(app: Any) -> bool:
    if app is not None:
        app.processEvents()
    return True
