"""The whole benchmark on a few simulated patients: all is trained, measured, written, and goes on after a stop."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from synthetic_cases import box, made_up_case
from tiny_models import tiny_config

from PostOpPredictorLib.benchmark import run as benchmark_run
from PostOpPredictorLib.benchmark import workshop
from PostOpPredictorLib.benchmark.entries import KEYS
from PostOpPredictorLib.benchmark.run import BenchmarkRequest, benchmark
from PostOpPredictorLib.benchmark.setting import _each
from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.cli.app import run
from PostOpPredictorLib.errors import Cancelled, InputError, LibraryError
from PostOpPredictorLib.evaluation.metrics import not_available
from PostOpPredictorLib.evaluation.pools import OperatedSlices, Retrieval
from PostOpPredictorLib.evaluation.query_case import QueryCase
from PostOpPredictorLib.evaluation.result_cache import anonymous
from PostOpPredictorLib.evaluation.systems import OurModel
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.prepare import prepare_slices
from PostOpPredictorLib.training.trainer import Trainer

pytestmark = pytest.mark.timeout(900)
TRIVIAL = ["copy of pre-op", "retrieved post-op", "composite", "autoencoder ceiling (sees the truth)"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training and two test patients of one institution, prepared; the configuration of tiny networks."""
    folder = tmp_path_factory.mktemp("benchmark")
    library = CaseLibrary.create(folder / "library")
    for number in range(5):
        library.add(
            made_up_case(
                f"secret-{number}",
                box((46, 50), (50 + number, 60 + number), (30, 40)),
                split="train" if number < 3 else "test",
                seed=number,
                sex="F" if number % 2 else "M",
                age=40.0 + 10 * number,
            )
        )
    prepare_slices(library.folder, folder / "slices.safetensors")
    tiny = dataclasses.asdict(tiny_config(panel=128))
    sections = {"model": {k: tiny[k] for k in ("panel", "unet", "prompt", "renderer", "steps")}}
    for section in ("unet", "prompt", "renderer"):
        sections["model"][section] = {
            k: list(v) if isinstance(v, tuple) else v for k, v in sections["model"][section].items()
        }
    training = {"batch_size": 2, "crop": 16, "checkpoint_every": 100}
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**sections, "training": training}), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "STEPS", 2)
    monkeypatch.setattr("PostOpPredictorLib.training.trainer.write_contact_sheet", lambda *_, **__: None)


def a_request(cohort: Path, out: Path, **changes: Any) -> BenchmarkRequest:
    request = BenchmarkRequest(
        data=cohort / "slices.safetensors",
        library=cohort / "library",
        out=out,
        config=cohort / "tiny.yaml",
        budget="4",
        sampling_steps=1,
        stride=1,
        resamples=100,
        figure_patients=1,
        device="cpu",
        command="postop benchmark --made-up",
    )
    return dataclasses.replace(request, **changes)


