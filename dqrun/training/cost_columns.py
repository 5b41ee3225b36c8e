"""Columns of a row on costs: of the trained network, and of the search for its widths."""

from __future__ import annotations

from typing import Any

from dqrun.data.trial_data import TrialData
from dqrun.errors import ConfigError
from dqrun.nn import GNN
from dqrun.nn.costs import Size, costs, measured_widths
from dqrun.training.course import Course
from dqrun.training.state import Fit


def recorded_costs(model: GNN, data: TrialData, part: str) -> dict[str, Any]:
    """average_bits, model_bytes and bit_operations of a forward pass over the mean graph of the data.

    Widths that differ by row are measured on `part` of the data. Empty for a network that does not state its
    operations.
    """
    packed = data.packed
    size = Size(packed.num_nodes / packed.num_graphs, packed.num_edges / packed.num_graphs)
    try:
        found = costs(model, size, measured_widths(model, data.batches(part)))
    except ConfigError:
        return {}
    values = {name: getattr(found, name) for name in ("average_bits", "model_bytes", "bit_operations")}
    return {name: round(value, 6) for name, value in values.items()}


def search_costs(course: Course, result: Fit) -> dict[str, Any]:
    """search_epochs and search_seconds; empty for a method without a search."""
    if not course.searched:
        return {}
    seconds = sum(epoch.seconds for epoch in result.history[: course.searched])
    return {"search_epochs": course.searched, "search_seconds": round(seconds, 3)}
