"""Trials of our own form: each is the shipped form with some settings changed, trained with the same budget.

A YAML file lists them: ``name: {model: {...}, training: {...}, asked: {...}}``. ``asked`` says how the trained model is
used (mode, steps, start, guidance, retrieval); trials that differ in nothing else share one training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from ..evaluation.pools import Retrieval
from ..model.config import PostOpConfig, config_from_mapping
from ..model.settings import overlay
from ..training.config import TrainingConfig
from .entries import ENTRIES, SHIPPED_KEY, TRIAL, Asked, Entry

_PARTS = ("model", "training", "asked")
_RETRIEVAL = {
    "guided": Retrieval.GUIDED,
    "slices": Retrieval.SLICES,
    "image": Retrieval.IMAGE,
    "random": Retrieval.RANDOM,
}
_OF_THE_BUDGET = ("steps", "part")


class _NoNameTwice(yaml.SafeLoader):
    """Plain YAML, but a name that stands there twice is an error: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"the name '{twice}' stands there twice")
        return super().construct_mapping(node, deep)


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


def read_trials(path: Path, shipped: PostOpConfig, training: TrainingConfig, rows: Collection[str] = ()) -> list[Entry]:
    """The trials of a YAML file as entries of the benchmark; ``shipped`` and ``training``: what they change.

    Raises ``InputError`` for a file that cannot be read, an unknown setting or one that does not fit, and a name that
    another of the benchmark's ``rows`` has.
    """
    taken = {*(entry.title for entry in ENTRIES), *rows}
    return [_entry(path, str(name), said, shipped, training, taken) for name, said in _document(path).items()]


def _document(path: Path) -> Mapping[Any, Any]:
    try:
        document = yaml.load(Path(path).read_text(encoding="utf-8"), _NoNameTwice)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} could not be read as a list of trials ({error}).") from error
    if not isinstance(document, dict) or not document:
        raise InputError(f"{path} lists no trials. Give 'name: {{model: {{...}}}}' lines.")
    return document


def _entry(
    path: Path, name: str, said: Any, shipped: PostOpConfig, training: TrainingConfig, taken: Collection[str]
) -> Entry:
    said = said or {}
    if not isinstance(said, dict) or not all(isinstance(part, dict) for part in said.values()):
        raise InputError(f"The trial '{name}' of {path} must hold sections: {', '.join(_PARTS)}.")
    unknown = sorted(set(said) - set(_PARTS))
    if unknown:
        raise InputError(f"The trial '{name}' of {path} has a section '{unknown[0]}'. Known: {', '.join(_PARTS)}.")
    if "|" in name or name in taken:
        raise InputError(f"The trial '{name}' of {path} cannot be called so: a row has that name, or it holds a '|'.")
    changes = Changes(said.get("model", {}), said.get("training", {}))
    if fixed := [setting for setting in _OF_THE_BUDGET if setting in changes.training]:
        raise InputError(f"The trial '{name}' of {path} sets training.{fixed[0]}, which the budget decides.")
    asked = dict(said.get("asked", {}))
    retrieval = asked.pop("retrieval", "guided")
    if retrieval not in _RETRIEVAL:
        raise InputError(f"The trial '{name}' asks for retrieval {retrieval!r}; choose: {', '.join(_RETRIEVAL)}.")
    try:
        changes.of_model(shipped)
        changes.of_training(training)
        wanted = overlay(Asked(mode="mean"), asked, "asked.")
    except InputError as error:
        raise InputError(f"The trial '{name}' of {path}: {error}") from error
    return Entry(
        key=changes.key,
        title=name,
        kind=TRIAL,
        tables=(3,),
        retrieval=_RETRIEVAL[retrieval],
        form=changes.of_model,
        tuning=changes.of_training,
        asked=wanted,
        changes=json.dumps(said, sort_keys=True).replace('"', ""),
    )
