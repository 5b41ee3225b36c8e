"""The structure of a batch in an ONNX graph: edges sorted by target, degrees, the nodes of each graph.

Sums over edges are differences of running sums over the sorted edges. ONNX has two alternatives. The order of additions
in ScatterND is undefined, and threads of ONNX Runtime lose additions to the same row. In ONNX Runtime ScatterElements
takes about ten times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dqrun.integer.onnx.builder import Builder


@dataclass(frozen=True)
class Segments:
    """Consecutive rows that belong together: `begin`, `end`, `count`, int64 [S], as names of values."""

    begin: str
    end: str
    count: str

    @classmethod
    def of(cls, build: Builder, index: str, size: str) -> Segments:
        """Segments of rows. `index`: segment of each row, int64 ascending; `size`: number of segments, int64 [1]."""
        ones = build.filled(build.op("Shape", index), 1, np.int64)
        empty = build.filled(size, 0, np.int64)
        count = build.op("ScatterElements", empty, index, ones, axis=0, reduction="add")
        end = build.op("CumSum", count, build.constant(0, np.int64))
        return cls(build.op("Sub", end, count), end, count)


class Structure:
    """Values derived from a batch's edges and graphs; nodes for each are added at its first use.

    `self_loops`: edges from a node to itself are dropped, and one is added for each node.
    """

    def __init__(self, build: Builder, self_loops: bool) -> None:
        self.build, self.self_loops = build, self_loops

    @cached_property
    def num_nodes(self) -> str:
        """Number of nodes, int64 [1]."""
        return self.build.op("Shape", "x", start=0, end=1)

    @cached_property
    def nodes(self) -> str:
        """The indices 0..N-1 of nodes, int64 [N]."""
        zero, one = (self.build.constant(value, np.int64) for value in (0, 1))
        return self.build.op("Range", zero, self.build.op("Squeeze", self.num_nodes), one)

    @cached_property
    def edges(self) -> tuple[str, str]:
        """Source and target of each edge, int64 [E], targets ascending."""
        build = self.build
        rows = build.op_several("Split", ["edge_index"], ["edges/source", "edges/target"], axis=0, num_outputs=2)
        source, target = (build.op("Squeeze", row, build.constant([0], np.int64)) for row in rows)
        if self.self_loops:
            kept = build.op("Not", build.op("Equal", source, target))
            source, target = (
                build.op("Concat", build.op("Compress", each, kept, axis=0), self.nodes, axis=0)
                for each in (source, target)
            )
        names = ["edges/sorted_target", "edges/order"]
        ordered, order = build.op_several("TopK", [target, build.op("Shape", target)], names, largest=0, sorted=1)
        return build.op("Gather", source, order, axis=0), ordered

    @cached_property
    def into_nodes(self) -> Segments:
        """The edges into each node."""
        return Segments.of(self.build, self.edges[1], self.num_nodes)

    @cached_property
    def gathered(self) -> str:
        """Node 0, if there is a node, followed by the sources of all edges: indices of the rows for `segment_sum`."""
        zero, one = (self.build.constant([value], np.int64) for value in (0, 1))
        first = self.build.op("Slice", self.nodes, zero, one)
        return self.build.op("Concat", first, self.edges[0], axis=0)

    @cached_property
    def inverse_sqrt_degree(self) -> str:
        """d^-1/2, float64 [N, 1], with root and quotient rounded to float32; 0 without edges."""
        build, degree = self.build, self.into_nodes.count
        root = build.cast(build.op("Sqrt", build.cast(degree, np.float64)), np.float32)
        quotient = build.op("Div", build.constant(1, np.float64), build.cast(root, np.float64))
        rounded = build.cast(build.cast(quotient, np.float32), np.float64)
        some = build.op("Greater", degree, build.constant(0, np.int64))
        return self.column(build.op("Where", some, rounded, build.constant(0, np.float64)))

    @cached_property
    def num_graphs(self) -> str:
        """Number of graphs, int64 [1]."""
        build = self.build
        ids = build.op("Concat", "batch", build.constant([-1], np.int64), axis=0)
        largest = build.op("ReduceMax", ids, build.constant([0], np.int64))
        return build.op("Add", largest, build.constant([1], np.int64))

    @cached_property
    def in_graphs(self) -> Segments:
        """The nodes of each graph."""
        return Segments.of(self.build, "batch", self.num_graphs)

    def column(self, values: str) -> str:
        """Reshapes [R] to [R, 1]."""
        return self.build.op("Unsqueeze", values, self.build.constant([1], np.int64))

    def at_least_one(self, count: str) -> str:
        """max(count, 1), float64 [S, 1]: the divisor of a mean."""
        whole = self.build.op("Max", count, self.build.constant(1, np.int64))
        return self.column(self.build.cast(whole, np.float64))

    def segment_sum(self, rows: str, segments: Segments) -> str:
        """Sums of consecutive rows, [S, ...]. `rows` begins with one additional row, whose content has no effect.

        int32 sums are exact, float64 sums have the rounding of a running sum.
        """
        build = self.build
        running = build.op("CumSum", rows, build.constant(0, np.int64))
        upto, before = (build.op("Gather", running, place, axis=0) for place in (segments.end, segments.begin))
        return build.op("Sub", upto, before)

    def segment_max(self, rows: str, index: str, size: str, shape: tuple[int, ...]) -> str:
        """Maximum of each segment, float64 [S, *shape]; the lowest float64 for an empty segment."""
        build = self.build
        whole = build.op("Concat", size, build.constant(shape, np.int64), axis=0)
        lowest = build.filled(whole, np.finfo(np.float64).min, np.float64)
        places = build.op("Expand", self.column(index), build.op("Shape", rows))
        return build.op("ScatterElements", lowest, places, rows, axis=0, reduction="max")
