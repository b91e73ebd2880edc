"""What the prepared file promises: every tumour slice as the library has it, and the truly most similar beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from synthetic_cases import SHAPE, blob, box, made_up_case

from PostOpPredictorLib.cases.case import SimulatedCase
from PostOpPredictorLib.cases.library import CaseLibrary, LibraryCase
from PostOpPredictorLib.errors import Cancelled, InputError, LibraryError
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training import prepare
from PostOpPredictorLib.training.prepare import prepare_slices

PLACES = ("north", "north", "north", "south", "south", "east", "east", "east")
SPLITS = ("train", "train", "train", "train", "train", "test", "test", "val")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> CaseLibrary:
    """Eight blobs of seven patients (the first two cases are of one) in three institutions and all splits."""
    rng = np.random.default_rng(5)
    library = CaseLibrary.create(tmp_path_factory.mktemp("prepare") / "library")
    for number, (place, split) in enumerate(zip(PLACES, SPLITS, strict=True)):
        options: dict[str, Any] = {"institution": place, "split": split, "seed": number}
        core = blob(rng, radius=12) | box((60, 62), (60, 70), (60, 70))
        patient, kind = f"p{max(number, 1)}", "semi-real" if number == 3 else "phantom"
        library.add(made_up_case(f"c{number}", core, patient_id=patient, kind=kind, with_shift=number != 4, **options))
    return library


@pytest.fixture(scope="module")
def prepared(library: CaseLibrary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared file of the eight blobs with five neighbours."""
    out = tmp_path_factory.mktemp("prepared") / "slices.safetensors"
    counts = prepare_slices(library.folder, out, neighbours=5)
    assert counts["cases"] == 8
    return out


@pytest.fixture(scope="module")
def arrays(prepared: Path) -> dict[str, np.ndarray]:
    return load_file(prepared)


def metadata_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="np") as file:
        return {name: json.loads(value) for name, value in file.metadata().items()}


def core_slices(case: LibraryCase) -> np.ndarray:
    return np.flatnonzero(case.tumour_core().sum(axis=(1, 2)) >= 20)


def test_rows_are_the_slices_with_twenty_pixels_of_core_and_four_either_side(
    library: CaseLibrary, arrays: dict[str, np.ndarray]
) -> None:
    expected = [
        (number, -72 + 1.5 * z)
        for number, case in enumerate(library.cases)
        for z in range(core_slices(case).min() - 4, core_slices(case).max() + 5)
    ]
    assert list(zip(arrays["case"].tolist(), arrays["z_mm"].tolist(), strict=True)) == expected
    assert all(len(array) == len(expected) for array in arrays.values())


def test_every_array_has_the_promised_type_and_shape(arrays: dict[str, np.ndarray]) -> None:
    found = {name: (array.dtype.name, array.shape[1:]) for name, array in arrays.items()}
    panel = ("uint8", (128, 128))
    assert found == {
        **{f"{when}_{sequence}": panel for when in ("pre", "post") for sequence in ("T1w", "T1wCE")},
        **{name: panel for name in ("tumour", "outcome", "brain", "resection")},
        "shift": ("int8", (3, 64, 64)),
        "shift_known": ("uint8", ()),
        "resection_known": ("uint8", ()),
        **{name: ("float32", ()) for name in ("z_mm", "days")},
        **{f"has_{sequence}": ("uint8", ()) for sequence in ("T1w", "T1wCE")},
        **{name: ("int32", ()) for name in ("case", "patient", "institution")},
        **{name: ("int8", ()) for name in ("split", "kind")},
        **{name: ("int32", (5,)) for name in ("neighbours", "neighbours_elsewhere")},
        "neighbour_iou": ("float16", (5,)),
    }


def test_slices_are_those_of_the_library(library: CaseLibrary, arrays: dict[str, np.ndarray]) -> None:
    for row in range(0, len(arrays["case"]), 7):
        case = library.cases[arrays["case"][row]]
        z = round((float(arrays["z_mm"][row]) + 72) / 1.5)
        for name, volume in (("tumour", case.tumour()), ("outcome", case.outcome()), ("brain", case.brain_pre())):
            assert np.array_equal(arrays[name][row], volume[z])
        for sequence in ("T1w", "T1wCE"):
            assert np.allclose(arrays[f"pre_{sequence}"][row] / 255, case.pre(sequence)[z], atol=1e-6)
            assert np.allclose(arrays[f"post_{sequence}"][row] / 255, case.post(sequence)[z], atol=1e-6)


def test_numbers_lead_back_to_case_patient_institution_split_and_kind(
    library: CaseLibrary, prepared: Path, arrays: dict[str, np.ndarray]
) -> None:
    meta = metadata_of(prepared)
    assert meta["grid"]["size"] == [128, 128, 104] and meta["version"]["schema"] == 3
    for row in range(len(arrays["case"])):
        case = library.case(meta["cases"][arrays["case"][row]])
        assert meta["patients"][arrays["patient"][row]] == case.patient_id
        assert meta["institutions"][arrays["institution"][row]] == case.institution
        assert ("train", "val", "test")[arrays["split"][row]] == case.split
        assert ("phantom", "semi-real", "real")[arrays["kind"][row]] == case.source


