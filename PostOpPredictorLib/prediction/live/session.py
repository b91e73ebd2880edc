"""``session``: one patient is read, aligned and predicted once; then every plan is shown slice by slice, at once.

The slice is made on the main thread, the volume of the same plan on another one behind it, so that a slice never waits
for a volume. Both follow the same plan by the same steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from ...conversation import Conversation, Inbox
from ...errors import Cancelled, InputError, StorageError
from ...failures import as_postop_error
from ...progress import Progress
from ..asked import Asked
from ..full_resolution import predicted_in_mni
from ..instruction import Instruction
from ..outcome_images import cavity_on_template
from ..output_folder import refuse_unusable_folder
from ..patient import Patient
from ..patient_prediction import open_tools, predict_patient
from ..plan_request import MOST_MARGIN_MM
from ..plans.question import dice_with_plan, refuse_unreadable_plans, structures_of
from ..plans.read_out import Structure, read_out_of_plan, read_out_without_plan
from ..request import PredictionRequest
from ..triplet_slices import mni_height
from ..volume_prediction import CasePrediction, Pipeline
from .held_plan import HeldPlan, HeldPlans, planned
from .requests import Quit, SliceRequest, read_requests
from .session_files import SessionFiles, slice_image
from .slice_prediction import SlicePredictor
from .volume_worker import VolumeWorker

THREADS = 1
"""Of torch. One slice is so little work that two threads gain a tenth of a second on an idle computer, and on a busy
one they wait for each other for seconds; the other cores draw the volume and whatever the user looks at."""
SECONDS_BETWEEN_LOOKS = 0.1
WITHOUT_PLAN = "without a plan"

_IMAGES: Mapping[str, Callable[[Patient, CasePrediction], sitk.Image]] = {
    "postop_mni": predicted_in_mni,
    "cavity_mask_mni": cavity_on_template,
}


def live_session(request: PredictionRequest, progress: Progress, talk: Conversation) -> Mapping[str, Any]:
    """Hold the patient of ``request`` ready and answer what comes in through ``talk`` until there is no more.

    The folder ``request.out`` holds the files meanwhile and is removed at the end. Raises what a prediction raises.
    """
    torch.set_num_threads(THREADS)
    return hold_session(request, progress, talk)


def hold_session(
    request: PredictionRequest,
    progress: Progress,
    talk: Conversation,
    load: Callable[[Path], Pipeline] | None = None,
) -> Mapping[str, Any]:
    """The same; ``load`` opens another kind of model than ours (tests)."""
    began = time.perf_counter()
    request = replace(request, mode="mean", start="noise", plans=(), series=(), uncertainty=False)
    refuse_unreadable_plans(request)
    # Never over an earlier prediction: the folder is removed at the end.
    folder = refuse_unusable_folder(request.out, overwrite=False, inputs=())
    tools = open_tools(request, progress, load)
    tools.pipeline.refuse_unknown(plan=True, days=request.days is not None)
    if not tools.pipeline.has_renderer:
        raise InputError("This model draws images only, so it cannot follow a plan. Choose a structure model.")
    asked = Asked(request, tools, predict_patient(request, tools, progress))
    structures = structures_of(request, asked.prediction.patient)
    files = SessionFiles(folder)
    try:
        return _Session(asked, structures, files, talk).serve(began)
    finally:
        files.remove()


@dataclass(frozen=True)
class _MadeVolume:
    """A volume before it is written."""

    fields: dict[str, Any]
    images: dict[str, sitk.Image]


@dataclass(frozen=True)
class _Volume:
    """The newest finished volume: its plan, and what is told of it."""

    key: str
    fields: dict[str, Any]


class _Session:
    def __init__(
        self, asked: Asked, structures: tuple[Structure, ...], files: SessionFiles, talk: Conversation
    ) -> None:
        self._asked, self._structures, self._files, self._talk = asked, structures, files, talk
        prediction, request = asked.prediction, asked.request
        self._patient, self._first = prediction.patient, prediction.case
        self._instruction: Instruction | None = prediction.precedents.instruction()
        self._plans = HeldPlans(self._patient, self._first, structures)
        self._slices = SlicePredictor(
            asked.tools.pipeline,  # type: ignore[arg-type]
            self._patient,
            self._instruction,
            self._first,
            seed=request.seed,
            guidance=request.guidance,
            days=request.days,
            own_institution=request.institution is not None,
        )
        self._volume: _Volume | None = None
        self._newest: int | None = None
        self._served = 0

    def serve(self, began: float) -> Mapping[str, Any]:
        """Answer until the client has had enough; returns how many slices were."""
        self._tell_ready(began)
        inbox = Inbox(self._talk.requests)
        worker = VolumeWorker(self._made_volume)
        try:
            while True:
                self._talk.check()
                lines = inbox.take(SECONDS_BETWEEN_LOOKS)
                refused, newest = read_requests(lines, self._talk.folder)
                for one in refused:
                    self._talk.tell("refused", id=one.id, message=one.message)
                if isinstance(newest, SliceRequest):
                    self._answer(newest, worker)
                self._tell_volume(worker)
                if isinstance(newest, Quit) or inbox.has_ended:
                    return {"requests": self._served}
        finally:
            worker.close()

    def _tell_ready(self, began: float) -> None:
        slices = self._slices_in_reach()
        images = {kind: make(self._patient, self._first) for kind, make in _IMAGES.items()}
        before = {"preop_mni": self._patient.scan_mni, "tumour_mni": self._patient.labels_mni}
        paths = self._files.write("first", images | before, stays=True)
        figures = read_out_without_plan(self._patient, self._first, self._structures)
        self._without_plan = {"files": paths, "name": WITHOUT_PLAN, "warnings": [], "read_out": figures}
        self._talk.tell(
            "ready",
            slices=slices,
            z_mm=[mni_height(z) for z in slices],
            sequence=self._asked.prediction.sequence.sequence,
            seconds=_since(began),
            files=paths,
            read_out=figures,
        )

    def _slices_in_reach(self) -> list[int]:
        """Those that the largest margin may change."""
        further = int(np.ceil(MOST_MARGIN_MM / 1.5))
        low, high = self._first.slices[0] - further, self._first.slices[-1] + further
        return [z for z in range(max(low, 0), min(high + 1, len(self._patient.brain))) if self._patient.brain[z].any()]

    def _answer(self, request: SliceRequest, worker: VolumeWorker) -> None:
        began, cpu = time.perf_counter(), time.thread_time()
        try:
            self._newest = request.id
            held = self._prepared(request)
            worker.keep_only(held.key if held else None)
            z = request.slice
            found = self._slices.without_plan(z) if held is None else self._slices.under(held, z)
            images = {"postop": slice_image(found.image, z), "cavity": slice_image(found.cavity.astype(np.uint8), z)}
            paths = self._files.write("slice", images)
        except (Cancelled, KeyboardInterrupt):
            raise
        except Exception as error:
            worker.keep_only(None)
            self._talk.tell("refused", id=request.id, message=str(as_postop_error(error)))
            return
        self._served += 1
        said = {"name": WITHOUT_PLAN, "warnings": []} if held is None else held.said
        self._talk.tell(
            "slice",
            id=request.id,
            slice=z,
            z_mm=mni_height(z),
            file=paths["postop"],
            cavity_file=paths["cavity"],
            seconds=_since(began),
            cpu_seconds=round(time.thread_time() - cpu, 3),
            read_out=self._without_plan["read_out"] if held is None else held.figures,
            **said,
        )
        self._want_volume(held, worker)

    def _prepared(self, request: SliceRequest) -> HeldPlan | None:
        if not self._patient.brain[request.slice].any():
            raise InputError(f"There is no brain on slice {request.slice}. Choose one of those that 'ready' lists.")
        return None if request.plan is None else self._plans.of(request.plan)

    def _want_volume(self, held: HeldPlan | None, worker: VolumeWorker) -> None:
        if held is None:
            self._talk.tell("volume", id=self._newest, seconds=0.0, **self._without_plan)
        elif self._volume is not None and self._volume.key == held.key:
            self._talk.tell("volume", id=self._newest, **self._volume.fields)
        else:
            worker.want(held.key, held)

    def _tell_volume(self, worker: VolumeWorker) -> None:
        made = worker.take()
        if made is None:
            return
        if made.error is not None:
            self._talk.tell("refused", id=self._newest, message=str(made.error))
            return
        try:
            files = self._files.write("volume", made.value.images)
        except StorageError as error:
            self._talk.tell("refused", id=self._newest, message=str(error))
            return
        self._volume = _Volume(made.key, {**made.value.fields, "files": files})
        self._talk.tell("volume", id=self._newest, **self._volume.fields)

    def _made_volume(self, held: HeldPlan, progress: Progress) -> _MadeVolume:
        """On the worker's thread; ``progress`` is asked between steps that take long."""
        began = time.perf_counter()
        case = self._asked.again(self._instruction, progress, plan=planned(held))
        images = {}
        for at, (kind, make) in enumerate(_IMAGES.items()):
            progress.step(at, len(_IMAGES))
            images[kind] = make(self._patient, case)
        progress.step(1, 1)
        fields = {
            **held.said,
            "read_out": read_out_of_plan(self._patient, held.plan.mask, case, self._structures),
            "dice_cavity_plan": round(dice_with_plan(case, held.plan.mask, self._patient), 4),
            "seconds": _since(began),
        }
        return _MadeVolume(fields, images)


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 3)
