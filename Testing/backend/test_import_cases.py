"""What an imported pair holds: labels, proxy of the cavity, grey values, sequences, and what the tables say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from published_folders import (
    BRAIN,
    BRATS_BEFORE,
    GRID,
    ball,
    bids_subject,
    brain_scan,
    brats_study,
    coded,
    in_mni_already,
    labels_after,
    labels_before,
    lumiere,
    lumiere_study,
    rhuh_clinical,
    rhuh_patient,
    write,
)
from scipy import ndimage

from PostOpPredictorLib.cases.case import SimulatedCase
from PostOpPredictorLib.cases.importers import bids_source, brats_post, pair_alignment, rhuh
from PostOpPredictorLib.cases.importers import lumiere as lumiere_importer
from PostOpPredictorLib.cases.importers.outcome_labels import proxy_cavity
from PostOpPredictorLib.cases.importers.pair_reading import read_pair
from PostOpPredictorLib.cases.importers.plan import ImportPlan
from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging.grid import WORKING_GRID, Grid
from PostOpPredictorLib.imaging.registration_quality import RegistrationQuality

PRE, POST = "Imaging/Patient-001/week-000-1", "Imaging/Patient-001/week-000-2"
ATLAS = "DeepBraTumIA-segmentation/atlas"


@pytest.fixture(autouse=True)
def sessions_that_fit_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """No search: made-up brains cannot be judged by the template, and lie on each other already."""
    monkeypatch.setattr(pair_alignment, "follow", lambda *_: sitk.Transform(3, sitk.sitkIdentity))
    monkeypatch.setattr(pair_alignment, "judge", lambda *_: RegistrationQuality(0.5, 0.0, False, ""))


@pytest.fixture
def a_lumiere(tmp_path: Path) -> Path:
    """One patient, operated once."""
    return lumiere(tmp_path / "LUMIERE", {"Patient-001": {"week-000-1": "Pre-Op", "week-000-2": "Post-Op|PRET"}})


def first_case(plan: ImportPlan) -> SimulatedCase:
    assert not plan.left_out, plan.left_out
    return read_pair(plan.pairs[0], in_mni_already)


def case_of(root: Path) -> SimulatedCase:
    return first_case(lumiere_importer.plan(root))


def here(mask: np.ndarray) -> np.ndarray:
    """A mask of the made-up grid on the working grid."""
    image = WORKING_GRID.resample(GRID.image(mask.astype(np.uint8)), interpolator=sitk.sitkLabelLinear)
    return sitk.GetArrayFromImage(image) > 0


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_lumieres_labels_are_read_in_lumieres_order(a_lumiere: Path) -> None:
    case, wanted = case_of(a_lumiere), labels_before()
    for ours, name in ((1, "necrosis"), (2, "oedema"), (4, "enhancing")):
        assert overlap(case.tumour == ours, here(wanted[name])) > 0.95, name
    after = labels_after()
    for ours, name in ((1, "cavity"), (2, "enhancing"), (4, "oedema")):
        assert overlap(case.outcome == ours, here(after[name])) > 0.85, name


@pytest.mark.parametrize("which", [PRE, POST])
def test_masks_in_the_order_of_brats_are_caught_by_the_recorded_volumes(a_lumiere: Path, which: str) -> None:
    path = a_lumiere / which / ATLAS / "segmentation/seg_mask.nii.gz"
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    write(np.array([0, 2, 1, 3], np.int8)[labels], path)
    with pytest.raises(InputError, match="in another order than LUMIERE's"):
        case_of(a_lumiere)


@pytest.mark.parametrize("which", [PRE, POST])
def test_a_mask_of_other_volume_than_recorded_is_refused(a_lumiere: Path, which: str) -> None:
    path = a_lumiere / which / ATLAS / "segmentation/measured_volumes_in_mm3.json"
    volumes = json.loads(path.read_text())
    path.write_text(json.dumps({**volumes, "Edema_Compartment": volumes["Edema_Compartment"] + 216}))
    with pytest.raises(InputError, match=r"differ from measured_volumes_in_mm3\.json"):
        case_of(a_lumiere)


@pytest.mark.parametrize("content", [None, "", "no JSON", "[]", '{"Enhancing_Core": 1}'])
def test_without_a_record_the_case_says_that_its_labels_are_not_verified(a_lumiere: Path, content: str | None) -> None:
    path = a_lumiere / PRE / ATLAS / "segmentation/measured_volumes_in_mm3.json"
    path.unlink() if content is None else path.write_text(content)
    assert "order of the labels is not verified" in str(case_of(a_lumiere).attributes["import_notes"])


def test_an_unknown_label_is_refused(a_lumiere: Path) -> None:
    path = a_lumiere / POST / ATLAS / "segmentation/seg_mask.nii.gz"
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    labels[labels == 3] = 7
    write(labels, path)
    with pytest.raises(InputError, match="7"):
        case_of(a_lumiere)


def test_the_cavity_is_marked_as_a_proxy_and_only_that_of_lumiere_and_rhuh(a_lumiere: Path, tmp_path: Path) -> None:
    assert case_of(a_lumiere).attributes["cavity"] == "proxy"
    assert first_case(rhuh.plan(rhuh_patient(tmp_path))).attributes["cavity"] == "proxy"
    assert first_case(bids_source.plan(bids_subject(tmp_path / "b"))).attributes["cavity"] == "labelled"


def test_the_proxy_lies_near_the_core_has_no_holes_and_is_one_piece() -> None:
    z, y, x = np.indices(WORKING_GRID.shape) * 1.5

    def fine_ball(radius: float, centre_x: float = 60.0) -> np.ndarray:
        return (x - centre_x) ** 2 + (y - 90) ** 2 + (z - 75) ** 2 <= radius**2

    core, shell = fine_ball(18), fine_ball(13) & ~fine_ball(6)
    far, small = fine_ball(9, 130), fine_ball(4, 80)
    assert np.array_equal(proxy_cavity(shell | far | small, core), fine_ball(13))
    reach = proxy_cavity(fine_ball(40), core)
    assert not (reach & ~fine_ball(28)).any() and overlap(reach, fine_ball(28)) > 0.97, "10 mm around the core"
    assert not proxy_cavity(shell, np.zeros_like(core)).any()
    assert not proxy_cavity(far, core).any()


def test_label_2_away_from_the_tumour_is_no_cavity_and_its_volume_is_told(a_lumiere: Path) -> None:
    far = ball(13, (36.0, 12.0, 18.0))
    after = coded(labels_after(), {"cavity": 2, "enhancing": 1, "oedema": 3})
    after[far] = 2
    lumiere_study(a_lumiere / POST, after=True, labels=after)
    case = case_of(a_lumiere)
    assert not case.outcome[here(far)].any()
    assert float(case.attributes["unassigned_ml"]) == pytest.approx(here(far).sum() * 1.5**3 / 1000, rel=0.05)


def test_a_scan_after_surgery_without_a_cavity_is_taken_and_noted(a_lumiere: Path) -> None:
    lumiere_study(a_lumiere / POST, after=True, labels=coded(labels_after(), {"oedema": 3}))
    case = case_of(a_lumiere)
    assert case.attributes["cavity_ml"] == 0 and "no cavity was found" in str(case.attributes["import_notes"])
    lumiere_study(a_lumiere / POST, after=True, labels=np.zeros(GRID.shape, np.uint8))
    assert "no label at all after surgery" in str(case_of(a_lumiere).attributes["import_notes"])


def test_a_tumour_mask_of_oedema_only_is_refused(a_lumiere: Path) -> None:
    lumiere_study(a_lumiere / PRE, labels=coded(labels_before(), {"oedema": 3}))
    with pytest.raises(InputError, match="no tumour core"):
        case_of(a_lumiere)


@pytest.mark.parametrize("which", [PRE, POST])
def test_without_a_brain_mask_the_scans_own_edge_is_taken(a_lumiere: Path, which: str) -> None:
    expected = case_of(a_lumiere)
    (a_lumiere / which / ATLAS / "skull_strip/brain_mask.nii.gz").unlink()
    found = case_of(a_lumiere)
    for mask in ("brain_pre", "brain_post"):
        assert overlap(getattr(found, mask) > 0, getattr(expected, mask) > 0) > 0.97, mask


def test_every_sequence_is_imported(a_lumiere: Path) -> None:
    case = case_of(a_lumiere)
    assert set(case.pre) == set(case.post) == {"T1w", "T1wCE", "T2w", "FLAIR"}
    for number, name in enumerate(("T1w", "T1wCE", "T2w", "FLAIR")):
        expected = sitk.GetArrayFromImage(WORKING_GRID.resample(GRID.image(brain_scan(number))))
        inside = case.brain_pre > 0
        assert np.corrcoef(case.pre[name][inside], expected[inside])[0, 1] > 0.98, name


def test_a_flair_with_permuted_axes_lands_in_its_place(a_lumiere: Path) -> None:
    straight = case_of(a_lumiere).pre["FLAIR"]
    path = a_lumiere / PRE / ATLAS / "skull_strip/flair_skull_strip.nii.gz"
    permuted = sitk.PermuteAxes(sitk.ReadImage(str(path)), [2, 0, 1])
    assert permuted.GetSize() != GRID.size
    sitk.WriteImage(permuted, str(path))
    assert np.abs(case_of(a_lumiere).pre["FLAIR"] - straight).max() < 0.01


def test_both_scans_have_one_window_whatever_the_scanners_units(a_lumiere: Path) -> None:
    dark = labels_after()["cavity"]
    plain = case_of(a_lumiere)
    for number, name in enumerate(("t1", "ct1", "t2", "flair")):
        other_units = brain_scan(number, 100.0, dark) * 7.0 + 300.0 * BRAIN
        write(other_units.astype(np.float32), a_lumiere / POST / ATLAS / f"skull_strip/{name}_skull_strip.nii.gz")
    other = case_of(a_lumiere)
    healthy = (plain.brain_post > 0) & (plain.tumour == 0) & here(ball(60.0, (0.0, 18.0, 12.0)))
    assert np.abs(plain.pre["T1w"] - plain.post["T1w"])[healthy].max() < 0.02, "unchanged tissue stays the same"
    assert np.abs(plain.post["T1w"] - other.post["T1w"])[healthy].max() < 0.05
    assert plain.post["T1w"][plain.outcome == 1].mean() < 0.2 < plain.pre["T1w"][plain.outcome == 1].mean()


def test_images_are_0_outside_the_brain_and_everything_labelled_is_brain(a_lumiere: Path) -> None:
    notched = BRAIN & ~ball(13)
    write(notched.astype(np.uint8), a_lumiere / POST / ATLAS / "skull_strip/brain_mask.nii.gz")
    case = case_of(a_lumiere)
    assert case.brain_post[case.outcome == 1].all() and not case.post["T1w"][0].any()
    for images, brain, labels in (
        (case.pre, case.brain_pre, case.tumour),
        (case.post, case.brain_post, case.outcome),
    ):
        assert all(not image[brain == 0].any() and 0 <= image.min() <= image.max() <= 1 for image in images.values())
        assert (brain[labels > 0] == 1).all()
    assert case.shift is None and case.resection is None and case.kind == "real"


def test_the_extent_is_measured_and_the_experts_word_is_the_class(a_lumiere: Path) -> None:
    case = case_of(a_lumiere)
    before, after = (labels["enhancing"].sum() for labels in (labels_before(), labels_after()))
    assert float(case.attributes["eor_percent"]) == pytest.approx(100 * (1 - after / before), abs=3)
    assert (case.attributes["expert_extent"], case.attributes["resection_class"]) == ("PRET", "partial")


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _four_dimensional(path: Path) -> None:
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(path))


def _constant(path: Path) -> None:
    write(np.full(GRID.shape, 5, np.float32), path)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_truncated, "truncated or damaged"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (_four_dimensional, "4-D"),
        (_constant, "constant"),
    ],
    ids=["truncated", "empty", "4-D", "constant"],
)
@pytest.mark.parametrize("name", ["t1", "flair"])
def test_a_broken_scan_is_refused(a_lumiere: Path, damage, sentence: str, name: str) -> None:
    damage(a_lumiere / POST / ATLAS / f"skull_strip/{name}_skull_strip.nii.gz")
    with pytest.raises(InputError, match=sentence):
        case_of(a_lumiere)


def test_a_folder_with_a_non_ascii_name_is_read(tmp_path: Path) -> None:
    root = lumiere(tmp_path / "Müller Größe 腫瘍", {"Patient-001": {"week-000-1": "Pre-Op", "week-000-2": "Post-Op"}})
    assert case_of(root).case_id == "LUMIERE-001"


def test_the_first_sessions_transform_serves_both_where_it_fits(
    a_lumiere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def counting(image: sitk.Image, tumour=None, brain=None, progress=None):
        asked.append(image)
        return in_mni_already(image)

    pair = lumiere_importer.plan(a_lumiere).pairs[0]
    assert read_pair(pair, counting).attributes["post_transform"] == "its own" and len(asked) == 2
    monkeypatch.setattr(pair_alignment, "judge", lambda *_: RegistrationQuality(0.95, 0.6, True, ""))
    case = read_pair(pair, counting)
    assert len(asked) == 3 and case.attributes["post_transform"] == "that of the scan before"
    assert case.attributes["mni_overlap_post"] == 0.95 and case.attributes["mni_overlap_pre"] == 1
    assert read_pair(replace(pair, one_space=False), counting).attributes["post_transform"] == "its own"


def test_two_scans_that_do_not_match_are_noted(a_lumiere: Path) -> None:
    for name in ("t1", "ct1", "t2", "flair"):
        write(brain_scan(99), a_lumiere / POST / ATLAS / f"skull_strip/{name}_skull_strip.nii.gz")
    assert "agree poorly" in str(case_of(a_lumiere).attributes["import_notes"])


def test_rhuh_is_read_with_z_scores_and_three_labels(tmp_path: Path) -> None:
    root = rhuh_clinical(rhuh_patient(tmp_path), ["RHUH-0001,63,M,25.0,1.5, 94.6 ,Near total"])
    case = first_case(rhuh.plan(root))
    for ours, name in ((1, "necrosis"), (2, "oedema"), (4, "enhancing")):
        assert overlap(case.tumour == ours, here(labels_before()[name])) > 0.95, name
    assert case.pre["T1w"].min() >= 0 and np.median(case.pre["T1w"][case.brain_pre > 0]) > 0.2
    assert set(case.pre) == {"T1w", "T1wCE", "T2w", "FLAIR"}
    assert case.attributes["eor_percent"] == 94.6 and case.attributes["resection_class"] == "near total"
    assert case.attributes["reported_residual_ml"] == 1.5 and case.attributes["age"] == 63
    cavity = case.outcome == 1
    assert not (cavity & (case.outcome == 2)).any() and overlap(cavity, here(labels_after()["cavity"])) > 0.75
    assert not (cavity & ~np.isin(case.tumour, (1, 4))).any(), "the proxy of RHUH is within the core"


def test_a_rhuh_session_on_another_grid_lands_in_its_place(tmp_path: Path) -> None:
    root = rhuh_patient(tmp_path)
    other = Grid((64, 76, 64), (3.0, 3.0, 3.0), (-97.0, -101.0, -76.0))
    for path in (root / "RHUH-GBM_nii_v1" / "RHUH-0001" / "1").glob("*.nii.gz"):
        image = sitk.ReadImage(str(path))
        how = sitk.sitkNearestNeighbor if "segmentations" in path.name else sitk.sitkLinear
        sitk.WriteImage(other.resample(image, interpolator=how), str(path))
    case = first_case(rhuh.plan(root))
    assert overlap(case.tumour == 4, here(labels_before()["enhancing"])) > 0.95
    assert overlap(case.outcome == 2, here(labels_after()["enhancing"])) > 0.7
    assert overlap(case.outcome == 1, here(labels_after()["cavity"])) > 0.7


def test_the_background_of_z_scores_is_dark_although_it_is_their_mean(tmp_path: Path) -> None:
    case = first_case(rhuh.plan(rhuh_patient(tmp_path)))
    brain = case.brain_pre > 0
    inside = ndimage.binary_erosion(brain, iterations=4)
    rim = brain & ~ndimage.binary_erosion(brain)
    assert case.pre["T1w"][rim].mean() < 0.8 * case.pre["T1w"][inside].mean()


@pytest.mark.parametrize(("labels", "residual"), [({"oedema": 2}, 0.0), ({"oedema": 2, "enhancing": 3}, 1.0)])
def test_rhuhs_early_masks_hold_oedema_with_or_without_a_residual(
    tmp_path: Path, labels: dict[str, int], residual: float
) -> None:
    rhuh_patient(tmp_path)
    path = tmp_path / "RHUH-GBM_nii_v1/RHUH-0001/1/RHUH-0001_1_segmentations.nii.gz"
    write(coded(labels_after(), labels), path)
    case = first_case(rhuh.plan(tmp_path))
    assert (float(case.attributes["residual_ml"]) > 0.5) == bool(residual)
    assert (case.attributes["resection_class"] == "gross total") == (not residual)


def test_rhuh_0035_calls_its_segmentation_otherwise(tmp_path: Path) -> None:
    rhuh_patient(tmp_path, 35)
    for session in "12":
        folder = tmp_path / f"RHUH-GBM_nii_v1/RHUH-0035/{session}"
        (folder / f"RHUH-0035_{session}_segmentations.nii.gz").rename(folder / "segmentation.nii.gz")
    (pair,) = rhuh.plan(tmp_path).pairs
    assert pair.post.labels is not None and pair.post.labels.name == "segmentation.nii.gz"
    (folder / "other_seg.nii.gz").touch()
    (tmp_path / "RHUH-GBM_nii_v1/RHUH-0035/1/old_seg.nii.gz").touch()
    assert "2 segmentation files" in rhuh.plan(tmp_path).left_out[0].reason


def test_rhuh_without_a_clinical_row_or_table_is_taken_and_noted(tmp_path: Path) -> None:
    rhuh_patient(tmp_path, 1)
    rhuh_patient(tmp_path, 2, sessions="02")
    rhuh_clinical(tmp_path, ["RHUH-0003,63,M,25.0,1.5,94.6,", "RHUH-0002 ,n/a,,na,,NA,"])
    plan = rhuh.plan(tmp_path)
    (pair,) = plan.pairs
    assert pair.patient_id == "RHUH-0001" and pair.notes == ("no row in the clinical table",)
    reasons = {item.patient_id: item.reason for item in plan.left_out}
    assert "no folder 1" in reasons["RHUH-0002"] and "there is no folder" in reasons["RHUH-0003"]


def test_rhuhs_masks_in_another_order_are_caught_by_the_reported_volume(tmp_path: Path) -> None:
    enhancing = labels_before()["enhancing"].sum() * 0.216
    rhuh_clinical(rhuh_patient(tmp_path), [f"RHUH-0001,63,M,{enhancing:.1f},1.5,94.6,"])
    assert "import_notes" not in first_case(rhuh.plan(tmp_path)).attributes
    path = tmp_path / "RHUH-GBM_nii_v1/RHUH-0001/0/RHUH-0001_0_segmentations.nii.gz"
    write(coded(labels_before(), {"necrosis": 3, "enhancing": 1, "oedema": 2}), path)
    with pytest.raises(InputError, match="in another order"):
        first_case(rhuh.plan(tmp_path))
    rhuh_clinical(tmp_path, ["RHUH-0001,63,M,400,1.5,94.6,"])
    assert "400.0 ml in the clinical table" in str(first_case(rhuh.plan(tmp_path)).attributes["import_notes"])


BRATS_AFTER = {"cavity": 4, "enhancing": 3, "oedema": 2}


def test_brats_pairs_are_the_last_study_without_and_the_first_with_a_cavity(tmp_path: Path) -> None:
    before, after = labels_before(), labels_after()
    for number, masks, codes in (
        ("100", before, BRATS_BEFORE),
        ("101", before, BRATS_BEFORE),
        ("102", after, BRATS_AFTER),
        ("103", after, BRATS_AFTER),
    ):
        brats_study(tmp_path, f"BraTS-GLI-00005-{number}", masks, codes)
    brats_study(tmp_path, "BraTS-GLI-00006-100", after, BRATS_AFTER)
    brats_study(tmp_path, "BraTS-GLI-00006-101", before, BRATS_BEFORE)
    brats_study(tmp_path, "BraTS-GLI-00007-100", after, BRATS_AFTER)
    for number in ("100", "101"):
        brats_study(tmp_path, f"BraTS-GLI-00008-{number}", before, BRATS_BEFORE)
    brats_study(tmp_path, "BraTS-GLI-00009-100", {"oedema": before["oedema"]}, BRATS_BEFORE)
    brats_study(tmp_path, "BraTS-GLI-00009-101", after, BRATS_AFTER)
    brats_study(tmp_path, "BraTS-GLI-00010-100", before, BRATS_BEFORE)
    (brats_study(tmp_path, "BraTS-GLI-00010-101", after, BRATS_AFTER) / "BraTS-GLI-00010-101-seg.nii.gz").unlink()
    plan = brats_post.plan(tmp_path)
    (pair,) = plan.pairs
    assert (pair.pre.name, pair.post.name) == ("BraTS-GLI-00005-101", "BraTS-GLI-00005-102")
    reasons = {item.patient_id[-5:]: item.reason for item in plan.left_out}
    for patient, reason in (
        ("00006", "earliest has a cavity already"),
        ("00007", "only one study"),
        ("00008", "none of 2 studies has a cavity"),
        ("00009", "no tumour core"),
        ("00010", "has no segmentation"),
    ):
        assert reason in reasons[patient]
    case = read_pair(pair, in_mni_already)
    assert case.attributes["cavity"] == "labelled" and "follows from its labels only" in str(
        case.attributes["import_notes"]
    )
    assert overlap(case.outcome == 1, here(after["cavity"])) > 0.95
    assert overlap(case.tumour == 4, here(before["enhancing"])) > 0.95


def test_the_older_brats_convention_is_not_taken_for_cavities(tmp_path: Path) -> None:
    brats_study(tmp_path, "BraTS-GLI-00005-100", {"necrosis": ball(11)}, {"necrosis": 1})
    brats_study(tmp_path, "BraTS-GLI-00005-101", labels_before(), {"necrosis": 1, "enhancing": 4, "oedema": 2})
    with pytest.raises(InputError, match="older BraTS convention"):
        brats_post.plan(tmp_path)


def test_a_bids_folder_is_read_with_masks_from_derivatives(tmp_path: Path) -> None:
    root = bids_subject(tmp_path)
    (root / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t58\tF\n")
    case = first_case(bids_source.plan(root, name="Own-Series"))
    assert set(case.pre) == {"T1w", "T1wCE", "FLAIR"}
    assert (case.case_id, case.patient_id, case.institution) == ("Own-Series-01", "Own-Series-sub-01", "Own-Series")
    assert (case.attributes["age"], case.attributes["sex"]) == (58, "F")
    assert overlap(case.outcome == 1, here(labels_after()["cavity"])) > 0.95
    assert overlap(case.outcome == 2, here(labels_after()["enhancing"])) > 0.9
    assert overlap(np.isin(case.tumour, (1, 4)), here(ball(20))) > 0.95
    assert 50 < float(case.attributes["eor_percent"]) < 100


def test_bids_sessions_of_other_names_are_told_apart_by_their_table(tmp_path: Path) -> None:
    root = bids_subject(tmp_path, sessions=("ses-01", "ses-02"))
    assert "no session before surgery among ses-01, ses-02" in bids_source.plan(root).left_out[0].reason
    table = "session_id\tacq_time\ttimepoint\nses-01\tn/a\tpre-operative\nses-02\tn/a\tPostoperative\n"
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(table)
    (pair,) = bids_source.plan(root).pairs
    assert (pair.pre.name, pair.post.name) == ("ses-01", "ses-02")


def test_a_bids_label_map_is_read_by_the_given_convention(tmp_path: Path) -> None:
    root = bids_subject(tmp_path)
    folder = root / "derivatives/masks/sub-01/ses-preop/anat"
    write(coded(labels_before(), BRATS_BEFORE), folder / "sub-01_ses-preop_desc-tumor_dseg.nii.gz")
    case = first_case(bids_source.plan(root, labels="brats2023"))
    assert overlap(case.tumour == 4, here(labels_before()["enhancing"])) > 0.95
    with pytest.raises(InputError, match="brats2023"):
        first_case(bids_source.plan(root, labels="brats"))


@pytest.mark.parametrize(("missing", "reason"), [("cavity", "no mask of the cavity"), ("tumor", "no mask of the tumo")])
def test_a_bids_subject_without_a_mask_is_left_out(tmp_path: Path, missing: str, reason: str) -> None:
    root = bids_subject(tmp_path)
    for path in root.rglob(f"*label-{missing}_mask.nii.gz"):
        # a mask in template space lies elsewhere than the scans
        path.rename(path.with_name(path.name.replace("_label", "_space-MNI152NLin2009cAsym_label")))
    assert reason in bids_source.plan(root).left_out[0].reason


def test_without_a_residual_mask_no_extent_is_claimed(tmp_path: Path) -> None:
    root = bids_subject(tmp_path)
    next(root.rglob("*label-residual_mask.nii.gz")).unlink()
    case = first_case(bids_source.plan(root))
    assert not {"eor_percent", "residual_ml", "resection_class"} & set(case.attributes)


def test_bids_ids_that_mean_the_same_participant_are_not_mixed_up(tmp_path: Path) -> None:
    root = bids_subject(bids_subject(tmp_path, "sub-0-1"), "sub-01")
    plan = bids_source.plan(root)
    assert len(plan.pairs) == 1 and "means the same participant" in plan.left_out[0].reason
