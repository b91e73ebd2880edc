"""Where networks run: the names of the option ``--device``."""

from __future__ import annotations

import torch

from ..errors import InputError


def chosen_device(name: str) -> torch.device:
    """The device called "cpu", "cuda" or "mps", or for "auto" a GPU of CUDA where there is one, else the CPU.

    Raises ``InputError`` when this computer does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(name, False):
        raise InputError(f"There is no device '{name}' on this computer. Choose --device cpu, or auto.")
    return torch.device(name)
