"""The phantom patient of the Sample Data module: registered, made once, checked, and loaded with named segments."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from PostOpPredictorModule import SampleData as sample_data
from PostOpPredictorModule.Errors import PredictionError
from standins.mrml_scene import ijk_to_ras


class RecordingSampleData:
    """The two functions of Slicer 5.12's ``SampleData.SampleDataLogic``, with their very arguments."""

    def __init__(self) -> None:
        self.categories: dict[str, str] = {}
        self.sources: list[SimpleNamespace] = []

    def registerCustomSampleDataCategory(self, category: str, title: str) -> None:
        self.categories[category] = title

    def registerCustomSampleDataSource(
        self,
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        assert len(uris) == len(fileNames) == len(nodeNames) == len(loadFileTypes)
        self.sources.append(SimpleNamespace(**{name: value for name, value in locals().items() if name != "self"}))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> RecordingSampleData:
    """What was registered with a stand-in of the module SampleData."""
    recording = RecordingSampleData()
    module = ModuleType("SampleData")
    module.SampleDataLogic = recording  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "SampleData", module)
    sample_data.registerSampleData()
    return recording


@pytest.fixture
def sample_folder(
    made_once: Callable[[str, Callable[[Path], object]], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """The cache as it is after the first click; the real backend process filled it, once for all tests."""

    def make(folder: Path) -> None:
        monkeypatch.setattr(sample_data, "sampleFolder", lambda: folder / "sample")
        sample_data._simulate(folder / "sample", lambda _message: True)

    made = made_once("sample-data", make) / "sample"
    folder = tmp_path / "sample"
    shutil.copytree(made, folder)
    monkeypatch.setattr(sample_data, "sampleFolder", lambda: folder)
    return folder


def no_simulation(*_: Any) -> None:
    raise AssertionError("the patient is in the cache, so nothing should be simulated")


def test_it_is_registered_with_a_downloader_of_its_own(registered: RecordingSampleData) -> None:
    (source,) = registered.sources
    assert source.category in registered.categories
    assert source.customDownloader is sample_data.downloadSample
    assert source.nodeNames == ["PhantomPatient_T1wCE", "PhantomPatient_Tumour"]
    assert all(uri.startswith("file:///") for uri in source.uris), "sample data that works without internet"
    assert Path(source.thumbnailFileName).parts[-4:] == (
        "PostOpPredictor",
        "Resources",
        "Icons",
        "PostOpPredictor.png",
    )


def test_an_application_without_sample_data_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SampleData", None)
    sample_data.registerSampleData()


def test_the_patient_is_loaded_with_named_and_coded_segments(
    scene: Any, sample_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_data, "_simulate", no_simulation)
    volume, segmentation = sample_data.loadPhantomPatient()
    array = slicer.util.arrayFromVolume(volume)
    assert array.max() > 500 and array.shape == (210, 240, 200)
    assert np.allclose(np.abs(np.linalg.det(ijk_to_ras(volume)[:3, :3])), 1.0)
    segments = segmentation.GetSegmentation()
    ids = [segments.GetNthSegmentID(n) for n in range(segments.GetNumberOfSegments())]
    names = {name: segments.GetSegment(name).GetName() for name in ids}
    assert names == {"enhancing": "Enhancing tumour", "necrotic": "Necrotic core", "oedema": "Oedema"}
    for segment_id, words in (("enhancing", "Neoplasm"), ("necrotic", "Necrosis"), ("oedema", "Edema")):
        entry = vtk.reference("")
        assert segments.GetSegment(segment_id).GetTag("TerminologyEntry", entry)
        assert words in str(entry) and "Brain" in str(entry)
    assert segmentation.GetDisplayNode().GetVisibility() and volume.GetDisplayNode() is not None


def test_the_segments_are_where_the_tumour_was_simulated(scene: Any, sample_folder: Path) -> None:
    import SimpleITK as sitk

    volume, segmentation = sample_data.loadPhantomPatient()
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(sample_folder / "tumour.nii.gz")))
    for segment_id, label in (("enhancing", 4), ("necrotic", 1), ("oedema", 2)):
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume)
        assert (found > 0).sum() == (labels == label).sum() > 0
        assert np.array_equal(found > 0, labels == label)


