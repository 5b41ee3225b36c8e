"""The container of a program file: safetensors, with the program's structure as metadata under the format's name.

The structure is JSON, in which a tensor is `[type, size, ...]`; it goes through zlib and base 85. All tensors of one
byte an element lie in the safetensor `codes`, all wider ones in `numbers`, uint8, each one zlib stream (RFC 1950, which
ends in a checksum), in the order in which the structure names them, little-endian. Of numbers, as words of 4 bytes,
first all lowest bytes, then the next ones: the bytes with exponents are alike and become short that way. A safetensor
for each tensor would cost 60 bytes of name and place, more than a row of weights.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

FORMAT = "dqrun-program-2"
TYPES = {"i1": torch.int8, "u1": torch.uint8, "f4": torch.float32, "f8": torch.float64}
NAMES = {dtype: name for name, dtype in TYPES.items()}
STREAMS = {1: "codes", 4: "numbers"}
"""The safetensor of words of so many bytes; a float64 is two words."""
DAMAGE = (SafetensorError, zlib.error, ValueError, TypeError, KeyError)
"""What `Reader` raises for a damaged container."""


class ForeignFormat(ValueError):
    """A safetensors file that is no program, or one of another version."""


class Writer:
    """Collects tensors; the order of `put` is the order in which `Reader.take` gives them."""

    def __init__(self) -> None:
        self._tensors: dict[int, list[Tensor]] = {width: [] for width in STREAMS}

    def put(self, tensor: Tensor) -> list[Any]:
        """Adds a tensor of one of the TYPES; returns how the structure names it."""
        width = min(tensor.element_size(), 4)
        self._tensors[width].append(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).view(-1, width))
        return [NAMES[tensor.dtype], *tensor.shape]

    def write(self, structure: dict[str, Any]) -> bytes:
        """The container as bytes; `structure` is plain data for JSON."""
        text = zlib.compress(json.dumps(structure, separators=(",", ":")).encode(), 9)
        streams = {STREAMS[width]: _compressed(self._tensors[width], width) for width in STREAMS}
        present = {name: stream for name, stream in streams.items() if stream is not None}
        return save(present, {FORMAT: base64.b85encode(text).decode()})


class Reader:
    """Gives the structure and the tensors of a container; raises one of DAMAGE, ForeignFormat for another file."""

    def __init__(self, data: bytes) -> None:
        if not _is_safetensors(data):
            raise ForeignFormat
        stored = load(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
        if FORMAT not in metadata:
            raise ForeignFormat
        text = base64.b85decode(metadata[FORMAT])
        self.structure: dict[str, Any] = json.loads(zlib.decompress(text))
        # no checksum guards the header: whatever else could stand there for the same content was not written here
        if save(stored, {FORMAT: base64.b85encode(text).decode()}) != data:
            raise ValueError("its header is not as it was written")
        self._parts = {width: _elements(stored.get(STREAMS[width]), width) for width in STREAMS}
        self._place = dict.fromkeys(STREAMS, 0)

    def take(self, spec: list[Any]) -> Tensor:
        """The next tensor, of the type and shape that `put` has named."""
        dtype, shape = TYPES[spec[0]], spec[1:]
        width = min(dtype.itemsize, 4)
        start, count = self._place[width], math.prod(shape) * dtype.itemsize // width
        rows = self._parts[width][start : start + count]
        if not all(size >= 0 for size in shape) or rows.size(0) != count:
            raise ValueError(f"a tensor of {spec} where {rows.size(0)} words of {width} bytes are left")
        self._place[width] = start + count
        whole = rows.clone(memory_format=torch.contiguous_format)  # aligned, and apart from the file's other tensors
        return whole.view(-1).view(dtype).view(shape)

    def require_end(self) -> None:
        """Raises ValueError where tensors are left that nothing has taken."""
        left = sum(part.size(0) - self._place[width] for width, part in self._parts.items())
        if left:
            raise ValueError(f"{left} words that no operation has")


def _is_safetensors(data: bytes) -> bool:
    """Whether data begin as safetensors do: the header's length in 8 bytes, then the header, JSON."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def _compressed(tensors: list[Tensor], width: int) -> Tensor | None:
    """Words, uint8 [N, width] each, as a zlib stream: all lowest bytes, all second ones, ...; None for none."""
    rows = [tensor for tensor in tensors if tensor.numel()]
    if not rows:
        return None
    stream, blocks = zlib.compressobj(9, memLevel=9), []
    for i in range(width):  # a block of its own for each, with the code that suits its bytes
        plane = torch.cat([row[:, i] for row in rows]).numpy().tobytes()
        blocks.append(stream.compress(plane) + stream.flush(zlib.Z_BLOCK))
    return torch.frombuffer(bytearray(b"".join(blocks) + stream.flush()), dtype=torch.uint8)


def _elements(stream: Tensor | None, width: int) -> Tensor:
    """The inverse of `_compressed`: uint8 [words, width]."""
    if stream is None:
        return torch.empty(0, width, dtype=torch.uint8)
    if stream.dtype != torch.uint8:
        raise ValueError(f"elements of type {stream.dtype}")
    planes = bytearray(zlib.decompress(stream.numpy().tobytes()))
    return torch.frombuffer(planes, dtype=torch.uint8).view(width, -1).t()
