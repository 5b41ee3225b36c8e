"""`Program`: a trained network as a list of integer operations, and how it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dqrun.errors import ConfigError, DataError
from dqrun.graphs import Graph
from dqrun.integer.fixed import FixedOperation, prepare
from dqrun.integer.operations import (
    INPUT,
    LOGITS,
    Aggregate,
    Attention,
    DynamicAttention,
    Lookup,
    Operation,
    Quantize,
    Value,
    inputs,
)
from dqrun.integer.signature import Signature
from dqrun.integer.structure import build_graph, require_dense
from dqrun.integer.validation import validate

EPILOGUES = ("float64", "fixed")


@dataclass(frozen=True)
class Program:
    """Integer operations in the order in which they run; `validation` has the rules that they must obey.

    `self_loops`: layers run over edges with one self-loop per node (GCN, GAT), else over the raw edges. `origin`: plain
    data (for JSON) about the run that the program comes from. `epilogue`: the rule of requantisation, "float64" or
    "fixed" (integers alone, in plain torch, as in the C export). Raises ConfigError, in one line, for operations that
    break a rule.
    """

    operations: tuple[Operation, ...]
    self_loops: bool
    origin: dict[str, Any] = field(default_factory=dict)
    epilogue: str = "float64"

    def __post_init__(self) -> None:
        self.signature  # noqa: B018 - raises here for an invalid program: kernels do not check it
        if self.epilogue not in EPILOGUES:
            raise ConfigError.rule("epilogue", f"be one of {', '.join(EPILOGUES)}", self.epilogue)

    def with_epilogue(self, epilogue: str) -> Program:
        """The same program with a rule of requantisation, "float64" or "fixed".

        Raises ConfigError for another name, and if an operation has no fixed-point form.
        """
        made = replace(self, epilogue=epilogue)
        made.steps  # noqa: B018 - raises here, not when it runs
        return made

    @cached_property
    def steps(self) -> Sequence[Operation | FixedOperation]:
        """The operations, with fixed-point numbers if `epilogue` is "fixed"."""
        return prepare(self.operations) if self.epilogue == "fixed" else self.operations

    @property
    def logit_scale(self) -> float:
        """The value of one unit of the logits of `trace`: a power of two with epilogue=fixed, else 1."""
        last = self.steps[-1]
        return last.epilogue.scale if isinstance(last, FixedOperation) and last.epilogue is not None else 1.0

    @cached_property
    def signature(self) -> Signature:
        """Inputs and outputs of the program."""
        return validate(self.operations)

    def __call__(
        self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None, edge_weight: Tensor | None = None
    ) -> Tensor:
        """Logits, float32 [N, out_channels], or [G, out_channels] for graph tasks, from PyG's tensors.

        All tensors are dense and on the CPU. x: float32 [N, in_channels] without NaN, or int64 [N] for categories.
        edge_index: int64 [2, E], raw edges (self-loops are added if the network needs them). batch: int64 [N], the
        graph of each node, 0..G-1 in ascending order without gaps; None: one graph. edge_weight: float32 [E], finite
        and >= 0, in the order of edge_index, for networks that read weights (`reads_edge_weights`); None: all 1.

        Sorts the edges at each call: for repeated use keep `graph = program.graph(...)` and call `run`. Raises
        DataError for input that does not fit.
        """
        self.check_features(x)
        return self.run(x, self.graph(edge_index, x.size(0), batch, edge_weight))

    def graph(
        self,
        edge_index: Tensor,
        num_nodes: int,
        batch: Tensor | None = None,
        edge_weight: Tensor | None = None,
    ) -> Graph:
        """The structure that `run` takes, from PyG's tensors; arguments and errors as in `__call__`."""
        return build_graph(edge_index, num_nodes, batch, self.self_loops, edge_weight)

    @property
    def reads_edge_weights(self) -> bool:
        """Whether edges may have weights: true if each sum over edges is a plain sum or a mean (GCN, GraphSAGE)."""
        sums = [op for op in self.operations if isinstance(op, Aggregate | Attention | DynamicAttention)]
        return bool(sums) and all(isinstance(op, Aggregate) and op.self_weight is None for op in sums)

    @torch.no_grad()
    def run(self, x: Tensor, graph: Graph) -> Tensor:
        """As `__call__`, over a structure made by `graph`, which has sorted edges including self-loops.

        Raises DataError for x of another type, width or number of rows, for edge weights that the program does not
        read, and for a node or graph beyond the limits of the signature. NaN is not refused here; it gets code 0.
        """
        self.check_shape(x)
        if x.size(0) != graph.num_nodes:
            raise DataError(f"x must have a row for each of {graph.num_nodes} nodes, got {x.size(0)}")
        self.check_graph(graph)
        last_use = {name: i for i, operation in enumerate(self.operations) for name in inputs(operation)}
        values: dict[str, Value] = {INPUT: x}
        for i, (operation, step) in enumerate(zip(self.operations, self.steps, strict=True)):
            values[operation.target] = step.run(values, graph)
            for name in {name for name in inputs(operation) if last_use[name] == i}:
                del values[name]  # frees its memory for the next result
        return self.float_logits(values[LOGITS])

    def float_logits(self, logits: Value) -> Tensor:
        """Logits in float32; with epilogue=fixed the last operation gives int32, in units of `logit_scale`."""
        assert isinstance(logits, Tensor)
        return logits if logits.is_floating_point() else (logits.double() * self.logit_scale).float()

    def stream(self, features: Tensor | Callable[[Tensor], Tensor], graph: Graph, block: int) -> Tensor:
        """As `run` for one large graph, bit for bit, but `block` nodes at a time; see `streaming.stream`."""
        from dqrun.integer.streaming import stream

        return stream(self, features, graph, block)

    @torch.no_grad()
    def trace(self, x: Tensor, graph: Graph) -> dict[str, Value]:
        """All values of a run by the names of their sites, in order: Codes, and `logits`, float32.

        With epilogue=fixed logits are int32, in units of `logit_scale`. Unlike `run`, checks no argument.
        """
        values: dict[str, Value] = {INPUT: x}
        for operation, step in zip(self.operations, self.steps, strict=True):
            values[operation.target] = step.run(values, graph)
        del values[INPUT]
        return values

    def check_features(self, x: Tensor) -> None:
        """Raises DataError unless x has the type, width and values that the program takes."""
        self.check_shape(x)
        if x.is_floating_point() and bool(x.isnan().any()):
            raise DataError("x must not hold NaN")

    def check_shape(self, x: Tensor) -> None:
        """Raises DataError unless x has the type and width that the program takes, and categories that it knows."""
        require_dense("x", x)
        want = self.signature
        if not want.num_categories:
            if x.dtype != torch.float32 or x.dim() != 2 or x.size(1) != want.in_channels:
                raise DataError(f"x must be float32 [N, {want.in_channels}], got {x.dtype} {list(x.shape)}")
            return
        if x.dtype != torch.int64 or x.dim() != 1:
            raise DataError(f"x must be int64 [N], one category per node, got {x.dtype} {list(x.shape)}")
        if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < want.num_categories:
            got = f"{int(x.min())}..{int(x.max())}"
            raise DataError(f"x must hold categories in 0..{want.num_categories - 1}, got {got}")

    def check_graph(self, graph: Graph) -> None:
        """Raises DataError for what is no Graph, for edge weights that the program does not read, and for sums that
        could overflow int32."""
        if not isinstance(graph, Graph):
            raise DataError(f"graph must be made by program.graph(edge_index, num_nodes), got {type(graph).__name__}")
        if graph.edge_weight is not None and not self.reads_edge_weights:
            raise DataError("edge_weight must be None: the layers of this program read no weights")
        limits = (
            ("edges into one node", graph.csr.in_degree, self.signature.degree_limit),
            ("nodes in one graph", graph.node_ptr.diff(), self.signature.size_limit),
        )
        for what, counts, limit in limits:
            if counts.numel() and int(counts.max()) > limit:
                raise DataError(f"{what} must be at most {limit} for this program's codes, got {int(counts.max())}")

    @property
    def output_step(self) -> Tensor:
        """Distance of neighbouring logits, float64 [C] or [1]: their change per unit of the last integer sum."""
        last = self.operations[-1]
        assert not isinstance(last, Quantize | Lookup)
        return last.epilogue.multiplier.abs()

    @property
    def in_floats(self) -> list[str]:
        """The computations that are not in integers: each with its type and the results that need it."""
        from dqrun.integer.summary import in_floats

        return in_floats(self)

    def summary(self, num_nodes: int = 1, num_edges: int = 1, num_graphs: int = 1) -> str:
        """A table of operations, widths, bytes, MACs and bit-operations for a batch of the given size."""
        from dqrun.integer.summary import summarise

        return summarise(self, num_nodes, num_edges, num_graphs)

    def save(self, path: Path | str) -> None:
        """Writes the program to a file; see `dqrun.integer.storage`. Raises OSError if the path cannot be written."""
        from dqrun.integer.storage import save_program

        save_program(Path(path), self)

    @property
    def nbytes(self) -> int:
        """Bytes of packed weights and tables, without the numbers per channel."""
        from dqrun.integer.summary import stored_bytes

        return sum(stored_bytes(operation) for operation in self.operations)
