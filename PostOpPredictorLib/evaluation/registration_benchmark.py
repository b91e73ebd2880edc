"""How far from the truth the registration ends, on scans made from the template with a known misalignment.

``python -m PostOpPredictorLib.evaluation.registration_benchmark --cases 20``
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..errors import RegistrationFailed
from ..imaging import template
from ..imaging.grid import Grid
from ..imaging.registration import register_to_mni


@dataclass(frozen=True)
class MisalignedCase:
    """A made-up scan whose place is known: ``truth`` maps MNI (LPS mm) to the scan (LPS mm)."""

    image: sitk.Image
    tumour: sitk.Image
    truth: sitk.AffineTransform


@dataclass(frozen=True)
class CaseResult:
    """Target registration error over the template's brain in mm (before: with the identity), and the time it took."""

    seed: int
    before_mm: float
    mean_mm: float
    p95_mm: float
    overlap: float
    metric: float
    seconds: float
    cpu_seconds: float


def misaligned_case(seed: int, *, full_head: bool = False, tumour: bool = True) -> MisalignedCase:
    """The template as a 1.1 x 1.1 x 1.5 mm scan: turned by up to 15 degrees, moved by 20 mm, scaled by 0.9 to 1.12.

    Sheared too, with a ring-enhancing tumour and oedema, gamma 0.6 to 1.5, 20 % bias and 1.5 to 4 % Rician noise.
    """
    rng = np.random.default_rng(seed)
    truth = _random_affine(rng)
    grid = Grid((210, 240, 150), (1.1, 1.1, 1.5), (-115.0, -145.0, -100.0))
    back = truth.GetInverse()
    brain = sitk.GetArrayFromImage(grid.resample(template.brain_mask(), back, sitk.sitkNearestNeighbor)) > 0
    array = sitk.GetArrayFromImage(grid.resample(template.t1(), back)) * brain
    labels = np.zeros(array.shape, np.uint8)
    if tumour:
        array, labels = _with_tumour(array, brain, rng)
    array = np.clip(array, 0.0, 1.0) ** rng.uniform(0.6, 1.5)
    if full_head:
        array = _with_head(array, brain, grid, rng)
    array = _scanned(array, rng)
    return MisalignedCase(grid.image((array * rng.uniform(200, 3000)).astype(np.float32)), grid.image(labels), truth)


def evaluate_case(seed: int, *, full_head: bool = False) -> CaseResult:
    """Register one case and measure its error."""
    case = misaligned_case(seed, full_head=full_head)
    started, cpu = time.perf_counter(), time.process_time()
    found = register_to_mni(case.image, case.tumour)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    before = target_errors_mm(case.truth, sitk.Transform(3, sitk.sitkIdentity))
    errors = target_errors_mm(case.truth, found.transform)
    quality = found.quality
    return CaseResult(
        seed,
        float(before.mean()),
        float(errors.mean()),
        float(np.percentile(errors, 95)),
        quality.overlap,
        quality.metric,
        seconds,
        cpu,
    )


def target_errors_mm(truth: sitk.Transform, found: sitk.Transform) -> np.ndarray:
    """Distance in mm between where both transforms carry some 900 points of the template's brain."""
    mask = template.brain_mask()
    points = [
        mask.TransformIndexToPhysicalPoint(p)
        for p in np.argwhere(sitk.GetArrayViewFromImage(mask))[::2000, ::-1].tolist()
    ]
    return np.array([np.linalg.norm(np.subtract(truth.TransformPoint(p), found.TransformPoint(p))) for p in points])


def _random_affine(rng: np.random.Generator) -> sitk.AffineTransform:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*(math.radians(a) for a in rng.uniform(-15, 15, 3)))
    scale = np.diag(rng.uniform(0.9, 1.12, 3))
    shear = np.eye(3) + np.triu(rng.uniform(-0.04, 0.04, (3, 3)), 1)
    affine = sitk.AffineTransform(3)
    affine.SetCenter([0.0, -18.0, 8.0])
    affine.SetMatrix((np.reshape(turn.GetMatrix(), (3, 3)) @ shear @ scale).ravel().tolist())
    affine.SetTranslation(rng.uniform(-20, 20, 3).tolist())
    return affine