@pytest.fixture(scope="module")
def finished(cohort: Path) -> dict[str, Any]:
    """The benchmark of all systems."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workshop, "STEPS", 2)
        patch.setattr("PostOpPredictorLib.training.trainer.write_contact_sheet", lambda *_, **__: None)
        result = benchmark(a_request(cohort, cohort / "all"), SilentProgress())
    return {**result, "report": json.loads(Path(result["json"]).read_text(encoding="utf-8"))}


def cells_of(page: str, row: str, column: str) -> list[float]:
    """The numbers of a cell of the first table that has the row and the column."""
    names: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "system":
            names = cells
        elif cells[0] == row and any(name.startswith(column) for name in names):
            place = next(i for i, name in enumerate(names) if name.startswith(column))
            return [float(number) for number in re.findall(r"-?[\d.]+", cells[place])]
    raise AssertionError(f"no {column} of {row}")


@pytest.mark.slow
def test_both_tables_hold_every_system_with_what_was_measured(finished: dict[str, Any]) -> None:
    (block,) = finished["report"]["cohorts"]
    rows = {row["title"]: row for row in block["rows"]}
    assert list(rows)[:4] == TRIVIAL
    assert [row["key"] for row in block["rows"][4:]] == list(KEYS)
    page = Path(finished["markdown"]).read_text(encoding="utf-8")
    first, second = page.split("### Table 2")[:2]
    assert all(f"| {title} |" in first for title in [*TRIVIAL, "DDPM", "VISII", "ours (shipped form)"])
    assert "| DDPM |" not in second.split("### Table 2")[0].split("paired")[0]
    for row in rows.values():
        for metric in ("ssim_full", "ssim_peri", "ms_ssim_full", "psnr_brain"):
            interval = row["mean_over_patients"][metric]
            assert interval["patients"] == 2
            assert interval["mean"] == pytest.approx(np.mean(row["patients"][metric]), abs=1e-4)
            shown = cells_of(page, row["title"], finished["report"]["metrics"][metric]["title"])
            assert shown == pytest.approx([interval[name] for name in ("mean", "low", "high")], abs=0.0051)
    assert rows["autoencoder ceiling (sees the truth)"]["mean_over_patients"]["ssim_full"]["mean"] > 0.999
    for column in ("through-plane gradient", "cavity HD95", "cavity volume error"):
        assert cells_of(page, "DDPM", column)
    assert rows["retrieved post-op"]["mean_over_patients"]["through_plane"]["mean"] > 0


@pytest.mark.slow
def test_what_a_system_costs_stands_in_the_table(finished: dict[str, Any]) -> None:
    rows = {row["key"]: row for row in finished["report"]["cohorts"][0]["rows"] if row["key"]}
    page = Path(finished["markdown"]).read_text(encoding="utf-8")
    for row in rows.values():
        cost = row["cost"]
        assert cost["parameters"] > 1000 and cost["gflops"] > 0 and cost["seconds"] > 0 and cost["machine"]
        assert f"| {cost['gflops']:.4g} | {cost['seconds']:.3g} |" in page
    assert rows["paper"]["cost"]["gflops"] > 4 * rows["ddpm"]["cost"]["gflops"], (
        "four panels, with and without guidance"
    )
    assert rows["instruct-pix2pix"]["cost"]["gflops"] == pytest.approx(3 * rows["ddpm"]["cost"]["gflops"], rel=0.1)


@pytest.mark.slow
def test_the_setting_stands_above_the_tables(finished: dict[str, Any]) -> None:
    page = Path(finished["markdown"]).read_text(encoding="utf-8")
    head = page[: page.index("### Table 1")]
    for words in (
        "4 steps for each system",
        "batch | 2 slices",
        "what draws on the grid sees whole slices",
        "training slices |",
        "machine |",
        "none: all from random",
        "instructions in training | one of the 15 slices of other patients",
        "that is laid over the height of the patient's",
    ):
        assert words in head, words
    assert "3 (denoiser) + 1 (renderer)" in head and "VISII 2 (denoiser)" in head
    for title, told in (
        ("ImageBrush", "follows any case"),
        ("image retrieval", "follows the case that looks most alike"),
    ):
        assert re.search(rf"(?m)^- {title}: .*{told}", page), title
    assert "follows" not in re.search(r"(?m)^- ours as in the paper: .*", page)[0]  # type: ignore[index]
    assert "DDIM, 1 steps" in head and "`postop benchmark --made-up`" in page
    assert "lpips_full: not available: no weights were given" in page


@pytest.mark.slow
def test_every_row_is_compared_with_ours_and_the_ablations_with_the_paper(finished: dict[str, Any]) -> None:
    (block,) = finished["report"]["cohorts"]
    assert {item["reference"] for item in block["comparisons"]["1"]} == {"ours (shipped form)"}
    assert {item["row"] for item in block["comparisons"]["1"]} == {
        *TRIVIAL,
        *("DDPM", "Paint by Example", "InstructPix2Pix", "VISII", "ImageBrush", "ours as in the paper"),
    }
    assert {item["reference"] for item in block["comparisons"]["2"]} == {"ours as in the paper"}
    assert {item["row"] for item in block["comparisons"]["2"]} == {
        *("random retrieval", "image retrieval", "without p_comp", "without p_seg"),
    }
    rows = {row["title"]: row["patients"] for row in block["rows"]}
    for item in block["comparisons"]["1"]:
        pairs = zip(rows[item["reference"]][item["metric"]], rows[item["row"]][item["metric"]], strict=True)
        known = [a - b for a, b in pairs if a is not None and b is not None]
        assert item["mean"] == pytest.approx(np.mean(known), abs=1e-4)


@pytest.mark.slow
def test_bias_audit_and_retrieval_gain_count_the_patients(finished: dict[str, Any]) -> None:
    (block,) = finished["report"]["cohorts"]
    by_sex = [s for s in block["audit"]["strata"] if s["attribute"] == "sex"]
    assert block["audit"]["row"] == "ours (shipped form)" and sum(s["patients"] for s in by_sex) == 2
    gains = {(gain["first"], gain["second"]): gain for gain in block["retrieval_gain"]}
    assert set(gains) == {
        ("ours as in the paper", "copy of pre-op"),
        ("ours (shipped form)", "copy of pre-op"),
        ("ours as in the paper", "random retrieval"),
    }
    assert all(sum(s["patients"] for s in gain["strata"]) == 2 for gain in gains.values())


@pytest.mark.slow
def test_nothing_written_names_a_patient(finished: dict[str, Any], cohort: Path) -> None:
    for path in (cohort / "all").rglob("*"):
        assert "secret" not in path.name
        if path.suffix in (".md", ".json", ".jsonl"):
            assert "secret" not in path.read_text(encoding="utf-8"), path


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_precedents_are_training_patients(cohort: Path) -> None:
    training = {anonymous(f"secret-{number}") for number in range(3)}
    measured = [json.loads(path.read_text(encoding="utf-8")) for path in (cohort / "all" / "measured").rglob("*.json")]
    followed = {one["precedent"] for one in measured} - {None}
    assert followed and followed <= training


@pytest.mark.slow
def test_a_finished_benchmark_trains_and_asks_nobody_again(
    finished: dict[str, Any], cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was done already")

    monkeypatch.setattr(Trainer, "train", never)
    monkeypatch.setattr(OurModel, "predict_case", never)
    monkeypatch.setattr(benchmark_run, "cost_of", never)
    again = benchmark(a_request(cohort, cohort / "all"), SilentProgress())
    assert json.loads(Path(again["json"]).read_text(encoding="utf-8")) == finished["report"]


class StopsIn(SilentProgress):
    """Cancels at a step of a stage."""

    def __init__(self, stage: str, stop: int) -> None:
        self._stage, self._stop, self._now = stage, stop, ""

    def stage(self, name: str) -> None:
        self._now = name

    def step(self, done: int, total: int) -> None:
        if self._now == self._stage and done == self._stop:
            raise Cancelled("The user cancelled.")


@pytest.mark.slow
def test_a_stopped_benchmark_goes_on_within_a_row_and_within_the_measuring(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = a_request(cohort, tmp_path, systems=("ddpm", "ours"))
    with pytest.raises(Cancelled):
        benchmark(request, StopsIn("Training the renderer", 0 + 1))
    rows = tmp_path / "rows"
    assert (rows / "ddpm" / "done-denoiser.json").exists() and (rows / "ours" / "done-denoiser.json").exists()
    assert not (rows / "ours" / "done-renderer.json").exists() and not (tmp_path / "benchmark.md").exists()
    started: list[str] = []
    train = Trainer.train

    def told(self: Trainer, progress: Any) -> None:
        started.append(f"{self.training.part} from {self.step}")
        train(self, progress)

    monkeypatch.setattr(Trainer, "train", told)
    with pytest.raises(Cancelled):
        benchmark(request, StopsIn("Evaluating the test patients", 1))
    assert started == ["renderer from 1"]
    measured = len(list((tmp_path / "measured").rglob("*.json")))
    assert measured >= 1
    result = benchmark(request, SilentProgress())
    assert started == ["renderer from 1"] and result["systems"] == 2
    report = json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))
    assert [row["key"] for row in report["cohorts"][0]["rows"] if row["key"]] == ["ddpm", "ours"]

    with pytest.raises(InputError, match="trained with another budget"):
        benchmark(dataclasses.replace(request, budget="5"), SilentProgress())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"budget": "soon"}, "The budget is 'soon'"),
        ({"systems": ("gan",)}, "no system 'gan'"),
        ({"limit": 0}, "--limit is 0"),
        ({"sampling_steps": 0}, "--sampling-steps is 0"),
        ({"split": "exam"}, "no case of the split 'exam' with a scan that is early"),
        ({"data": Path("nowhere.safetensors")}, "could not be read as prepared slices"),
        ({"lpips_weights": (Path("nowhere.pth"),)}, "no LPIPS weights file"),
        ({"config": Path("nowhere.yaml")}, "could not be read as a YAML configuration"),
        ({"config": Path("Resources/configurations/benchmark-full.yaml")}, "Name its configuration with --ours"),
    ],
)
def test_impossible_requests_are_a_sentence(
    cohort: Path, tmp_path: Path, project_root: Path, change: dict[str, Any], sentence: str
) -> None:
    if "config" in change:
        change = {"config": project_root / change["config"]}
    with pytest.raises((InputError, LibraryError), match=sentence):
        benchmark(a_request(cohort, tmp_path / "out", **change), SilentProgress())
    assert not (tmp_path / "out").exists()


def test_a_sequence_that_image_models_cannot_be_asked_is_refused_before_the_training(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PostOpPredictorLib.benchmark.run.BRIGHT_FLUID", ("T1w",))
    with pytest.raises(InputError, match=r"'DDPM' draws images only.* on T1w fluid is bright"):
        benchmark(a_request(cohort, tmp_path / "out"), SilentProgress())
    with pytest.raises(InputError, match="'ours as in the paper' draws images only"):
        benchmark(a_request(cohort, tmp_path / "out", systems=("paper", "ours")), SilentProgress())
    assert not (tmp_path / "out").exists()


def test_scans_that_were_not_prepared_are_told_before_the_training(cohort: Path, tmp_path: Path) -> None:
    told = yaml.safe_load((cohort / "tiny.yaml").read_text(encoding="utf-8"))
    told["model"]["context_sequences"] = ["FLAIR"]
    (tmp_path / "seeing.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    with pytest.raises(InputError, match="sees FLAIR beside what it draws"):
        benchmark(a_request(cohort, tmp_path / "out", ours=tmp_path / "seeing.yaml"), SilentProgress())
    assert not (tmp_path / "out").exists()


def test_what_a_stride_leaves_out_is_named() -> None:
    assert not {"through_plane", "cavity_steadiness"} & set(not_available())
    told = not_available("no weights were given", stride=3)
    assert "only one slice in 3 was measured" in told["through_plane"]
    assert told["through_plane"] == told["cavity_steadiness"]
    assert told["lpips_full"] == "no weights were given"


def test_the_setting_tells_what_differs_between_ours_and_the_others() -> None:
    trained = {"the others": TrainingConfig(batch_size=8), "our shipped form": TrainingConfig(batch_size=16)}
    assert _each(trained, lambda one: f"{one.batch_size} slices") == "the others: 8 slices; our shipped form: 16 slices"
    assert _each(trained, lambda one: one.precision) == "float32"


def test_by_image_and_at_random_precedents_are_shown_where_they_were_operated(cohort: Path, tmp_path: Path) -> None:
    library = CaseLibrary.open(cohort / "library")
    bench = benchmark_run._bench(a_request(cohort, tmp_path), library, library.cases[:3], None, SilentProgress())
    query = QueryCase.of(library.cases[3], "T1w")
    found = {name: bench.finders[name](query, frozenset(case.case_id for case in bench.cases)) for name in Retrieval}
    assert {name for name, one in found.items() if isinstance(one, OperatedSlices)} == {
        Retrieval.RANDOM,
        Retrieval.IMAGE,
    }


def test_one_option_sets_the_precision_of_ours_and_of_all_others(cohort: Path, tmp_path: Path) -> None:
    workshop = benchmark_run._workshop(a_request(cohort, tmp_path / "out", precision="bfloat16"))
    assert [recipe.training.precision for recipe in (workshop.recipe, workshop.shipped)] == ["bfloat16"] * 2
    as_written = benchmark_run._workshop(a_request(cohort, tmp_path / "out"))
    assert [recipe.training.precision for recipe in (as_written.recipe, as_written.shipped)] == ["float32"] * 2


def test_the_precision_of_the_command_reaches_the_request(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str | None] = []

    def fake(request: BenchmarkRequest, progress: Any) -> dict[str, Any]:
        asked.append(request.precision)
        return {"systems": 0, "patients": 0, "markdown": "", "json": "", "figure": ""}

    monkeypatch.setattr(benchmark_run, "benchmark", fake)
    options = ["--data", "x", "--library", "y", "--budget", "10", "--out", str(tmp_path / "out")]
    assert run(["benchmark", *options]) == 0
    assert run(["benchmark", *options, "--precision", "bfloat16"]) == 0
    assert asked == [None, "bfloat16"]
    assert run(["benchmark", *options, "--precision", "half"]) == 2
    assert "bfloat16" in capsys.readouterr().err


def test_a_library_without_training_patients_is_refused_before_anything_is_trained(
    cohort: Path, tmp_path: Path
) -> None:
    alone = CaseLibrary.create(tmp_path / "alone")
    alone.add(made_up_case("secret-9", box((46, 50), (50, 60), (30, 40)), split="test"))
    with pytest.raises(InputError, match="no training patient with a T1w scan"):
        benchmark(a_request(cohort, tmp_path / "out", library=alone.folder), SilentProgress())
    assert not (tmp_path / "out").exists()


def test_slices_of_another_library_or_split_are_refused_before_anything_is_trained(
    cohort: Path, tmp_path: Path
) -> None:
    library = tmp_path / "library"
    shutil.copytree(cohort / "library", library)
    trained = next(case for case in CaseLibrary.open(library).cases if case.split == "train")
    table = (library / "participants.tsv").read_text(encoding="utf-8").splitlines()
    own = [row for row in table if f"\t{trained.case_id}\t" in row]
    changed = [row.replace("\ttrain\t", "\ttest\t") if row in own else row for row in table]
    assert changed != table
    (library / "participants.tsv").write_text("\n".join(changed) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="1 patients to be tested would be trained on"):
        benchmark(a_request(cohort, tmp_path / "out", library=library), SilentProgress())
    fewer = CaseLibrary.create(tmp_path / "fewer")
    for case in CaseLibrary.open(cohort / "library").cases:
        if case.case_id != trained.case_id:
            shutil.copytree(case.files.folder, fewer.folder / case.files.folder.name)
    kept = [row for row in table if row not in own]
    (fewer.folder / "participants.tsv").write_text("\n".join(kept) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="another library: 1 of its cases are not in") as refused:
        benchmark(a_request(cohort, tmp_path / "out", library=fewer.folder), SilentProgress())
    assert trained.case_id not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_the_command_names_what_is_wrong(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", str(cohort / "slices.safetensors"), "--library", str(tmp_path / "none")]
    assert run(["benchmark", *options, "--budget", "10", "--out", str(tmp_path / "out")]) == 2
    assert "no case library" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["benchmark-small.yaml", "benchmark-small-ours.yaml", "benchmark-full.yaml", "trials-ours.yaml"]
)
def test_the_shipped_configurations_can_be_read(project_root: Path, name: str) -> None:
    recipe = benchmark_run._recipe(project_root / "Resources" / "configurations" / name, "T1w")
    assert recipe.model.target == ("structure" if "ours" in name else "image")
    assert recipe.training.sequence == "T1w"
