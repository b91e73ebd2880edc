"""Small scans and masks for the imaging tests: a ball in a cube of 72 mm, and the means to write them to disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from PostOpPredictorLib.imaging.grid import Grid

GRID = Grid((36, 36, 36), (2.0, 2.0, 2.0), (-36.0, -40.0, -30.0))


def ball(radius: float = 13.0, centre: tuple[float, float, float] = (18, 18, 18)) -> np.ndarray:
    """A boolean ball (z, y, x) on ``GRID``, in voxels."""
    z, y, x = np.indices(GRID.shape)
    return (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2


def tiny_array(seed: int = 0) -> np.ndarray:
    """A textured ball of some 100 units on a background of exactly 0, float32."""
    texture = np.random.default_rng(seed).normal(100, 15, GRID.shape)
    return (np.clip(texture, 20, None) * ball()).astype(np.float32)


def tiny_scan() -> sitk.Image:
    """``tiny_array`` as an image on ``GRID``."""
    return GRID.image(tiny_array())


def tiny_tumour() -> sitk.Image:
    """BraTS labels 1, 2 and 4 inside the ball, uint8."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[ball(6, (18, 18, 14))] = 2
    labels[ball(4, (18, 18, 14))] = 4
    labels[ball(2, (18, 18, 14))] = 1
    return GRID.image(labels)


def write(image: sitk.Image, path: Path) -> Path:
    """Write ``image`` (made of anything) and return the path."""
    sitk.WriteImage(image, str(path), True)
    return path


def write_dicom(folder: Path, image: sitk.Image, series: int = 1, keep: slice = slice(None)) -> Path:
    """Write the slices of ``image`` as one DICOM series; ``keep`` leaves out some of them."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = sitk.Cast(image, sitk.sitkInt16)
    direction = whole.GetDirection()
    for z in range(whole.GetSize()[2])[keep]:
        piece = whole[:, :, z]
        position = whole.TransformIndexToPhysicalPoint((0, 0, z))
        for tag, value in {
            "0008|0060": "MR",
            "0010|0010": "Doe^Jane",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.1.{series}",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.1.{series}.{z + 1}",
            "0020|0032": "\\".join(f"{p:g}" for p in position),
            "0020|0037": "\\".join(f"{direction[i]:g}" for i in (0, 3, 6, 1, 4, 7)),
            "0020|0013": str(z + 1),
            "0018|0050": f"{whole.GetSpacing()[2]:g}",
        }.items():
            piece.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"s{series}_{z:03d}.dcm"))
        writer.Execute(piece)
    return folder
