"""Model and case library folders on disk: what is in them, whether it is whole, and how they come and go."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

MODEL_MARK = "model_index.json"
LIBRARY_MARK = "dataset_description.json"
MEGABYTE = 1_000_000


class FolderRefused(Exception):
    """A folder is not deleted or not taken over; the message is a sentence that says why."""


@dataclass(frozen=True)
class FolderFacts:
    """What a folder holds. ``state``: "verified", "changed" or "missing" (model); "there" or "missing" (library)."""

    folder: Path
    state: str
    megabytes: float = 0.0
    cases: int = 0
    problem: str = ""


def shippedModel() -> Path:
    """The model that comes with the extension."""
    from PostOpPredictorLib.shipped import shipped_model_folder

    return shipped_model_folder()


def demonstrationLibrary() -> Path:
    """Where the library of simulated patients is, or will be."""
    from PostOpPredictorLib.shipped import demonstration_library_folder

    return demonstration_library_folder()


def ownModels() -> Path:
    """Where models from a folder are copied to: beside Slicer's settings, which no clean-up of caches empties."""
    return Path(qt.QSettings().fileName()).parent / "PostOpPredictor" / "models"


def modelOrShipped(folder: Path | None) -> Path:
    """``folder``, or the shipped model for None."""
    return folder or shippedModel()


def libraryOrDemonstration(folder: Path | None) -> Path:
    """``folder``, or the demonstration library for None."""
    return folder or demonstrationLibrary()


def isModel(folder: Path) -> bool:
    """Whether a model of ours is in ``folder``, not another program's; its checksums are not compared."""
    return _readJson(folder / MODEL_MARK).get("_class_name") == "PostOpPipeline"


def isLibrary(folder: Path) -> bool:
    """Whether ``folder`` is a case library of ours with cases in it, not any other BIDS dataset."""
    return "PostOpPredictor" in _readJson(folder / LIBRARY_MARK) and any(folder.glob("sub-*"))


def modelFacts(folder: Path) -> FolderFacts:
    """Size and checksum state. Reads every file, so it belongs in a thread."""
    from PostOpPredictorLib.errors import ModelMissing, PostOpError
    from PostOpPredictorLib.model.weights import verify

    try:
        verify(folder)
    except ModelMissing as error:
        return FolderFacts(folder, "missing", problem=str(error))
    except PostOpError as error:
        return FolderFacts(folder, "changed", _megabytes(folder), problem=str(error))
    return FolderFacts(folder, "verified", _megabytes(folder))


def libraryFacts(folder: Path) -> FolderFacts:
    """Size and number of cases. Walks over every file, so it belongs in a thread."""
    if not isLibrary(folder):
        return FolderFacts(folder, "missing")
    return FolderFacts(folder, "there", _megabytes(folder), sum(case.is_dir() for case in folder.glob("sub-*")))


def deleteFolder(folder: Path) -> None:
    """Delete a model or a case library; raises ``FolderRefused`` for anything else."""
    refusal = refusalToDelete(folder)
    if refusal:
        raise FolderRefused(refusal)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        text = _("{folder} could not be deleted ({reason}). Close programs that use it and try again.")
        raise FolderRefused(text.format(folder=folder, reason=error.strerror)) from error


def refusalToDelete(folder: Path) -> str:
    """Why ``folder`` is not deleted; empty when it may be."""
    if not (isModel(folder) or isLibrary(folder)):
        return _("{folder} is neither a model nor a case library, so it is not deleted.").format(folder=folder)
    if folder.resolve() == shippedModel().resolve():
        return _("This model comes with the extension; it goes when the extension is removed.")
    if folder.is_symlink():
        return _("{folder} is a link to another folder; delete it by hand.").format(folder=folder)
    return ""


def modelsAndLibrariesIn(folder: Path) -> tuple[list[Path], list[Path]]:
    """The models and the case libraries that ``folder`` is, or holds one level down."""
    places = [folder, *sorted(place for place in folder.iterdir() if place.is_dir())]
    return [place for place in places if isModel(place)], [place for place in places if isLibrary(place)]


def copyModel(folder: Path, models: Path) -> Path:
    """Verify a model and copy it below ``models``; returns where it is now. Belongs in a thread.

    Raises ``FolderRefused`` for a model that is not whole. A copy becomes visible only when it is complete.
    """
    facts = modelFacts(folder)
    if facts.state != "verified":
        raise FolderRefused(facts.problem)
    target = models / folder.resolve().name
    temporary = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        shutil.copytree(folder, temporary)
        if target.exists():
            target = target.with_name(f"{target.name}-{uuid.uuid4().hex[:6]}")
        temporary.rename(target)
    except OSError as error:
        text = _("The model could not be copied to {folder} ({reason}). Free some space and try again.")
        raise FolderRefused(text.format(folder=models, reason=error.strerror)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _readJson(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MEGABYTE
