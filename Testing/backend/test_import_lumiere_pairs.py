"""Which LUMIERE studies become pairs: every irregularity of the published folder and its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from published_folders import RATING_COLUMNS, bare_study, lumiere, lumiere_ratings

from PostOpPredictorLib.cases.importers import lumiere as importer
from PostOpPredictorLib.cases.importers.clinical_table import known, number, read_clinical_table, sex
from PostOpPredictorLib.cases.importers.lumiere_ratings import Timepoint, operations_of, ratings_of, role_of
from PostOpPredictorLib.cases.importers.plan import ImportPlan
from PostOpPredictorLib.errors import InputError

PRE_POST = {"week-000-1": "Pre-Op", "week-000-2": "Post-Op"}


def planned(root: Path, patients: Mapping[str, Mapping[str, str]]) -> ImportPlan:
    return importer.plan(lumiere(root, patients, full=False))


def pairs(plan: ImportPlan) -> list[tuple[str, str, str]]:
    return [(pair.case_id, pair.pre.name, pair.post.name) for pair in plan.pairs]


def reasons(plan: ImportPlan) -> str:
    return "\n".join(f"{item.patient_id} {item.case_id}: {item.reason}" for item in plan.left_out)


@pytest.mark.parametrize(
    ("studies", "before", "after"),
    [
        pytest.param(PRE_POST, "week-000-1", "week-000-2", id="two-studies-in-one-week"),
        pytest.param({"week-000": "Pre-Op", "week-001": "Post-Op"}, "week-000", "week-001", id="weeks-without-suffix"),
        pytest.param({**PRE_POST, "week-000-2": "Post-Op "}, "week-000-1", "week-000-2", id="trailing-space"),
        pytest.param({**PRE_POST, "week-000-2": "Post-Op/PD"}, "week-000-1", "week-000-2", id="post-op-and-pd"),
        pytest.param(
            {"week-000-1": "Pre-Op", "week-000-2": "None", "week-001": "Post-Op"},
            "week-000-1",
            "week-001",
            id="a-scan-rated-none-between",
        ),
        pytest.param(
            {"week-000-1": "Pre-Op", "week-000-2": "Post-Op", "week-003": "Post-Op", "week-010": "SD"},
            "week-000-1",
            "week-000-2",
            id="two-post-op-rows-the-earliest",
        ),
        pytest.param(
            {"week-000": "Pre-Op", "week-002": "Pre-Op", "week-003": "Post-Op"},
            "week-000",
            "week-003",
            id="two-pre-op-rows-the-first",
        ),
        pytest.param(
            {"week-000-1": "SD", "week-002": "Pre-Op", "week-003": "Post-Op"},
            "week-002",
            "week-003",
            id="a-rated-scan-before-pre-op",
        ),
        pytest.param(
            {"week-000": "Pre-Op", "week-010": "Post-Op"}, "week-000", "week-010", id="first-post-op-weeks-later"
        ),
    ],
)
def test_the_first_pre_op_goes_with_the_first_post_op(
    tmp_path: Path, studies: Mapping[str, str], before: str, after: str
) -> None:
    plan = planned(tmp_path, {"Patient-001": studies})
    assert pairs(plan) == [("LUMIERE-001", before, after)] and not plan.left_out


@pytest.mark.parametrize(
    ("studies", "reason"),
    [
        pytest.param({"week-000": "Pre-Op", "week-010": "SD"}, "no Post-Op row", id="never-post-op"),
        pytest.param({"week-000": "Post-Op", "week-010": "SD"}, "no scan before", id="post-op-first"),
        pytest.param({"week-000": "PD", "week-001": "Post-Op"}, "no Pre-Op row", id="no-pre-op"),
        pytest.param(
            {"week-000": "Pre-Op", "week-005": "PD", "week-006": "Post-Op"},
            r"contradictory rows: week-005 \(PD\) lies between",
            id="a-rated-scan-between",
        ),
        pytest.param({"week-001": "Pre-Op", "week-000": "Post-Op"}, "no scan before", id="post-op-before-pre-op"),
        pytest.param(
            {"week-000": "Pre-Op/Post-Op", "week-001": "Post-Op"}, "contradictory rows at week-000", id="both"
        ),
    ],
)
def test_what_makes_no_pair_is_reported(tmp_path: Path, studies: Mapping[str, str], reason: str) -> None:
    plan = planned(tmp_path, {"Patient-013": studies})
    assert not plan.pairs
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(reasons(plan))


def test_contradictory_rows_of_one_scan_are_reported_and_break_the_pair(tmp_path: Path) -> None:
    """Without them week 30 would be taken for the scan after an operation in week 0."""
    root = lumiere(tmp_path, {"Patient-079": {"week-000": "", "week-001": "", "week-030": ""}}, full=False)
    rows = [("week-000", "Pre-Op"), ("week-001", "Post-Op"), ("week-001", "PD"), ("week-030", "Post-Op")]
    lumiere_ratings(root, [("Patient-079", week, rating, "") for week, rating in rows])
    plan = importer.plan(root)
    assert not plan.pairs and "contradictory rows at week-001 (Post-Op and PD)" in reasons(plan)


def test_the_same_row_twice_contradicts_nothing(tmp_path: Path) -> None:
    root = lumiere(tmp_path, {"Patient-001": PRE_POST}, full=False)
    rows = [("Patient-001", week, rating, "") for week, rating in PRE_POST.items()]
    lumiere_ratings(root, [*rows, ("Patient-001", "week-000-2", "Post-Op ", "CRET"), *rows])
    assert len(importer.plan(root).pairs) == 1


def test_a_later_operation_is_a_pair_of_its_own_under_the_same_patient(tmp_path: Path) -> None:
    studies = {**PRE_POST, "week-020": "SD", "week-040": "PD", "week-041": "Post-Op", "week-060": "PD"}
    plan = planned(tmp_path, {"Patient-007": studies})
    assert pairs(plan) == [
        ("LUMIERE-007", "week-000-1", "week-000-2"),
        ("LUMIERE-007-op2", "week-040", "week-041"),
    ]
    assert {pair.patient_id for pair in plan.pairs} == {"Patient-007"}
    first, second = plan.pairs
    assert (first.attributes["operation"], first.attributes["earlier_surgery"]) == (1, "no")
    assert (second.attributes["operation"], second.attributes["earlier_surgery"]) == (2, "yes")
    assert any("may hold its cavity" in note for note in second.notes)
    assert second.attributes["weeks_apart"] == 1


def test_a_patient_may_be_operated_three_times(tmp_path: Path) -> None:
    later = {"week-040": "PD", "week-041": "Post-Op", "week-060": "SD", "week-080": "PD", "week-082": "Post-Op"}
    plan = planned(tmp_path, {"Patient-007": {**PRE_POST, **later}})
    assert pairs(plan) == [
        ("LUMIERE-007", "week-000-1", "week-000-2"),
        ("LUMIERE-007-op2", "week-040", "week-041"),
        ("LUMIERE-007-op3", "week-080", "week-082"),
    ]
    assert [pair.attributes["operation"] for pair in plan.pairs] == [1, 2, 3]
    assert {pair.patient_id for pair in plan.pairs} == {"Patient-007"}


def test_later_operations_can_be_left_out(tmp_path: Path) -> None:
    root = lumiere(tmp_path, {"Patient-007": {**PRE_POST, "week-040": "PD", "week-041": "Post-Op"}}, full=False)
    assert pairs(importer.plan(root, first_operations=True)) == [("LUMIERE-007", "week-000-1", "week-000-2")]


def test_a_post_op_scan_of_months_later_is_not_of_the_same_operation(tmp_path: Path) -> None:
    root = lumiere(tmp_path, {"Patient-001": {**PRE_POST, "week-040": "Post-Op"}}, full=False)
    (root / "Imaging/Patient-001/week-000-2/DeepBraTumIA-segmentation/atlas/segmentation/seg_mask.nii.gz").unlink()
    plan = importer.plan(root)
    assert not plan.pairs
    assert "no DeepBraTumIA segmentation for week-000-2" in reasons(plan)
    assert "no scan before the Post-Op scan of week-040" in reasons(plan)


@pytest.mark.parametrize(
    ("rated", "folders", "expected"),
    [
        pytest.param("week-000-2", ["week-000-1", "week-000-2"], "week-000-2", id="number-and-suffix"),
        pytest.param("week-001", ["week-000-1", "week-001-1"], "week-001-1", id="suffix-only-in-the-folder"),
        pytest.param("week-001-2", ["week-000-1", "week-001"], "week-001", id="suffix-only-in-the-rating"),
        pytest.param("week-001-2", ["week-000-1", "week-001-1"], "week-001-1", id="another-suffix"),
        pytest.param("week-002", ["week-000-1", "week-002-1", "week-002-2"], None, id="two-would-fit"),
        pytest.param("week-003", ["week-000-1", "week-004"], None, id="another-week"),
    ],
)
def test_week_and_suffix_are_matched_else_the_week_alone(
    tmp_path: Path, rated: str, folders: list[str], expected: str | None
) -> None:
    root = lumiere(tmp_path, {"Patient-002": dict.fromkeys(folders, "")}, full=False)
    before = "week-000-1"
    order = [("Patient-002", before, "Pre-Op", ""), ("Patient-002", rated, "Post-Op", "")]
    lumiere_ratings(root, order)
    plan = importer.plan(root)
    if expected is None:
        assert not plan.pairs and f"no folder for {rated}" in reasons(plan)
    else:
        assert pairs(plan) == [("LUMIERE-002", before, expected)]
        assert any(f"is the folder {expected}" in note for note in plan.pairs[0].notes) == (rated != expected)


def test_a_week_alone_means_the_folder_that_no_other_row_names(tmp_path: Path) -> None:
    root = lumiere(tmp_path, {"Patient-002": dict.fromkeys(("week-000", "week-001-1", "week-001-2"), "")}, full=False)
    rows = [("week-000", "Pre-Op"), ("week-001", "Post-Op"), ("week-001-2", "SD")]
    lumiere_ratings(root, [("Patient-002", week, rating, "") for week, rating in rows])
    assert pairs(importer.plan(root)) == [("LUMIERE-002", "week-000", "week-001-1")]


def test_of_several_post_op_rows_the_earliest_with_a_segmentation_is_taken(tmp_path: Path) -> None:
    root = lumiere(tmp_path, {"Patient-001": {**PRE_POST, "week-004": "Post-Op|PRET"}}, full=False)
    (root / "Imaging/Patient-001/week-000-2/DeepBraTumIA-segmentation/atlas/segmentation/seg_mask.nii.gz").unlink()
    plan = importer.plan(root)
    assert pairs(plan) == [("LUMIERE-001", "week-000-1", "week-004")]


def test_without_any_segmentation_the_reason_says_so_and_whether_the_download_is_to_blame(tmp_path: Path) -> None:
    root = lumiere(tmp_path, {"Patient-001": PRE_POST}, full=False)
    (root / "Imaging/Patient-001/week-000-1/DeepBraTumIA-segmentation/atlas/segmentation/seg_mask.nii.gz").unlink()
    assert "no DeepBraTumIA segmentation for week-000-1." in reasons(importer.plan(root))
    table = "Patient,Timepoint,CT1,T1,T2,FLAIR,DeepBraTumIA,HD-GLIO-AUTO\nPatient-001,week-000-1,x,x,x,x,x,x\n"
    (root / "LUMIERE-datacompleteness.csv").write_text(table)
    assert "the download is not complete" in reasons(importer.plan(root))


def test_a_missing_sequence_is_noted_and_a_missing_t1_leaves_the_other(tmp_path: Path) -> None:
    root = lumiere(tmp_path, {"Patient-001": PRE_POST}, full=False)
    scans = root / "Imaging/Patient-001/week-000-2/DeepBraTumIA-segmentation/atlas/skull_strip"
    (scans / "t1_skull_strip.nii.gz").unlink()
    (scans / "flair_skull_strip.nii.gz").unlink()
    (pair,) = importer.plan(root).pairs
    assert pair.sequences == ("T1wCE", "T2w")
    assert "FLAIR, T1w only in one session, not imported" in pair.notes
    (scans / "ct1_skull_strip.nii.gz").unlink()
    plan = importer.plan(root)
    assert not plan.pairs and "no T1-weighted scan both before and after surgery" in reasons(plan)


def test_every_patient_is_a_pair_or_has_a_reason(tmp_path: Path) -> None:
    root = lumiere(tmp_path, {"Patient-001": PRE_POST, "Patient-003": {"week-000": ""}}, full=False)
    lumiere_ratings(root, [("Patient-001", w, r, "") for w, r in PRE_POST.items()] + [("Patient-002", "x", "", "")])
    plan = importer.plan(root)
    assert [pair.patient_id for pair in plan.pairs] == ["Patient-001"]
    assert "Patient-002 : rated, but there is no folder" in reasons(plan)
    assert "Patient-003 : no row in the table of ratings" in reasons(plan)


@pytest.mark.parametrize("nested", ["", "LUMIERE", "Imaging"])
def test_the_folder_itself_its_parent_or_imaging_may_be_named(tmp_path: Path, nested: str) -> None:
    root = lumiere(tmp_path / "LUMIERE", {"Patient-001": PRE_POST}, full=False)
    named = {"": root, "LUMIERE": tmp_path, "Imaging": root / "Imaging"}[nested]
    assert len(importer.plan(named).pairs) == 1


def test_another_folder_and_a_missing_table_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the LUMIERE data set"):
        importer.plan(tmp_path)
    bare_study(tmp_path / "Imaging" / "Patient-001" / "week-000")
    with pytest.raises(InputError, match="ExpertRating"):
        importer.plan(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Patient,Timepoint,Rating (x)\nPatient-001,week-000,Pre-Op\n", id="timepoint-instead-of-date"),
        pytest.param("\ufeffPatient,Date,Rating (x)\nPatient-001,week-000,Pre-Op\n", id="byte-order-mark"),
        pytest.param("patient ; DATE ;rating\nPatient-001; week-000 ;Pre-Op\n", id="semicolons-and-blanks"),
        pytest.param("Rating rationale (y),Rating (x),Date,Patient\n,Pre-Op,week-000,Patient-001\n", id="other-order"),
        pytest.param("Patient,Date,Rating (x)\n\n,,\nPatient-001,week-000,Pre-Op\n,,\n\n", id="empty-lines"),
        pytest.param('Patient,Date,"Rating (a, b)",\nPatient-001,week-000,Pre-Op,,,\n', id="more-cells-than-headers"),
        pytest.param("Patient,Date,LessThan3Months,Rating\nPatient-001,week-000\n", id="too-few-cells"),
    ],
)
def test_the_rating_table_is_read_in_all_its_copies(tmp_path: Path, text: str) -> None:
    (tmp_path / "ratings.csv").write_text(text, encoding="utf-8")
    (patient,) = ratings_of(read_clinical_table(tmp_path / "ratings.csv")).values()
    (scan,) = patient.scans
    assert scan.when == Timepoint(0)
    assert scan.role == ("unrated" if text.endswith("week-000\n") else "pre")


def test_a_rating_table_without_its_columns_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("Patient,Date\nPatient-001,week-000\n")
    with pytest.raises(InputError, match="no column that begins with 'rating'"):
        ratings_of(read_clinical_table(tmp_path / "ratings.csv"))


def test_a_row_without_a_week_is_told(tmp_path: Path) -> None:
    root = lumiere(tmp_path, {"Patient-001": PRE_POST}, full=False)
    rows = [("Patient-001", w, r, "") for w, r in PRE_POST.items()]
    lumiere_ratings(root, [*rows, ("Patient-001", "wk12", "PD", "")])
    (pair,) = importer.plan(root).pairs
    assert any("names no week ('wk12')" in note for note in pair.notes)


@pytest.mark.parametrize(
    ("cell", "role"),
    [
        ("Pre-Op", "pre"),
        ("PreOp", "pre"),
        ("Post-Op ", "post"),
        ("Post-Op/PD", "post"),
        ("PD", "rated"),
        ("None", "unrated"),
        ("", "unrated"),
        ("n/a", "unrated"),
        ("Pre-Op/Post-Op", "contradictory"),
    ],
)
def test_a_rating_says_when_the_scan_was_made(cell: str, role: str) -> None:
    assert role_of(cell) == role


@pytest.mark.parametrize(
    ("why", "extent"),
    [("CRET", "CRET"), ("PRET", "PRET"), ('"complete: cret, small rim"', "CRET"), ("", None), ("CRET or PRET", None)],
)
def test_the_experts_extent_of_resection_is_kept(tmp_path: Path, why: str, extent: str | None) -> None:
    plan = planned(tmp_path, {"Patient-001": {"week-000-1": "Pre-Op|PRET", "week-000-2": f"Post-Op|{why}"}})
    assert plan.pairs[0].attributes.get("expert_extent") == extent


@pytest.mark.parametrize("cell", ["", " ", "na", "NA", "n/a", "N/A", "N-A", "NaN", "None", "unknown", "\u00a0", "?"])
def test_what_is_not_known_has_many_names(cell: str) -> None:
    assert known(cell) is None and number(cell) is None and sex(cell) is None


@pytest.mark.parametrize(
    ("cell", "value"),
    [("61", 61), (" 94,6 ", 94.6), ("12.5 %", 12.5), ("-1e2", -100), ("inf", None), ("about 60", None)],
)
def test_numbers_are_read_with_comma_and_unit(cell: str, value: float | None) -> None:
    assert number(cell) == value


def test_demographics_are_taken_where_they_are_known(tmp_path: Path) -> None:
    root = lumiere(tmp_path, {f"Patient-00{n}": PRE_POST for n in (1, 2, 3)}, full=False)
    header = "Patient,Survival time (weeks),Sex,Age at surgery (years),IDH (WT: wild type),MGMT qualitative"
    rows = ["Patient-001,12,Male, 61 ,WT,methylated", "Patient-002,na,N-A,NA,N/A,na", "Patient-004,1,f,70,WT,"]
    (root / "LUMIERE-Demographics_Pathology.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    first, second, third = (pair.attributes for pair in importer.plan(root).pairs)
    assert (first["sex"], first["age"], first["idh"], first["mgmt"]) == ("M", 61, "WT", "methylated")
    for unknown in (second, third):
        assert not {"sex", "age", "idh", "mgmt"} & set(unknown)


def test_operations_are_found_from_the_ratings_alone(tmp_path: Path) -> None:
    path = lumiere_ratings(
        tmp_path, [("Patient-001", f"week-{w:03d}", r, "") for w, r in ((0, "Pre-Op"), (1, "Post-Op"), (2, "Post-Op"))]
    )
    (patient,) = ratings_of(read_clinical_table(path)).values()
    (operation,) = operations_of(patient.scans)
    assert [scan.when.week for scan in operation.before + operation.after] == [0, 1, 2]
    assert len(RATING_COLUMNS) == 6
