"""What segments are called, coloured and coded as: SNOMED CT terms as Slicer's terminology lists and DICOM name them.

Neither Slicer's lists nor DICOM's context groups hold a term for the cavity that an operation leaves, so it has a
private code (DICOM reserves designators that begin with 99 for that) in SNOMED's category of altered structures.
"""

from __future__ import annotations

from dataclasses import dataclass

from slicer.i18n import tr as _

ALTERED_STRUCTURE = "SCT^49755003^Morphologically Altered Structure"
BODY_SUBSTANCE = "SCT^91720002^Body Substance"
BRAIN = "Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
CAVITY_TYPE = "99POSTOP^resection-cavity^Resection cavity"
PLAN_TYPE = "99POSTOP^planned-resection^Planned resection"
MASTER_LIST = "Segmentation category and type - DICOM master list"
TERMINOLOGY_TAG = "TerminologyEntry"


@dataclass(frozen=True)
class SegmentTerm:
    """``segmentId`` is the same in every result; ``name`` is translated; ``colour`` red, green, blue in 0..1."""

    segmentId: str
    name: str
    colour: tuple[float, float, float]
    category: str
    type: str

    @property
    def entry(self) -> str:
        """The value of the segment's tag ``TerminologyEntry``."""
        return f"{MASTER_LIST}~{self.category}~{self.type}~^^~{BRAIN}"


def cavityTerms() -> dict[int, SegmentTerm]:
    """The segment of a cavity mask."""
    return {1: SegmentTerm("cavity", _("Resection cavity"), (0.18, 0.49, 0.96), ALTERED_STRUCTURE, CAVITY_TYPE)}


def outcomeTerms() -> dict[int, SegmentTerm]:
    """The segments of an outcome label map, by its labels."""
    neoplasm, bleeding = "SCT^108369006^Neoplasm", "SCT^50960005^Hemorrhage"
    oedema, gas = "SCT^79654002^Edema", "SCT^74947009^Gas"
    return {
        1: SegmentTerm("cavity", _("Resection cavity (fluid)"), (0.18, 0.49, 0.96), ALTERED_STRUCTURE, CAVITY_TYPE),
        2: SegmentTerm("residual", _("Residual tumour"), (0.95, 0.55, 0.15), ALTERED_STRUCTURE, neoplasm),
        3: SegmentTerm("blood", _("Blood"), (0.74, 0.10, 0.12), ALTERED_STRUCTURE, bleeding),
        4: SegmentTerm("oedema", _("Oedema"), (0.55, 0.88, 0.89), ALTERED_STRUCTURE, oedema),
        5: SegmentTerm("air", _("Air"), (0.85, 1.00, 1.00), BODY_SUBSTANCE, gas),
    }


def tumourTerms() -> dict[int, SegmentTerm]:
    """The segments of a pre-operative tumour label map, by its labels."""
    neoplasm, oedema = "SCT^108369006^Neoplasm", "SCT^79654002^Edema"
    return {
        1: SegmentTerm("core", _("Tumour core"), (0.95, 0.80, 0.10), ALTERED_STRUCTURE, neoplasm),
        4: SegmentTerm("enhancing", _("Enhancing tumour"), (0.95, 0.55, 0.15), ALTERED_STRUCTURE, neoplasm),
        2: SegmentTerm("oedema", _("Oedema"), (0.55, 0.88, 0.89), ALTERED_STRUCTURE, oedema),
    }


def planTerms() -> dict[int, SegmentTerm]:
    """The segment of a planned resection."""
    return {1: SegmentTerm("plan", _("Planned resection"), (0.93, 0.27, 0.62), ALTERED_STRUCTURE, PLAN_TYPE)}


def residualTerms() -> dict[int, SegmentTerm]:
    """The segment of a mask of residual tumour."""
    return {1: outcomeTerms()[2]}