def test_a_second_patient_gets_names_of_its_own(scene: Any, sample_folder: Path) -> None:
    first, second = sample_data.loadPhantomPatient(), sample_data.loadPhantomPatient()
    assert len({node.GetName() for node in (*first, *second)}) == 4


@pytest.mark.parametrize("harm", ["T1wCE.nii.gz", "tumour.nii.gz", "checksums.json", "nothing there"])
def test_a_harmed_cache_is_noticed_and_made_again(
    scene: Any, sample_folder: Path, harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(sample_folder, whole)
    assert sample_data.isIntact(sample_folder)
    if harm == "nothing there":
        shutil.rmtree(sample_folder)
    else:
        content = bytearray((sample_folder / harm).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (sample_folder / harm).write_bytes(content)
    assert not sample_data.isIntact(sample_folder)
    calls: list[Path] = []

    def simulated(folder: Path, _watcher: Any) -> None:
        calls.append(folder)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)

    monkeypatch.setattr(sample_data, "_simulate", simulated)
    sample_data.loadPhantomPatient()
    assert calls == [sample_folder] and sample_data.isIntact(sample_folder)


def test_the_real_backend_can_be_stopped_and_leaves_nothing(
    scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_data, "sampleFolder", lambda: tmp_path / "cache" / "sample")
    seen: list[str] = []

    def stop_at_the_first_stage(message: dict[str, Any]) -> bool:
        seen.append(message["type"])
        return "stage" not in seen

    began = time.monotonic()
    with pytest.raises(PredictionError) as raised:
        sample_data.loadPhantomPatient(stop_at_the_first_stage)
    # The scene is as it was, no folder was left, and most of the work was never done.
    assert raised.value.code == "cancelled"
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert not list(tmp_path.rglob("*.nii.gz"))
    assert time.monotonic() - began < 30


def test_waiting_is_told_and_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation of minutes on a slow computer: one look every 20 ms."""
    monkeypatch.setattr(sample_data, "MOST_MESSAGES", 5)
    remembered: list[dict[str, Any]] = []
    plain = sample_data._raiseUnlessDone
    monkeypatch.setattr(
        sample_data, "_raiseUnlessDone", lambda seen, code: (remembered.extend(seen), plain(seen, code))
    )
    told: list[str] = []
    program = """
import time
for number in range(9): print("line", number, flush=True)
time.sleep(0.3)
print('{"type": "result"}', flush=True)
"""

    def watch(message: dict[str, Any]) -> bool:
        told.append(message["type"])
        return True

    sample_data.runBackend([sys.executable, "-c", program], tmp_path / "cancel", watch)
    assert told.count("waiting") > 3 and told.count("log") == 9
    assert [one["type"] for one in remembered] == ["log"] * 4 + ["result"]


def test_the_folder_is_in_the_users_cache_and_belongs_to_the_version(a_cache_of_its_own: Path) -> None:
    import PostOpPredictorLib

    folder = sample_data.sampleFolder()
    assert a_cache_of_its_own in folder.parents and folder.name == PostOpPredictorLib.__version__


def test_the_checksums_are_of_the_files(sample_folder: Path) -> None:
    written = json.loads((sample_folder / "checksums.json").read_text(encoding="utf-8"))
    assert written == {name: slicer.util.computeChecksum("SHA256", str(sample_folder / name)) for name in written}
    assert set(written) == {"T1wCE.nii.gz", "tumour.nii.gz"}


def test_an_error_is_shown_and_gives_no_nodes(scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    monkeypatch.setattr(sample_data, "sampleFolder", lambda: tmp_path)
    shown: list[str] = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **_options: shown.append(text))
    assert sample_data.downloadSample() == []
    assert len(shown) == 1 and "other things" in shown[0]
