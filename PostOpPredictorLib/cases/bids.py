"""The names of a case library's files: a BIDS derivative, so that other tools read it and a person can open it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..imaging.grid import WORKING_GRID, Grid

SPACE = "MNI152NLin2009aSym"
SCHEMA = 1
SHIFT_GRID = Grid(
    size=(WORKING_GRID.size[0] // 2, WORKING_GRID.size[1] // 2, WORKING_GRID.size[2] // 2),
    spacing=(3.0, 3.0, 3.0),
    origin=(WORKING_GRID.origin[0] + 0.75, WORKING_GRID.origin[1] + 0.75, WORKING_GRID.origin[2] + 0.75),
)
"""The 3 mm grid of the stored displacement: each voxel covers 2x2x2 voxels of WORKING_GRID."""

TUMOUR_NAMES = {1: "necrotic or non-enhancing core", 2: "oedema", 4: "enhancing tumour"}
OUTCOME_NAMES = {1: "cavity", 2: "residual tumour", 3: "blood", 4: "post-operative oedema", 5: "air"}
CORE_LABELS = (1, 4)
CAVITY_LABELS = (1, 3, 5)

_SEQUENCE_FILE = re.compile(r"sub-[A-Za-z0-9]+_ses-(preop|postop)_space-[A-Za-z0-9]+_([A-Za-z0-9]+)\.nii\.gz")


def participant_of(case_id: str) -> str:
    """The BIDS participant of a case: ``sub-`` and the letters and digits of its id."""
    label = re.sub(r"[^A-Za-z0-9]", "", case_id.removeprefix("sub-"))
    if not label:
        raise InputError(f"A case cannot be called {case_id!r}: give an id with at least one letter or digit.")
    return f"sub-{label}"


@dataclass(frozen=True)
class CaseFiles:
    """Where the files of the case in ``folder`` (``.../sub-0001``) lie."""

    folder: Path
    participant: str

    def image(self, session: str, sequence: str) -> Path:
        """The scan of ``session`` ("preop" or "postop") in ``sequence`` ("T1w", "T1wCE")."""
        return self._anat(session, sequence)

    def brain(self, session: str) -> Path:
        """The brain mask of ``session``."""
        return self._anat(session, "desc-brain_mask")

    @property
    def tumour(self) -> Path:
        """The pre-operative tumour's label map."""
        return self._anat("preop", "desc-tumor_dseg")

    @property
    def tumour_core(self) -> Path:
        """The binary mask of the tumour core, by which cases are found."""
        return self._anat("preop", "label-tumor_mask")

    @property
    def resection(self) -> Path:
        """The binary mask of the tissue that was taken, in pre-operative space; absent where it is unknown."""
        return self._anat("preop", "label-resection_mask")

    @property
    def outcome(self) -> Path:
        """The post-operative label map."""
        return self._anat("postop", "desc-outcome_dseg")

    @property
    def cavity(self) -> Path:
        """The binary mask of the cavity and what filled it; ``proxy_cavity`` where there is that one."""
        return self.proxy_cavity if self.proxy_cavity.exists() else self._anat("postop", "label-cavity_mask")

    @property
    def proxy_cavity(self) -> Path:
        """A stand-in for the cavity, derived because the data set has no label for it; its name says so."""
        return self._anat("postop", "label-cavity_desc-proxy_mask")

    @property
    def shift(self) -> Path:
        """The displacement field on SHIFT_GRID; absent where it is unknown."""
        name = f"{self.participant}_ses-postop_space-{SPACE}_from-preop_to-postop_desc-shift_xfm.nii.gz"
        return self.folder / "ses-postop" / "anat" / name

    @property
    def sidecar(self) -> Path:
        """The case's row of participants.tsv, kept beside its files."""
        return self.folder / "case.json"

    @property
    def checksums(self) -> Path:
        """SHA-256 of every other file of the case."""
        return self.folder / "checksums.json"

    @property
    def required(self) -> tuple[Path, ...]:
        """Every file that a case must have besides its scans."""
        masks = (self.brain("preop"), self.brain("postop"), self.tumour, self.tumour_core, self.outcome, self.cavity)
        return (*masks, self.sidecar, self.checksums)

    def sequences(self) -> tuple[str, ...]:
        """The sequences of which there is a scan before and after surgery, sorted."""
        found: dict[str, set[str]] = {"preop": set(), "postop": set()}
        for session, names in found.items():
            for path in (self.folder / f"ses-{session}" / "anat").glob("*.nii.gz"):
                match = _SEQUENCE_FILE.fullmatch(path.name)
                if match and match[1] == session:
                    names.add(match[2])
        return tuple(sorted(found["preop"] & found["postop"]))

    def _anat(self, session: str, suffix: str) -> Path:
        name = f"{self.participant}_ses-{session}_space-{SPACE}_{suffix}.nii.gz"
        return self.folder / f"ses-{session}" / "anat" / name


def dataset_description() -> dict[str, Any]:
    """What dataset_description.json of a library says."""
    return {
        "Name": "PostOpPredictor case library",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "PostOpPredictor"}],
        "PostOpPredictor": {
            "Schema": SCHEMA,
            "Template": SPACE,
            "Grid": {
                "Size": list(WORKING_GRID.size),
                "SpacingMm": list(WORKING_GRID.spacing),
                "OriginLpsMm": list(WORKING_GRID.origin),
                "Direction": list(WORKING_GRID.direction),
            },
            "Images": "uint8 = 255 x intensity in [0, 1]; 0 outside the brain",
            "Shift": "mm on a 3 mm grid, components x, y, z in LPS, pull-back: post(p) = pre(p + shift(p))",
        },
    }
