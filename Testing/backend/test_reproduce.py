"""``docs/reproduce.md`` is literally true: every option exists, and every command runs, in order, on small data."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch
import typer
import yaml
from published_folders import in_mni_already, lumiere
from tiny_models import tiny_config, tiny_paper

from PostOpPredictorLib.benchmark import workshop
from PostOpPredictorLib.cases.importers import import_run, pair_alignment
from PostOpPredictorLib.cli.app import app, run
from PostOpPredictorLib.imaging.registration_quality import RegistrationQuality
from PostOpPredictorLib.prediction import patient as patient_module
from PostOpPredictorLib.training import fill_embeddings
from PostOpPredictorLib.training.published_layout import write_medsam, write_stable_diffusion

PACKAGE, EMBEDDINGS = "PostOpPredictorLib", "PostOpPredictorLib.training.fill_embeddings"
STEPS = 2
STUDIES = {"week-000-1": "Pre-Op", "week-000-2": "Post-Op"}


def commands_of(page: Path) -> list[str]:
    """The lines of the page's code blocks, continued ones joined."""
    blocks = re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def words_after_program(command: str) -> tuple[str, list[str]]:
    """ "postop" or the module that is run, and its arguments; with or without ``accelerate launch``."""
    words = shlex.split(command)
    if words[:2] == ["accelerate", "launch"]:
        start = words.index("--module") + 1
        return ("postop" if words[start] == PACKAGE else words[start]), words[start + 1 :]
    return words[0], words[1:]


@pytest.fixture(scope="module")
def page(project_root: Path) -> list[str]:
    return commands_of(project_root / "docs" / "reproduce.md")


def test_the_page_leads_from_the_import_to_both_tables(page: list[str]) -> None:
    used = [" ".join(words_after_program(command)[1][:2]) for command in page]
    for step in ("library import", "library split", "library check", "library prepare"):
        assert step in used
    starts = {words_after_program(command)[1][0] for command in page if words_after_program(command)[0] == "postop"}
    assert {"library", "benchmark", "train", "evaluate", "batch"} <= starts
    assert any(words_after_program(command)[0] == EMBEDDINGS for command in page)


def test_every_option_of_the_page_exists(page: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    whole = typer.main.get_command(app)
    for command in page:
        program, words = words_after_program(command)
        if program == "postop":
            context: Any = whole.make_context("postop", list(words))
            while hasattr(context.command, "resolve_command"):
                rest = [*getattr(context, "_protected_args", []), *context.args]
                name, found, rest = context.command.resolve_command(context, rest)
                context = found.make_context(name, rest, parent=context)
        elif program == EMBEDDINGS:
            with pytest.raises(SystemExit):
                fill_embeddings.main(["--help"])
            told = capsys.readouterr().out
            assert all(word in told for word in words if word.startswith("--"))
        else:
            assert program in ("{", "mkdir", "cp"), command


def test_an_option_that_is_not_there_would_be_seen() -> None:
    whole = typer.main.get_command(app)
    found = whole.commands["train"]  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="--no-such-option"):
        found.make_context("train", ["--config", "a", "--data", "b", "--out", "c", "--no-such-option"])


def test_every_file_that_the_page_names_is_in_the_repository(project_root: Path) -> None:
    text = (project_root / "docs" / "reproduce.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:Resources|Testing)/[\w./-]+\w", text))
    named |= {f"docs/{name}" for name in re.findall(r"\]\(([\w-]+\.md)\)", text)}
    assert len(named) >= 6
    assert all((project_root / name).is_file() for name in named)


# --- the same commands on small data ---------------------------------------------------------------------------------

LEFT_OUT = ("--download",)
CHANGED: dict[str, Callable[[str], str]] = {
    "--workers": lambda _: "1",
    "--test": lambda _: "1",
    "-n": lambda _: "8",
    "--limit": lambda _: "1",
    "--budget": lambda _: str(STEPS),
    "--device": lambda _: "cpu",
    "--stable-diffusion": lambda _: "stable-diffusion",
}
ADDED = {
    "benchmark": ["--sampling-steps", "1", "--stride", "9", "--resamples", "100", "--figure-patients", "1"],
    "train": ["--steps", str(STEPS)],
    "evaluate": ["--steps", "1", "--samples", "1", "--stride", "9", "--resamples", "100", "--figure-patients", "1"],
    "batch": ["--no-report"],
}
SYSTEMS = {"lumiere": ["ddpm", "paint-by-example", "paper", "ours"], "cohort": ["ddpm", "ours"]}


