"""The benchmark's own figures, by hand: flicker, HD95, arithmetic, paired tests, strata, budgets, entries."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import TINY_KL, a_pipeline, some_triplets, tiny_config, tiny_paper

from PostOpPredictorLib.benchmark import tables
from PostOpPredictorLib.benchmark.baselines.instruct_pix2pix import InstructPix2Pix
from PostOpPredictorLib.benchmark.budget import Budget
from PostOpPredictorLib.benchmark.comparison import comparisons
from PostOpPredictorLib.benchmark.cost import cost_of, counted_flops, parameters_of
from PostOpPredictorLib.benchmark.entries import ENTRIES, KEYS, chosen_entries, paper_form, without_comp, without_seg
from PostOpPredictorLib.benchmark.paired import sign_flip_p
from PostOpPredictorLib.benchmark.strata import audit, interval_of, retrieval_gain
from PostOpPredictorLib.benchmark.workshop import Recipe, refuse_another_setting
from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.evaluation.bootstrap import Interval
from PostOpPredictorLib.evaluation.measures import CaseMeasures
from PostOpPredictorLib.evaluation.metrics import through_plane_ratio
from PostOpPredictorLib.evaluation.overlap import hausdorff95_mm
from PostOpPredictorLib.evaluation.regions import Regions
from PostOpPredictorLib.evaluation.systems import OurModel
from PostOpPredictorLib.model.config import PostOpConfig
from PostOpPredictorLib.model.denoiser import unet_of
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.progress import Progress
from PostOpPredictorLib.training.config import TrainingConfig


def everywhere(stack: np.ndarray) -> Regions:
    whole = np.ones(stack.shape, bool)
    return Regions(whole, whole, whole)


def stack_of(*greys: float) -> np.ndarray:
    return np.stack([np.full((4, 4), grey, np.float32) for grey in greys])


def test_a_prediction_that_flickers_twice_as_much_has_a_through_plane_ratio_of_two() -> None:
    true, flickering = stack_of(0.1, 0.2, 0.3), stack_of(0.1, 0.3, 0.1)
    assert through_plane_ratio(flickering, true, everywhere(true), [4, 5, 6]) == pytest.approx(2.0)
    assert through_plane_ratio(true, true, everywhere(true), [4, 5, 6]) == pytest.approx(1.0)
    assert through_plane_ratio(stack_of(0.5, 0.5, 0.5), true, everywhere(true), [4, 5, 6]) == 0.0


def test_only_direct_neighbours_inside_brain_and_box_count_for_the_through_plane_ratio() -> None:
    true, predicted = stack_of(0.0, 0.1, 0.9), stack_of(0.0, 0.2, 0.9)
    assert through_plane_ratio(predicted, true, everywhere(true), [4, 5, 9]) == pytest.approx(2.0)
    assert through_plane_ratio(predicted, true, everywhere(true), [2, 4, 6]) is None
    predicted = stack_of(0.0, 0.1, 0.9)
    predicted[1, 0, 0] = 1.0
    whole = np.ones(true.shape, bool)
    for place in (0, 1):
        without_corner = whole.copy()
        without_corner[place, 0, 0] = False
        for brain, box in ((without_corner, whole), (whole, without_corner)):
            assert through_plane_ratio(predicted, true, Regions(brain, box, whole), [4, 5, 9]) == pytest.approx(1.0)
    assert through_plane_ratio(predicted, np.zeros_like(true), everywhere(true), [4, 5, 6]) is None


def test_hd95_of_cubes_that_were_moved_is_known_by_hand() -> None:
    true = np.zeros((20, 20, 20), bool)
    true[5:8, 5:8, 5:8] = True
    one, two = np.roll(true, 4, axis=2), np.zeros_like(true)
    # 26 surface voxels each; moved by 4 along x each x-layer is 4, 3 or 2 voxels from the other cube, both ways alike.
    distances = sorted([4.0] * 9 + [3.0] * 8 + [2.0] * 9) * 2
    assert hausdorff95_mm(one, true) == pytest.approx(1.5 * np.percentile(distances, 95))
    assert hausdorff95_mm(true, true) == 0.0 and hausdorff95_mm(two, true) is None
    single, apart = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    single[1, 1, 1] = apart[1, 4, 5] = True
    assert hausdorff95_mm(single, apart) == pytest.approx(1.5 * 5)


def test_operations_are_counted_by_hand() -> None:
    layer = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert counted_flops(lambda: layer(torch.zeros(1, 3, 10, 10))) == 2 * 3 * 9 * 8 * 100
    tokens = torch.zeros(1, 2, 7, 4)
    attention = torch.nn.functional.scaled_dot_product_attention
    assert counted_flops(lambda: attention(tokens, tokens, tokens)) == 2 * (2 * 2 * 7 * 7 * 4)
    assert parameters_of([layer, torch.nn.Linear(2, 3)]) == 3 * 9 * 8 + 9


def test_the_operations_of_a_unet_grow_with_calls_and_pixels() -> None:
    unet = unet_of(tiny_config().unet, 4, 4, 16)

    def flops(side: int, calls: int = 1) -> int:
        tokens, noisy = torch.zeros(1, 2, 16), torch.zeros(1, 4, side, side)
        return counted_flops(lambda: [unet(noisy, 1, encoder_hidden_states=tokens) for _ in range(calls)])

    assert flops(8, 3) == 3 * flops(8)
    assert flops(16) > 3.5 * flops(8)


def test_the_sign_flip_p_is_exact_for_few_patients() -> None:
    assert sign_flip_p([1.0, 1.0, 1.0]) == pytest.approx(2 / 8)
    assert sign_flip_p([1.0, -1.0]) == 1.0
    # sums of 3, 1 and 1 with any signs: 5, 3, 3, 1 and their opposites; three quarters reach 3
    assert sign_flip_p([3.0, 1.0, None, -1.0]) == pytest.approx(6 / 8)
    assert sign_flip_p([1.0, None]) is None
    many = sign_flip_p([0.5] * 40)
    assert many is not None and many < 0.001
    assert sign_flip_p(list(np.random.default_rng(0).normal(0, 1, 40))) > 0.05


def a_summary(**values: list[float | None]) -> Any:
    names = [f"patient-{i}" for i in range(len(next(iter(values.values()))))]
    return SimpleNamespace(patients={n: {k: v[i] for k, v in values.items()} for i, n in enumerate(names)})


def test_rows_are_compared_patient_by_patient_and_lower_is_better_for_a_distance() -> None:
    ours = a_summary(ssim_peri=[0.9, 0.8, 0.7, 0.6], cavity_hd95_mm=[1.0, 2.0, 3.0, None])
    theirs = a_summary(ssim_peri=[0.8, 0.7, 0.6, 0.5], cavity_hd95_mm=[3.0, 4.0, 5.0, 1.0])
    found = {item.metric.key: item for item in comparisons(("ours", ours), [("theirs", theirs)], 500, 0)}
    assert set(found) == {"ssim_peri", "cavity_hd95_mm"}
    assert found["ssim_peri"].interval.mean == pytest.approx(0.1) and found["ssim_peri"].verdict == "better"
    assert found["cavity_hd95_mm"].interval.mean == pytest.approx(-2.0)
    assert found["cavity_hd95_mm"].verdict == "better" and found["cavity_hd95_mm"].interval.patients == 3
    assert found["ssim_peri"].p == pytest.approx(2 / 16) and found["cavity_hd95_mm"].p == pytest.approx(2 / 8)
    back = comparisons(("theirs", theirs), [("ours", ours)], 500, 0)
    assert {item.verdict for item in back} == {"worse"}
    assert comparisons(("ours", ours), [("ours", ours)], 500, 0)[0].verdict == "no difference shown"


def a_case(patient: str, **attributes: str | float) -> Any:
    return SimpleNamespace(patient_id=patient, case_id=f"case-{patient}", attributes=attributes)


def test_the_audit_counts_every_patient_once_and_says_what_is_unknown() -> None:
    queries = [
        a_case("a", sex="F", age=40.0, tumour_ml=5.0),
        a_case("a", sex="F", age=40.0, tumour_ml=5.0),
        a_case("b", sex="M", age=50.0, tumour_ml=10.0),
        a_case("c", sex="F", age=70.0),
    ]
    values = {
        p: {"ssim_peri": v, "psnr_peri": 20.0, "cavity_dice": None} for p, v in zip("abc", (0.1, 0.5, 0.3), strict=True)
    }
    strata = {(s.attribute, s.group): s for s in audit(queries, values, 200, 0)}
    assert strata["sex", "F"].patients == 2 and strata["sex", "F"].results["ssim_peri"].mean == pytest.approx(0.2)
    assert strata["sex", "M"].patients == 1 and strata["sex", "M"].results["ssim_peri"].low is None
    assert "cavity_dice" not in strata["sex", "F"].results
    assert [g for a, g in strata if a == "age group, years"] == ["under 50", "50 to under 65", "65 and over"]
    assert [g for a, g in strata if a == "tumour size, ml"] == ["under 10", "10 to under 40", "unknown"]
    assert {a for a, _ in strata} == {"sex", "age group, years", "tumour size, ml"}


@pytest.mark.parametrize(
    ("value", "group"), [(79.9, "under 80"), (80.0, "80 to under 95"), (95.0, "95 and over"), (100.0, "95 and over")]
)
def test_a_number_lies_in_one_interval(value: float, group: str) -> None:
    assert interval_of(value, (80.0, 95.0)) == group


def test_the_gain_of_retrieval_is_told_by_achieved_iou() -> None:
    def measured(values: list[float], iou: list[float | None]) -> dict[str, CaseMeasures]:
        rows = enumerate(zip(values, iou, strict=True))
        return {str(i): CaseMeasures({"ssim_peri": [v]}, {}, 1.0, None, o) for i, (v, o) in rows}

    ours = measured([0.5, 0.6, 0.7, 0.8], [None, 0.1, 0.3, 0.7])
    copy = measured([0.5, 0.5, 0.5, 0.5], [None] * 4)
    patient_of = {"0": "a", "1": "b", "2": "c", "3": "d"}
    gain = retrieval_gain(("ours", "copy"), (ours, copy), patient_of, "ssim_peri", 200, 0)
    assert gain.correlation == pytest.approx(1.0)
    assert [s.group for s in gain.strata] == ["under 0.05", "0.05 to under 0.2", "0.2 to under 0.4", "0.6 and over"]
    assert [s.results["ssim_peri"].mean for s in gain.strata] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    # two cases of one patient are one patient
    joined = retrieval_gain(("ours", "copy"), (ours, copy), {**patient_of, "1": "a"}, "ssim_peri", 200, 0)
    assert sum(s.patients for s in joined.strata) == 3


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("6000", Budget(6000)),
        ("6000 steps", Budget(6000)),
        ("30min", Budget(None, 30)),
        ("1.5 minutes", Budget(None, 1.5)),
    ],
)
def test_budgets_are_steps_or_minutes(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "0", "-3", "1.5", "ten", "30 hours", "0min"])
def test_other_budgets_are_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"The budget is '.*'; give a number of steps"):
        Budget.parse(text)


class FakeTrainer:
    """A step takes 0.01 s."""

    def __init__(self) -> None:
        self.clock = 0.0

    def train(self, progress: Progress) -> None:
        for step in range(1, 100):
            self.clock += 0.01 if step > 1 else 5.0
            progress.step(step, 100)


def test_minutes_become_steps_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = FakeTrainer()
    monkeypatch.setattr("PostOpPredictorLib.benchmark.budget.time.perf_counter", lambda: trainer.clock)
    budget = Budget.parse("1min").share(0.5)
    assert budget.steps_in(tmp_path, lambda steps, folder: trainer, "denoiser") in (2999, 3000)
    assert json.loads((tmp_path / "budget-denoiser.json").read_text())["minutes"] == 0.5

    def never(steps: int, folder: Path) -> Any:
        raise Cancelled("It was timed again.")

    assert budget.steps_in(tmp_path, never, "denoiser") in (2999, 3000)
    assert Budget(100).share(0.25).steps_in(tmp_path, never) == 25


def test_every_system_of_the_two_tables_is_there() -> None:
    titles = {number: [entry.title for entry in ENTRIES if number in entry.tables] for number in (1, 2)}
    assert titles[1] == [
        "DDPM",
        "Paint by Example",
        "InstructPix2Pix",
        "VISII",
        "ImageBrush",
        "ours as in the paper",
        "ours (shipped form)",
    ]
    assert titles[2] == [
        "random retrieval",
        "image retrieval",
        "without p_comp",
        "without p_seg",
        "ours as in the paper",
    ]


def test_what_a_system_starts_from_comes_along_and_an_unknown_one_is_named() -> None:
    assert [entry.key for entry in chosen_entries(["visii"])] == ["instruct-pix2pix", "visii"]
    assert [entry.key for entry in chosen_entries([])] == list(KEYS)
    with pytest.raises(InputError, match="There is no system 'gan'; choose from: ddpm"):
        chosen_entries(["gan"])


def test_the_papers_form_is_the_papers_and_an_ablation_lacks_one_token() -> None:
    shipped = tiny_config(plan=True)
    form = paper_form(shipped)
    assert (form.layout, form.noised, form.prediction_type, form.steps) == ("grid", "target", "epsilon", 50)
    assert (form.guidance, form.plan, form.unet) == (2.0, False, shipped.unet)
    for ablated, field in ((without_seg(shipped), "use_seg"), (without_comp(shipped), "use_comp")):
        assert ablated == dataclasses.replace(form, prompt=dataclasses.replace(form.prompt, **{field: False}))


def test_raw_is_what_was_drawn_and_not_the_patients_own_tissue(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(image=np.zeros(3), synthesised=np.ones(3), outcome=np.zeros(3))
    monkeypatch.setattr("PostOpPredictorLib.evaluation.systems.predict_case", lambda *_, **__: made)
    whole = {"is_whole": True, "context_for": lambda _: {}}
    case: Any = SimpleNamespace(pre=None, tumour=None, brain=None, sequence="T1w", **whole)
    images = [OurModel(None, "sample", raw=raw).predict_case(case, None).image for raw in (True, False)]
    assert images[0] is made.synthesised and images[1] is made.image


def test_rows_of_another_setting_are_not_mixed(tmp_path: Path) -> None:
    refuse_another_setting(tmp_path, {"budget": "10 steps", "data": "a"})
    refuse_another_setting(tmp_path, {"budget": "10 steps", "data": "a"})
    with pytest.raises(InputError, match="trained with another budget"):
        refuse_another_setting(tmp_path, {"budget": "20 steps", "data": "a"})


def test_rows_of_an_earlier_version_that_lacked_a_setting_go_on(tmp_path: Path) -> None:
    """A setting that came later has its default in them."""
    recipe = json.loads(json.dumps(dataclasses.asdict(Recipe(PostOpConfig(), TrainingConfig()))))
    before = {name: dict(values) for name, values in recipe.items()}
    del before["model"]["time"], before["training"]["ema_decay"]
    refuse_another_setting(tmp_path, {"configuration": before})
    refuse_another_setting(tmp_path, {"configuration": recipe})
    recipe["model"]["time"] = True
    with pytest.raises(InputError, match="another configuration"):
        refuse_another_setting(tmp_path, {"configuration": recipe})


def test_embeddings_on_disk_make_nothing_cheaper(tmp_path: Path) -> None:
    pipeline = a_pipeline()
    fresh = cost_of(pipeline, some_triplets(2), mode="mean").gflops
    pipeline.prompt_adapter.cache_embeddings(tmp_path)
    kept = pipeline.prompt_adapter.cache
    pipeline(some_triplets(2), mode="mean")
    hits = kept.hits
    assert cost_of(pipeline, some_triplets(2), mode="mean").gflops == fresh
    assert kept.hits == hits and pipeline.prompt_adapter.cache is kept


def test_a_figure_of_fewer_patients_says_of_how_many() -> None:
    found = {"cavity_dice": Interval(0.4, 0.1, 0.6, 3), "cavity_hd95_mm": Interval(5.0, 4.0, 6.0, 2)}
    row = SimpleNamespace(summary=SimpleNamespace(over_patients=found))
    dice, distance = tables._cells(row, ["cavity_dice", "cavity_hd95_mm"])  # type: ignore[arg-type]
    assert distance.endswith("(2 of 3)") and "of 3" not in dice


@pytest.mark.parametrize("start", ["noise", "composite"])
@pytest.mark.parametrize("steps", [1, 5, None])
def test_the_arithmetic_of_all_denoising_steps_is_counted(steps: int | None, start: str) -> None:
    pipeline, triplets = PostOpPipeline.of(tiny_paper(steps=4)), some_triplets(2)
    settings: dict[str, Any] = {"mode": "sample", "steps": steps, "start": start}
    with torch.no_grad():
        all_of_it = counted_flops(lambda: pipeline(triplets.rows(slice(0, 1)), **settings))
    assert cost_of(pipeline, triplets, **settings).gflops == pytest.approx(all_of_it / 1e9, abs=1e-4)


def test_a_baselines_guided_steps_are_counted() -> None:
    model, triplets = InstructPix2Pix(tiny_config(target="image", autoencoder=TINY_KL)), some_triplets(1)
    model.eval().requires_grad_(False)
    with torch.no_grad():
        all_of_it = counted_flops(lambda: model(triplets, mode="sample", steps=6))
    assert cost_of(model, triplets, mode="sample", steps=6).gflops == pytest.approx(all_of_it / 1e9, abs=1e-4)
