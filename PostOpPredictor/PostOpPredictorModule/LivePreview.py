"""The live preview: what the user plans, and the plane that is looked at, become a predicted slice at once."""

from __future__ import annotations

import atexit
import concurrent.futures
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .Errors import PredictionError
from .ImageFiles import ImageData
from .LiveNodes import LiveNodes, readLiveImages
from .LiveSession import LiveCallbacks, LiveSession
from .PlanExport import stateOf
from .PlanList import ResectionPlan, SegmentReference
from .Settings import PredictionInputs, PredictionSettings
from .Timers import TimerFactory, defaultTimer
from .WindowLevel import GreyWindow

MILLISECONDS_BETWEEN_LOOKS = 50
SECONDS_OF_REST = 0.15
"""A plan is asked for when it has not changed for so long: a slider that is dragged asks now and then, not always."""
FIRST_FILES = {"preop": "preop_mni", "tumour": "tumour_mni", "postop": "postop_mni", "cavity": "cavity_mask_mni"}
VOLUME_FILES = {"postop": "postop_mni", "cavity": "cavity_mask_mni"}
SLICE_FILES = {"postop": "file", "cavity": "cavity_file"}


class LivePreview:
    """One patient held ready by a backend process of its own; ends with the scene, the module and Slicer.

    ``whereToLook()``: MNI z in mm of the axial plane that the user looks at, None where there is none. ``changed()``:
    ``sentence``, ``readOut``, ``nodes`` or ``isRunning`` may have changed. Nothing here blocks the main thread: images
    larger than a slice are read in a thread.
    """

    def __init__(
        self,
        whereToLook: Callable[[], float | None] = lambda: None,
        changed: Callable[[], None] = lambda: None,
        *,
        timer: TimerFactory | None = None,
        startCommand: Callable[[Path], list[str]] | None = None,
    ) -> None:
        self.sentence = ""
        self.readOut: Mapping[str, Any] = {}
        self.nodes: LiveNodes | None = None
        self._whereToLook, self._changed, self._startCommand = whereToLook, changed, startCommand
        self._timer = (timer or defaultTimer())(self.poll, MILLISECONDS_BETWEEN_LOOKS)
        self._session: LiveSession | None = None
        self._plan: ResectionPlan | None = None
        self._closeObservation: tuple[Any, int] | None = None
        itself = weakref.ref(self)
        self._atExit = lambda: (preview := itself()) is not None and preview.cleanup()
        atexit.register(self._atExit)
        self._forget()

    @property
    def isRunning(self) -> bool:
        """Whether there is a session, ready or not."""
        return self._session is not None

    @property
    def isReady(self) -> bool:
        """Whether plans can be seen."""
        return self.nodes is not None and self.isRunning

    @property
    def processId(self) -> int | None:
        """The id of the session's process."""
        return self._session.processId if self._session is not None else None

    def start(
        self, inputs: PredictionInputs, settings: PredictionSettings, structures: Sequence[SegmentReference] = ()
    ) -> None:
        """Begin; the patient is predicted once first. Raises ``PredictionError``; the preview is then off."""
        self.stop()
        callbacks = LiveCallbacks(self._onAnswer, self._onRefused, self._onStage, self._onEnded)
        self._session = LiveSession(inputs, settings, structures, callbacks, self._startCommand)
        self._window = GreyWindow.ofNode(inputs.volume)
        scene = slicer.mrmlScene
        self._closeObservation = (scene, scene.AddObserver(scene.StartCloseEvent, lambda *_args: self.stop()))
        self._reader = concurrent.futures.ThreadPoolExecutor(1, "PostOpPredictor preview")
        self._say(_("Getting the patient ready ..."))
        self._timer.start()

    def setPlan(self, plan: ResectionPlan | None) -> None:
        """Preview ``plan`` (None: no plan) from now on."""
        self._plan = plan

    def stop(self, sentence: str = "") -> None:
        """End the session and take the preview out of the scene; a second call changes nothing."""
        if self._session is None:
            return
        session, self._session = self._session, None
        self._timer.stop()
        session.stop()
        self._reader.shutdown(wait=False, cancel_futures=True)
        if self._closeObservation is not None:
            scene, tag = self._closeObservation
            scene.RemoveObserver(tag)
        nodes, self.nodes = self.nodes, None
        self._forget()
        self._say(sentence)
        if nodes is not None:
            nodes.remove()

    def cleanup(self) -> None:
        """The module is reloaded, or Slicer ends."""
        self.stop()
        atexit.unregister(self._atExit)

    def poll(self) -> None:
        """Take in what came and ask what is to be asked; the timer calls it."""
        if self._session is None or self._looking:
            return
        self._looking = True
        try:
            self._session.poll()
            self._takeRead()
            self._ask()
        finally:
            self._looking = False

    def _forget(self) -> None:
        self._looking = False
        self._closeObservation = None
        self._reading: concurrent.futures.Future[dict[str, ImageData]] | None = None
        self._readingOf: Mapping[str, Any] = {}
        self._slices: dict[int, float] = {}
        self._wanted: tuple[Any, ...] | None = None
        self._wantedAt = 0.0
        self._asked: tuple[Any, ...] | None = None
        self._shownWhole: Any = None
        self.readOut = {}

    def _ask(self) -> None:
        """Ask for the plan and the slice that are wanted, when both have been so for a moment."""
        if self._session is None or not self.isReady:
            return
        if self.nodes is not None and not self.nodes.areThere:
            self.stop(_("The preview was removed from the scene, so it was stopped."))
            return
        wanted = (self._planState(), self._sliceLookedAt())
        now = time.monotonic()
        if wanted != self._wanted:
            self._wanted, self._wantedAt = wanted, now
        if wanted == self._asked or now - self._wantedAt < SECONDS_OF_REST:
            return
        if self._shownWhole == wanted[0]:
            # Every slice of this plan is there already.
            self._asked = wanted
            return
        self._asked, self._shownWhole = wanted, None
        self._session.ask(self._plan, wanted[1])

    def _planState(self) -> tuple[Any, ...]:
        """Changes when the plan does, or a segment that it names."""
        plan = self._plan
        if plan is None:
            return (None,)
        segments = [one.segment for one in plan.spared] + ([plan.segment] if plan.segment is not None else [])
        return (plan, *(stateOf(one) if one.isThere else None for one in segments))

    def _sliceLookedAt(self) -> int:
        z = self._whereToLook()
        if z is None:
            return self._middleSlice
        return min(self._slices, key=lambda index: abs(self._slices[index] - z))

    def _onAnswer(self, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "slice":
            self._showSlice(message)
            return
        if kind == "ready":
            indices, places = message.get("slices") or [0], message.get("z_mm") or [0.0]
            self._slices = dict(zip(indices, places, strict=False))
            self._middleSlice = indices[len(indices) // 2]
        names = FIRST_FILES if kind == "ready" else VOLUME_FILES
        self._readingOf = {**message, "state": self._asked[0] if self._asked else (None,)}
        self._reading = self._reader.submit(readLiveImages, message["files"], names)

    def _showSlice(self, message: Mapping[str, Any]) -> None:
        try:
            images = readLiveImages(message, SLICE_FILES)
        except Exception as error:
            # The slice before it stays; the volume that follows tells if the files are really gone.
            self._say(_("A slice could not be read ({reason}).").format(reason=type(error).__name__))
            return
        if self.nodes is not None:
            self.nodes.show(images["postop"], images["cavity"])
        self.readOut = dict(message.get("read_out") or {})
        text = _("This slice in {seconds:.1f} s; the whole brain follows ...")
        self._say(self._withWarnings(text.format(seconds=float(message.get("seconds") or 0.0)), message))

    def _takeRead(self) -> None:
        if self._reading is None or not self._reading.done():
            return
        reading, self._reading = self._reading, None
        message = self._readingOf
        try:
            images = reading.result()
        except Exception as error:
            sentence = _("The preview could not be read ({reason}). Start it again.")
            self.stop(sentence.format(reason=type(error).__name__))
            return
        self.readOut = dict(message.get("read_out") or {})
        if message["type"] == "ready":
            self.nodes = LiveNodes(slicer.mrmlScene, images, self._window)
            self._say(_("Ready. Move the margin, or choose a plan."))
        elif self._asked is not None and self._asked[0] == message["state"] and self.nodes is not None:
            self.nodes.show(images["postop"], images["cavity"])
            self._shownWhole = message["state"]
            self._say(self._withWarnings(_("The whole brain is up to date."), message))

    def _onRefused(self, sentence: str) -> None:
        self._say(sentence)

    def _onStage(self, name: str) -> None:
        if not self.isReady:
            self._say(_("Getting the patient ready: {stage} ...").format(stage=name))

    def _onEnded(self, error: PredictionError | None) -> None:
        if self._session is not None:
            text = error.message if error is not None else _("The live preview ended.")
            self.stop(text)

    @staticmethod
    def _withWarnings(text: str, message: Mapping[str, Any]) -> str:
        return " ".join([text, *(str(one) for one in message.get("warnings") or ())])

    def _say(self, sentence: str) -> None:
        self.sentence = sentence
        self._changed()
