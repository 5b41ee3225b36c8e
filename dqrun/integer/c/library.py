"""The parts of a C library: sizes, buffers and the functions of its operations, ready for the templates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dqrun.errors import ConfigError
from dqrun.integer.c.constants import Constants
from dqrun.kernels.integer import CodeGrid

MOST_DEGREE = 1024
"""Default of the largest degree in the table of d^-1/2, which has 4 bytes per degree."""
MOST = 2**24
"""The most nodes and edges: larger graphs need too much static memory, and positions beyond int32."""


@dataclass(frozen=True)
class Limits:
    """The largest graph that a library accepts.

    `degree`: edges into one node, including its self-loop, for rows scaled by degrees; None: see `at_most`.
    """

    nodes: int
    edges: int
    degree: int | None = None

    def __post_init__(self) -> None:
        for name in ("nodes", "edges", "degree"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MOST:
                raise ConfigError.rule(f"--max-{name}", f"be in 1..{MOST}", value)

    def at_most(self, self_loops: bool) -> int:
        """The largest degree: `degree`, or if that is None the number of all edges, at most MOST_DEGREE."""
        return self.degree or min(self.edges + self_loops, MOST_DEGREE)


@dataclass(frozen=True)
class Buffer:
    """A value of codes, with one row per node or one for the graph. `offset`: its first byte in the library's memory;
    None for the caller's input."""

    site: str
    name: str
    channels: int
    grid: CodeGrid
    per_graph: bool
    offset: int | None

    @property
    def row_bytes(self) -> int:
        return self.grid.row_bytes(self.channels)

    @property
    def form(self) -> int:
        """Bits of storage of a code."""
        return self.grid.storage_bits

    @property
    def macro(self) -> str:
        """The prefix of the names of its sizes."""
        return self.name.upper()


@dataclass(frozen=True)
class Product:
    """One product of codes and a weight: C expressions."""

    source: Buffer
    weight: str
    inputs: int
    form: int  # bits of storage of a weight
    start: str  # initial value of a sum


@dataclass(frozen=True)
class Finish:
    """C expressions of an epilogue, per channel c; "" for an absent part."""

    mantissa: str
    shift: str
    fraction: str
    rows: str = ""  # root or reciprocal: the factor of the row
    second: tuple[str, str] | None = None
    bias: str = ""
    pre_relu: bool = False
    falling: str = ""
    offset: str = ""
    activation: str = "none"
    elu: tuple[str, ...] = ()
    shortcut: tuple[str, str] | None = None
    residual: Buffer | None = None


@dataclass(frozen=True)
class Step:
    """One operation, whose template is `kind`.

    `per_graph`: its result has one row for the graph, else one for each node. `takes`: buffers that its C function
    reads. `numbers`: other values for its template.
    """

    kind: str
    site: str
    name: str
    what: str
    channels: int
    constants: Constants
    source: Buffer
    out: Buffer | None
    per_graph: bool
    finish: Finish | None = None
    products: tuple[Product, ...] = ()
    takes: tuple[Buffer, ...] = ()
    numbers: dict[str, object] = field(default_factory=dict)

    @property
    def sizes(self) -> str:
        """The C name of its number of channels."""
        return f"{self.out.macro}_CHANNELS" if self.out is not None else f"{self.name.upper()}_CHANNELS"


@dataclass(frozen=True)
class Needs:
    """Which helper functions the steps call.

    `dots`: the pairs (bits of storage of codes, of weights) of products. `get_packed`, `put_packed`: bits of storage,
    below 8, of codes that are read, or written, one by one.
    """

    dots: tuple[tuple[int, int], ...]
    rows: frozenset[str]
    scale: bool
    codes: bool
    power: bool
    elu: bool
    attention: bool
    get_packed: tuple[int, ...]
    put_packed: tuple[int, ...]

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Needs:
        """The functions that these steps need."""
        ends = [step.finish for step in steps if step.finish is not None]
        read = [end.residual for end in ends if end.residual is not None]
        read += [step.source for step in steps if step.kind == "attention" or reads_each_code(step)]
        written = [step.out for step in steps if step.out is not None and step.kind != "lookup"]
        elu, attention = any(end.elu for end in ends), any(step.kind == "attention" for step in steps)
        return cls(
            dots=tuple(sorted({(p.source.form, p.form) for step in steps for p in step.products})),
            rows=frozenset(end.rows for end in ends if end.rows),
            scale=elu or any(not end.rows or end.residual for end in ends),
            codes=bool(written),
            power=elu or attention,
            elu=elu,
            attention=attention,
            get_packed=narrow_forms(read),
            put_packed=narrow_forms(written),
        )


def narrow_forms(buffers: Iterable[Buffer]) -> tuple[int, ...]:
    """The distinct bits of storage below 8 of values, ascending: several codes share a byte."""
    return tuple(sorted({buffer.form for buffer in buffers} - {8}))


def reads_each_code(step: Step) -> bool:
    """Whether a step reads single codes of its source, for a node's own row or for a maximum."""
    return bool(step.numbers.get("own")) or step.numbers.get("mode") == "max"
