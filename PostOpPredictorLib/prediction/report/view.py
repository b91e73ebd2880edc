"""Where the three planes are cut: one isotropic box around the brain, through the thickest part of the tumour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk

from ...imaging.grid import TEMPLATE_GRID, WORKING_GRID, Grid
from ..figure import PLANES, Plane, box_around, lps_array, thickest
from ..outcome_volume import tumour_core
from ..patient import Patient
from .picture import Arrow, ColourScale, Contour, Overlay, Picture, draw

ARROW_EVERY_MM = 9.0
ARROW_LENGTHENED = 2.0
LEAST_ARROW_MM = 0.8


@dataclass(frozen=True)
class View:
    """``grid``: isotropic, what every image is brought to; arrays are (z, y, x) with LPS axes of the scan.

    ``box``: from and to along z, y, x; ``centre``: the voxel (of the whole array) that the planes go through.
    """

    grid: Grid
    box: tuple[tuple[int, int], ...]
    centre: tuple[int, int, int]

    @classmethod
    def in_mni(cls, patient: Patient) -> View:
        """Planes on TEMPLATE_GRID."""
        core = tumour_core(lps_array(patient.labels_mni))
        return cls(TEMPLATE_GRID, box_around(lps_array(patient.brain_mni) > 0), thickest(core))

    @classmethod
    def on_working_grid(cls, patient: Patient) -> View:
        """Planes on WORKING_GRID, for what is known there only."""
        return cls(WORKING_GRID, box_around(patient.brain > 0), thickest(tumour_core(patient.tumour)))

    @classmethod
    def of_scan(cls, patient: Patient) -> View:
        """Planes of the patient's own scan, 1 mm voxels along its own axes, cropped to the brain."""
        grid = _isotropic(sitk.DICOMOrient(patient.scan, "LPS"))
        to_mni = patient.registration.transform.GetInverse()
        brain = sitk.GetArrayFromImage(grid.resample(patient.brain_mni, to_mni, sitk.sitkNearestNeighbor))
        labels = sitk.GetArrayFromImage(grid.resample(patient.labels, interpolator=sitk.sitkNearestNeighbor))
        return cls(grid, box_around(brain > 0), thickest(tumour_core(labels)))

    @property
    def side(self) -> int:
        """Width in voxels that all planes are padded to, so that they have one scale."""
        _, (front, back), (right, left) = self.box
        return max(back - front, left - right)

    def array(
        self, image: sitk.Image, transform: sitk.Transform | None = None, interpolator: int = sitk.sitkLinear
    ) -> np.ndarray:
        """``image`` as an array (z, y, x), or (z, y, x, components), of this view.

        One that lies on another grid, or that ``transform`` (from this grid to it) moves, is interpolated in the three
        planes alone, and the array is 0 elsewhere: of a whole head only one voxel in fifty is shown.
        """
        if transform is None and self.grid.holds(image):
            return lps_array(image)
        grid = self._lps
        parts = image.GetNumberOfComponentsPerPixel()
        whole = np.zeros(grid.shape if parts == 1 else (*grid.shape, parts), np.float32)
        image = sitk.Cast(image, sitk.sitkFloat32 if parts == 1 else sitk.sitkVectorFloat32)
        for plane in PLANES:
            box = [slice(low, high) for low, high in self.box]
            box[plane.axis] = slice(self.centre[plane.axis], self.centre[plane.axis] + 1)
            part = grid.part(box[::-1]).resample(image, transform, interpolator)
            whole[tuple(box)] = sitk.GetArrayFromImage(part)
        return whole

    @cached_property
    def _lps(self) -> Grid:
        """``grid`` with its axes as those of the arrays."""
        return Grid.of(sitk.DICOMOrient(self.grid.image(np.zeros(self.grid.shape, np.uint8)), "LPS"))

    def cut(self, array: np.ndarray, plane: Plane, *, padded: bool = True) -> np.ndarray:
        """The slice of ``array`` (z, y, x) as float32, cropped, and ``padded`` with 0 to ``side`` columns."""
        inside = array[tuple(slice(low, high) for low, high in self.box)]
        offset = [at - low for at, (low, _) in zip(self.centre, self.box, strict=True)]
        flat = plane.cut(inside, (offset[0], offset[1], offset[2])).astype(np.float32)
        if not padded:
            return flat
        left = (self.side - flat.shape[1]) // 2
        return np.pad(flat, ((0, 0), (left, self.side - flat.shape[1] - left)))


@dataclass(frozen=True)
class Layer:
    """What is outlined: ``mask`` (z, y, x) of the view."""

    mask: np.ndarray
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Map:
    """A coloured map over the image: ``values`` (z, y, x) of the view."""

    values: np.ndarray
    low: float
    high: float
    scale: ColourScale


def planes_of(
    view: View,
    image: np.ndarray,
    what: str,
    pixels_per_voxel: float,
    layers: Sequence[Layer] = (),
    over: Map | None = None,
    shift: np.ndarray | None = None,
    planes: Sequence[Plane] = PLANES,
) -> list[Picture]:
    """A picture of each plane: ``image`` (z, y, x; 0 to 1) with outlines, a map, and arrows of ``shift`` (..., 3).

    Several planes are padded to one width, so that they have one scale.
    """
    padded = len(planes) > 1
    pictures = []
    for plane in planes:
        cuts = [(view.cut(layer.mask, plane, padded=padded), layer) for layer in layers]
        contours = [Contour(cut, layer.colour, layer.dashed) for cut, layer in cuts if cut.any()]
        overlay = None
        if over is not None:
            overlay = Overlay(view.cut(over.values, plane, padded=padded), over.low, over.high, over.scale)
        arrows = () if shift is None else _arrows(view, shift, plane, padded=padded)
        grey = view.cut(image, plane, padded=padded)
        pictures.append(draw(grey, f"{what}, {plane.name}", pixels_per_voxel, contours, overlay, arrows))
    return pictures


def _arrows(view: View, shift: np.ndarray, plane: Plane, *, padded: bool) -> list[Arrow]:
    """In-plane movement of tissue, which came from p + shift(p) and ends at p; twice as long as it is, to be seen."""
    spacing = view.grid.spacing[0]
    across, down = {0: (0, 1), 1: (0, 2), 2: (1, 2)}[plane.axis]
    x, y = (view.cut(shift[..., part], plane, padded=padded) / spacing for part in (across, down))
    y = y if plane.axis == 0 else -y
    length = np.hypot(x, y) * spacing
    x, y = x * ARROW_LENGTHENED, y * ARROW_LENGTHENED
    step = max(round(ARROW_EVERY_MM / spacing), 1)
    return [
        Arrow((column + float(x[row, column]), row + float(y[row, column])), (column, row))
        for row in range(step // 2, length.shape[0], step)
        for column in range(step // 2, length.shape[1], step)
        if length[row, column] >= LEAST_ARROW_MM
    ]


def _isotropic(image: sitk.Image) -> Grid:
    """A 1 mm grid that covers ``image`` along its own axes."""
    size = [math.ceil(count * spacing) for count, spacing in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    axes = np.reshape(image.GetDirection(), (3, 3))
    half = (1.0 - np.asarray(image.GetSpacing())) / 2.0
    origin = np.asarray(image.GetOrigin()) + axes @ half
    return Grid((size[0], size[1], size[2]), (1.0, 1.0, 1.0), tuple(origin.tolist()), image.GetDirection())