def in_small(words: list[str]) -> list[str]:
    """``words`` with the values that make them long taken small."""
    small: list[str] = []
    for number, word in enumerate(words):
        before = words[number - 1] if number else ""
        if word not in LEFT_OUT:
            small.append(CHANGED[before](word) if before in CHANGED else word)
    small += ADDED.get(words[0], [])
    if words[0] == "benchmark":
        chosen = SYSTEMS["lumiere" if "lumiere-library" in words else "cohort"]
        small += [part for name in chosen for part in ("--systems", name)]
    return small


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def write_small_configurations(folder: Path, project_root: Path) -> None:
    """The shipped files under their names, with the networks of the tests; what they say about training stays."""
    shapes = {
        "compact": plain(dataclasses.asdict(tiny_config(panel=128))),
        "paper": plain(dataclasses.asdict(tiny_paper(panel=128))),
    }
    for path in (project_root / "Resources" / "configurations").glob("*.yaml"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "model" not in document:
            continue  # a list of trials
        shape = shapes[document["model"]["family"]]
        sizes = {name: shape[name] for name in ("panel", "zoom", "unet", "prompt", "steps")}
        sizes |= {"renderer": shape["renderer"]} if document["model"]["family"] == "compact" else {}
        sizes |= {"autoencoder": shape["autoencoder"]} if document["model"]["family"] == "paper" else {}
        model = {**document["model"], **sizes}
        training = {**document["training"], "batch_size": 2, "precision": "float32"}
        # "training:" last, as in the shipped files: the page adds a line to it.
        text = yaml.safe_dump({"model": model}) + yaml.safe_dump({"training": training}, default_flow_style=False)
        (folder / path.name).write_text(text, encoding="utf-8")


@pytest.fixture
def small_world(tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the page supposes it, with everything small; no search for an alignment."""
    monkeypatch.chdir(tmp_path)
    lumiere(tmp_path / "LUMIERE", {f"Patient-00{number}": STUDIES for number in range(1, 5)})
    (tmp_path / "Resources" / "configurations").mkdir(parents=True)
    write_small_configurations(tmp_path / "Resources" / "configurations", project_root)
    torch.manual_seed(0)
    write_stable_diffusion(tmp_path / "stable-diffusion", tiny_paper(panel=128))
    write_medsam(tmp_path / "medsam_vit_b.pth", tiny_paper(panel=128))
    study = tmp_path / "LUMIERE" / "Imaging" / "Patient-001" / "week-000-1" / "DeepBraTumIA-segmentation" / "atlas"
    files = study / "skull_strip" / "t1_skull_strip.nii.gz", study / "segmentation" / "seg_mask.nii.gz"
    row = ",".join(["p1", *(path.relative_to(tmp_path).as_posix() for path in files), "T1w"])
    (tmp_path / "patients.csv").write_text(f"id,pre,tumour,sequence\n{row}\n")
    monkeypatch.setattr(
        import_run, "import_cases", functools.partial(import_run.import_cases, align=in_mni_already), raising=True
    )
    monkeypatch.setattr(pair_alignment, "follow", lambda *_: sitk.Transform(3, sitk.sitkIdentity))
    monkeypatch.setattr(pair_alignment, "judge", lambda *_: RegistrationQuality(0.5, 0.0, False, ""))
    monkeypatch.setattr(patient_module, "register_to_mni", lambda image, *_, **__: in_mni_already(image))
    monkeypatch.setattr(workshop, "STEPS", STEPS)
    return tmp_path


WHOLE_PAGE = pytest.mark.skipif(
    not os.environ.get("POSTOP_WHOLE_PAGE"),
    reason="runs the whole page in small form, which takes many minutes: set POSTOP_WHOLE_PAGE=1",
)


def run_in_small(commands: list[str], folder: Path) -> None:
    for command in commands:
        program, words = words_after_program(command)
        if program == "postop":
            assert run(in_small(words)) == 0, command
        elif program == EMBEDDINGS:
            fill_embeddings.main(in_small(words))
        else:
            subprocess.run(command, shell=True, check=True, cwd=folder)


def where_the_phantoms_begin(page: list[str]) -> int:
    return next(place for place, command in enumerate(page) if "library phantom" in command)


@WHOLE_PAGE
@pytest.mark.timeout(2400)
def test_every_command_from_lumiere_to_both_tables_runs_in_order(page: list[str], small_world: Path) -> None:
    run_in_small(page[: where_the_phantoms_begin(page)], small_world)
    text = (small_world / "bench-lumiere" / "benchmark.md").read_text()
    assert "Table 1" in text and "Table 2" in text and "proxy" in text
    assert "as drawn" in (small_world / "bench-lumiere-raw" / "benchmark.md").read_text()
    assert len(list((small_world / "embeddings").rglob("*"))) > 3
    assert (small_world / "predictions" / "p1" / "prediction.png").is_file()
    assert {path.name for path in small_world.glob("evaluation-*")} == {"evaluation-paper", "evaluation-ours"}


@WHOLE_PAGE
@pytest.mark.timeout(2400)
def test_every_command_for_simulated_patients_runs_in_order(page: list[str], small_world: Path) -> None:
    run_in_small(page[where_the_phantoms_begin(page) :], small_world)
    assert "Table 1" in (small_world / "bench-cohort" / "benchmark.md").read_text()
    assert (small_world / "evaluation-cohort" / "evaluation.md").is_file()
