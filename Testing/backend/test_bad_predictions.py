"""Whatever is wrong with a prediction's input, it is a sentence; nothing half-written stays and nothing is lost."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from prediction_bench import HAND_GRID, FollowsThePrecedent, Recorder, in_mni, on_disk, small_library, template_patient

from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.errors import (
    Cancelled,
    InputError,
    LibraryError,
    ModelMissing,
    ModelTampered,
    OutOfMemory,
    PostOpError,
    StorageError,
)
from PostOpPredictorLib.model.config import PostOpConfig, PromptConfig, RendererConfig, UNetConfig
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.prediction import output_folder, patient_prediction, prediction_files
from PostOpPredictorLib.prediction import patient as patient_module
from PostOpPredictorLib.prediction.predictor import predict
from PostOpPredictorLib.prediction.request import PredictionRequest

STAGES = (
    "Loading the model",
    "Reading the scan and the tumour mask",
    "Looking for similar cases",
    "Predicting the operation",
    "Drawing the scan",
    "Bringing the prediction to full resolution",
    "Writing the prediction",
)


@dataclasses.dataclass
class Bench:
    """Files that work, in a folder of the test's own."""

    folder: Path
    request: PredictionRequest
    model: Any = dataclasses.field(default_factory=FollowsThePrecedent)

    def predict(self, progress: Recorder | None = None, **changes: Any) -> Any:
        request = dataclasses.replace(self.request, **changes)
        return predict(request, progress or Recorder(), load=lambda _: self.model)

    def write(self, image: sitk.Image, name: str = "other.nii.gz") -> Path:
        sitk.WriteImage(image, str(self.folder / name))
        return self.folder / name


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    on_disk(folder / "patient")
    small_library(folder / "library")
    return folder


@pytest.fixture(autouse=True)
def quick_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_module, "register_to_mni", in_mni)


@pytest.fixture
def no_model_folder_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_prediction, "verify", lambda folder: "0" * 64)


@pytest.fixture
def bench(originals: Path, tmp_path: Path, no_model_folder_needed: None) -> Bench:
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    pre, tumour = sorted((tmp_path / "patient").iterdir())
    pre, tumour = (pre, tumour) if "T1" in pre.name else (tumour, pre)
    out = tmp_path / "results" / "prediction"
    out.parent.mkdir()
    return Bench(tmp_path, PredictionRequest(pre, tumour, out, library=tmp_path / "library", model=tmp_path))


@pytest.fixture(scope="module")
def a_saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = PostOpConfig(
        unet=UNetConfig((16, 16, 32), 1, (False, False, True), 8, 8),
        prompt=PromptConfig(token_width=16, vit_width=32, vit_depth=1, vit_heads=2, vit_out_channels=16, image_size=64),
        renderer=RendererConfig((16, 16, 16), 1, 8),
    )
    PostOpPipeline.of(config).save(folder)
    return folder


def refused(error: type[PostOpError], run: Callable[[], Any], out: Path, *words: str) -> str:
    """Check that ``run`` raises ``error`` with a sentence that holds ``words``, and leaves nothing beside ``out``."""
    before = snapshot(out.parent)
    with pytest.raises(error) as caught:
        run()
    text = str(caught.value)
    assert caught.value.exit_code in (2, 130)
    assert text.rstrip().endswith(".") and len(text.split()) >= 4
    for word in words:
        assert word in text
    assert snapshot(out.parent) == before
    return text


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def labels_at(values: dict[tuple[int, int, int], int]) -> sitk.Image:
    array = np.zeros(HAND_GRID.shape, np.uint8)
    for index, value in values.items():
        array[index] = value
    return HAND_GRID.image(array)


def empty_mask(bench: Bench) -> dict[str, Any]:
    return {"tumour": bench.write(HAND_GRID.image(np.zeros(HAND_GRID.shape, np.uint8)))}


def oedema_only(bench: Bench) -> dict[str, Any]:
    _, labels = template_patient()
    return {"tumour": bench.write(sitk.BinaryThreshold(labels, 1, 4, 2, 0))}


def mask_elsewhere(bench: Bench) -> dict[str, Any]:
    _, labels = template_patient()
    labels.SetOrigin((900.0, 0.0, 0.0))
    return {"tumour": bench.write(labels)}


def mask_in_the_air(bench: Bench) -> dict[str, Any]:
    array = np.zeros(HAND_GRID.shape, np.uint8)
    array[30:34, 2:6, 30:34] = 1
    return {"tumour": bench.write(HAND_GRID.image(array))}


def tiny_tumour(bench: Bench) -> dict[str, Any]:
    return {"tumour": bench.write(labels_at({(33, 42, 45): 1}))}


def the_scan_as_mask(bench: Bench) -> dict[str, Any]:
    return {"tumour": bench.request.pre}


def the_mask_as_scan(bench: Bench) -> dict[str, Any]:
    return {"pre": bench.write(HAND_GRID.image(np.zeros(HAND_GRID.shape, np.float32)))}


