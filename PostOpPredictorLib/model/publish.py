"""From a training run to a model that can be shipped: the parts joined, half precision, a model card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic_files import whole_folder
from ..errors import InputError
from ..progress import Progress
from .pipeline import PostOpPipeline
from .weights import MAX_SHARD, verify, write_checksums


@dataclass(frozen=True)
class PublishRequest:
    """``denoiser`` and ``renderer``: model folders whose parts are joined (the second may be left out); ``card``: the
    model card, a text file.
    """

    denoiser: Path
    out: Path
    renderer: Path | None = None
    card: Path | None = None
    replace: bool = False


def publish(request: PublishRequest, progress: Progress) -> dict[str, Any]:
    """Join the parts, halve the precision of the stored weights and write the model folder whole or not at all.

    Raises ``InputError`` when the two folders hold models of different configurations, or the card cannot be read.
    """
    progress.stage("Joining the parts")
    card = None if request.card is None else _text_of_card(request.card)
    pipeline = PostOpPipeline.from_pretrained(request.denoiser)
    if request.renderer is not None:
        other = PostOpPipeline.from_pretrained(request.renderer)
        if other.config_tree != pipeline.config_tree:
            raise InputError(
                f"{request.denoiser} and {request.renderer} hold models of different configurations. "
                "Train both with the same file."
            )
        pipeline.register_modules(renderer=other.renderer)
    for network in pipeline.networks:
        network.half()
    with whole_folder(request.out, replace=request.replace) as temporary:
        pipeline.save_pretrained(temporary, safe_serialization=True, max_shard_size=MAX_SHARD)
        if card is not None:
            (temporary / "README.md").write_text(card, encoding="utf-8")
        write_checksums(temporary)
    return information(request.out)


def information(folder: Path) -> dict[str, Any]:
    """What a model folder holds: configuration, number of parameters, size on disk, checksum."""
    checksum = verify(folder)
    pipeline = PostOpPipeline.from_pretrained(folder)
    parameters = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in pipeline.components.items()
        if hasattr(part, "parameters")
    }
    size = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
    settings = json.loads((Path(folder) / "model_index.json").read_text(encoding="utf-8"))["settings"]
    return {
        "folder": str(folder),
        "checksum": checksum,
        "megabytes": round(size / 1e6, 1),
        "parameters": parameters,
        "settings": settings,
    }


def _text_of_card(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} could not be read as the model card ({error}). Give a text file in UTF-8.") from error
