"""MedSAM's image encoder from segment-anything, which is imported without torchvision, and its compact sibling.

segment-anything needs four functions of torchvision at import, none of them in the image encoder; PyPI's torchvision is
tied to one CUDA build of torch and breaks beside any other. So stand-ins take its place during the import alone.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..errors import ModelMissing
from .config import PromptConfig

_STANDINS = {
    "torchvision": (),
    "torchvision.ops": (),
    "torchvision.ops.boxes": ("batched_nms", "box_area"),
    "torchvision.transforms": (),
    "torchvision.transforms.functional": ("resize", "to_pil_image"),
}


@functools.cache
def image_encoder_class() -> type[nn.Module]:
    """``segment_anything.modeling.ImageEncoderViT``."""
    with _torchvision_standins():
        return importlib.import_module("segment_anything.modeling.image_encoder").ImageEncoderViT


def build_image_encoder(config: PromptConfig) -> nn.Module:
    """The encoder of ``config``'s shape with random weights.

    Images (B, 3, s, s) to (B, vit_out_channels, s / vit_patch, s / vit_patch).
    """
    medsam = config.image_encoder == "medsam"
    return image_encoder_class()(
        img_size=config.image_size,
        patch_size=config.vit_patch,
        embed_dim=config.vit_width,
        depth=config.vit_depth,
        num_heads=config.vit_heads,
        out_chans=config.vit_out_channels,
        norm_layer=functools.partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14 if medsam else 0,
        global_attn_indexes=(2, 5, 8, 11) if medsam else (),
    )


def load_medsam(encoder: nn.Module, checkpoint: Path) -> None:
    """Fill ``encoder`` from MedSAM's published checkpoint, a plain state dict of SAM ViT-B.

    Only ``image_encoder.*`` is read, and no code in the file is run.
    Raises ``ModelMissing`` when the file is absent, is no such state dict, or has another shape.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        prefix = "image_encoder."
        encoder.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except Exception as error:
        raise ModelMissing(
            f"{checkpoint} is no MedSAM checkpoint of this shape ({type(error).__name__}). "
            "Give the file medsam_vit_b.pth as its authors publish it."
        ) from error


def medsam_input(image: Tensor, size: int) -> Tensor:
    """Grey (B, 1, y, x) to MedSAM's input (B, 3, size, size).

    Min-max to [0, 1] per image, bicubic, grey thrice; not SAM's mean and standard deviation.
    """
    low = image.amin(dim=(1, 2, 3), keepdim=True)
    high = image.amax(dim=(1, 2, 3), keepdim=True)
    scaled = (image - low) / (high - low).clamp(min=1e-6)
    if scaled.shape[-2:] != (size, size):
        scaled = interpolate(scaled, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)
    return scaled.expand(-1, 3, -1, -1)


@contextlib.contextmanager
def _torchvision_standins() -> Iterator[None]:
    previous: dict[str, ModuleType | None] = {name: sys.modules.get(name) for name in _STANDINS}
    modules: dict[str, Any] = {name: ModuleType(name) for name in _STANDINS}
    for name, functions in _STANDINS.items():
        for function in functions:
            setattr(modules[name], function, None)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, modules[name])
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in previous.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
