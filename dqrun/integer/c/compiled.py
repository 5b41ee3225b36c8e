"""Compiles an exported library with this machine's C compiler and calls it, to compare it with the Python program."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dqrun.errors import DataError
from dqrun.integer.c.writing import Library
from dqrun.kernels.integer import Codes

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")
TRACE = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)


def find_compiler() -> str | None:
    """The C compiler of the environment variable CC, else cc, gcc or clang; None if none is found."""
    words = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((found for word in words if word and (found := shutil.which(word))), None)


@dataclass(frozen=True)
class Compiled:
    """The library in `folder` as a shared object of this machine, with its trace."""

    library: Library
    folder: Path
    compiler: str
    flags: Sequence[str] = FLAGS

    @cached_property
    def loaded(self) -> ctypes.CDLL:
        """The shared object; raises DataError with the first line of the compiler's message if compilation fails."""
        name, shared = self.library.name, self.folder / f"{self.library.name}.so"
        macros = [f"-D{name.upper()}_{option}" for option in ("TRACE", "FLOAT")]
        command = [self.compiler, *self.flags, *macros, "-shared", "-fPIC", "-o", str(shared), f"{name}.c"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
            raise DataError(f"{self.compiler} refuses {name}.c ({said})")
        return ctypes.CDLL(str(shared))

    def prepared(self, x: Tensor, edge_index: Tensor) -> Callable[[], Tensor]:
        """A function that runs the library on one graph and returns logits int32 [1 or N, C].

        x: packed or plain codes uint8 [N, row bytes], or categories int64 [N]; edge_index: int64 [2, E]. The function
        raises DataError if the library's status is not 0.
        """
        signature, function = self.library.program.signature, self.loaded[f"{self.library.name}_run"]
        given = np.ascontiguousarray(x.numpy().astype(np.uint8 if x.dtype == torch.uint8 else np.int32))
        ends = [np.ascontiguousarray(end.astype(np.int32)) for end in edge_index.numpy()]
        rows = 1 if signature.graph_level else x.size(0)
        logits = np.zeros((rows, signature.out_channels), dtype=np.int32)
        arrays = (given, *ends, logits)
        codes, source, target, result = (array.ctypes.data_as(ctypes.c_void_p) for array in arrays)

        def call() -> Tensor:
            status = function(codes, len(given), source, target, len(ends[0]), result)
            if status:
                raise DataError(f"{self.library.name}_run gives status {status}")
            return torch.from_numpy(logits)

        return call

    def run(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Logits of one graph; see `prepared`."""
        return self.prepared(x, edge_index)()

    def trace(self, x: Tensor, edge_index: Tensor) -> dict[str, Tensor]:
        """Runs one graph as `run`; the result of each operation by its site: stored codes uint8 [rows, row bytes], and
        logits int32."""
        found: dict[str, Tensor] = {}

        def keep(site: bytes, codes: int, rows: int, row_bytes: int) -> None:
            data = ctypes.string_at(codes, rows * row_bytes)
            found[site.decode()] = torch.tensor(list(data), dtype=torch.uint8).view(rows, row_bytes)

        callback, place = TRACE(keep), ctypes.c_void_p.in_dll(self.loaded, f"{self.library.name}_trace")
        place.value = ctypes.cast(callback, ctypes.c_void_p).value
        try:
            found["logits"] = self.run(x, edge_index)
        finally:
            place.value = None
        return found

    def quantize(self, x: Tensor) -> Tensor:
        """Codes of features float32 [N, C], computed by the library, in the form that `run` takes."""
        row_bytes = next(iter(self.library.buffers.values())).row_bytes
        codes, features = np.zeros((x.size(0), row_bytes), dtype=np.uint8), np.ascontiguousarray(x.numpy())
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (features, codes)]
        self.loaded[f"{self.library.name}_quantize"](pointers[0], x.size(0), pointers[1])
        return torch.from_numpy(codes)


def stored(value: Codes | Tensor) -> Tensor:
    """A value of the Python program in the form of the library's trace."""
    return value.data if isinstance(value, Codes) else value


def own_edges(edge_index: Tensor, self_loops: bool) -> Tensor:
    """The edges of a structure without the self-loops that a program added, int64 [2, E]."""
    return edge_index[:, edge_index[0] != edge_index[1]] if self_loops else edge_index
