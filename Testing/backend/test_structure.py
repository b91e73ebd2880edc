"""The outcome as maps and shift: its code, the decision what each pixel is, and the warp."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_models import disc
from torch import Tensor

from PostOpPredictorLib.model.structure import (
    STRUCTURE_CHANNELS,
    crisp,
    decode_structure,
    encode_structure,
    warp_in_plane,
)


@pytest.fixture
def smooth_labels() -> Tensor:
    """(1, 64, 64): every outcome as a disc of its own."""
    labels = np.zeros((64, 64), np.uint8)
    for label, centre in enumerate([(14, 14), (14, 44), (44, 14), (44, 44), (30, 30)], start=1):
        labels[disc(centre, 7, 64)] = label
    return torch.from_numpy(labels)[None]


@pytest.fixture
def a_smooth_shift() -> Tensor:
    """(1, 3, 32, 32) mm."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return torch.stack([3 * torch.sin(rows / 9), 2 * torch.cos(columns / 7), 0 * rows + 1.5])[None]


def test_labels_come_back_from_their_code(smooth_labels: Tensor) -> None:
    code = encode_structure(smooth_labels, torch.zeros(1, 3, 32, 32))
    assert code.shape == (1, STRUCTURE_CHANNELS, 16, 16)
    assert code.abs().max() <= 1
    found = decode_structure(code).outcome.argmax(dim=1)
    assert (found == smooth_labels).float().mean() > 0.985
    for label in range(1, 6):
        mine, true = found == label, smooth_labels == label
        assert 2 * (mine & true).sum() / (mine.sum() + true.sum()) > 0.94, label


def test_the_shift_comes_back_from_its_code(smooth_labels: Tensor, a_smooth_shift: Tensor) -> None:
    shift = decode_structure(encode_structure(smooth_labels, a_smooth_shift)).shift_mm
    assert shift.shape == (1, 3, 64, 64)
    at_the_cells = torch.nn.functional.avg_pool2d(shift, 2)
    assert (at_the_cells - a_smooth_shift)[..., 1:-1, 1:-1].abs().max() < 0.05


def test_whatever_the_code_the_shares_are_between_0_and_1_and_sum_to_1() -> None:
    code = 3 * torch.randn(2, STRUCTURE_CHANNELS, 8, 8, generator=torch.Generator().manual_seed(0))
    outcome = decode_structure(code).outcome
    assert outcome.min() >= 0 and outcome.max() <= 1
    assert torch.allclose(outcome.sum(dim=1), torch.ones(2, 32, 32), atol=1e-5)


def test_crisp_shares_sum_to_1_and_decide() -> None:
    shares = torch.softmax(6 * torch.randn(1, 6, 24, 24, generator=torch.Generator().manual_seed(1)), dim=1)
    decided = crisp(shares)
    assert torch.allclose(decided.sum(dim=1), torch.ones(1, 24, 24), atol=1e-5)
    sure = shares.max(dim=1).values > 0.75
    assert torch.equal(decided.argmax(dim=1)[sure], shares.argmax(dim=1)[sure])
    assert (decided.max(dim=1).values[sure] > 0.95).all()


def test_a_hole_whose_filling_is_uncertain_stays_a_hole() -> None:
    shares = torch.tensor([0.4, 0.25, 0.0, 0.2, 0.0, 0.15])[None, :, None, None]
    decided = crisp(shares)[0, :, 0, 0]
    assert shares[0].argmax() == 0, "no single filling has the majority"
    assert decided[[1, 3, 5]].sum() > 0.8
    assert decided.argmax() == 1


def test_crisp_leaves_a_smooth_way_for_gradients() -> None:
    shares = torch.full((1, 6, 2, 2), 1 / 6, requires_grad=True)
    crisp(shares)[:, 1].sum().backward()
    assert shares.grad is not None and shares.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("shift_mm", "came_from"),
    [((3.0, 0.0, 0.0), (5, 8)), ((-3.0, 0.0, 0.0), (5, 4)), ((0.0, 4.5, 0.0), (8, 6)), ((0.0, 0.0, 9.0), (5, 6))],
)
def test_the_shift_pulls_each_pixel_from_where_it_points(
    shift_mm: tuple[float, float, float], came_from: tuple[int, int]
) -> None:
    """Column 0 is the patient's right and row 0 anterior: +x (left) and +y (posterior) read from larger indices."""
    image = torch.rand(1, 1, 12, 16, generator=torch.Generator().manual_seed(2))
    field = torch.tensor(shift_mm)[None, :, None, None].expand(1, 3, 12, 16)
    assert warp_in_plane(image, field)[0, 0, 5, 6] == pytest.approx(float(image[0, 0, *came_from]), abs=1e-5)


def test_the_warp_is_the_one_of_simpleitk_with_the_same_field() -> None:
    generator = torch.Generator().manual_seed(4)
    image = torch.nn.functional.avg_pool2d(torch.rand(1, 1, 24, 24, generator=generator), 5, stride=1, padding=2)
    coarse = 8 * torch.rand(1, 3, 3, 3, generator=generator) - 4
    field = torch.nn.functional.interpolate(coarse, size=(24, 24), mode="bilinear", align_corners=True)
    fixed = sitk.GetImageFromArray(image[0, 0].numpy())
    vectors = sitk.GetImageFromArray(field[0, :2].permute(1, 2, 0).double().numpy(), isVector=True)
    for volume in (fixed, vectors):
        volume.SetSpacing((1.5, 1.5))
        volume.SetOrigin((-18, -10))
    transform = sitk.DisplacementFieldTransform(vectors)
    expected = sitk.GetArrayFromImage(sitk.Resample(fixed, fixed, transform, sitk.sitkLinear))
    inner = slice(4, -4)
    assert np.allclose(warp_in_plane(image, field)[0, 0].numpy()[inner, inner], expected[inner, inner], atol=1e-4)


def test_no_shift_changes_nothing() -> None:
    image = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(warp_in_plane(image, torch.zeros(2, 3, 8, 12)), image, atol=1e-5)