def test_neighbours_are_the_most_similar_of_their_institution_then_of_their_split(
    arrays: dict[str, np.ndarray],
) -> None:
    core = np.isin(arrays["tumour"], (1, 4)).reshape(len(arrays["case"]), -1).astype(np.float64)
    shared = core @ core.T
    iou = shared / np.maximum(core.sum(1)[:, None] + core.sum(1)[None] - shared, 1)
    searched = core.sum(axis=1) >= 20
    for row in np.flatnonzero(searched):
        permitted = searched & (arrays["split"] == arrays["split"][row]) & (arrays["patient"] != arrays["patient"][row])
        permitted &= (np.abs(arrays["z_mm"] - arrays["z_mm"][row]) <= 12) & (iou[row] > 0)
        same = arrays["institution"] == arrays["institution"][row]
        order = sorted(np.flatnonzero(permitted), key=lambda other: (not same[other], -iou[row, other], other))[:5]
        found = arrays["neighbours"][row]
        assert found[found >= 0].tolist() == order
        assert (found[len(order) :] == -1).all()
        assert np.allclose(arrays["neighbour_iou"][row][: len(order)], iou[row, order], atol=1e-3)


def test_neighbours_elsewhere_are_the_most_similar_of_other_institutions(arrays: dict[str, np.ndarray]) -> None:
    core = np.isin(arrays["tumour"], (1, 4)).reshape(len(arrays["case"]), -1).astype(np.float64)
    shared = core @ core.T
    iou = shared / np.maximum(core.sum(1)[:, None] + core.sum(1)[None] - shared, 1)
    searched, found_some = core.sum(axis=1) >= 20, 0
    for row in np.flatnonzero(searched):
        permitted = searched & (arrays["split"] == arrays["split"][row]) & (arrays["patient"] != arrays["patient"][row])
        permitted &= (np.abs(arrays["z_mm"] - arrays["z_mm"][row]) <= 12) & (iou[row] > 0)
        permitted &= arrays["institution"] != arrays["institution"][row]
        order = sorted(np.flatnonzero(permitted), key=lambda other: (-iou[row, other], other))[:5]
        found = arrays["neighbours_elsewhere"][row]
        assert found[found >= 0].tolist() == order
        found_some += len(order)
    assert found_some > 50


def test_a_margin_slice_meets_the_cases_of_its_nearest_core_slice_as_far_away(arrays: dict[str, np.ndarray]) -> None:
    core = np.isin(arrays["tumour"], (1, 4)).reshape(len(arrays["case"]), -1).sum(axis=1) >= 20
    margins = np.flatnonzero(~core)
    assert len(margins) > 30
    z = np.rint((arrays["z_mm"] + 72) / 1.5).astype(int)
    for row in margins:
        own = np.flatnonzero((arrays["case"] == arrays["case"][row]) & core)
        nearest = own[np.abs(z[own] - z[row]).argmin()]
        for found, source in zip(arrays["neighbours"][row], arrays["neighbours"][nearest], strict=True):
            if source < 0:
                assert found < 0
                continue
            of_case = np.flatnonzero(arrays["case"] == arrays["case"][source])
            wanted = np.clip(z[source] + z[row] - z[nearest], z[of_case].min(), z[of_case].max())
            assert arrays["case"][found] == arrays["case"][source] and z[found] == wanted
        assert np.array_equal(arrays["neighbour_iou"][row], arrays["neighbour_iou"][nearest])


