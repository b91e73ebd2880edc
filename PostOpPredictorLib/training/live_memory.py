"""How much memory a computation would take, from the shapes alone: nothing is allocated and nothing computed."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive: ``live`` now and ``peak``, the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.count(tensor)
        return made

    def count(self, tensor: Tensor) -> None:
        """Take a tensor's storage into account until it is freed; a view of a known one costs nothing."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


@contextlib.contextmanager
def norms_as_on_a_gpu() -> Iterator[None]:
    """Autocast's rule for GPUs on the CPU, where norms would stay in half precision: they take and give float32."""
    names = ("group_norm", "layer_norm")
    originals = {name: getattr(functional, name) for name in names}

    def in_float32(original: Any) -> Any:
        def norm(given: Tensor, *rest: Any, **options: Any) -> Tensor:
            return original(given.float() if torch.is_autocast_enabled("cpu") else given, *rest, **options)

        return norm

    try:
        for name in names:
            setattr(functional, name, in_float32(originals[name]))
        yield
    finally:
        for name in names:
            setattr(functional, name, originals[name])


@contextlib.contextmanager
def imagined() -> Iterator[LiveMemory]:
    """Tensors made within have shapes and types but no values; what they would take is counted."""
    with norms_as_on_a_gpu(), FakeTensorMode(allow_non_fake_inputs=True), LiveMemory() as memory:
        yield memory
