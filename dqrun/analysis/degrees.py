"""Quantisation error and accuracy by in-degree: the diagnosis of Degree-Quant's paper (section 3). Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor

from dqrun.analysis.degree_bins import NodeErrors
from dqrun.analysis.networks import Datasets
from dqrun.analysis.rows import Run
from dqrun.graphs import Batch, dense
from dqrun.nn import GNN
from dqrun.nn.build import uses_self_loops
from dqrun.quant import Phase
from dqrun.quant.plan import set_phase
from dqrun.runs.model_file import load_model, require_data
from dqrun.runs.store import MODEL


def node_errors(run: Run, datasets: Datasets, part: str) -> NodeErrors:
    """Loads the run's network and passes `part` (train, val, test) through it twice: fake-quantised and FP32.

    Raises DataError for a missing or damaged model file or dataset.
    """
    model, config = load_model(run.folder / MODEL)
    data = datasets.trial(config, run.row.get("fold"))
    require_data(run.folder / MODEL, data.shapes)
    loops = int(uses_self_loops(config.model))
    of_classes = data.is_node_task and not data.y.is_floating_point()
    found = [_batch_errors(model, batch, loops, of_classes) for batch in data.batches(part)]
    columns = list(zip(*found, strict=True))
    degree, squared, power = (torch.cat(column).numpy() for column in columns[:3])
    if not of_classes:
        return NodeErrors(degree, squared, power, None, None)
    return NodeErrors(degree, squared, power, *(torch.cat(column).numpy() for column in columns[3:]))


@torch.no_grad()
def _batch_errors(model: GNN, batch: Batch, loops: int, of_classes: bool) -> list[Tensor]:
    quantised, logits = _aggregate(model, batch, Phase.QUANTIZE)
    exact, logits_fp32 = _aggregate(model, batch, Phase.BYPASS)
    rows = slice(None) if batch.index is None else batch.index
    degree = batch.graph.csr.in_degree[rows] - loops
    squared = (quantised - exact).double().square().mean(1)[rows]
    found = [degree, squared, exact.double().square().mean(1)[rows]]
    if of_classes:
        found += [(output.argmax(-1) == batch.y)[rows] for output in (logits, logits_fp32)]
    return found


def _aggregate(model: GNN, batch: Batch, phase: Phase) -> tuple[Tensor, Tensor]:
    """The aggregate of the last layer, float32 [N, C] (GIN: with the node's own term), and the logits."""
    set_phase(model, phase)
    seen: list[Tensor] = []
    watch = model.message_passing[-1].watch_aggregate(seen.append)
    try:
        logits = model(dense(batch.x), batch.graph)
    finally:
        watch.remove()
    return seen[0].flatten(1), logits
