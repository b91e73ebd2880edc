"""Whether a compressed file is all there: ITK reads a NIfTI file that was cut short and fills the rest with zeros."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

_PIECE = 1 << 22
_MOST_EXTENSIONS = 1 << 16


def is_whole_gzip(path: Path) -> bool:
    """Whether ``path`` decompresses to its end and its own checksum (CRC-32) is right."""
    stream = zlib.decompressobj(wbits=31)
    try:
        data = path.read_bytes()
        while data and not stream.eof:
            stream.decompress(data, _PIECE)
            data = stream.unconsumed_tail
        return stream.eof
    except (OSError, zlib.error):
        return False


def has_gzip_end(path: Path, size: int) -> bool:
    """Whether the last bytes of ``path`` say that ``size`` bytes (or some NIfTI extensions more) were compressed.

    Quick, since nothing is decompressed: tells a file that was cut short, but not one that is damaged within.
    """
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) < 18:
            return False
        file.seek(-4, os.SEEK_END)
        return size <= int.from_bytes(file.read(4), "little") <= size + _MOST_EXTENSIONS
