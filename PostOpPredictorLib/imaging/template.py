"""The MNI template (ICBM152 2009a symmetric, skull-stripped) that ships inside nilearn: nothing is downloaded.

All images are shared and must not be changed.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Literal

import SimpleITK as sitk

from ..errors import InputError

_FILES = {
    "t1": "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
    "gm": "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
    "wm": "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
}
OTHER_CONTRASTS = {"T2w": (1.0, 0.56, 0.42), "FLAIR": (0.10, 0.60, 0.47)}
"""Signals of fluid, grey and white matter as textbooks show them, of what is not T1-weighted."""
_BRAIN_THRESHOLD = 0.2
"""Of the template's maximum, as nilearn's ``load_mni152_brain_mask`` does."""


@functools.cache
def t1() -> sitk.Image:
    """The T1-weighted template, float32 in [0, 1], 0 outside the brain, on ``TEMPLATE_GRID``."""
    return _scaled("t1")


@functools.cache
def tissue(name: Literal["gm", "wm"]) -> sitk.Image:
    """Probability of grey or white matter, float32 in [0, 1], on ``TEMPLATE_GRID``."""
    return _scaled(name)


@functools.cache
def seen_in(sequence: str) -> sitk.Image:
    """The template as ``sequence`` shows it, float32 in [0, 1] on ``TEMPLATE_GRID``: itself for T1w and T1wCE; else the
    signals of fluid, grey and white matter mixed by their probabilities.
    """
    if sequence not in OTHER_CONTRASTS:
        return t1()
    fluid, grey, white = OTHER_CONTRASTS[sequence]
    gm, wm = tissue("gm"), tissue("wm")
    mixed = fluid + (grey - fluid) * gm + (white - fluid) * wm
    return sitk.Mask(sitk.Clamp(mixed, sitk.sitkFloat32, 0.0, 1.0), brain_mask())


@functools.cache
def brain_mask() -> sitk.Image:
    """The template's brain with its ventricles, uint8 0/1, without holes, on ``TEMPLATE_GRID``."""
    mask = sitk.BinaryThreshold(t1(), lowerThreshold=_BRAIN_THRESHOLD, upperThreshold=2.0)
    closed = sitk.BinaryMorphologicalClosing(mask, (2, 2, 2))
    return sitk.BinaryFillhole(closed)


@functools.cache
def distance_mm() -> sitk.Image:
    """Distance from the surface of the template's brain, negative inside, float32 mm, on ``TEMPLATE_GRID``."""
    return sitk.SignedMaurerDistanceMap(brain_mask(), squaredDistance=False, useImageSpacing=True)


def _scaled(name: str) -> sitk.Image:
    image = sitk.ReadImage(str(_folder() / _FILES[name]), sitk.sitkFloat32)
    return image / 255.0


@functools.cache
def _folder() -> Path:
    # nilearn itself is not imported: that takes seconds, and only its data are needed.
    package = importlib.util.find_spec("nilearn")
    folders = list(package.submodule_search_locations or ()) if package else []
    for folder in folders:
        data = Path(folder) / "datasets" / "data"
        if all((data / name).is_file() for name in _FILES.values()):
            return data
    raise InputError(
        "The MNI template was not found: the nilearn package is missing or incomplete. Install it with pip install "
        "nilearn."
    )
