"""Trials of our own form: each is the shipped form with some settings changed, trained with the same budget.

A YAML file lists them: ``name: {model: {...}, training: {...}, asked: {...}}``. ``asked`` says how the trained model is
used (mode, steps, start, guidance, retrieval); trials that differ in nothing else share one training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from ..evaluation.pools import Retrieval
from ..model.config import PostOpConfig, config_from_mapping
from ..model.settings import overlay
from ..training.config import TrainingConfig
from .entries import SHIPPED_KEY, STRUCTURE_PARTS, TRIAL, Asked, Entry

_PARTS = ("model", "training", "asked")
_RETRIEVAL = {"guided": Retrieval.GUIDED, "slices": Retrieval.SLICES, "random": Retrieval.RANDOM}
_OF_IMAGE = (("denoiser", 1.0),)
_OF_KL = (("autoencoder", 0.25), ("denoiser", 0.75))


@dataclass(frozen=True)
class Changes:
    """What a trial changes in the model's configuration and in its training."""

    model: Mapping[str, Any]
    training: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Of the training: the same for the same changes, and the shipped form's for none."""
        if not self.model and not self.training:
            return SHIPPED_KEY
        text = json.dumps([self.model, self.training], sort_keys=True)
        return f"trial-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def of_model(self, config: PostOpConfig) -> PostOpConfig:
        """``config`` with the changes. Raises ``InputError`` for what does not fit."""
        return config_from_mapping(self.model, config)

    def of_training(self, training: TrainingConfig) -> TrainingConfig:
        """``training`` with the changes. Raises ``InputError`` for what does not fit."""
        return overlay(training, self.training, "training.")


def read_trials(path: Path, shipped: PostOpConfig, training: TrainingConfig) -> list[Entry]:
    """The trials of a YAML file as entries of the benchmark; ``shipped`` and ``training``: what they change.

    Raises ``InputError`` for a file that cannot be read, an unknown setting, or one that does not fit.
    """
    return [_entry(path, str(name), said, shipped, training) for name, said in _document(path).items()]


def _document(path: Path) -> Mapping[Any, Any]:
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} could not be read as a list of trials ({error}).") from error
    if not isinstance(document, dict) or not document:
        raise InputError(f"{path} lists no trials. Give 'name: {{model: {{...}}}}' lines.")
    return document


def _entry(path: Path, name: str, said: Any, shipped: PostOpConfig, training: TrainingConfig) -> Entry:
    said = said or {}
    if not isinstance(said, dict) or not all(isinstance(part, dict) for part in said.values()):
        raise InputError(f"The trial '{name}' of {path} must hold sections: {', '.join(_PARTS)}.")
    unknown = sorted(set(said) - set(_PARTS))
    if unknown:
        raise InputError(f"The trial '{name}' of {path} has a section '{unknown[0]}'. Known: {', '.join(_PARTS)}.")
    changes = Changes(said.get("model", {}), said.get("training", {}))
    asked = dict(said.get("asked", {}))
    retrieval = asked.pop("retrieval", "guided")
    if retrieval not in _RETRIEVAL:
        raise InputError(f"The trial '{name}' asks for retrieval {retrieval!r}; choose: {', '.join(_RETRIEVAL)}.")
    try:
        model = changes.of_model(shipped)
        changes.of_training(training)
        wanted = overlay(Asked(mode="mean"), asked, "asked.")
    except InputError as error:
        raise InputError(f"The trial '{name}' of {path}: {error}") from error
    image_parts = _OF_KL if model.autoencoder.kind == "kl" else _OF_IMAGE
    return Entry(
        key=changes.key,
        title=name,
        kind=TRIAL,
        tables=(3,),
        retrieval=_RETRIEVAL[retrieval],
        form=changes.of_model,
        tuning=changes.of_training,
        parts=STRUCTURE_PARTS if model.target == "structure" else image_parts,
        asked=wanted,
        changes=json.dumps(said, sort_keys=True).replace('"', ""),
    )
