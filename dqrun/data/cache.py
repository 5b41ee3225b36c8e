"""The cache of datasets read from raw files: tensors with a checksum, and the digests of their raw files."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from dqrun.data.arrays import GraphArrays
from dqrun.durable import write_bytes

log = logging.getLogger(__name__)

FILE = "dqrun-data.safetensors"
SCHEMA = 2  # version of the arrays; for another one the raw files are read again
_SUM = 64  # hexadecimal digits of the checksum at the beginning


@dataclass(frozen=True)
class Cached:
    """The content of a cache file."""

    raw: dict[str, str]  # SHA-256 of each raw file, by name
    arrays: GraphArrays


def read_cache(path: Path) -> Cached | None:
    """The content of a cache file; None if there is none, or if it is damaged, which is logged."""
    try:
        blob = path.read_bytes()
    except OSError:
        return None
    try:
        return _decoded(blob)
    except ValueError as error:
        log.warning("%s is damaged (%s): reading the raw files again", path, error)
        return None


def _decoded(blob: bytes) -> Cached | None:
    checksum, body = blob[:_SUM], blob[_SUM:]
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise ValueError("its checksum does not fit")
    try:
        (length,) = struct.unpack("<Q", body[:8])
        known: dict[str, Any] = json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["dqrun"])
        if known["schema"] != SCHEMA:
            return None
        tensors = load(body)
        arrays = GraphArrays(
            **tensors,
            num_classes=int(known["num_classes"]),
            warnings=tuple(known["warnings"]),
            class_names=tuple(known["class_names"]),
        )
        raw = {str(name): str(digest) for name, digest in known["raw"].items()}
    except Exception as error:  # anything may be raised for a file with a valid checksum that dqrun did not write
        raise ValueError(f"its content is malformed: {type(error).__name__}") from None
    return Cached(raw, arrays)


def write_cache(path: Path, cached: Cached) -> None:
    """Replaces a cache file. Raises OSError if that fails."""
    arrays = cached.arrays
    named = {field.name: getattr(arrays, field.name) for field in fields(arrays)}
    tensors = {name: value.contiguous() for name, value in named.items() if isinstance(value, Tensor)}
    known = {"schema": SCHEMA, "raw": cached.raw}
    known |= {name: named[name] for name in ("num_classes", "warnings", "class_names")}
    body = save(tensors, {"dqrun": json.dumps(known)})
    write_bytes(path, hashlib.sha256(body).hexdigest().encode() + body)
