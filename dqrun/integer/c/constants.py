"""Constants in C: arrays, macros, names."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

WIDTH = 110
BYTES = {"int8_t": 1, "uint8_t": 1, "uint16_t": 2, "int32_t": 4, "int64_t": 8}


@dataclass(frozen=True)
class Array:
    """A constant array; `shape` has one or two sizes. `what`: its comment in C."""

    name: str
    type: str
    shape: tuple[int, ...]
    values: Tensor
    what: str

    @property
    def nbytes(self) -> int:
        return BYTES[self.type] * self.values.numel()

    @property
    def dimensions(self) -> str:
        """`[64][1433]`"""
        return "".join(f"[{size}]" for size in self.shape)

    def lines(self) -> Iterator[str]:
        """The text between the outer braces."""
        rows = self.values.view(1, -1) if len(self.shape) == 1 else self.values
        for row in rows.tolist():
            text = textwrap.fill(", ".join(map(str, row)), WIDTH, initial_indent="    ", subsequent_indent="    ")
            yield text if len(self.shape) == 1 else f"    {{ {text.strip()} }},"


@dataclass(frozen=True)
class Macro:
    """`#define NAME VALUE`, with a comment."""

    name: str
    value: int
    what: str


@dataclass
class Constants:
    """The named numbers of one operation; their names begin with `prefix`."""

    prefix: str
    arrays: list[Array] = field(default_factory=list)
    macros: list[Macro] = field(default_factory=list)

    def macro(self, name: str, value: int, what: str) -> str:
        """Adds a number; returns its name in C."""
        self.macros.append(Macro(f"{self.prefix}_{name}".upper(), value, what))
        return self.macros[-1].name

    def numbers(self, name: str, type: str, values: Tensor, what: str) -> str:
        """Adds one number per channel c, or one for all channels; returns the C expression that reads it."""
        if values.numel() == 1:
            return self.macro(name, int(values), what)
        return f"{self.array(name, type, values, what)}[c]"

    def array(self, name: str, type: str, values: Tensor, what: str) -> str:
        """Adds an array of one or two dimensions; returns its name in C."""
        self.arrays.append(Array(f"{self.prefix}_{name}", type, tuple(values.shape), values, what))
        return self.arrays[-1].name

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)


RESERVED = frozenset(
    (
        *("auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern"),
        *("float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed"),
        *("sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while"),
        *("memory", "row_start", "neighbour", "sums", "weighted", "source_score", "target_score", "head_sums"),
        *("codes", "categories", "source", "target", "num_nodes", "num_edges", "status", "scale", "root", "elu"),
    )
)
"""Keywords of C, and names that the library defines."""


def identifiers(sites: Iterable[str]) -> dict[str, str]:
    """A valid C identifier for each site; all differ, also without regard to case."""
    found: dict[str, str] = {}
    for site in sites:
        name = re.sub(r"\W", "_", site)
        name = f"n{name}" if name[0].isdigit() else name
        while name in RESERVED or name.upper() in (other.upper() for other in found.values()):
            name += "_"
        found[site] = name
    return found
