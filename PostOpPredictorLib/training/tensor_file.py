"""Writing one safetensors file row by row, so that it may be larger than memory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DTYPES = {"uint8": "U8", "int8": "I8", "int32": "I32", "float16": "F16", "float32": "F32"}


class TensorFile:
    """Tensors of known shape and type, whose first axis is filled in pieces in any order; a context manager.

    Written with plain ``write`` calls: a full disk is an ``OSError``, not a crash as with a memory map.
    """

    def __init__(
        self, path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
    ) -> None:
        """``tensors``: name -> (numpy dtype name, shape)."""
        self._tensors = {name: (np.dtype(dtype), shape) for name, (dtype, shape) in tensors.items()}
        # the widest types first, so that every tensor starts aligned
        order = sorted(self._tensors, key=lambda name: (-self._tensors[name][0].itemsize, name))
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        self._starts: dict[str, int] = {}
        end = 0
        for name in order:
            dtype, shape = self._tensors[name]
            start, end = end, end + dtype.itemsize * math.prod(shape)
            self._starts[name] = start
            header[name] = {"dtype": _DTYPES[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self._data = 8 + len(text)
        self._file = path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)
        self._file.truncate(self._data + end)

    def write(self, name: str, first_row: int, rows: NDArray[Any]) -> None:
        """Put ``rows`` (n, ...), of the declared type and row shape, at ``first_row`` of the tensor."""
        dtype, shape = self._tensors[name]
        if rows.dtype != dtype or rows.shape[1:] != shape[1:] or first_row + len(rows) > shape[0]:
            raise ValueError(
                f"{name} takes rows of {dtype} {shape[1:]}, not {len(rows)} of {rows.dtype} {rows.shape[1:]}."
            )
        self._file.seek(self._data + self._starts[name] + first_row * dtype.itemsize * math.prod(shape[1:]))
        self._file.write(np.ascontiguousarray(rows).data)

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
