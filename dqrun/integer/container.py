"""The container of a program file: safetensors, with the program's structure as metadata under the format's name.

The structure is JSON, in which a tensor is `[type, size, ...]`, compressed by zlib and encoded in base 85. All tensors
with elements of one byte are in the safetensor `codes`, all others in `numbers`. Both are uint8, one zlib stream each
(RFC 1950, which ends in a checksum), with tensors in the order of the structure, little-endian. `numbers` is divided
into words of 4 bytes and holds first the lowest bytes of all words, then the next ones: bytes with exponents are
similar and compress well together. A safetensor for each tensor would need 60 bytes of name and offset, more than a row
of weights.

The structure's `words` are the numbers of words in both streams. So a reader knows how much to allocate, and refuses
more than MOST_BYTES, before it decompresses anything.
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

from dqrun.errors import ConfigError

FORMAT = "dqrun-program-5"
TYPES = {"i1": torch.int8, "u1": torch.uint8, "f4": torch.float32, "f8": torch.float64}
NAMES = {dtype: name for name, dtype in TYPES.items()}
STREAMS = {1: "codes", 4: "numbers"}
"""The safetensor for words of 1 and of 4 bytes; a float64 is two words."""
MOST_BYTES = 2**27
"""Limit of the bytes of all tensors of a program, and of a compressed program file."""
MOST_TEXT = 2**24
"""Limit of the bytes of the structure as JSON."""
MOST_DIMENSIONS = 3


class Damage(ValueError):
    """A container that `Writer` cannot have written; the message is one line."""


class ForeignFormat(ValueError):
    """A safetensors file that is no program, or one of another version."""


class Writer:
    """Collects tensors; the order of `put` is the order in which `Reader.take` gives them."""

    def __init__(self) -> None:
        self._tensors: dict[int, list[Tensor]] = {width: [] for width in STREAMS}

    def put(self, tensor: Tensor) -> list[Any]:
        """Adds a tensor of one of the TYPES; returns its entry in the structure, [type, size, ...]."""
        width = min(tensor.element_size(), 4)
        self._tensors[width].append(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).view(-1, width))
        return [NAMES[tensor.dtype], *tensor.shape]

    def write(self, structure: dict[str, Any]) -> bytes:
        """The container as bytes; `structure`: plain data for JSON. Raises ConfigError for a program too large."""
        words = [sum(tensor.size(0) for tensor in self._tensors[width]) for width in STREAMS]
        written = json.dumps({"words": words, **structure}, separators=(",", ":"), allow_nan=False).encode()
        if _bytes(words) > MOST_BYTES or len(written) > MOST_TEXT:
            raise ConfigError.rule("program", f"take at most {MOST_BYTES} bytes", max(_bytes(words), len(written)))
        text = zlib.compress(written, 9)
        streams = {STREAMS[width]: _compressed(self._tensors[width], width) for width in STREAMS}
        present = {name: stream for name, stream in streams.items() if stream is not None}
        return save(present, {FORMAT: base64.b85encode(text).decode()})


class Reader:
    """Reads the structure and the tensors of a container.

    Raises Damage for a damaged one, ForeignFormat for another file. Needs a few times the declared memory, which is at
    most MOST_BYTES.
    """

    def __init__(self, data: bytes) -> None:
        if not _is_safetensors(data):
            raise ForeignFormat
        try:
            stored, header = load(data), json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        except (SafetensorError, ValueError, KeyError, RecursionError) as error:
            raise Damage(_first_line(error)) from None
        metadata = header.get("__metadata__", {})
        if FORMAT not in metadata:
            raise ForeignFormat
        try:
            text = base64.b85decode(metadata[FORMAT])
        except ValueError as error:
            raise Damage(_first_line(error)) from None
        self.structure = _parsed(_decompressed(text, MOST_TEXT, "structure"))
        # no checksum covers the header: it must be exactly the header that `Writer` writes for this content
        if save(stored, {FORMAT: base64.b85encode(text).decode()}) != data:
            raise Damage("its header is not as it was written")
        words = self.structure.pop("words", None)
        if not _are_sizes(words) or len(words) != len(STREAMS) or _bytes(words) > MOST_BYTES:
            raise Damage(f"words must be sizes of {len(STREAMS)} streams, {MOST_BYTES} bytes in all")
        if set(stored) != {name for name, count in zip(STREAMS.values(), words, strict=True) if count}:
            raise Damage(f"its tensors must be those of the {words} words that it declares")
        self._parts = {
            width: _elements(stored.get(name), width, count)
            for (width, name), count in zip(STREAMS.items(), words, strict=True)
        }
        self._place = dict.fromkeys(STREAMS, 0)

    def take(self, spec: object) -> Tensor:
        """The next tensor, of type and shape `spec` (see `Writer.put`); raises Damage if there is no such tensor."""
        if not isinstance(spec, list) or not spec or str(spec[0]) not in TYPES or not _are_sizes(spec[1:]):
            raise Damage("a tensor must be [type, size, ...]")
        if len(spec) > 1 + MOST_DIMENSIONS:
            raise Damage(f"a tensor must have at most {MOST_DIMENSIONS} dimensions, got {len(spec) - 1}")
        dtype, shape = TYPES[spec[0]], spec[1:]
        width = min(dtype.itemsize, 4)
        start, count = self._place[width], math.prod(shape) * dtype.itemsize // width
        if count > self._parts[width].size(0) - start:
            left = self._parts[width].size(0) - start
            raise Damage(f"a tensor of {spec} where {left} words of {width} bytes are left")
        rows = self._parts[width][start : start + count]
        self._place[width] = start + count
        whole = rows.clone(memory_format=torch.contiguous_format)  # aligned, and apart from the file's other tensors
        return whole.view(-1).view(dtype).view(shape)

    def require_end(self) -> None:
        """Raises Damage if tensors are left that `take` has not returned."""
        left = sum(part.size(0) - self._place[width] for width, part in self._parts.items())
        if left:
            raise Damage(f"{left} words that no operation has")


def _is_safetensors(data: bytes) -> bool:
    """Whether data begin as safetensors do: the header's length in 8 bytes, then the header, JSON."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def _compressed(tensors: list[Tensor], width: int) -> Tensor | None:
    """Words, uint8 [N, width] each, as a zlib stream: all lowest bytes, all second ones, ...; None for none."""
    rows = [tensor for tensor in tensors if tensor.numel()]
    if not rows:
        return None
    stream, blocks = zlib.compressobj(9, memLevel=9), []
    for i in range(width):  # a zlib block for each byte position, with a Huffman code of its own
        plane = torch.cat([row[:, i] for row in rows]).numpy().tobytes()
        blocks.append(stream.compress(plane) + stream.flush(zlib.Z_BLOCK))
    return torch.frombuffer(bytearray(b"".join(blocks) + stream.flush()), dtype=torch.uint8)


