"""The checksums of a model folder: written when a model is saved, verified before a weight is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..atomic_files import whole_file
from ..errors import ModelMissing, ModelTampered

CHECKSUMS = "checksums.json"
CALIBRATION = "calibration.json"
"""Made after the weights were published; it names the checksum that it belongs to (``calibration_file``)."""

MAX_SHARD = "14MB"


def write_checksums(folder: Path) -> None:
    """Write SHA-256 of every configuration and weight file of a model folder beside them."""
    with whole_file(folder / CHECKSUMS) as temporary:
        temporary.write_text(json.dumps(_checksums(folder), indent=2) + "\n", encoding="utf-8")


def verify(folder: Path) -> str:
    """Check a model folder against its checksums and return the model's own checksum (SHA-256 over all of them).

    Raises ``ModelMissing`` for a folder that is no model or lacks a file, ``ModelTampered`` for a changed or added one.
    """
    folder = Path(folder)
    if not (folder / "model_index.json").is_file():
        raise ModelMissing(
            f"There is no model in {folder} (no model_index.json). "
            "Give a folder made by 'postop train', or leave --model out to use the shipped one."
        )
    try:
        expected: dict[str, str] = dict(json.loads((folder / CHECKSUMS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelTampered(
            f"{folder / CHECKSUMS} is missing or damaged, so the weights cannot be trusted. Fetch the model again."
        ) from error
    found = _checksums(folder)
    missing = sorted(set(expected) - set(found))
    if missing:
        raise ModelMissing(f"The model in {folder} lacks {missing[0]}. Fetch the model again.")
    changed = sorted(name for name in found if found[name] != expected.get(name))
    if changed:
        raise ModelTampered(
            f"{changed[0]} in {folder} is not the file that the model was published with (its checksum differs). "
            "Fetch the model again."
        )
    return hashlib.sha256(json.dumps(expected, sort_keys=True).encode()).hexdigest()


def _checksums(folder: Path) -> dict[str, str]:
    files = (
        path
        for path in folder.rglob("*")
        if path.suffix in (".json", ".safetensors") and path.name != CHECKSUMS and path != folder / CALIBRATION
    )
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in sorted(files)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
