"""Training over several processes and in parts gives what one process gives with the whole batch."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from launched_training import STEPS, TRAINING
from tiny_models import TINY_KL, tiny_config, tiny_paper, write_prepared

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.model.config import PostOpConfig
from PostOpPredictorLib.training.processes import OneProcess, _buckets, own_rows, own_share, started_processes
from PostOpPredictorLib.training.slices import PreparedSlices
from PostOpPredictorLib.training.trainer import Trainer


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared") / "slices.safetensors", train=9, val=3, semi_real=3)


@pytest.fixture(scope="module")
def slices(prepared: Path) -> PreparedSlices:
    return PreparedSlices(prepared)


@dataclass(frozen=True)
class Ran:
    losses: list[float]
    weights: list[torch.Tensor]
    gradients: list[torch.Tensor | None]


def one_process(run: Path, slices: PreparedSlices, model: PostOpConfig, **changes: Any) -> Ran:
    trainer = Trainer(model, dataclasses.replace(TRAINING, **changes), slices, run)
    losses = [trainer._one_step() for _ in range(STEPS)]
    gradients = [None if p.grad is None else p.grad.clone() for p in trainer.learning]
    return Ran(losses, [p.detach().clone() for p in trainer.learning], gradients)


def assert_the_same(first: Ran, second: Ran) -> None:
    """To rounding. Adam turns a gradient that is 0 but for rounding into a step of any sign: those weights may differ
    by a step or two, and change nothing that is drawn.
    """
    assert first.losses == pytest.approx(second.losses, rel=1e-4)
    pairs = list(zip(first.gradients, second.gradients, strict=True))
    assert all((one is None) == (other is None) for one, other in pairs)
    scale = max(float(one.abs().max()) for one, _ in pairs if one is not None)
    apart = max(float((one - other).abs().max()) for one, other in pairs if one is not None and other is not None)
    assert apart < 1e-3 * scale
    differences = torch.cat([(a - b).abs().flatten() for a, b in zip(first.weights, second.weights, strict=True)])
    assert differences.quantile(0.95) < 2e-5 and differences.max() <= 2 * STEPS * TRAINING.learning_rate


@pytest.fixture(scope="module")
def launched(prepared: Path, tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Path:
    """The folder in which two processes of ``accelerate launch`` left what they saw."""
    pytest.importorskip("accelerate")
    out = tmp_path_factory.mktemp("launched")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--multi_gpu", "--num_processes", "2", "--main_process_port", str(port)]
    script = project_root / "Testing" / "backend" / "launched_training.py"
    command = [sys.executable, "-m", "accelerate.commands.launch", *options, str(script), str(prepared), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(project_root), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def told(launched: Path, rank: int) -> dict[str, Any]:
    return json.loads((launched / f"told-{rank}.json").read_text())


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path, slices: PreparedSlices, launched: Path) -> None:
    ours = one_process(tmp_path, slices, tiny_paper())
    for rank in (0, 1):
        saved = torch.load(launched / f"weights-{rank}.pt", weights_only=True)
        assert told(launched, rank)["count"] == 2
        assert_the_same(ours, Ran(told(launched, rank)["losses"], saved["weights"], saved["gradients"]))


@pytest.mark.slow
def test_both_processes_end_with_the_very_same_weights(launched: Path) -> None:
    first, second = (torch.load(launched / f"weights-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first["weights"], second["weights"], strict=True))


@pytest.mark.slow
def test_a_cancel_stops_all_processes_after_the_same_step_and_is_saved_once(launched: Path) -> None:
    assert [told(launched, rank)["step"] for rank in (0, 1)] == [STEPS + 1] * 2
    assert told(launched, 0)["ended"] == "enough"
    assert "cancelled" in told(launched, 1)["ended"]
    state = torch.load(launched / "run" / "state-denoiser.pt", weights_only=True)
    assert state["step"] == STEPS + 1
    assert not list((launched / "run").glob(".*")), "nobody wrote beside the other"


@pytest.mark.slow
def test_a_batch_of_cases_is_shared_without_gap_or_overlap(launched: Path) -> None:
    assert [told(launched, rank)["share"] for rank in (0, 1)] == [[0, 2, 4, 6], [1, 3, 5]]


@pytest.mark.parametrize(
    ("part", "model"),
    [
        ("denoiser", tiny_paper()),
        ("denoiser", tiny_config(plan=True)),
        ("renderer", tiny_config()),
        ("autoencoder", tiny_config(target="image", autoencoder=TINY_KL)),
    ],
    ids=["the paper's", "structure", "renderer", "autoencoder"],
)
def test_a_batch_in_parts_gives_what_the_whole_batch_gives(
    tmp_path: Path, slices: PreparedSlices, part: str, model: PostOpConfig
) -> None:
    whole = one_process(tmp_path / "whole", slices, model, part=part)
    for accumulate in (3, 4):
        parts = one_process(tmp_path / str(accumulate), slices, model, part=part, accumulate=accumulate)
        assert_the_same(whole, parts)


def test_gradient_checkpointing_changes_nothing_but_memory(tmp_path: Path, slices: PreparedSlices) -> None:
    plain = one_process(tmp_path / "plain", slices, tiny_paper())
    saving = one_process(tmp_path / "saving", slices, tiny_paper(), gradient_checkpointing=True)
    assert_the_same(plain, saving)


def test_without_an_average_the_learning_weights_are_saved(tmp_path: Path, slices: PreparedSlices) -> None:
    training = dataclasses.replace(TRAINING, ema_decay=0)
    trainer = Trainer(tiny_paper(), training, slices, tmp_path)
    trainer._one_step()
    trainer.save()
    again = Trainer(tiny_paper(), training, slices, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.learning, trainer.learning, strict=True))
    averaging = Trainer(tiny_paper(), TRAINING, slices, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(averaging.ema.shadow_params, trainer.learning, strict=True))


def test_networks_that_do_not_learn_take_no_gradient(tmp_path: Path, slices: PreparedSlices) -> None:
    trainer = Trainer(tiny_paper(), TRAINING, slices, tmp_path)
    trainer._one_step()
    assert all(p.grad is None and not p.requires_grad for p in trainer.pipeline.autoencoder.parameters())


@pytest.mark.parametrize(("size", "count", "parts"), [(8, 2, 2), (7, 2, 3), (5, 5, 1), (9, 1, 4)])
def test_every_row_is_worked_on_once(size: int, count: int, parts: int) -> None:
    ranks = [OneProcess(rank, count) for rank in range(count)]
    rows = [row for rank in ranks for part in own_rows(size, rank, parts) for row in range(size)[part]]
    assert rows == list(range(size))
    assert all(len(range(size)[part]) > 0 for rank in ranks for part in own_rows(size, rank, parts))
    assert sorted(item for rank in ranks for item in own_share(range(size), rank)) == list(range(size))


def test_more_parts_than_slices_are_a_sentence(tmp_path: Path, slices: PreparedSlices) -> None:
    with pytest.raises(InputError, match=r"batch of 4 slices cannot be split .* with 5 parts each"):
        Trainer(tiny_paper(), dataclasses.replace(TRAINING, accumulate=5), slices, tmp_path)


def test_one_process_does_not_need_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert started_processes("auto") == OneProcess()


def test_several_processes_without_accelerate_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them would train for itself and write into the same folder."""
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"started as 2 processes, which needs accelerate: pip install"):
        started_processes("cpu")


def test_what_is_sent_together_is_bounded_and_of_one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PostOpPredictorLib.training.processes.BUCKET", 10)
    tensors = [torch.zeros(n, dtype=dtype) for n, dtype in [(4, torch.float), (6, torch.float), (1, torch.float)]]
    tensors += [torch.zeros(1, dtype=torch.half), torch.zeros(30, dtype=torch.half)]
    sizes = [[tensor.numel() for tensor in bucket] for bucket in _buckets(tensors)]
    assert sizes == [[4, 6], [1], [1], [30]]
