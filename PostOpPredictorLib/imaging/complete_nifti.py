"""Whether a NIfTI file is all there: ITK reads one that was cut short and fills the rest with zeros."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

_PIECE = 1 << 20
_HEADER_BYTES = 544
_GZIP_MARK = b"\x1f\x8b"


def is_complete_nifti(path: Path) -> bool:
    """Whether the voxels that the header announces are in the file, and a compressed file ends with the right checksum.

    For a header with a file of voxels beside it (.hdr and .img) both are looked at.
    """
    try:
        if ".img" in path.suffixes or ".hdr" in path.suffixes:
            voxels, header_file = (Path(str(path).replace(*names)) for names in ((".hdr", ".img"), (".img", ".hdr")))
            _, voxel_bytes = _announced(_beginning_and_length(header_file)[0])
            return _beginning_and_length(voxels)[1] >= voxel_bytes
        header, length = _beginning_and_length(path)
        offset, voxel_bytes = _announced(header)
        return length >= offset + voxel_bytes
    except (OSError, zlib.error, EOFError, struct.error):
        return False


def _beginning_and_length(path: Path) -> tuple[bytes, int]:
    header, length = b"", 0
    for piece in _content(path):
        header += piece[: max(0, _HEADER_BYTES - len(header))]
        length += len(piece)
    return header, length


def _content(path: Path) -> Iterator[bytes]:
    """The bytes of the file, uncompressed; raises ``EOFError`` or ``zlib.error`` when the stream is broken."""
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP_MARK
        file.seek(0)
        stream = zlib.decompressobj(wbits=31)
        while data := file.read(_PIECE):
            if compressed and stream.eof:
                stream = zlib.decompressobj(wbits=31)  # parts one after the other are legal gzip
            yield stream.decompress(data) if compressed else data
        if compressed and not stream.eof:
            raise EOFError


def _announced(header: bytes) -> tuple[int, int]:
    """Where the voxels begin and how many bytes they take, from a NIfTI-1 or NIfTI-2 header of either byte order."""
    for order in "<>":
        kind = struct.unpack_from(order + "i", header)[0]
        if kind == 348:
            dims, bits = struct.unpack_from(order + "8h", header, 40), struct.unpack_from(order + "h", header, 72)[0]
            offset = int(struct.unpack_from(order + "f", header, 108)[0])
        elif kind == 540:
            dims, bits = struct.unpack_from(order + "8q", header, 16), struct.unpack_from(order + "h", header, 14)[0]
            offset = struct.unpack_from(order + "q", header, 168)[0]
        else:
            continue
        count = 1
        for size in dims[1 : 1 + dims[0]]:
            count *= max(1, size)
        return offset, count * bits // 8
    raise EOFError
