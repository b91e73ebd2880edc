"""The paper's family on a small scale learns; what it takes at full size is computed from its shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_models import SIZE, a_batch, tiny_paper, write_prepared

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.model.config import PostOpConfig, paper_config
from PostOpPredictorLib.model.prompt_adapter import PromptAdapter
from PostOpPredictorLib.training import memory, paper_scale
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.fill_embeddings import composites, fill_embeddings
from PostOpPredictorLib.training.live_memory import imagined
from PostOpPredictorLib.training.objective import rows_of
from PostOpPredictorLib.training.processes import OneProcess
from PostOpPredictorLib.training.slices import PreparedSlices
from PostOpPredictorLib.training.trainer import Trainer


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> PreparedSlices:
    return PreparedSlices(write_prepared(tmp_path_factory.mktemp("prepared") / "slices.safetensors"))


def test_a_small_instance_of_the_papers_family_learns(tmp_path: Path, slices: PreparedSlices) -> None:
    training = TrainingConfig(
        steps=60, batch_size=4, crop=0, learning_rate=4e-3, warmup_steps=5, outside_weight=1.0, sequence="T1w"
    )
    trainer = Trainer(tiny_paper(), training, slices, tmp_path)
    batch = a_batch(slices, crop=0)
    draws = trainer.objective.draws(batch, torch.Generator().manual_seed(0))

    @torch.no_grad()
    def loss() -> float:
        return float(trainer.objective.loss(batch, rows_of(draws, slice(None))))

    before = loss()
    for _ in range(60):
        trainer._one_step()
    assert loss() < 0.6 * before


@pytest.mark.parametrize(
    ("model", "mirrored"), [(tiny_paper(), 0.0), (tiny_paper(panel=2 * SIZE, zoom=2), 0.5)], ids=["plain", "more"]
)
def test_embeddings_made_beforehand_by_two_processes_are_all_that_training_asks_for(
    tmp_path: Path, slices: PreparedSlices, model: PostOpConfig, mirrored: float
) -> None:
    training = TrainingConfig(
        batch_size=4, crop=0, sequence="T1w", embeddings=str(tmp_path / "embeddings"), mirrored_share=mirrored
    )
    torch.manual_seed(training.seed)
    trainer = Trainer(model, training, slices, tmp_path / "run")
    made = []
    for rank in (0, 1):
        adapter = PromptAdapter.of(model.prompt)
        adapter.load_state_dict(trainer.pipeline.prompt_adapter.state_dict())
        adapter.cache_embeddings(tmp_path / "embeddings")
        made.append(fill_embeddings(model, training, slices, adapter, OneProcess(rank, 2)))
    assert len(composites(slices, training, "T1w")) == 18
    assert sum(made) == (36 if mirrored else 18) and min(made) > 0
    for _ in range(5):
        trainer._one_step()
    cache = trainer.pipeline.prompt_adapter.cache
    assert cache is not None and cache.misses == 0 and cache.hits > 0


def test_other_encoders_are_not_embedded_beforehand(slices: PreparedSlices) -> None:
    adapter = PromptAdapter.of(tiny_paper().prompt)
    with pytest.raises(InputError, match="Only MedSAM's embeddings are kept"):
        fill_embeddings(tiny_paper(), TrainingConfig(), slices, adapter, OneProcess())


def test_imagined_memory_is_that_of_the_tensors_that_are_alive() -> None:
    with imagined() as told:
        kept = torch.zeros(1000)
        gone = torch.zeros(500)
        view = kept[:10]
        del gone
        assert (told.live, told.peak) == (4000, 6000)
        del kept
        assert told.live == 4000, "the view keeps it"
        del view
        assert told.live == 0


def test_imagined_training_is_as_large_as_its_weights_gradients_and_activations() -> None:
    model = tiny_paper()
    plain, saving = TrainingConfig(crop=0), TrainingConfig(crop=0, gradient_checkpointing=True)
    weights = 4 * memory.learning_parameters(model)
    sizes = [memory.training_step_bytes(model, plain, size) for size in (1, 4)]
    assert 2 * weights < sizes[0] < sizes[1] < 4 * sizes[0]
    assert memory.training_step_bytes(model, saving, 4) < sizes[1]
    assert memory.sampling_bytes(model, 4) < sizes[1]


def test_the_learning_weights_of_the_paper_are_unet_mask_encoder_and_heads() -> None:
    learning = memory.learning_parameters(paper_config())
    assert 865_925_124 < learning < 865_925_124 + 10_000_000, "MedSAM's 90 million are frozen"


def test_a_card_holds_what_the_row_says() -> None:
    row = memory.Row("training", (10.0, 12.0, 16.0))
    assert row.at(4) == pytest.approx(12 * 1.1 + 0.6)
    assert row.at(8) - row.at(6) == pytest.approx(2 * 1.1), "a gigabyte a slice"
    assert (row.fits(10), row.fits(1000)) == (0, memory.MOST)
    for card in (16, 24, 40):
        assert row.at(max(1, row.fits(card))) <= card * 1e9 / memory.GIB < row.at(row.fits(card) + 1)
    assert "| training | 11.6 | 13.8 | 18.2 |" in memory.table([row])


def test_the_check_at_full_size_works_on_a_small_model_too(tmp_path: Path) -> None:
    """The same commands, layouts and steps as ``paper_scale check``, in a second instead of minutes."""
    told = paper_scale.check(tiny_paper(panel=128), tmp_path)
    assert told["image"] == {"shape": [1, 1, 128, 128], "finite": True}
    assert 0 < told["loss"] < 10
    json.dumps(told)
