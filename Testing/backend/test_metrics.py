"""The metrics agree with the reference implementations, and the known traps (background, data range, identical
pictures) are closed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as reference_ms_ssim
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.evaluation.lpips import LpipsAlex, load_lpips
from PostOpPredictorLib.evaluation.metrics import METRIC, METRICS, NOT_AVAILABLE, image_metrics, psnr, wall_metrics
from PostOpPredictorLib.evaluation.overlap import dice, hausdorff95_mm, relative_volume_error, slice_dice
from PostOpPredictorLib.evaluation.regions import Regions, cavity_wall, peri_cavity_box
from PostOpPredictorLib.evaluation.ssim import ms_ssim, ssim_map


@pytest.fixture
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Three textured 128x128 slices in [0, 1] and a blurred, shifted, noisy version of them."""
    rng = np.random.default_rng(4)
    true = gaussian_filter(rng.random((3, 128, 128)), (0, 2, 2))
    true = (true - true.min()) / (true.max() - true.min())
    predicted = np.roll(gaussian_filter(true, (0, 1, 1)), 1, axis=2) * 0.9 + rng.normal(0, 0.03, true.shape)
    return np.clip(predicted, 0, 1).astype(np.float32), true.astype(np.float32)


@pytest.fixture
def regions() -> Regions:
    """A round brain with a tumour of 20 x 20 px whose cavity is 16 x 16 px."""
    y, x = np.mgrid[:128, :128]
    brain = np.repeat((((y - 64) ** 2 + (x - 64) ** 2) < 50**2)[None], 3, axis=0)
    core, cavity = np.zeros_like(brain), np.zeros_like(brain)
    core[:, 50:70, 60:80] = True
    cavity[:, 52:68, 62:78] = True
    return Regions.of(brain, core, cavity)


