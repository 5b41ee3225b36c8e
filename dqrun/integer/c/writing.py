"""Writes the C library of a program from templates, and computes its use of flash and memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2
import torch

from dqrun.durable import write_text
from dqrun.errors import ConfigError
from dqrun.integer.c.constants import Constants, identifiers
from dqrun.integer.c.library import Buffer, Limits, Needs, Step
from dqrun.integer.c.memory import Lifetime, place
from dqrun.integer.c.steps import make_step
from dqrun.integer.fixed import prepare
from dqrun.integer.operations import (
    Aggregate,
    Attention,
    Linear,
    Lookup,
    Quantize,
    Readout,
    inputs,
    result_channels,
    result_grid,
)
from dqrun.integer.program import Program
from dqrun.kernels.integer import CodeGrid
from dqrun.kernels.integer.fixed import inverse_root
from dqrun.kernels.integer.fixed_numbers import POWER

TEMPLATES = Path(__file__).parent / "templates"
FILES = {"library.h.j2": "{}.h", "library.c.j2": "{}.c", "main.c.j2": "main.c", "CMakeLists.txt.j2": "CMakeLists.txt"}


@dataclass(frozen=True)
class Library:
    """A fixed-point program as C for graphs up to `limits`; its public C names begin with `name`.

    Raises ConfigError, in one line, for a program without C form, a `name` that is not of lower-case letters, digits
    and _ with a letter first, and limits beyond those of the program's int32 sums.
    """

    program: Program
    limits: Limits
    name: str

    def __post_init__(self) -> None:
        if self.program.epilogue != "fixed":
            raise ConfigError.rule("epilogue", "be fixed for the C export", self.program.epilogue)
        if re.fullmatch(r"[a-z][a-z0-9_]{0,62}", self.name) is None:
            raise ConfigError.rule("--name", "be lower-case letters, digits and _, a letter first", self.name)
        signature = self.program.signature
        for field, value, most in (
            ("--max-nodes", self.limits.nodes, signature.size_limit),
            ("--max-edges", self.limits.edges, signature.degree_limit - 1),
        ):
            if value > most:
                raise ConfigError.rule(field, f"be at most {most} for this program's codes", value)
        self.steps  # noqa: B018 - raises here for an operation without C form

    @cached_property
    def buffers(self) -> dict[str, Buffer]:
        """All values of codes by site; the caller provides the input of a program of float features, as codes."""
        offsets, _ = self._placed
        names = identifiers(operation.target for operation in self.program.operations)
        found, per_graph = {}, False
        for operation in self.program.operations:
            per_graph = per_graph or isinstance(operation, Readout)
            site, grid = operation.target, result_grid(operation)
            if isinstance(grid, CodeGrid):
                found[site] = Buffer(site, names[site], result_channels(operation), grid, per_graph, offsets.get(site))
        return found

    @cached_property
    def steps(self) -> list[Step]:
        """The operations that C runs, in order."""
        names = identifiers(operation.target for operation in self.program.operations)
        fixed = [step for step in prepare(self.program.operations) if not isinstance(step.operation, Quantize)]
        return [make_step(each, self.buffers, names[each.operation.target]) for each in fixed]

    @cached_property
    def _placed(self) -> tuple[dict[str, int], int]:
        """Offsets of the values in the library's memory, and the size of this memory in bytes."""
        operations = self.program.operations
        last = {name: i for i, operation in enumerate(operations) for name in inputs(operation)}
        sites, lives, rows = [], [], self.limits.nodes
        for i, operation in enumerate(operations):
            rows = 1 if isinstance(operation, Readout) else rows
            grid = result_grid(operation)
            if grid is not None and not isinstance(operation, Quantize):
                sites.append(operation.target)
                size = rows * grid.row_bytes(result_channels(operation))
                lives.append(Lifetime(size, i, last[operation.target]))
        offsets, size = place(lives)
        return dict(zip(sites, offsets, strict=True)), size

    @property
    def memory_bytes(self) -> int:
        """Bytes of the library's memory for values of codes."""
        return max(self._placed[1], 1)

    @property
    def reads_edges(self) -> bool:
        return (
            any(isinstance(operation, Aggregate | Attention) for operation in self.program.operations)
            or self.needs_root
        )

    @property
    def needs_root(self) -> bool:
        """Whether rows are scaled by d^-1/2; the library then has a table of d^-1/2, and a largest degree."""
        scaled = (op for op in self.program.operations if isinstance(op, Linear | Aggregate))
        return any(operation.degree_scale for operation in scaled)

    @property
    def max_degree(self) -> int:
        return self.limits.at_most(self.program.self_loops)

    @property
    def edge_slots(self) -> int:
        """Number of edges that the library stores: the caller's, and one self-loop per node if layers need them."""
        return self.limits.edges + self.limits.nodes * self.program.self_loops

    @property
    def index_type(self) -> str:
        """The C type of node indices in memory."""
        return "uint16_t" if self.limits.nodes <= 1 << 16 else "int32_t"

    @cached_property
    def roots(self) -> Constants:
        """The table of d^-1/2."""
        made = Constants("inverse_root")
        mantissas = torch.tensor([inverse_root(d)[0] for d in range(self.max_degree + 1)])
        made.array("table", "int32_t", mantissas, "d^-1/2 = table[d] / 2^(30 + floor(log4(d)))")
        return made

    @property
    def attentions(self) -> list[Attention]:
        return [operation for operation in self.program.operations if isinstance(operation, Attention)]

    @property
    def averages_heads(self) -> bool:
        """Whether an attention computes the mean of its heads."""
        return any(not attention.concat for attention in self.attentions)

    @property
    def flash_bytes(self) -> int:
        """Bytes of constant arrays, without machine code."""
        tables = self.roots.nbytes if self.needs_root else 0
        return tables + sum(step.constants.nbytes for step in self.steps)

    @property
    def ram_bytes(self) -> int:
        """Bytes of static memory, without the caller's input and logits."""
        index = 2 if self.index_type == "uint16_t" else 4
        edges = 4 * (self.limits.nodes + 1) + index * self.edge_slots if self.reads_edges else 0
        return self.memory_bytes + edges + self.scratch_bytes

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the sums of a row, and of attention's scores and weighted sums."""
        heads = max((a.attention.size(1) for a in self.attentions), default=0)
        wide = max((a.attention.size(2) for a in self.attentions), default=0)
        return 4 * self.most_sums + 8 * heads * self.limits.nodes + 8 * wide * (1 + self.averages_heads)

    @property
    def most_sums(self) -> int:
        """Channels of the widest row of sums over edges or nodes."""
        wide = [op.channels for op in self.program.operations if isinstance(op, Aggregate | Readout)]
        return max([*wide, *(op.attention[0].numel() for op in self.attentions)], default=0)

    @property
    def needs(self) -> Needs:
        """The helper functions of this library."""
        return Needs.of(self.steps)

    @property
    def checks_codes(self) -> bool:
        """Whether the caller's bytes can hold codes above the grid's top, so that the library must check them."""
        first = self.program.operations[0]
        return isinstance(first, Quantize) and first.grid.top < (1 << first.grid.storage_bits) - 1

    @property
    def input_inverse(self) -> str:
        """1 / scale of the input's grid, rounded to float32, as a C number."""
        first = self.program.operations[0]
        assert isinstance(first, Quantize) and isinstance(first.grid, CodeGrid)
        text = f"{(1 / torch.tensor(first.grid.scale, dtype=torch.float32)).item():.9g}"
        return f"{text}f" if "." in text or "e" in text else f"{text}.0f"

    def render(self) -> dict[str, str]:
        """The text of each file by its name."""
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # C, not HTML
        )
        first = self.program.operations[0]
        values = {
            "library": self,
            "name": self.name,
            "NAME": self.name.upper(),
            "signature": self.program.signature,
            "first": first,
            "given": None if isinstance(first, Lookup) else self.buffers[first.target],
            "heads": max((a.attention.size(1) for a in self.attentions), default=0),
            "wide": max((a.attention.size(2) for a in self.attentions), default=0),
            "power": POWER,
            "run": re.sub(r"[^\w.-]", "_", str(self.program.origin.get("run", ""))),
            "logit_bits": round(-torch.log2(torch.tensor(self.program.logit_scale)).item()),
        }
        return {
            file.format(self.name): environment.get_template(template).render(values)
            for template, file in FILES.items()
        }


def write_library(library: Library, folder: Path) -> list[Path]:
    """Writes the files of a library into a folder and returns their paths; creates the folder. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file, text in library.render().items():
        write_text(folder / file, text)
        written.append(folder / file)
    return written
