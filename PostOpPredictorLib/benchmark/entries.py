"""Every system that is trained for the benchmark: what it is, how it is instructed, in which table it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..evaluation.pools import Retrieval
from ..model.config import PostOpConfig
from ..model.pipeline import MODES, STARTS
from ..training.config import TrainingConfig
from .baselines.baseline import Baseline
from .baselines.ddpm import Ddpm
from .baselines.image_brush import ImageBrush
from .baselines.instruct_pix2pix import InstructPix2Pix
from .baselines.paint_by_example import PaintByExample
from .baselines.visii import Visii
from .instruction_choice import GUIDED, IMAGE, RANDOM

BASELINE, ABLATION, PAPER, SHIPPED, TRIAL = "baseline", "ablation", "paper", "ours", "trial"


def paper_form(config: PostOpConfig) -> PostOpConfig:
    """``config``'s networks as the paper uses them: 2 x 2 grid, noise prediction, 50 DDIM steps, guidance 2."""
    return dataclasses.replace(Baseline.settings_of(config), layout="grid", guidance=2.0)


def without_seg(config: PostOpConfig) -> PostOpConfig:
    """The paper's form with the learned null in place of p_seg."""
    return dataclasses.replace(paper_form(config), prompt=dataclasses.replace(config.prompt, use_seg=False))


def without_comp(config: PostOpConfig) -> PostOpConfig:
    """The paper's form with the learned null in place of p_comp."""
    return dataclasses.replace(paper_form(config), prompt=dataclasses.replace(config.prompt, use_comp=False))


def as_it_is(config: PostOpConfig) -> PostOpConfig:
    """The shipped form is what its own configuration says."""
    return config


def as_all(training: TrainingConfig) -> TrainingConfig:
    """Trained as all are."""
    return training


@dataclass(frozen=True)
class Asked:
    """How a trained model is used: see ``PostOpPipeline.__call__``; ``steps`` and ``guidance`` None: its own.

    Raises ``InputError`` for what no model can be asked.
    """

    mode: str = "sample"
    steps: int | None = None
    start: str = "noise"
    guidance: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES or self.start not in STARTS:
            raise InputError(
                f"A model is asked in the modes {', '.join(MODES)} and starts from {' or '.join(STARTS)}, not in mode "
                f"'{self.mode}' from '{self.start}'."
            )
        if self.steps is not None and self.steps < 1:
            raise InputError(f"{self.steps} denoising steps are asked for; give at least 1.")


@dataclass(frozen=True)
class Entry:
    """``system``: its class, None for our own pipeline, whose configuration ``form`` and training ``tuning`` makes.

    ``instructions``: how they are chosen in training; ``retrieval``: at test, None for a system without any.
    ``tables``: 1 all systems, 2 ablations, 3 trials of our own form.
    ``starts_from``: the entry whose model it begins with. ``changes``: of a trial, in words.
    """

    key: str
    title: str
    kind: str
    tables: tuple[int, ...]
    retrieval: Retrieval | None = None
    instructions: str = GUIDED
    system: type[Baseline] | None = None
    form: Callable[[PostOpConfig], PostOpConfig] = paper_form
    tuning: Callable[[TrainingConfig], TrainingConfig] = as_all
    starts_from: str | None = None
    asked: Asked = Asked()
    changes: str = ""


ENTRIES = (
    Entry("ddpm", "DDPM", BASELINE, (1,), system=Ddpm),
    Entry("paint-by-example", "Paint by Example", BASELINE, (1,), Retrieval.RANDOM, RANDOM, PaintByExample),
    Entry("instruct-pix2pix", "InstructPix2Pix", BASELINE, (1,), system=InstructPix2Pix),
    Entry("visii", "VISII", BASELINE, (1,), system=Visii, starts_from="instruct-pix2pix"),
    Entry("image-brush", "ImageBrush", BASELINE, (1,), Retrieval.RANDOM, RANDOM, ImageBrush),
    Entry("random-retrieval", "random retrieval", ABLATION, (2,), Retrieval.RANDOM, RANDOM),
    Entry("image-retrieval", "image retrieval", ABLATION, (2,), Retrieval.IMAGE, IMAGE),
    Entry("without-p-comp", "without p_comp", ABLATION, (2,), Retrieval.GUIDED, form=without_comp),
    Entry("without-p-seg", "without p_seg", ABLATION, (2,), Retrieval.GUIDED, form=without_seg),
    Entry("paper", "ours as in the paper", PAPER, (1, 2), Retrieval.GUIDED),
    Entry(
        "ours",
        "ours (shipped form)",
        SHIPPED,
        (1, 3),
        Retrieval.GUIDED,
        form=as_it_is,
        asked=Asked("mean"),
    ),
)
SHIPPED_KEY = next(entry.key for entry in ENTRIES if entry.kind == SHIPPED)
KEYS = tuple(entry.key for entry in ENTRIES)


def chosen_entries(keys: Sequence[str]) -> list[Entry]:
    """The entries of these names in the table's order, all for none; what one starts from comes along.

    Raises ``InputError`` for an unknown name.
    """
    unknown = sorted(set(keys) - set(KEYS))
    if unknown:
        raise InputError(f"There is no system '{unknown[0]}'; choose from: {', '.join(KEYS)}.")
    wanted = set(keys or KEYS)
    wanted |= {entry.starts_from for entry in ENTRIES if entry.key in wanted and entry.starts_from}
    return [entry for entry in ENTRIES if entry.key in wanted]
