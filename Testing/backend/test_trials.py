"""Trials of our own form: what a list of changes becomes, and that one benchmark trains, measures and shows them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic_cases import box, made_up_case
from tiny_models import tiny_config, write_prepared

from PostOpPredictorLib.benchmark.budget import Budget
from PostOpPredictorLib.benchmark.entries import chosen_entries
from PostOpPredictorLib.benchmark.run import BenchmarkRequest, benchmark
from PostOpPredictorLib.benchmark.trials import read_trials
from PostOpPredictorLib.benchmark.workshop import Recipe, Workshop
from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.model.config import config_from_yaml
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training.config import TrainingConfig, training_from_yaml
from PostOpPredictorLib.training.prepare import prepare_slices
from PostOpPredictorLib.training.slices import PreparedSlices

CONFIGURATIONS = Path(__file__).parents[2] / "Resources" / "configurations"
TRIALS = """
the image itself: {model: {target: image}}
weight everywhere: {training: {outside_weight: 1.0}}
a sample: {asked: {mode: sample, steps: 1}}
from the composite: {asked: {mode: sample, steps: 4, start: composite}}
each slice its own: {asked: {retrieval: slices}}
learned latent: {model: {target: image, autoencoder: {kind: kl, block_out_channels: [16, 16, 16]}}}
"""


def listed(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "trials.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_shipped_list_fits_the_shipped_forms() -> None:
    for name in ("trials-ours.yaml", "benchmark-small-ours.yaml", "compact.yaml"):
        config = CONFIGURATIONS / name
        entries = read_trials(CONFIGURATIONS / "trials.yaml", config_from_yaml(config), training_from_yaml(config))
        assert len(entries) >= 10
        for entry in entries:
            assert entry.asked.mode in ("mean", "sample") and entry.tables == (3,)
            assert entry.form(config_from_yaml(config)) and entry.changes


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "lists no trials"),
        ("a: {models: {}}", "section 'models'"),
        ("a: 3", "must hold sections"),
        ("a: {model: {colour: red}}", r"'a'.*colour"),
        ("a: {model: {layout: grid}}", "'a'.*grid"),
        ("a: {training: {outside_weight: much}}", r"'a'.*outside_weight"),
        ("a: {asked: {retrieval: magic}}", "retrieval 'magic'"),
        ("a: {asked: {modus: mean}}", "'a'.*modus"),
        ("a: [", "could not be read"),
        ("a: {asked: {mode: banana}}", "'a'.*banana"),
        ("a: {asked: {start: anywhere}}", "'a'.*anywhere"),
        ("a: {asked: {steps: 0}}", "'a'.*at least 1"),
        ("a: {training: {steps: 100}}", "'a'.*the budget decides"),
        ("DDPM: {}", "'DDPM'.*cannot be called so"),
        ("copy of pre-op: {}", "cannot be called so"),
        ("a|b: {}", "cannot be called so"),
        ("a: {}\na: {model: {target: image}}", "'a' stands there twice"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_with_the_trials_name(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        read_trials(listed(tmp_path, text), tiny_config(), TrainingConfig(), ["copy of pre-op"])


def test_our_own_form_trains_all_that_it_draws_with(tmp_path: Path) -> None:
    kl = {"autoencoder": {"kind": "kl"}}
    text = yaml.safe_dump({"a": {"model": {"target": "image"}}, "b": {"model": kl}, "c": {"asked": {"steps": 3}}})
    recipe = Recipe(tiny_config(), TrainingConfig())
    prepared = PreparedSlices(write_prepared(tmp_path / "slices.safetensors"))
    shop = Workshop(recipe, recipe, prepared, Budget(steps=8), tmp_path)
    image, learned, asked = read_trials(listed(tmp_path, text), tiny_config(), TrainingConfig())
    assert shop.parts_of(image) == [("denoiser", 1.0)]
    assert shop.parts_of(learned) == [("autoencoder", 0.25), ("denoiser", 0.5), ("renderer", 0.25)]
    (ours,) = chosen_entries(["ours"])
    assert shop.parts_of(asked) == shop.parts_of(ours) == [("denoiser", 0.75), ("renderer", 0.25)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trials")
    library = CaseLibrary.create(folder / "library")
    for number in range(4):
        tumour = box((46, 49), (50 + number, 60 + number), (30, 40))
        library.add(made_up_case(f"p{number}", tumour, split="train" if number < 3 else "test", seed=number))
    prepare_slices(library.folder, folder / "slices.safetensors")
    sections: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(tiny_config(panel=128))))
    model = {k: sections[k] for k in ("panel", "unet", "prompt", "renderer", "steps")}
    training = {"batch_size": 2, "crop": 16, "checkpoint_every": 100}
    (folder / "tiny.yaml").write_text(yaml.safe_dump({"model": model, "training": training}), encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_trial_is_trained_once_measured_and_shown(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PostOpPredictorLib.training.trainer.write_contact_sheet", lambda *_, **__: None)
    request = BenchmarkRequest(
        data=cohort / "slices.safetensors",
        library=cohort / "library",
        out=tmp_path / "out",
        config=cohort / "tiny.yaml",
        budget="4",
        systems=("ours",),
        trials=listed(tmp_path, TRIALS),
        resamples=100,
        figure_patients=0,
        device="cpu",
    )
    result = benchmark(request, SilentProgress())
    report = json.loads(Path(result["json"]).read_text(encoding="utf-8"))
    rows = {row["title"]: row for row in report["cohorts"][0]["rows"]}
    names = list(yaml.safe_load(TRIALS))
    assert list(rows)[-len(names) :] == names and "ours (shipped form)" in rows
    page = Path(result["markdown"]).read_text(encoding="utf-8")
    table = page.split("### Trials of our own form")[1]
    assert all(f"| {name} |" in table for name in ["ours (shipped form)", *names])
    assert "changes: {training: {outside_weight: 1.0}}" in page
    asked_only = {rows[name]["key"] for name in ("a sample", "from the composite", "each slice its own")}
    assert asked_only == {"ours"} and len({rows[name]["key"] for name in names}) == 4, "no training for these three"
    assert rows["from the composite"]["cost"]["gflops"] != rows["a sample"]["cost"]["gflops"]
    ssim = {name: rows[name]["mean_over_patients"]["ssim_peri"]["mean"] for name in names}
    assert len(set(ssim.values())) == len(names), "each is asked its own way"
    learned = PostOpPipeline.from_pretrained(tmp_path / "out" / "rows" / rows["learned latent"]["key"] / "model")
    assert learned.config_tree.autoencoder.kind == "kl"
    done = (tmp_path / "out" / "rows" / rows["learned latent"]["key"]).glob("done-*.json")
    assert {file.stem: json.loads(file.read_text())["steps"] for file in done} == {
        "done-autoencoder": 1,
        "done-denoiser": 3,
    }
    again = benchmark(request, SilentProgress())
    assert Path(again["markdown"]).read_text(encoding="utf-8") == page, "nothing is trained or measured twice"
    listed(tmp_path, TRIALS.replace("retrieval: slices", "retrieval: guided"))
    changed = json.loads(Path(benchmark(request, SilentProgress())["json"]).read_text(encoding="utf-8"))
    rows = {row["title"]: row["mean_over_patients"]["ssim_peri"]["mean"] for row in changed["cohorts"][0]["rows"]}
    assert rows["each slice its own"] == rows["ours (shipped form)"] != ssim["each slice its own"]
