"""What a frozen network says of an image, on disk: MedSAM needs 41 s for one on two CPU cores, and they come again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..atomic_files import whole_file


class EncodingCache:
    """One small file per image, named by SHA-256 of the encoder's weights, its settings and the image itself.

    A file appears whole or not at all, so that any number of processes may share a folder; a damaged one is made again.
    Holds for the weights that ``encoder`` has now: make another one when they change.
    """

    def __init__(self, folder: Path, encoder: nn.Module, settings: str) -> None:
        self.folder = Path(folder)
        self._encoder = f"{settings} {weights_checksum(encoder)}".encode()
        self.hits = self.misses = 0

    def encodings(self, images: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, 1, y, x) to (B, ...) float32 on the images' device; ``compute`` makes those that are not there."""
        here = images.detach().float().cpu().contiguous()
        paths = [self._path(image, images.device.type) for image in here]
        found = {path: encoding for path in set(paths) if (encoding := _read(path)) is not None}
        rows = {path: row for row, path in enumerate(paths) if path not in found}
        self.hits, self.misses = self.hits + len(paths) - len(rows), self.misses + len(rows)
        if rows:
            made = compute(images[list(rows.values())]).detach().float().cpu()
            for path, encoding in zip(rows, made, strict=True):
                found[path] = encoding
                with whole_file(path) as temporary:
                    np.save(temporary, encoding.numpy(), allow_pickle=False)
        return torch.stack([found[path] for path in paths]).to(images.device)

    def _path(self, image: Tensor, kind: str) -> Path:
        # An encoding made in bfloat16 is another than one made in float32.
        precision = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else "as it is"
        digest = hashlib.sha256(self._encoder)
        digest.update(f" {precision} {tuple(image.shape)} ".encode())
        digest.update(image.numpy().tobytes())
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.npy"


def weights_checksum(network: nn.Module) -> str:
    """SHA-256 over names and values of all weights of ``network``."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> Tensor | None:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or not values.ndim:
        return None
    return torch.from_numpy(values)