def _elements(stream: Tensor | None, width: int, count: int) -> Tensor:
    """The inverse of `_compressed`: uint8 [count, width]."""
    if stream is None:
        return torch.empty(0, width, dtype=torch.uint8)
    if stream.dtype != torch.uint8:
        raise Damage(f"elements of type {stream.dtype}")
    planes = bytearray(_decompressed(stream.numpy().tobytes(), count * width, STREAMS[width]))
    if len(planes) != count * width:
        raise Damage(f"{STREAMS[width]} must be {count * width} bytes, got {len(planes)}")
    return torch.frombuffer(planes, dtype=torch.uint8).view(width, -1).t()


def _decompressed(data: bytes, most: int, what: str) -> bytes:
    """The content of one whole zlib stream of at most `most` bytes."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, most + 1)
        if len(content) <= most and not stream.eof:
            content += stream.decompress(stream.unconsumed_tail, most + 1 - len(content))
    except zlib.error as error:
        raise Damage(_first_line(error)) from None
    if len(content) > most or not stream.eof or stream.unused_data:
        raise Damage(f"{what} must be one whole stream of at most {most} bytes")
    return content


def _parsed(text: bytes) -> dict[str, Any]:
    """The structure, a JSON object without NaN and infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        structure = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Damage(_first_line(error)) from None
    if not isinstance(structure, dict):
        raise Damage("its structure is no JSON object")
    return structure


def _are_sizes(values: object) -> bool:
    """Whether they are a list of whole numbers that may be sizes."""
    return isinstance(values, list) and all(type(size) is int and 0 <= size <= MOST_BYTES for size in values)


def _bytes(words: list[int]) -> int:
    return sum(width * count for width, count in zip(STREAMS, words, strict=True))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
