"""Volumes are read from any format with their place in space, and written whole with nothing of the patient in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_scans import GRID, tiny_array, tiny_scan, tiny_tumour, write, write_dicom

from PostOpPredictorLib.errors import InputError, StorageError
from PostOpPredictorLib.imaging import volumes
from PostOpPredictorLib.imaging.complete_nifti import is_complete_nifti
from PostOpPredictorLib.imaging.grid import Grid
from PostOpPredictorLib.imaging.volumes import read_labels, read_volume, write_volume


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.img"])
def test_every_format_gives_the_same_volume_at_the_same_place(tmp_path: Path, name: str):
    read = read_volume(write(tiny_scan(), tmp_path / name))
    assert read.GetPixelID() == sitk.sitkFloat32
    assert GRID.holds(read, 1e-2)
    assert np.allclose(sitk.GetArrayFromImage(read), tiny_array())


def test_a_dicom_folder_is_read_in_the_order_of_its_slices(tmp_path: Path):
    read = read_volume(write_dicom(tmp_path / "series", tiny_scan()))
    assert GRID.holds(read, 1e-2)
    assert np.abs(sitk.GetArrayFromImage(read) - tiny_array()).max() < 1


def test_of_a_dicom_folder_with_a_localizer_the_large_series_is_read(tmp_path: Path):
    folder = write_dicom(tmp_path / "study", tiny_scan(), series=1)
    write_dicom(folder, tiny_scan(), series=2, keep=slice(0, 3))
    (folder / "notes.txt").write_text("no image")
    assert read_volume(folder).GetSize() == GRID.size


def test_the_series_may_lie_in_a_folder_inside_the_chosen_one(tmp_path: Path):
    write_dicom(tmp_path / "study" / "scans" / "t1", tiny_scan())
    assert read_volume(tmp_path / "study").GetSize() == GRID.size


def test_a_4d_file_with_a_single_volume_is_that_volume(tmp_path: Path):
    one = sitk.JoinSeries([tiny_scan()])
    assert np.allclose(sitk.GetArrayFromImage(read_volume(write(one, tmp_path / "a.nii.gz"))), tiny_array())


def test_nan_and_infinity_become_zero(tmp_path: Path):
    array = tiny_array()
    array[10, 10, 10:13] = np.nan, np.inf, -np.inf
    read = sitk.GetArrayFromImage(read_volume(write(GRID.image(array), tmp_path / "a.nii.gz")))
    assert np.isfinite(read).all()
    assert (read[10, 10, 10:13] == 0).all()
    assert np.allclose(read[20], array[20])


def test_values_that_overflow_when_they_are_summed_become_zero(tmp_path: Path):
    array = tiny_array().astype(np.float64)
    array[5, 5, 5] = 1e200
    read = sitk.GetArrayFromImage(read_volume(write(GRID.image(array), tmp_path / "a.nrrd")))
    assert read[5, 5, 5] == 0


def test_permuted_and_left_handed_axes_keep_their_place(tmp_path: Path):
    scan = tiny_scan()
    for turned in (sitk.PermuteAxes(scan, [2, 0, 1]), sitk.Flip(scan, [True, False, False])):
        read = read_volume(write(turned, tmp_path / "a.nii.gz"))
        assert np.allclose(sitk.GetArrayFromImage(GRID.resample(read)), tiny_array(), atol=1e-2)


def test_labels_stored_as_floating_point_are_labels(tmp_path: Path):
    floats = sitk.Cast(tiny_tumour(), sitk.sitkFloat64) + 1e-5
    read = read_labels(write(floats, tmp_path / "a.nii.gz"))
    assert read.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(tiny_tumour()))


def test_a_probability_map_is_cut_at_one_half(tmp_path: Path):
    probability = np.clip(tiny_array() / 200, 0, 1)
    read = read_labels(write(GRID.image(probability), tmp_path / "a.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(read), (probability >= 0.5).astype(np.uint8))


def test_labels_above_255_are_kept(tmp_path: Path):
    labels = sitk.Cast(tiny_tumour(), sitk.sitkInt32) * 1000
    assert set(np.unique(sitk.GetArrayFromImage(read_labels(write(labels, tmp_path / "a.nrrd"))))) == {
        0,
        1000,
        2000,
        4000,
    }


def test_an_empty_mask_is_read_as_it_is(tmp_path: Path):
    assert not sitk.GetArrayFromImage(read_labels(write(tiny_tumour() * 0, tmp_path / "a.nii.gz"))).any()


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_nothing_but_the_grid_survives_writing(tmp_path: Path, name: str):
    scan = tiny_scan()
    for field in ("ITK_FileNotes", "descrip", "aux_file", "intent_name", "db_name", "PatientName"):
        scan.SetMetaData(field, "Doe^Jane")
    write_volume(scan, tmp_path / name)
    kept = (tmp_path / name).read_bytes() if name.endswith("nrrd") else _unpacked(tmp_path / name)
    assert b"Doe" not in kept
    assert GRID.holds(read_volume(tmp_path / name), 1e-2)


def test_identifiers_of_a_dicom_series_do_not_reach_the_written_file(tmp_path: Path):
    scan = read_volume(write_dicom(tmp_path / "series", tiny_scan()))
    write_volume(scan, tmp_path / "a.nii.gz")
    assert b"Doe" not in _unpacked(tmp_path / "a.nii.gz")


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "a.nii.gz"
    write_volume(tiny_scan(), target)
    before = target.read_bytes()

    def half_written(image: sitk.Image, path: str, **_: object) -> None:
        Path(path).write_bytes(before[: len(before) // 2])

    monkeypatch.setattr(volumes.sitk, "WriteImage", half_written)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(StorageError, match="disk is full"):
        write_volume(tiny_scan(), target)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_an_unknown_suffix_is_refused_and_leaves_nothing(tmp_path: Path):
    with pytest.raises(InputError, match=r"nii\.gz"):
        write_volume(tiny_scan(), tmp_path / "a.strange")
    assert not list(tmp_path.iterdir())


def test_the_image_libraries_say_nothing_of_their_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    cut = write(tiny_scan(), tmp_path / "a.mha")
    cut.write_bytes(cut.read_bytes()[:30_000])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"nonsense" * 20)
    capfd.readouterr()
    for path in (cut, tmp_path / "folder"):
        with pytest.raises(InputError):
            read_volume(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img"])
def test_a_nifti_file_that_was_cut_is_told_from_a_whole_one(tmp_path: Path, name: str):
    path = write(tiny_scan(), tmp_path / name)
    assert is_complete_nifti(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert not is_complete_nifti(path)


def test_a_single_bit_flipped_in_a_compressed_file_is_found(tmp_path: Path):
    path = write(tiny_scan(), tmp_path / "a.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_volume(path)


def test_grid_of_an_image_makes_the_same_image_again():
    scan = tiny_scan()
    assert Grid.of(scan).holds(Grid.of(scan).image(tiny_array()))


def _unpacked(path: Path) -> bytes:
    import gzip

    return gzip.decompress(path.read_bytes())


@pytest.mark.parametrize("spacing", [0.9, 2.0, 6.0])
def test_labels_are_laid_on_a_grid_as_if_all_of_it_were_interpolated(spacing: float) -> None:
    grid = Grid((60, 50, 40), (1.5, 1.5, 1.5), (-45.0, -37.0, -30.0))
    side = round(60 / spacing)
    head = Grid((side, side, side), (spacing,) * 3, (-30.0, -30.0, -30.0))
    labels = np.zeros(head.shape, np.uint8)
    third = side // 3
    labels[third : 2 * third, third : 2 * third, third : 2 * third] = 2
    labels[third : 2 * third, third : third + max(third // 2, 1), third : 2 * third] = 4
    turned = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.2, -0.1, 0.3, (2.0, 1.0, -3.0))
    whole = sitk.GetArrayFromImage(grid.resample(head.image(labels), turned, sitk.sitkLabelLinear))
    found = grid.resample_labels(head.image(labels), turned)
    assert set(np.unique(found)) == {0, 2, 4} and found.dtype == np.uint8
    assert (found == whole).all()
    assert not grid.resample_labels(head.image(np.zeros_like(labels)), turned).any()


def test_labels_at_the_edge_of_a_grid_stay_inside() -> None:
    grid = Grid((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    assert (grid.resample_labels(grid.image(np.full(grid.shape, 3, np.uint8))) == 3).all()
