"""LPIPS with the AlexNet trunk (Zhang et al. 2018), from weights that the user has; nothing is ever downloaded.

The public weights are two files: torchvision's ``alexnet-owt-*.pth`` (trunk) and the lpips package's
``weights/v0.1/alex.pth`` (five linear heads). A saved ``lpips.LPIPS(net="alex").state_dict()`` holds both. All are
read as plain tensors (``weights_only``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from ..errors import InputError

WIDTHS = (64, 192, 384, 256, 256)
KERNELS = (11, 5, 3, 3, 3)
_STRIDES = (4, 1, 1, 1, 1)
_PADDINGS = (2, 2, 1, 1, 1)
_POOLED_BEFORE = (1, 2)
_TRUNK_INDICES = (0, 3, 6, 8, 10)
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_BATCH = 16

# torchvision: "features.3.weight"; lpips: "net.slice2.3.weight", "lin0.model.1.weight" and "lins.0.model.1.weight".
_TRUNK_NAME = re.compile(r"(?:features|slice\d)\.(\d+)\.(weight|bias)$")
_HEAD_NAME = re.compile(r"(?:^|\.)lins?\.?(\d)\.model\.1\.weight$")


class LpipsAlex:
    """The distance itself. ``trunk``: five (weight, bias) pairs of AlexNet's convolutions; ``heads``: five weights
    (1, channels, 1, 1)."""

    def __init__(self, trunk: Sequence[tuple[Tensor, Tensor]], heads: Sequence[Tensor]) -> None:
        self._trunk = [(weight.float(), bias.float()) for weight, bias in trunk]
        self._heads = [head.float() for head in heads]

    @classmethod
    def from_files(cls, paths: Sequence[Path]) -> LpipsAlex:
        """Read trunk and heads from one file or several, in any of the three public layouts.

        Raises ``InputError`` with the reason when a file is missing or not readable as plain tensors, or a layer is
        absent or misshapen.
        """
        trunk: dict[tuple[int, str], Tensor] = {}
        heads: dict[int, Tensor] = {}
        for path in paths:
            for name, tensor in _tensors(Path(path)).items():
                if (match := _TRUNK_NAME.search(name)) and int(match[1]) in _TRUNK_INDICES:
                    trunk[_TRUNK_INDICES.index(int(match[1])), match[2]] = tensor
                elif match := _HEAD_NAME.search(name):
                    heads[int(match[1])] = tensor
        _require_alexnet(trunk, heads)
        return cls([(trunk[layer, "weight"], trunk[layer, "bias"]) for layer in range(5)], [heads[i] for i in range(5)])

    @torch.inference_mode()
    def __call__(self, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
        """LPIPS of every slice, (slices, y, x) in [0, 1] -> (slices,). Grey is repeated to three channels and mapped
        to [-1, 1]."""
        distances = []
        for start in range(0, len(predicted), _BATCH):
            pair = [self._features(stack[start : start + _BATCH]) for stack in (predicted, true)]
            distance = torch.zeros(len(pair[0][0]))
            for ours, theirs, head in zip(*pair, self._heads, strict=True):
                distance += functional.conv2d((ours - theirs) ** 2, head).mean(dim=(1, 2, 3))
            distances.append(distance.double().numpy())
        return np.concatenate(distances) if distances else np.zeros(0)

    def _features(self, slices: np.ndarray) -> list[Tensor]:
        grey = torch.from_numpy(np.ascontiguousarray(slices, dtype=np.float32))[:, None] * 2 - 1
        shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))
        signal = (grey - shift) / scale
        features = []
        for layer, (weight, bias) in enumerate(self._trunk):
            if layer in _POOLED_BEFORE:
                signal = functional.max_pool2d(signal, 3, 2)
            signal = functional.relu(
                functional.conv2d(signal, weight, bias, stride=_STRIDES[layer], padding=_PADDINGS[layer])
            )
            features.append(signal / (torch.linalg.vector_norm(signal, dim=1, keepdim=True) + 1e-10))
        return features


def load_lpips(paths: Sequence[Path]) -> tuple[LpipsAlex | None, str]:
    """The distance and "", or ``None`` and the reason why LPIPS is not available. Files that were named but cannot be
    used are an error."""
    if not paths:
        return None, "no weights were given (--lpips-weights); none ship with the software and none are downloaded"
    return LpipsAlex.from_files(paths), ""


def _tensors(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise InputError(
            f"There is no LPIPS weights file at {path}. Give --lpips-weights the path of an existing file."
        )
    try:
        loaded = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (
        Exception
    ) as error:  # torch raises pickle, zip, runtime and value errors for the same thing: not a weights file
        raise InputError(
            f"{path} cannot be read as plain tensors. Give AlexNet's .pth or a .safetensors file."
        ) from error
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError(f"{path} does not hold a table of tensors. Give a state dict, not a whole saved model.")
    return loaded


def _require_alexnet(trunk: Mapping[tuple[int, str], Tensor], heads: Mapping[int, Tensor]) -> None:
    """Refuse anything but AlexNet's own shapes, so that no stand-in is reported under the name LPIPS."""
    inputs = (3, *WIDTHS[:-1])
    for layer, (width, kernel, channels) in enumerate(zip(WIDTHS, KERNELS, inputs, strict=True)):
        wanted = {"weight": (width, channels, kernel, kernel), "bias": (width,)}
        for part, shape in wanted.items():
            _require_shape(trunk.get((layer, part)), shape, f"{part} of AlexNet's convolution {layer + 1}")
        _require_shape(heads.get(layer), (1, width, 1, 1), f"linear head {layer + 1}")


def _require_shape(tensor: Tensor | None, shape: tuple[int, ...], what: str) -> None:
    if tensor is None:
        raise InputError(
            f"The LPIPS weights lack the {what}. "
            "Give both AlexNet's trunk and the heads of lpips (weights/v0.1/alex.pth)."
        )
    if tuple(tensor.shape) != shape:
        raise InputError(
            f"The LPIPS weights are not AlexNet's: the {what} has shape {tuple(tensor.shape)}, not {shape}."
        )
