"""Whatever is wrong with the images, it is a sentence that names it and says what to do; no output is left."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_scans import GRID, ball, tiny_array, tiny_scan, tiny_tumour, write, write_dicom

from PostOpPredictorLib.errors import InputError, PostOpError, RegistrationFailed, StorageError
from PostOpPredictorLib.imaging.grid import Grid
from PostOpPredictorLib.imaging.registration_files import RegisterRequest, register_files
from PostOpPredictorLib.progress import SilentProgress

ADVICE = ("Check", "Choose", "Export", "Convert", "Correct", "Resample", "Save", "Copy", "Put", "Draw", "Give", "give")
Maker = Callable[[Path], Path]


def refusal(request: RegisterRequest, kind: type[PostOpError]) -> str:
    """Register, expect to be refused with ``kind``, and return the sentence after checking its form and the disk."""
    folder = request.pre.parent
    before = sorted(p for p in folder.rglob("*"))
    with pytest.raises(kind) as refused:
        register_files(request, SilentProgress())
    sentence = str(refused.value)
    assert refused.value.exit_code == 2
    assert sentence.endswith(".")
    assert any(word in sentence for word in ADVICE), sentence
    assert "Traceback" not in sentence
    assert sorted(p for p in folder.rglob("*")) == before
    return sentence


def saved(image: sitk.Image, name: str = "a.nii.gz") -> Maker:
    return lambda folder: write(image, folder / name)


def content(data: bytes, name: str) -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def cut(name: str, share: float) -> Maker:
    def make(folder: Path) -> Path:
        whole = write(tiny_scan(), folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(len(whole) * share)])
        return folder / name

    return make


def gzip_of_cut_nifti(folder: Path) -> Path:
    whole = write(tiny_scan(), folder / "a.nii").read_bytes()
    (folder / "b.nii.gz").write_bytes(gzip.compress(whole[: len(whole) // 2]))
    return folder / "b.nii.gz"


def header_changed(offset: int, form: str, *values: float) -> Maker:
    """A NIfTI file whose header holds ``values`` at byte ``offset``."""

    def make(folder: Path) -> Path:
        raw = bytearray(write(tiny_scan(), folder / "a.nii").read_bytes())
        struct.pack_into(form, raw, offset, *values)
        (folder / "a.nii").write_bytes(raw)
        return folder / "a.nii"

    return make


def filled(value: float) -> np.ndarray:
    return np.full(GRID.shape, value, np.float32)


def mostly_nan() -> np.ndarray:
    array = tiny_array()
    array[: GRID.shape[0] * 2 // 3] = np.nan
    return array


def of_size(size: tuple[int, int, int], spacing: tuple[float, float, float]) -> sitk.Image:
    array = np.random.default_rng(0).normal(100, 10, size[::-1]).astype(np.float32)
    return Grid(size, spacing, (0.0, 0.0, 0.0)).image(array)


def sheared() -> sitk.Image:
    scan = tiny_scan()
    scan.SetDirection((1, 0.4, 0, 0, 1, 0, 0, 0, 1))
    return scan


def two_series(folder: Path) -> Path:
    write_dicom(folder / "study", tiny_scan(), series=1)
    return write_dicom(folder / "study", tiny_scan(), series=2)


def dicom_with_a_gap(folder: Path) -> Path:
    series = write_dicom(folder / "series", tiny_scan())
    for number in (10, 11, 12, 20):
        (series / f"s1_{number:03d}.dcm").unlink()
    return series


def damaged_dicom(folder: Path) -> Path:
    series = write_dicom(folder / "series", tiny_scan())
    slice_file = series / "s1_015.dcm"
    slice_file.write_bytes(slice_file.read_bytes()[:700])
    return series


def only_a_text_file(folder: Path) -> Path:
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("no image")
    return folder / "notes"


def empty_folder(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


def joined(count: int) -> sitk.Image:
    return sitk.JoinSeries([tiny_scan()] * count)


BAD_SCANS: dict[str, tuple[Maker, str]] = {
    "missing file": (lambda folder: folder / "nowhere.nii.gz", "does not exist"),
    "empty file": (content(b"", "a.nii.gz"), "is empty (0 bytes)"),
    "text named nii.gz": (content(b"this is no image\n" * 50, "a.nii.gz"), "could not be read as an image"),
    "text named nii": (content(b"this is no image\n" * 50, "a.nii"), "could not be read as an image"),
    "text named nrrd": (content(b"this is no image\n" * 50, "a.nrrd"), "could not be read as an image"),
    "gzip of text": (content(gzip.compress(b"no image" * 99), "a.nii.gz"), "could not be read as an image"),
    "unknown suffix": (content(b"\x00\x01\x02" * 99, "a.scan"), "could not be read as an image"),
    "spreadsheet": (content(b"a,b\n1,2\n", "a.csv"), "could not be read as an image"),
    "truncated nii.gz": (cut("a.nii.gz", 0.5), "truncated or damaged"),
    "nii.gz without its last bytes": (cut("a.nii.gz", 0.999), "truncated or damaged"),
    "truncated nii": (cut("a.nii", 0.7), "truncated or damaged"),
    "gzip of a truncated nii": (gzip_of_cut_nifti, "truncated or damaged"),
    "truncated nrrd": (cut("a.nrrd", 0.6), "truncated or damaged"),
    "truncated mha": (cut("a.mha", 0.6), "truncated or damaged"),
    "only the header of a nii.gz": (cut("a.nii.gz", 0.01), "truncated or damaged"),
    "2-D png": (saved(sitk.Image(64, 64, sitk.sitkUInt8), "a.png"), "single slice (2-D)"),
    "2-D nifti": (saved(tiny_scan()[:, :, 18]), "single slice (2-D)"),
    "3-D of one slice": (saved(tiny_scan()[:, :, 18:19]), "single slice (2-D)"),
    "4-D of 5 volumes": (saved(joined(5)), "it holds 5 volumes"),
    "4-D of 2 volumes as nrrd": (saved(joined(2), "a.nrrd"), "it holds 2 volumes"),
    "RGB png": (saved(sitk.Image([64, 64], sitk.sitkVectorUInt8, 3), "a.png"), "colour or vector"),
    "3-D RGB": (saved(sitk.Compose([sitk.Cast(tiny_scan(), sitk.sitkUInt8)] * 3), "a.nrrd"), "colour or vector"),
    "displacement field": (saved(sitk.Compose([tiny_scan()] * 3)), "colour or vector"),
    "complex": (saved(sitk.RealAndImaginaryToComplex(tiny_scan(), tiny_scan())), "complex numbers"),
    "constant": (saved(GRID.image(filled(7))), "every voxel is 7"),
    "all zero": (saved(GRID.image(filled(0))), "every voxel is 0"),
    # (The NIfTI library itself turns NaN into 0, so only other formats can show how many there are.)
    "all NaN": (saved(GRID.image(filled(np.nan)), "a.nrrd"), "100% of the voxels"),
    "mostly NaN": (saved(GRID.image(mostly_nan()), "a.mha"), "are not numbers"),
    "all infinite": (saved(GRID.image(filled(np.inf)), "a.nrrd"), "are not numbers"),
    "constant but for NaN": (
        saved(GRID.image(np.where(ball(5), np.nan, 0).astype(np.float32))),
        "every voxel is 0",
    ),
    "10 mm field of view": (saved(of_size((64, 64, 5), (2.0, 2.0, 2.0))), "a 10 mm field of view along z"),
    "narrow along x": (saved(of_size((20, 64, 64), (2.0, 2.0, 2.0))), "a 40 mm field of view along x"),
    "microns taken for mm": (saved(of_size((40, 40, 40), (14.0, 14.0, 19.0))), "19 mm along z"),
    "view of 2 m": (saved(of_size((200, 40, 40), (10.0, 2.0, 2.0))), "more than a head can be"),
    "spacing of 0.001 mm": (saved(of_size((40, 40, 40), (0.001, 2.0, 2.0)), "a.nrrd"), "0.001 mm along x"),
    "sheared axes": (saved(sheared(), "a.nrrd"), "not at right angles"),
    "claims 30000 voxels a side": (header_changed(40, "<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1), "30000"),
    "DICOM folder with two like series": (two_series, "2 DICOM series of comparable size (36, 36 slices)"),
    "DICOM with slices missing": (dicom_with_a_gap, "not evenly spaced"),
    "DICOM with a damaged slice": (damaged_dicom, "DICOM"),
    "one DICOM slice": (lambda folder: write_dicom(folder, tiny_scan()) / "s1_010.dcm", "one DICOM slice"),
    "a DICOM series of 2 slices": (lambda f: write_dicom(f / "s", tiny_scan(), keep=slice(0, 2)), "has 2 slice(s)"),
    "a folder without DICOM": (only_a_text_file, "holds no DICOM series"),
    "an empty folder": (empty_folder, "holds no DICOM series"),
}


@pytest.mark.parametrize("name", BAD_SCANS)
def test_a_bad_scan_is_refused(tmp_path: Path, name: str):
    make, said = BAD_SCANS[name]
    assert said in refusal(RegisterRequest(make(tmp_path), tmp_path / "out"), InputError)


def shifted(image: sitk.Image, by: float) -> sitk.Image:
    copy = sitk.Image(image)
    copy.SetOrigin([o + by for o in image.GetOrigin()])
    return copy


def relabelled(old: int, new: int) -> sitk.Image:
    return sitk.ChangeLabel(sitk.Cast(tiny_tumour(), sitk.sitkInt16), {old: new})


def in_the_corner() -> sitk.Image:
    return GRID.image(ball(3, (4, 4, 4)).astype(np.uint8))


BAD_MASKS: dict[str, tuple[Maker, str]] = {
    "missing mask": (lambda folder: folder / "nowhere.nii.gz", "does not exist"),
    "empty mask": (saved(tiny_tumour() * 0, "m.nii.gz"), "mask is empty"),
    "wholly outside": (saved(shifted(tiny_tumour(), 400), "m.nii.gz"), "wholly outside the scan"),
    "mostly outside": (saved(shifted(tiny_tumour(), -32), "m.nii.gz"), "of the tumour mask lies inside the scan"),
    "beside the head": (saved(in_the_corner(), "m.nii.gz"), "another patient's mask"),
    "unknown label": (saved(relabelled(4, 7), "m.nii.gz"), "1, 2, 7, but the preset brats expects 1, 2, 4"),
    "the newer labels": (saved(relabelled(4, 3), "m.nii.gz"), "the preset brats2023"),
    "negative labels": (saved(relabelled(4, -4), "m.nii.gz"), "values from -4"),
    "only oedema": (saved(GRID.image(ball(4).astype(np.uint8) * 2), "m.nii.gz"), "no tumour core"),
    "the scan itself": (saved(sitk.Cast(tiny_scan(), sitk.sitkInt16), "m.nii.gz"), "looks like a scan"),
    "a scan with fractions": (saved(tiny_scan() * 1.37, "m.nii.gz"), "neither a label map nor a probability"),
    "NaN in the mask": (saved(GRID.image(np.where(ball(4), np.nan, 0)), "m.nrrd"), "not numbers"),
    "text": (content(b"no mask" * 60, "m.nii.gz"), "could not be read as an image"),
    "truncated": (cut("m.nii.gz", 0.6), "truncated or damaged"),
    "4-D": (saved(sitk.JoinSeries([tiny_tumour()] * 3), "m.nii.gz"), "it holds 3 volumes"),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_a_bad_tumour_mask_is_refused(tmp_path: Path, name: str):
    make, said = BAD_MASKS[name]
    scan = write(tiny_scan(), tmp_path / "scan.nii.gz")
    assert said in refusal(RegisterRequest(scan, tmp_path / "out", make(tmp_path)), InputError)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (saved(tiny_tumour() * 0, "b.nii.gz"), "is empty"),
        (saved(shifted(tiny_tumour(), 400), "b.nii.gz"), "does not lie on the head"),
        (content(b"no mask" * 60, "b.nii.gz"), "could not be read as an image"),
    ],
    ids=["empty", "elsewhere", "text"],
)
def test_a_bad_brain_mask_is_refused(tmp_path: Path, make: Maker, said: str):
    scan = write(tiny_scan(), tmp_path / "scan.nii.gz")
    assert said in refusal(RegisterRequest(scan, tmp_path / "out", brain=make(tmp_path)), InputError)


@pytest.mark.parametrize("labels", ["brat", "", "1;4", "0", "-1", "core"])
def test_bad_label_names_are_refused_with_the_possible_ones(tmp_path: Path, labels: str):
    scan = write(tiny_scan(), tmp_path / "scan.nii.gz")
    mask = write(tiny_tumour(), tmp_path / "mask.nii.gz")
    assert "brats2023" in refusal(RegisterRequest(scan, tmp_path / "out", mask, labels), InputError)


def test_a_volume_that_is_no_brain_is_refused(tmp_path: Path):
    z, y, x = np.indices((60, 70, 64))
    texture = np.random.default_rng(0).normal(100, 10, z.shape)
    blob = ((z - 30) / 26) ** 2 + ((y - 35) / 30) ** 2 + ((x - 32) / 24) ** 2 < 1
    grid = Grid((64, 70, 60), (3.0, 3.0, 3.0), (-96.0, -105.0, -90.0))
    path = write(grid.image((texture * blob).astype(np.float32)), tmp_path / "knee.nii.gz")
    sentence = refusal(RegisterRequest(path, tmp_path / "out"), RegistrationFailed)
    assert "could not be aligned to MNI space" in sentence
    assert "T1-weighted scan of a whole brain" in sentence


def test_an_output_folder_with_files_in_it_is_kept(tmp_path: Path):
    scan = write(tiny_scan(), tmp_path / "scan.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("keep me")
    assert "exists already" in refusal(RegisterRequest(scan, tmp_path / "out"), InputError)
    assert (tmp_path / "out" / "precious.txt").read_text() == "keep me"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_sentence(tmp_path: Path):
    scan = write(tiny_scan(), tmp_path / "scan.nii.gz")
    scan.chmod(0)
    assert "cannot be opened" in refusal(RegisterRequest(scan, tmp_path / "out"), InputError)


def test_a_full_disk_while_the_results_are_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from PostOpPredictorLib.imaging import registration_files, template
    from PostOpPredictorLib.imaging.registration import Registration, RegistrationQuality

    quality = RegistrationQuality(0.95, 0.6, True, "The scan was aligned.")
    done = Registration(sitk.Transform(3, sitk.sitkIdentity), template.brain_mask(), quality, True)
    monkeypatch.setattr(registration_files, "register_to_mni", lambda *_: done)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registration_files.sitk, "WriteTransform", full)
    scan = write(tiny_scan(), tmp_path / "scan.nii.gz")
    with pytest.raises(StorageError, match="disk is full"):
        register_files(RegisterRequest(scan, tmp_path / "out"), SilentProgress())
    assert list(tmp_path.iterdir()) == [scan]
