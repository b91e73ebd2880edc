"""The live session as a client sees it: a slice at once, the volume behind it, a sentence for every fault."""

from __future__ import annotations

import io
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from live_bench import Client, Lively, wait_until
from prediction_bench import HAND_GRID, UNITS

from PostOpPredictorLib.conversation import Inbox
from PostOpPredictorLib.errors import Cancelled, InputError, ModelMissing, StorageError
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID, WORKING_GRID
from PostOpPredictorLib.prediction import patient_prediction
from PostOpPredictorLib.prediction.live import session as session_module
from PostOpPredictorLib.prediction.live.requests import Quit, Refusal, SliceRequest, read_request, read_requests
from PostOpPredictorLib.prediction.live.session import live_session
from PostOpPredictorLib.prediction.live.session_files import KEPT, SessionFiles, slice_image
from PostOpPredictorLib.prediction.live.volume_worker import Made, VolumeWorker
from PostOpPredictorLib.prediction.request import PredictionRequest
from PostOpPredictorLib.progress import Progress, SilentProgress

SLICE = 58


@pytest.fixture(scope="module", autouse=True)
def what_is_tried_elsewhere_is_quick(already_in_mni: pytest.MonkeyPatch) -> None:
    """No registration, no checksums, and in place of the picture at full resolution the scan."""
    patch = already_in_mni
    for module in (session_module, patient_prediction):
        patch.setattr(module, "predicted_in_mni", lambda patient, case: patient.scan_mni)
    patch.setitem(session_module._IMAGES, "postop_mni", lambda patient, case: patient.scan_mni)  # type: ignore[index]
    patch.setattr(patient_prediction, "predicted_in_patient_space", lambda patient, case: patient.scan)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("session")


@pytest.fixture(scope="module")
def client(bench: dict[str, Any], folder: Path) -> Client:
    """One session for many tests, ready."""
    running = Client(PredictionRequest(**bench, out=folder / "live"), Lively(shift_mm=1.0), folder)
    running.wait("ready")
    return running


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_ready_names_the_slices_and_the_prediction_without_a_plan(client: Client, folder: Path) -> None:
    ready = client.wait("ready")
    assert SLICE in ready["slices"] and ready["z_mm"][ready["slices"].index(SLICE)] == pytest.approx(
        WORKING_GRID.origin[2] + 1.5 * SLICE
    )
    assert ready["sequence"] == "T1w" and ready["read_out"]["plan_ml"] is None
    for kind in ("postop_mni", "cavity_mask_mni"):
        assert TEMPLATE_GRID.holds(sitk.ReadImage(str(ready["files"][kind])))
        assert ready["files"][kind].parent == folder / "live"


