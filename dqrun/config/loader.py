"""How the one graph of a node task reaches the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dqrun.config.rules import doc, require, require_in, require_one_of

LOADERS = ("full", "neighbor", "cluster")
STORES = ("float32", "int8", "int4", "int8_column", "int4_column")


@dataclass
class LoaderConfig:
    """Batches of a node task with one graph (`loader.*`)."""

    name: str = doc(
        "full (the whole graph is the one batch), neighbor (some nodes and a sample of their neighbours), cluster "
        "(groups of nodes with few edges between them, found by METIS: extra [large])",
        "full",
    )
    fanouts: list[int] = doc(
        "name=neighbor: most neighbours of a node that are drawn, at each distance from the batch's own nodes, "
        "beginning with these; one number per layer of the network",
        [15, 10, 5],
    )
    batch_size: int = doc("name=neighbor: training nodes per step, >= 2", 1024)
    parts: int = doc("name=cluster: number of groups, >= 2", 100)
    parts_per_batch: int = doc("name=cluster: groups per step, 1..parts", 10)
    block: int = doc(
        "evaluation passes the whole graph layer by layer, so many nodes at a time, to bound memory; 0: all at once",
        0,
    )
    feature_store: str = doc(
        "how features that the data gives are held: float32 (as they are), int8, int4 (codes with a range for each "
        "row, read for the nodes of a batch), int8_column, int4_column (a range for each column)",
        "float32",
    )

    def validate(self) -> None:
        require_one_of("loader.name", self.name, LOADERS)
        require(bool(self.fanouts), "loader.fanouts", "hold a number for each layer", self.fanouts)
        for fanout in self.fanouts:
            require_in("loader.fanouts", fanout, 1, 1000)
        require(self.batch_size >= 2, "loader.batch_size", "be >= 2", self.batch_size)
        require(self.parts >= 2, "loader.parts", "be >= 2", self.parts)
        if self.name == "cluster":
            require_in("loader.parts_per_batch", self.parts_per_batch, 1, self.parts)
        require_one_of("loader.feature_store", self.feature_store, STORES)
        require(self.block >= 0, "loader.block", "be >= 0", self.block)

    @property
    def division(self) -> tuple[str, Any, Any] | None:
        """The field that divides a graph: name, value and the value that does not; None: no field does."""
        if self.name != "full":
            return "loader.name", self.name, "full"
        return ("loader.block", self.block, 0) if self.block else None

    @property
    def effective(self) -> LoaderConfig:
        """The same with defaults for what the loader does not read."""
        used = {"neighbor": ("fanouts", "batch_size"), "cluster": ("parts", "parts_per_batch")}.get(self.name, ())
        kept = ("block", "feature_store", *used)
        return LoaderConfig(self.name, **{name: getattr(self, name) for name in kept})