def test_ssim_agrees_with_scikit_image(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, true = pictures
    ours = ssim_map(predicted, true).mean(axis=(1, 2))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    theirs = [structural_similarity(p, t, **settings) for p, t in zip(predicted, true, strict=True)]
    assert ours == pytest.approx(theirs, abs=5e-4)
    assert 0.2 < ours.mean() < 0.9, "the pictures must differ enough for the agreement to mean something"


def test_ms_ssim_agrees_with_pytorch_msssim_on_the_padded_slice(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    padded = [torch.from_numpy(np.pad(stack, ((0, 0), (24, 24), (24, 24))))[:, None] for stack in pictures]
    theirs = reference_ms_ssim(*padded, data_range=1.0, size_average=False)
    assert ms_ssim(*pictures) == pytest.approx(theirs.numpy(), abs=5e-4)


def test_psnr_agrees_with_scikit_image(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, true = pictures
    theirs = [peak_signal_noise_ratio(t, p, data_range=1.0) for p, t in zip(predicted, true, strict=True)]
    assert psnr(predicted, true) == pytest.approx(theirs, abs=1e-3)


def test_psnr_of_a_region_counts_only_its_voxels(regions: Regions) -> None:
    true = np.zeros((3, 128, 128), np.float32)
    predicted = np.where(regions.peri_cavity, np.float32(0.1), np.float32(0.7))
    assert psnr(predicted, true, regions.peri_cavity) == pytest.approx([20.0] * 3, abs=1e-4)


def test_pictures_of_another_range_are_refused(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, true = pictures
    with pytest.raises(InputError, match=r"need intensities in \[0, 1\]"):
        ssim_map(predicted * 255, true * 255)
    with pytest.raises(InputError, match="floating-point"):
        ssim_map((predicted * 255).astype(np.uint8), (true * 255).astype(np.uint8))
    with pytest.raises(InputError, match="one grid"):
        psnr(predicted[:1], true)


def test_data_range_is_one_so_bad_pictures_get_bad_values(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, true = pictures
    wrong = structural_similarity(predicted[0], true[0], data_range=255, gaussian_weights=True, sigma=1.5)
    assert wrong > 0.99, "the trap: this range makes anything look perfect"
    assert ssim_map(predicted, true)[0].mean() < 0.9


def test_background_noise_does_not_count(pictures: tuple[np.ndarray, np.ndarray], regions: Regions) -> None:
    _, true = pictures
    true = true * regions.brain
    noise = np.abs(np.random.default_rng(0).normal(0, 0.02, true.shape)).astype(np.float32)
    noisy = np.where(regions.brain, true, noise)
    assert ssim_map(noisy, true).mean() < 0.9, "the trap: noise outside the brain alone lowers the full-frame SSIM"
    values = image_metrics(noisy, true, regions)
    assert values["ssim_full"] == pytest.approx([1.0] * 3)
    assert values["psnr_full"] == pytest.approx([100.0] * 3)


def test_identical_pictures_get_the_best_value_of_every_metric(
    pictures: tuple[np.ndarray, np.ndarray], regions: Regions
) -> None:
    _, true = pictures
    assert np.all(np.isinf(psnr(true, true)))
    values = image_metrics(true, true, regions)
    for key, value in values.items():
        assert value == pytest.approx([100.0 if key.startswith("psnr") else 1.0] * 3), key
    assert wall_metrics(true, true, regions) == pytest.approx({"wall_sharpness": 1.0, "wall_agreement": 1.0})


def test_an_error_inside_the_box_lowers_the_peri_cavity_values_most(
    pictures: tuple[np.ndarray, np.ndarray], regions: Regions
) -> None:
    _, true = pictures
    wrong = true.copy()
    wrong[:, 56:64, 66:74] = 0
    values = image_metrics(wrong, true, regions)
    assert np.all(values["ssim_peri"] < values["ssim_brain"])
    assert np.all(values["ssim_brain"] < values["ssim_full"])
    assert np.all(values["psnr_peri"] < values["psnr_brain"])


def test_the_box_holds_core_and_cavity_and_ten_millimetres() -> None:
    core, cavity = np.zeros((3, 128, 128), bool), np.zeros((3, 128, 128), bool)
    core[0, 50:60, 60:70] = True
    cavity[0, 55:65, 58:65] = True
    cavity[1, 2, 126] = True
    box = peri_cavity_box(core, cavity)
    rows, columns = np.flatnonzero(box[0].any(axis=1)), np.flatnonzero(box[0].any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (50 - 7, 64 + 7, 58 - 7, 69 + 7)
    assert box[0].sum() == len(rows) * len(columns)
    assert box[1, :10, 119:].all() and box[1].sum() == 10 * 9, "cut at the frame, never wrapped around"
    assert not box[2].any()


def test_a_slice_without_anything_operated_has_no_peri_cavity_value(
    pictures: tuple[np.ndarray, np.ndarray], regions: Regions
) -> None:
    nothing = np.zeros_like(regions.brain)
    values = image_metrics(*pictures, Regions.of(regions.brain, nothing, nothing))
    assert np.isnan(values["ssim_peri"]).all() and np.isnan(values["psnr_peri"]).all()
    assert np.isfinite(values["ssim_brain"]).all()


def test_a_grey_smudge_has_no_sharp_wall(regions: Regions) -> None:
    true = np.where(regions.brain, np.float32(0.6), np.float32(0))
    true[:, 52:68, 62:78] = 0.1
    smudge = gaussian_filter(true, (0, 5, 5)) * regions.brain
    elsewhere = np.where(regions.brain, np.float32(0.6), np.float32(0))
    sharp, blurred = wall_metrics(true, true, regions), wall_metrics(smudge, true, regions)
    none = wall_metrics(elsewhere, true, regions)
    assert sharp["wall_sharpness"] == pytest.approx(1.0)
    assert blurred["wall_sharpness"] < 0.5 and blurred["wall_agreement"] < 0.5
    assert none == pytest.approx({"wall_sharpness": 0.0, "wall_agreement": 0.0}, abs=1e-6)


def test_an_inverted_edge_is_sharp_but_does_not_agree(regions: Regions) -> None:
    true = np.where(regions.brain, np.float32(0.5), np.float32(0))
    inverted = true.copy()
    true[:, 52:68, 62:78], inverted[:, 52:68, 62:78] = 0.1, 0.9
    values = wall_metrics(inverted, true, regions)
    assert values["wall_sharpness"] == pytest.approx(1.0, abs=1e-5)
    assert values["wall_agreement"] == pytest.approx(-1.0, abs=1e-5)


def test_the_brain_edge_is_no_part_of_the_wall() -> None:
    brain, cavity = np.zeros((1, 40, 40), bool), np.zeros((1, 40, 40), bool)
    brain[0, 10:30, 10:30] = True
    cavity[0, 15:25, 10:20] = True
    wall = cavity_wall(cavity, brain)
    assert wall[0, 20, 19:21].all()
    assert not wall[0, :, :12].any()
    assert wall_metrics(np.ones((1, 40, 40)), np.ones((1, 40, 40)), Regions.of(brain, cavity, ~brain & brain)) == {
        "wall_sharpness": None,
        "wall_agreement": None,
    }


def test_dice_and_volume_error_by_hand() -> None:
    true, predicted = np.zeros((2, 10, 10), bool), np.zeros((2, 10, 10), bool)
    true[0, :4, :5] = True
    predicted[0, :4, :4] = True
    predicted[1, :2, :2] = True
    assert dice(predicted, true) == pytest.approx(2 * 16 / 40)
    assert slice_dice(predicted, true)[0] == pytest.approx(2 * 16 / 36)
    assert math.isnan(slice_dice(predicted, true)[1]), "a slice without a true cavity is no slice of the Dice"
    assert relative_volume_error(predicted, true) == pytest.approx(0.0)
    assert relative_volume_error(predicted[:1], true[:1]) == pytest.approx(0.2)


def test_nothing_to_find_is_no_value_and_nothing_found_is_zero() -> None:
    empty, full = np.zeros((2, 5, 5), bool), np.ones((2, 5, 5), bool)
    assert dice(full, empty) is None and relative_volume_error(full, empty) is None
    assert dice(empty, full) == 0.0 and relative_volume_error(empty, full) == 1.0
    assert hausdorff95_mm(empty, full) is None


def test_hausdorff_distance_of_a_shifted_cube_is_the_shift() -> None:
    true, moved = np.zeros((20, 40, 40), bool), np.zeros((20, 40, 40), bool)
    true[5:15, 10:20, 10:20] = True
    moved[5:15, 10:20, 14:24] = True
    assert hausdorff95_mm(moved, true) == pytest.approx(4 * 1.5)
    assert hausdorff95_mm(true, true) == 0.0


def test_better_knows_its_direction() -> None:
    assert METRIC["ssim_peri"].gain(0.6) > METRIC["ssim_peri"].gain(0.5)
    assert METRIC["cavity_volume_error"].gain(0.1) > METRIC["cavity_volume_error"].gain(0.3)
    assert METRIC["wall_sharpness"].gain(0.9) > METRIC["wall_sharpness"].gain(1.4)
    assert len(METRIC) == len(METRICS)
    assert "161" in NOT_AVAILABLE["ms_ssim_peri"]


@pytest.fixture
def small_lpips_weights() -> tuple[list[tuple[torch.Tensor, torch.Tensor]], list[torch.Tensor]]:
    """AlexNet's layout with 4, 5, 6, 3, 2 channels and random weights."""
    torch.manual_seed(0)
    widths, kernels = (3, 4, 5, 6, 3, 2), (11, 5, 3, 3, 3)
    trunk = [
        (torch.randn(widths[i + 1], widths[i], kernels[i], kernels[i]) / 9, torch.randn(widths[i + 1]) / 9)
        for i in range(5)
    ]
    return trunk, [torch.rand(1, width, 1, 1) for width in widths[1:]]


def test_lpips_forward_agrees_with_a_direct_computation(small_lpips_weights: tuple) -> None:
    trunk, heads = small_lpips_weights
    rng = np.random.default_rng(1)
    predicted, true = rng.random((2, 63, 63)).astype(np.float32), rng.random((2, 63, 63)).astype(np.float32)
    value = LpipsAlex(trunk, heads)(predicted, true)
    expected = [_lpips_by_hand(p, t, trunk, heads) for p, t in zip(predicted, true, strict=True)]
    assert value == pytest.approx(expected, rel=1e-4)
    assert LpipsAlex(trunk, heads)(true, true) == pytest.approx([0.0, 0.0])


def _lpips_by_hand(predicted: np.ndarray, true: np.ndarray, trunk: list, heads: list) -> float:
    """Plain loops over windows in numpy: grey to three channels in [-1, 1], shift and scale, AlexNet, unit length,
    weighted squares."""
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    signals = [
        ((2.0 * picture - 1.0)[None] - shift[:, None, None]) / scale[:, None, None] for picture in (predicted, true)
    ]
    total = 0.0
    for layer, ((weight, bias), head) in enumerate(zip(trunk, heads, strict=True)):
        if layer in (1, 2):
            signals = [_windows(signal, 3, 2, 0).max(axis=(-1, -2)) for signal in signals]
        stride, padding = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))[layer]
        kernel = weight.double().numpy()
        signals = [
            np.maximum(
                np.einsum("chwij,ocij->ohw", _windows(signal, kernel.shape[-1], stride, padding), kernel)
                + bias.double().numpy()[:, None, None],
                0,
            )
            for signal in signals
        ]
        unit = [signal / (np.sqrt((signal**2).sum(axis=0)) + 1e-10) for signal in signals]
        total += float(((unit[0] - unit[1]) ** 2 * head.double().numpy()[0]).sum(axis=0).mean())
    return total


def _windows(signal: np.ndarray, size: int, stride: int, padding: int) -> np.ndarray:
    padded = np.pad(signal, ((0, 0), (padding, padding), (padding, padding)))
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]


@pytest.fixture
def alexnet_files(tmp_path) -> tuple:
    """The two public files with random content: torchvision's trunk (.pth) and lpips' heads (safetensors)."""
    torch.manual_seed(0)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    trunk = {}
    for index, (out, channels, kernel) in shapes.items():
        trunk[f"features.{index}.weight"] = torch.randn(out, channels, kernel, kernel) / (channels * kernel**2) ** 0.5
        trunk[f"features.{index}.bias"] = torch.zeros(out)
    trunk["classifier.1.weight"] = torch.zeros(2, 2)
    heads = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate((64, 192, 384, 256, 256))}
    torch.save(trunk, tmp_path / "alexnet.pth")
    save_file(heads, tmp_path / "alex.safetensors")
    return tmp_path / "alexnet.pth", tmp_path / "alex.safetensors"


def test_lpips_reads_both_public_files_and_the_lpips_package_names(alexnet_files: tuple, tmp_path, pictures) -> None:
    lpips, reason = load_lpips(alexnet_files)
    assert reason == "" and lpips is not None
    trunk = torch.load(alexnet_files[0], weights_only=True)
    slices = {"0": 1, "3": 2, "6": 3, "8": 4, "10": 5}
    whole = {
        f"net.slice{slices[n.split('.')[1]]}.{n.split('.', 1)[1]}": v
        for n, v in trunk.items()
        if n.startswith("features")
    }
    heads = LpipsAlex.from_files(alexnet_files)._heads
    whole |= {f"lins.{i}.model.1.weight": head for i, head in enumerate(heads)}
    torch.save(whole, tmp_path / "lpips_whole.pth")
    again = LpipsAlex.from_files([tmp_path / "lpips_whole.pth"])
    first = lpips(*pictures)
    assert first == pytest.approx(again(*pictures)) and np.all(first > 0)


def test_without_weights_lpips_says_why_it_is_not_available() -> None:
    lpips, reason = load_lpips([])
    assert lpips is None
    assert "no weights were given" in reason


def test_lpips_weights_that_are_not_alexnet_are_refused(alexnet_files: tuple, tmp_path) -> None:
    with pytest.raises(InputError, match="no LPIPS weights file"):
        load_lpips([tmp_path / "missing.pth"])
    with pytest.raises(InputError, match="lack the linear head 1"):
        load_lpips(alexnet_files[:1])
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match="plain tensors"):
        load_lpips([tmp_path / "text.pth"])
    torch.save({"features.0.weight": torch.zeros(4, 3, 11, 11)}, tmp_path / "narrow.pth")
    with pytest.raises(InputError, match="not AlexNet's"):
        load_lpips([*alexnet_files, tmp_path / "narrow.pth"])