def _with_tumour(array: np.ndarray, brain: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    spacing = np.array((1.5, 1.1, 1.1))
    deep = np.argwhere(ndimage.binary_erosion(brain, iterations=10))
    centre = deep[rng.integers(len(deep))]
    z, y, x = (
        (axis - c) * mm for axis, c, mm in zip(np.ogrid[tuple(map(slice, array.shape))], centre, spacing, strict=True)
    )
    wobble = ndimage.gaussian_filter(rng.standard_normal(array.shape, np.float32), 6)
    distance = np.sqrt(z**2 + y**2 + x**2) + wobble * (4.0 / wobble.std())
    radius = rng.uniform(10, 24)
    core, rim = distance < radius - 4, (distance >= radius - 4) & (distance < radius)
    oedema = (distance >= radius) & (distance < radius + 12)
    changed = array.copy()
    changed[oedema & brain] *= 0.75
    changed[rim & brain] = 1.0
    changed[core & brain] = 0.25
    return changed, np.select([core & brain, rim & brain, oedema & brain], [1, 4, 2], 0).astype(np.uint8)


def _with_head(array: np.ndarray, brain: np.ndarray, grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """CSF, skull, scalp and neck around the brain."""
    distance = ndimage.distance_transform_edt(~brain, sampling=grid.spacing[::-1])
    head = array.copy()
    skull_mm, scalp_mm = rng.uniform(5, 8), rng.uniform(5, 8)
    head[~brain & (distance <= 2)] = 0.15
    head[(distance > 2) & (distance <= 2 + skull_mm)] = 0.08
    head[(distance > 2 + skull_mm) & (distance <= 2 + skull_mm + scalp_mm)] = 0.95
    bottom, middle = np.argwhere(brain)[:, 0].min(), np.argwhere(brain).mean(axis=0)
    rows, columns = np.indices(array.shape[1:])
    neck = np.hypot((rows - middle[1] - 20) * 1.1, (columns - middle[2]) * 1.1) < 55
    below = np.arange(array.shape[0])[:, None, None] < bottom + 25
    head[below & neck[None] & (distance > 2 + skull_mm)] = 0.55
    return head


def _scanned(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    coarse = ndimage.zoom(rng.standard_normal((4, 4, 4)), 8, order=3).astype(np.float32)
    field = ndimage.zoom(coarse, [n / 32 for n in array.shape], order=1)
    biased = array * (1 + 0.2 * field / np.abs(field).max())
    noise = rng.uniform(0.015, 0.04)
    real, imaginary = (noise * rng.standard_normal(array.shape, np.float32) for _ in range(2))
    return np.hypot(biased + real, imaginary)


def main() -> None:
    """Print a line per case and the summary, or all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--full-head", action="store_true", help="skull, scalp and neck around the brain")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results: list[CaseResult] = []
    refused: list[int] = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.cases):
        try:
            results.append(evaluate_case(seed, full_head=arguments.full_head))
        except RegistrationFailed as error:
            refused.append(seed)
            if not arguments.json:
                print(f"seed {seed}: {error}", flush=True)
            continue
        if not arguments.json:
            r = results[-1]
            print(
                f"seed {r.seed}: before {r.before_mm:.1f} mm, after {r.mean_mm:.2f} mm (p95 {r.p95_mm:.2f}), overlap "
                f"{r.overlap:.3f}, "
                f"metric {r.metric:.3f}, {r.seconds:.1f} s, {r.cpu_seconds:.1f} CPU-s",
                flush=True,
            )
    print(
        json.dumps({"summary": _summary(results, refused), "cases": [asdict(r) for r in results]}, indent=1)
        if arguments.json
        else "\n".join(f"{name}: {value}" for name, value in _summary(results, refused).items())
    )


def _summary(results: list[CaseResult], refused: list[int]) -> dict[str, object]:
    def mean(name: str) -> float:
        return round(float(np.mean([getattr(r, name) for r in results])), 3) if results else math.nan

    return {
        "cases": len(results),
        "refused": refused,
        "before_mm": mean("before_mm"),
        "mean_mm": mean("mean_mm"),
        "worst_mean_mm": round(max((r.mean_mm for r in results), default=math.nan), 3),
        "p95_mm": mean("p95_mm"),
        "seconds_per_case": mean("seconds"),
        "cpu_seconds_per_case": mean("cpu_seconds"),
    }


if __name__ == "__main__":
    main()