def no_such_scan(bench: Bench) -> dict[str, Any]:
    return {"pre": bench.folder / "nothing.nii.gz"}


def no_such_mask(bench: Bench) -> dict[str, Any]:
    return {"tumour": bench.folder / "nothing.nii.gz"}


def text_as_scan(bench: Bench) -> dict[str, Any]:
    (bench.folder / "scan.nii.gz").write_text("not an image")
    return {"pre": bench.folder / "scan.nii.gz"}


def empty_brain(bench: Bench) -> dict[str, Any]:
    return {"brain": bench.write(HAND_GRID.image(np.zeros(HAND_GRID.shape, np.uint8)))}


def brain_elsewhere(bench: Bench) -> dict[str, Any]:
    mask = HAND_GRID.image(np.ones(HAND_GRID.shape, np.uint8))
    mask.SetOrigin((900.0, 0.0, 0.0))
    return {"brain": bench.write(mask)}


def no_such_brain(bench: Bench) -> dict[str, Any]:
    return {"brain": bench.folder / "nothing.nii.gz"}


def unknown_preset(bench: Bench) -> dict[str, Any]:
    return {"labels": "brats1999"}


def wrong_preset(bench: Bench) -> dict[str, Any]:
    return {"labels": "brats2023"}


def unknown_sequence(bench: Bench) -> dict[str, Any]:
    return {"sequence": "PDw"}