def test_the_resection_is_written_where_it_is_known(tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    one = made_up_case("1")
    taken = (one.tumour > 0).astype(np.uint8)
    library.add(SimulatedCase(**{**vars(one), "resection": taken}))
    library.add(made_up_case("2"))
    assert library.case("2").resection() is None
    prepare_slices(library.folder, tmp_path / "out.safetensors")
    arrays = load_file(tmp_path / "out.safetensors")
    z = np.rint((arrays["z_mm"] + 72) / 1.5).astype(int)
    first = arrays["case"] == 0
    assert arrays["resection_known"].tolist() == first.astype(int).tolist()
    assert np.array_equal(arrays["resection"][first], taken[z[first]]) and not arrays["resection"][~first].any()


def test_a_split_never_sees_another_split(arrays: dict[str, np.ndarray]) -> None:
    rows, columns = np.nonzero(arrays["neighbours"] >= 0)
    assert len(rows)
    assert (arrays["split"][rows] == arrays["split"][arrays["neighbours"][rows, columns]]).all()
    # the only validation patient has nobody to look at
    assert (arrays["neighbours"][arrays["split"] == 1] == -1).all()


def test_the_shift_is_in_tenths_of_a_millimetre_or_marked_unknown(
    library: CaseLibrary, arrays: dict[str, np.ndarray]
) -> None:
    unknown = np.array([library.cases[number].case_id == "c4" for number in arrays["case"]])
    assert np.array_equal(arrays["shift_known"] == 0, unknown)
    assert (arrays["shift"][unknown] == 0).all()
    for component, value in enumerate((10, -20, 5)):
        assert (arrays["shift"][~unknown][:, component] == value).all()


def test_the_shift_is_interpolated_at_the_height_of_the_slice(tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    shift = np.zeros((*SHAPE, 3), np.float32)
    shift[..., 0] = (np.arange(SHAPE[0]) * 0.2 - 10)[:, None, None]
    shift[..., 1] = np.linspace(-50, 50, SHAPE[1])[None, :, None]
    library.add(SimulatedCase(**{**vars(made_up_case("1")), "shift": shift}))
    prepare_slices(library.folder, tmp_path / "out.safetensors")
    arrays = load_file(tmp_path / "out.safetensors")
    z = np.rint((arrays["z_mm"] + 72) / 1.5)
    assert np.abs(arrays["shift"][:, 0, 5, 5] / 10 - (0.2 * z - 10)).max() <= 0.09
    assert arrays["shift"][0, 1, 0, 0] == -127 and arrays["shift"][0, 1, -1, 0] == 127
    assert (np.diff(arrays["shift"][0, 1, :, 0].astype(int)) >= 0).all()


def test_a_step_keeps_every_nth_height(library: CaseLibrary, tmp_path: Path) -> None:
    prepare_slices(library.folder, tmp_path / "out.safetensors", slice_step=3)
    z = np.rint((load_file(tmp_path / "out.safetensors")["z_mm"] + 72) / 1.5)
    assert len(z) and (z % 3 == 0).all()


class _Listening(SilentProgress):
    def __init__(self, cancel_at: str = "") -> None:
        self.lines: list[str] = []
        self._cancel_at, self._stage = cancel_at, ""

    def stage(self, name: str) -> None:
        self._stage = name

    def step(self, done: int, total: int) -> None:
        if self._cancel_at and self._cancel_at in self._stage and done:
            raise Cancelled("The user cancelled.")

    def log(self, text: str) -> None:
        self.lines.append(text)


def test_a_sequence_that_only_some_cases_have_is_marked_and_days_are_told(tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    library.add(made_up_case("1"))
    one = made_up_case("2", days_since_surgery=90.5)
    scans = {
        name: {"T1w": scan["T1w"], "FLAIR": scan["T1wCE"]} for name, scan in (("pre", one.pre), ("post", one.post))
    }
    library.add(SimulatedCase(**{**vars(one), **scans}))
    prepare_slices(library.folder, tmp_path / "out")
    arrays = load_file(tmp_path / "out")
    first = arrays["case"] == 0
    assert {name for name in arrays if name.startswith("has_")} == {"has_T1w", "has_T1wCE", "has_FLAIR"}
    assert arrays["has_T1wCE"].tolist() == first.astype(int).tolist() == (1 - arrays["has_FLAIR"]).tolist()
    assert arrays["has_T1w"].all() and not arrays["pre_FLAIR"][first].any() and arrays["post_FLAIR"][~first].any()
    assert set(arrays["days"][first]) == {1.0} and set(arrays["days"][~first]) == {90.5}


def test_unusable_cases_are_left_out_and_named(tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    for name in ("1", "2", "3"):
        library.add(made_up_case(name))
    one = made_up_case("4")
    library.add(SimulatedCase(**{**vars(one), "pre": {"PDw": one.pre["T1w"]}, "post": {"PDw": one.post["T1w"]}}))
    library.case("2").files.brain("postop").write_bytes(b"broken")
    library.case("3").files.tumour_core.write_bytes(b"broken")
    progress = _Listening()
    assert prepare_slices(library.folder, tmp_path / "out", progress=progress)["cases"] == 1
    for name in ("2", "3", "4"):
        assert any(line.startswith(f"Case {name} is left out") for line in progress.lines)


def test_nothing_usable_is_a_sentence_and_writes_nothing(tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    library.add(made_up_case("1", box((50, 52), (50, 53), (50, 53))))
    with pytest.raises(LibraryError, match="can be prepared"):
        prepare_slices(library.folder, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(InputError, match="at least 1"):
        prepare_slices(library.folder, tmp_path / "out.safetensors", slice_step=0)


@pytest.mark.parametrize("stage", ["Finding", "Writing"])
def test_cancelling_leaves_what_was_there(library: CaseLibrary, tmp_path: Path, stage: str) -> None:
    out = tmp_path / "slices.safetensors"
    out.write_bytes(b"older")
    with pytest.raises(Cancelled):
        prepare_slices(library.folder, out, progress=_Listening(stage))
    assert [path.name for path in tmp_path.iterdir()] == [out.name] and out.read_bytes() == b"older"


def test_a_full_disk_leaves_nothing(library: CaseLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare.TensorFile, "write", full)
    with pytest.raises(Exception, match="disk is full"):
        prepare_slices(library.folder, tmp_path / "slices.safetensors")
    assert list(tmp_path.iterdir()) == []
