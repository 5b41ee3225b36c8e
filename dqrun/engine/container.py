"""The container of a program file: a line with the format, then one zlib stream (RFC 1950, which ends in a checksum).

The stream holds a line of JSON, the program's structure, in which a tensor is `[type, size, ...]`; then the elements of
all tensors of 1, of 4 and of 8 bytes an element, in the order in which the structure names them, little-endian. Of
wider elements first all lowest bytes, then the next ones: the bytes with exponents are alike and become short that way.
"""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import torch
from torch import Tensor

MAGIC = b"dqrun-program-2\n"
TYPES = {"i1": torch.int8, "u1": torch.uint8, "f4": torch.float32, "f8": torch.float64}
NAMES = {dtype: name for name, dtype in TYPES.items()}
WIDTHS = (1, 4, 8)


class Writer:
    """Collects tensors; the order of `put` is the order in which `Reader.take` gives them."""

    def __init__(self) -> None:
        self._tensors: dict[int, list[Tensor]] = {width: [] for width in WIDTHS}

    def put(self, tensor: Tensor) -> list[Any]:
        """Adds a tensor of one of the TYPES; returns how the structure names it."""
        self._tensors[tensor.element_size()].append(tensor.detach().cpu().contiguous().view(-1))
        return [NAMES[tensor.dtype], *tensor.shape]

    def write(self, structure: dict[str, Any]) -> bytes:
        """The container as bytes; `structure` is plain data for JSON."""
        planes = [plane for width in WIDTHS for plane in _planes(self._tensors[width], width)]
        counts = [sum(tensor.numel() for tensor in self._tensors[width]) for width in WIDTHS]
        head = json.dumps({**structure, "counts": counts}, separators=(",", ":")) + "\n"
        stream = zlib.compressobj(9)
        # a block of its own for each, with the code that suits its bytes
        blocks = (stream.compress(part) + stream.flush(zlib.Z_BLOCK) for part in (head.encode(), *planes))
        return MAGIC + b"".join(blocks) + stream.flush()


class Reader:
    """Gives the structure and the tensors of a container; raises ValueError or zlib.error for bytes that are none."""

    def __init__(self, data: bytes) -> None:
        if not data.startswith(MAGIC):
            raise ValueError(f"what does not begin with {MAGIC!r} is no container")
        head, newline, planes = zlib.decompress(data.removeprefix(MAGIC)).partition(b"\n")
        self.structure: dict[str, Any] = json.loads(head)
        counts = self.structure.pop("counts")
        sizes = [width * count for width, count in zip(WIDTHS, counts, strict=True)]
        if min(sizes) < 0 or sum(sizes) != len(planes):
            raise ValueError(f"{len(planes)} bytes of tensors where {sum(sizes)} are announced")
        parts = torch.split(torch.frombuffer(bytearray(planes + newline), dtype=torch.uint8)[:-1], sizes)
        self._parts = {width: part.view(width, -1).t() for width, part in zip(WIDTHS, parts, strict=True)}
        self._place = dict.fromkeys(WIDTHS, 0)

    def take(self, spec: list[Any]) -> Tensor:
        """The next tensor, of the type and shape that `put` has named."""
        dtype, shape = TYPES[spec[0]], spec[1:]
        width, count = dtype.itemsize, math.prod(shape)
        start = self._place[width]
        rows = self._parts[width][start : start + count]
        if not all(size >= 0 for size in shape) or rows.size(0) != count:
            raise ValueError(f"a tensor of {shape} elements where {rows.size(0)} are left")
        self._place[width] = start + count
        # a copy that is aligned, and apart from the file's other tensors
        whole: Tensor = rows.clone(memory_format=torch.contiguous_format)
        elements: Tensor = whole.view(-1).view(dtype)
        return elements.view(shape)

    def require_end(self) -> None:
        """Raises ValueError where tensors are left that nothing has taken."""
        left = sum(part.size(0) - self._place[width] for width, part in self._parts.items())
        if left:
            raise ValueError(f"{left} elements that no operation has")


def _planes(tensors: list[Tensor], width: int) -> list[bytes]:
    """The elements of flat tensors, byte by byte: all lowest bytes, all second ones, ..."""
    rows = [tensor.view(torch.uint8).view(-1, width) for tensor in tensors]
    return [torch.cat([row[:, i] for row in rows]).numpy().tobytes() for i in range(width)] if rows else []