def test_a_useless_file_is_refused_before_a_library_is_simulated(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulating the demonstration library takes minutes; whoever gave the wrong file should not wait for it."""

    def simulate(*_: object) -> None:
        raise AssertionError("the library was simulated first")

    monkeypatch.setattr(patient_prediction, "demonstration_library", simulate)
    (bench.folder / "text.nii.gz").write_text("no image", encoding="utf-8")
    wrong = {"tumour": bench.folder / "text.nii.gz", "library": None}
    refused(InputError, lambda: bench.predict(**wrong), bench.request.out, "text.nii.gz")
    with pytest.raises(AssertionError, match="simulated first"):
        bench.predict(library=None)


@pytest.mark.parametrize(
    "spoil",
    [
        empty_mask,
        oedema_only,
        mask_elsewhere,
        mask_in_the_air,
        tiny_tumour,
        the_scan_as_mask,
        the_mask_as_scan,
        no_such_scan,
        no_such_mask,
        text_as_scan,
        empty_brain,
        brain_elsewhere,
        no_such_brain,
        unknown_preset,
        wrong_preset,
        unknown_sequence,
    ],
)
def test_bad_files_and_labels_are_refused_with_a_sentence(
    spoil: Callable[[Bench], dict[str, Any]], bench: Bench
) -> None:
    changes = spoil(bench)
    refused(InputError, lambda: bench.predict(**changes), bench.request.out)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("seed", -1),
        ("seed", 2**63),
        ("k", 0),
        ("k", 1000),
        ("steps", 0),
        ("samples", 0),
        ("samples", 100_000),
        ("guidance", float("nan")),
        ("guidance", -1.0),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_read(bench: Bench, option: str, value: Any) -> None:
    refused(InputError, lambda: bench.predict(**{option: value}), bench.request.out, option)


def no_library(bench: Bench) -> dict[str, Any]:
    return {"library": bench.folder / "nowhere"}


def empty_library(bench: Bench) -> dict[str, Any]:
    return {"library": CaseLibrary.create(bench.folder / "empty").folder}


def some_folder_as_library(bench: Bench) -> dict[str, Any]:
    return {"library": bench.folder / "patient"}


def unknown_institution(bench: Bench) -> dict[str, Any]:
    return {"institution": "east"}


def library_without_the_sequence(bench: Bench) -> dict[str, Any]:
    for scan in (bench.folder / "library").rglob("*T1wCE.nii.gz"):
        scan.unlink()
    return {"sequence": "T1wCE"}


def every_case_broken(bench: Bench) -> dict[str, Any]:
    for scan in (bench.folder / "library").rglob("*T1w.nii.gz"):
        scan.write_bytes(b"broken")
    return {"sequence": "T1w"}


@pytest.mark.parametrize(
    "spoil",
    [
        no_library,
        empty_library,
        some_folder_as_library,
        unknown_institution,
        library_without_the_sequence,
        every_case_broken,
    ],
)
def test_a_library_that_cannot_serve_is_refused(spoil: Callable[[Bench], dict[str, Any]], bench: Bench) -> None:
    changes = spoil(bench)
    refused(LibraryError, lambda: bench.predict(**changes), bench.request.out)


def tampered_weights(model: Path) -> None:
    weights = next(model.rglob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))


def added_file(model: Path) -> None:
    (model / "unet" / "extra.safetensors").write_bytes(b"more")


def no_checksums(model: Path) -> None:
    (model / "checksums.json").unlink()


def missing_weights(model: Path) -> None:
    next(model.rglob("*.safetensors")).unlink()


def no_index(model: Path) -> None:
    (model / "model_index.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (tampered_weights, ModelTampered),
        (added_file, ModelTampered),
        (no_checksums, ModelTampered),
        (missing_weights, ModelMissing),
        (no_index, ModelMissing),
        (shutil.rmtree, ModelMissing),
    ],
)
def test_a_missing_or_tampered_model_is_refused_before_the_long_work(
    spoil: Callable[[Path], None],
    error: type[PostOpError],
    bench: Bench,
    a_saved_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    model = bench.folder / "model"
    shutil.copytree(a_saved_model, model)
    spoil(model)
    request = dataclasses.replace(bench.request, model=model)
    progress = Recorder()
    refused(error, lambda: predict(request, progress), bench.request.out)
    assert progress.stages[-1] == "Loading the model"


def test_a_device_that_is_not_there_is_refused(bench: Bench, a_saved_model: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this computer has a GPU")
    request = dataclasses.replace(bench.request, model=a_saved_model, device="cuda")
    refused(InputError, lambda: predict(request, Recorder()), bench.request.out, "cuda")


def test_too_little_memory_is_told(bench: Bench) -> None:
    class Greedy(FollowsThePrecedent):
        def __call__(self, triplets: Any, **settings: Any) -> Any:
            raise torch.OutOfMemoryError("out of memory")

    bench.model = Greedy()
    refused(OutOfMemory, bench.predict, bench.request.out, "memory")


@pytest.mark.parametrize("stage", STAGES)
def test_a_cancel_in_any_stage_leaves_nothing_and_keeps_the_earlier_prediction(stage: str, bench: Bench) -> None:
    earlier = bench.request.out
    earlier.mkdir()
    (earlier / "provenance.json").write_text("{}")
    progress = Recorder(cancel_in=stage)
    refused(Cancelled, lambda: bench.predict(progress, overwrite=True), earlier)
    assert progress.stages[-1] == stage


def test_a_full_disk_leaves_nothing_and_keeps_the_earlier_prediction(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.request.out.mkdir()
    (bench.request.out / "provenance.json").write_text("{}")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prediction_files, "write_json", full)
    refused(StorageError, lambda: bench.predict(overwrite=True), bench.request.out, "disk is full")


def test_a_writer_that_fails_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("ITK ERROR: NiftiImageIO: ERROR: nifti library failed to write image")

    monkeypatch.setattr(output_folder.sitk, "WriteImage", fails)
    refused(StorageError, bench.predict, bench.request.out, "disk may be full")


def test_a_folder_without_write_permission_is_refused_before_any_work(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_folder.os, "access", lambda *_: False)
    progress = Recorder()
    refused(StorageError, lambda: bench.predict(progress), bench.request.out, "No permission")
    assert progress.stages == [""]


def existing_folder(bench: Bench) -> dict[str, Any]:
    bench.request.out.mkdir()
    (bench.request.out / "thesis.docx").write_text("years of work")
    return {}


def foreign_folder_with_overwrite(bench: Bench) -> dict[str, Any]:
    return existing_folder(bench) | {"overwrite": True}


def folder_with_the_inputs(bench: Bench) -> dict[str, Any]:
    bench.request.out.mkdir()
    (bench.request.out / "provenance.json").write_text("{}")
    scan = bench.request.out / "scan.nii.gz"
    shutil.copy(bench.request.pre, scan)
    return {"pre": scan, "overwrite": True}


def folder_of_the_library(bench: Bench) -> dict[str, Any]:
    (bench.folder / "library" / "provenance.json").write_text("{}")
    return {"out": bench.folder / "library", "overwrite": True}


def a_file(bench: Bench) -> dict[str, Any]:
    bench.request.out.write_text("mine")
    return {"overwrite": True}


def below_a_file(bench: Bench) -> dict[str, Any]:
    bench.request.out.write_text("mine")
    return {"out": bench.request.out / "below"}


@pytest.mark.parametrize(
    "spoil",
    [
        existing_folder,
        foreign_folder_with_overwrite,
        folder_with_the_inputs,
        folder_of_the_library,
        a_file,
        below_a_file,
    ],
)
def test_nothing_that_exists_is_overwritten_by_mistake(spoil: Callable[[Bench], dict[str, Any]], bench: Bench) -> None:
    changes = spoil(bench)
    progress = Recorder()
    refused(InputError, lambda: bench.predict(progress, **changes), bench.request.out)
    assert progress.stages == [""]


def test_an_empty_folder_and_an_earlier_prediction_are_replaced(bench: Bench) -> None:
    bench.request.out.mkdir()
    first = bench.predict()
    (first.folder / "old.txt").write_text("from the earlier prediction")
    again = bench.predict(overwrite=True, seed=1)
    assert again.folder == first.folder and not (again.folder / "old.txt").exists()
    assert all(path.is_file() for path in again.files.values())
    assert [path.name for path in again.folder.parent.iterdir()] == [again.folder.name]
