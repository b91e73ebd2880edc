"""Run by ``accelerate launch`` in test_processes.py: some training steps, a cancel, and what each process saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tiny_models import tiny_paper

from PostOpPredictorLib.errors import Cancelled
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.processes import own_share, started_processes
from PostOpPredictorLib.training.slices import PreparedSlices
from PostOpPredictorLib.training.trainer import Trainer

STEPS = 6
TRAINING = TrainingConfig(steps=60, batch_size=4, crop=0, warmup_steps=2, learning_rate=2e-3, checkpoint_every=100)


class CancelsAfterOneMoreStep(SilentProgress):
    def step(self, done: int, total: int) -> None:
        if done == STEPS + 1:
            raise Cancelled("enough")


def main(prepared: Path, out: Path) -> None:
    processes = started_processes("cpu")
    torch.manual_seed(processes.rank)  # a difference that the trainer must not mind
    trainer = Trainer(tiny_paper(), TRAINING, PreparedSlices(prepared), out / "run", processes=processes)
    losses = [trainer._one_step() for _ in range(STEPS)]
    gradients = [None if p.grad is None else p.grad.clone() for p in trainer.learning]
    weights = [p.detach().clone() for p in trainer.learning]
    try:
        trainer.train(CancelsAfterOneMoreStep())
        ended = "finished"
    except Cancelled as error:
        ended = str(error)
    told = {"losses": losses, "ended": ended, "step": trainer.step, "count": processes.count}
    told["share"] = own_share(range(7), processes)
    (out / f"told-{processes.rank}.json").write_text(json.dumps(told))
    torch.save({"weights": weights, "gradients": gradients}, out / f"weights-{processes.rank}.pt")
    processes.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