def test_a_plan_is_answered_by_its_slice_and_then_by_its_volume(client: Client) -> None:
    client.write({"id": 1, "plan": {"name": "wide", "margin_mm": 5.0}, "slice": SLICE})
    told = client.wait("slice", id=1)
    image, cavity = sitk.ReadImage(str(told["file"])), sitk.ReadImage(str(told["cavity_file"]))
    assert image.GetSize() == (128, 128, 1) == cavity.GetSize()
    assert image.GetOrigin()[2] == pytest.approx(told["z_mm"])
    own, hole = sitk.GetArrayFromImage(image)[0], sitk.GetArrayFromImage(cavity)[0] > 0
    assert hole.sum() > 50 and own[hole].mean() < 0.3 * UNITS < 0.6 * own.max()
    assert told["name"] == "wide" and told["read_out"]["plan_ml"] > 0 and "cavity_ml" not in told["read_out"]
    volume = client.wait("volume", id=1)
    assert volume["read_out"]["cavity_ml"] > 0 and volume["dice_cavity_plan"] > 0.8
    mask = sitk.ReadImage(str(volume["files"]["cavity_mask_mni"]))
    assert TEMPLATE_GRID.holds(mask)
    there = array(volume["files"]["cavity_mask_mni"])[TEMPLATE_GRID.size[2] // 2 :].any()
    assert there and volume["files"]["postop_mni"].exists()


def test_a_larger_plan_shows_a_larger_cavity(client: Client) -> None:
    sizes = []
    for number, margin in enumerate((-3.0, 0.0, 5.0, 10.0), start=10):
        client.write({"id": number, "plan": {"margin_mm": margin}, "slice": SLICE})
        sizes.append(int(array(client.wait("slice", id=number)["cavity_file"]).sum()))
    assert sizes[0] > 0 and all(larger > 1.1 * smaller for smaller, larger in pairwise(sizes))


def test_another_slice_of_the_same_plan_keeps_the_volume_and_names_the_newest_request(client: Client) -> None:
    client.write({"id": 20, "plan": {"margin_mm": 1.0}, "slice": SLICE})
    client.wait("slice", id=20)
    first = client.wait("volume", id=20)
    client.write({"id": 21, "plan": {"margin_mm": 1.0}, "slice": SLICE + 1})
    assert client.wait("volume", id=21)["files"] == first["files"]


def test_no_plan_is_the_first_prediction_again(client: Client) -> None:
    client.write({"id": 30, "plan": None, "slice": SLICE})
    assert client.wait("slice", id=30)["name"] == "without a plan"
    ready = client.wait("ready")["files"]
    assert client.wait("volume", id=30)["files"]["postop_mni"] == ready["postop_mni"]


def test_of_many_requests_that_wait_only_the_newest_is_served(client: Client) -> None:
    client.write(*({"id": number, "plan": {"margin_mm": number / 50}, "slice": SLICE} for number in range(40, 60)))
    client.wait("slice", id=59)
    client.wait("volume", id=59)
    served = {one["id"] for one in client.said if one["type"] == "slice" and 40 <= one["id"] < 60}
    assert len(served) <= 2, "a whole write arrives as one, or as two"
    assert not {one["id"] for one in client.said if one["type"] == "volume"} & (set(range(40, 59)) - served)


def far_mask(folder: Path) -> Path:
    marked = np.zeros(HAND_GRID.shape, np.uint8)
    marked[30:34, 40:44, 14:18] = 1
    sitk.WriteImage(HAND_GRID.image(marked), str(folder / "far.nii.gz"))
    return folder / "far.nii.gz"


def test_every_fault_is_a_sentence_and_the_session_lives_on(client: Client, folder: Path) -> None:
    assert "not valid JSON" in client.refused(b'{"id": 70, "pl', id=None)
    assert "not valid JSON" in client.refused(b"\xff\xfe\x00", id=None)
    assert "no JSON object" in client.refused(b"[1]", id=None)
    assert "whole number from 0 to 103" in client.refused({"id": 71, "plan": None, "slice": 104}, id=71)
    assert "no brain on slice 103" in client.refused({"id": 72, "plan": None, "slice": 103}, id=72)
    assert "-5 to 10" in client.refused({"id": 73, "plan": {"margin_mm": 50}, "slice": SLICE}, id=73)
    assert "does not touch" in client.refused({"id": 74, "plan": {"mask": str(far_mask(folder))}, "slice": SLICE})
    (folder / "far.nii.gz").unlink()
    assert "far.nii.gz" in client.refused({"id": 75, "plan": {"mask": "far.nii.gz"}, "slice": SLICE}, id=75)
    client.write({"id": 76, "plan": {"margin_mm": 0.5}, "slice": SLICE})
    client.wait("slice", id=76)


def test_the_folder_does_not_grow(client: Client, folder: Path) -> None:
    client.write({"id": 90, "plan": {"margin_mm": 0.5}, "slice": SLICE + 2})
    client.wait("volume", id=90)
    names = [path.name for path in (folder / "live").iterdir()]
    kinds = [name.partition("-")[0] for name in names]
    assert kinds.count("slice") <= 2 * KEPT and kinds.count("volume") <= 2 * KEPT
    assert not any(name.startswith(".") for name in names)


def test_when_the_stream_ends_the_session_ends_and_leaves_nothing(client: Client, folder: Path) -> None:
    client.write({"id": 1000, "plan": {"margin_mm": 0.0}, "slice": SLICE})
    client.wait("slice", id=1000)
    assert client.hang_up()["requests"] >= 1
    assert not (folder / "live").exists()


@pytest.mark.parametrize("way", ["quit", "cancel"])
def test_a_session_that_is_told_to_stop_leaves_nothing(bench: dict[str, Any], tmp_path: Path, way: str) -> None:
    client = Client(PredictionRequest(**bench, out=tmp_path / "live"), Lively(), tmp_path)
    client.wait("ready")
    client.write({"id": 1, "plan": {"margin_mm": 0.0}, "slice": SLICE})
    client.wait("slice", id=1)
    if way == "quit":
        client.write({"quit": True}, {"id": 2, "plan": None, "slice": SLICE})
        assert client.ended() == {"requests": 1}
    else:
        client.cancelled = True
        assert isinstance(client.ended(), Cancelled)
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_lies_in_the_folder_is_lost(bench: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "provenance.json").write_text("{}")
    client = Client(PredictionRequest(**bench, out=tmp_path / "live", overwrite=True), Lively(), tmp_path)
    assert isinstance(client.ended(), InputError)
    assert (tmp_path / "live" / "provenance.json").exists()


def test_a_model_that_knows_no_plan_is_refused_before_the_patient_is_read(
    bench: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_models import a_pipeline

    monkeypatch.setattr(patient_prediction, "read_patient", lambda *_: pytest.fail("it was read"))
    client = Client(PredictionRequest(**bench, out=tmp_path / "live"), a_pipeline(panel=128), tmp_path)
    ended = client.ended()
    assert isinstance(ended, InputError) and "planned resection" in str(ended)


def test_a_slice_is_not_kept_waiting_by_a_volume() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make(what: str, progress: Progress) -> str:
        begun.set()
        go_on.wait(60)
        progress.step(1, 2)
        return what

    worker = VolumeWorker(make)
    worker.want("a", "of a")
    assert begun.wait(60)
    worker.want("b", "of b")
    assert worker.take() is None, "wanting returns at once, with nothing made"
    go_on.set()
    made: list[Made] = []
    wait_until(lambda: bool(made.append(one) if (one := worker.take()) else made))
    assert [(one.key, one.value) for one in made] == [("b", "of b")], "what was superseded is never handed out"
    worker.close()


def test_a_volume_that_fails_is_told_and_the_next_one_is_made() -> None:
    def make(what: Exception | str, progress: Progress) -> str:
        if isinstance(what, Exception):
            raise what
        return what

    worker = VolumeWorker(make)
    made: list[Made] = []
    for key, what in (("a", StorageError("The disk is full. Free some.")), ("b", "of b")):
        worker.want(key, what)
        wait_until(lambda: (one := worker.take()) is not None and (made.append(one) or True))
    worker.close()
    assert str(made[0].error) == "The disk is full. Free some." and made[1].value == "of b"


def test_a_line_is_read_strictly(tmp_path: Path) -> None:
    read = read_request(b'{"id": 3, "plan": {"mask": "m.nii", "spare": [{"mask": "s.nii"}]}, "slice": 5}', tmp_path)
    assert isinstance(read, SliceRequest) and read.plan is not None
    assert read.plan.mask == tmp_path / "m.nii" and read.plan.spare[0].mask == tmp_path / "s.nii"
    assert isinstance(read_request(b'{"quit": true}', tmp_path), Quit)
    faults = {
        b'{"id": 3, "slice": true}': "slice is 'True'",
        b'{"id": -1, "slice": 5}': "has no id",
        b'{"slice": 5}': "has no id",
        b'{"id": 3, "slice": 5, "patient": "x"}': "names patient",
        b'{"id": 3, "slice": 5, "plan": [1]}': "no JSON object",
        b'{"id": 3, "slice": 5, "plan": {"margin": 5}}': "Did you mean margin_mm?",
        b'{"id": 3, "slice": 5, "plan": {}}': "either a mask",
    }
    for line, words in faults.items():
        found = read_request(line, tmp_path)
        assert isinstance(found, Refusal) and words in found.message, line


def test_a_quit_wins_and_a_bad_line_hides_no_good_one(tmp_path: Path) -> None:
    refused, newest = read_requests([b'{"id": 1, "slice": 5}', b"x", b"", b'{"id": 2, "slice": 6}'], tmp_path)
    assert len(refused) == 1 and newest == SliceRequest(2, 6)
    assert isinstance(read_requests([b'{"quit": true}', b'{"id": 2, "slice": 6}'], tmp_path)[1], Quit)


def test_the_last_lines_before_the_end_are_taken() -> None:
    inbox = Inbox(io.BytesIO(b"one\ntwo"))
    taken: list[bytes] = []
    wait_until(lambda: inbox.has_ended or bool(taken.extend(inbox.take(0.05))))
    assert taken == [b"one\n", b"two"]


def test_a_slice_lies_where_it_belongs(tmp_path: Path) -> None:
    files = SessionFiles(tmp_path / "s")
    volume = np.random.default_rng(0).random(WORKING_GRID.shape).astype(np.float32)
    path = files.write("slice", {"postop": slice_image(volume[40], 40)})["postop"]
    image, whole = sitk.ReadImage(str(path)), WORKING_GRID.image(volume)
    point = whole.TransformIndexToPhysicalPoint((30, 50, 40))
    assert image[image.TransformPhysicalPointToIndex(point)] == pytest.approx(float(volume[40, 50, 30]))
    files.remove()
    assert not (tmp_path / "s").exists()


def test_the_session_keeps_torch_to_one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    request = PredictionRequest(pre=tmp_path / "none", tumour=tmp_path / "none", out=tmp_path, model=tmp_path)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ModelMissing, match="no model"):
            live_session(request, SilentProgress(), None)  # type: ignore[arg-type]
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
