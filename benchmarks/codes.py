"""How many codes trained networks use: `python benchmarks/codes.py RUN... [--json FILE]`, RUN a quantised run's folder.

Of each layer's `aggregate`, on the test data: the share of elements that have the most common code. Values that
share one code carry no information. `benchmarks/tables.py` makes the table of docs/measurements/reproduction.md from
the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from of_runs import report
from torch import Tensor, nn

from dqrun.analysis.networks import Datasets
from dqrun.graphs import dense
from dqrun.quant import Quantizer, named_sites
from dqrun.runs.model_file import load_model
from dqrun.runs.row import read_row


class CodeCount:
    """Counts how often each code of a quantiser occurs in its inputs."""

    def __init__(self, quantizer: Quantizer) -> None:
        self.spec, self.scales = quantizer.spec, quantizer.fixed_scales()
        self.counts = torch.zeros(self.spec.qmax - self.spec.qmin + 1, dtype=torch.int64)

    def add(self, x: Tensor) -> None:
        """Counts the codes of x, float32 of any shape."""
        codes = self.spec.encode(x, self.scales) - self.spec.qmin
        self.counts += torch.bincount(codes.flatten(), minlength=self.counts.numel())

    @property
    def largest_share(self) -> float:
        return (self.counts.max() / self.counts.sum()).item()


@torch.no_grad()
def largest_shares(run: Path, datasets: Datasets) -> dict[str, Any]:
    """Columns that identify a run, and the share of the most common code of each layer's aggregate, layer by layer."""
    model, config = load_model(run / "model.safetensors")
    row = read_row(run / "row.json")
    data = datasets.trial(config, row["fold"])
    counts: dict[str, CodeCount] = {}
    for name, site in named_sites(model):
        if name.endswith(".aggregate") and site.quantizer is not None:
            counts[name] = CodeCount(site.quantizer)
            site.register_forward_hook(_adding(counts[name]))
    for batch in data.batches("test"):
        model(dense(batch.x), batch.graph)
    named = {field: row[field] for field in ("dataset", "model", "quant", "method", "fold", "test_metric", "metric")}
    return {**named, "shares": [count.largest_share for count in counts.values()]}


def _adding(count: CodeCount) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    return lambda module, arguments, output: count.add(arguments[0])


if __name__ == "__main__":
    datasets = Datasets()
    report(__doc__, lambda run: largest_shares(run, datasets))
