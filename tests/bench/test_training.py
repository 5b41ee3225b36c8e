"""A comparison on a small synthetic dataset: which variants, which figures, and networks that start alike."""

from __future__ import annotations

import pytest
import torch

from dqrun.bench.cli import workloads
from dqrun.bench.training import compare, label
from dqrun.bench.workload import BATCHES, Workload
from dqrun.config import RunConfig

SMALL = ["dataset.graphs=60", "model.hidden=8", "model.layers=2", "train.batch_size=16", "threads=1"]


def configs(*words: str) -> list[RunConfig]:
    (group,) = workloads([*SMALL, *words])
    return group


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("gcn", ["dq_int8"]),
        ("gat", ["naive_int4"]),
        ("gin", ["naive_int8", "dq_int8", "naive_int4", "dq_int4"]),
    ],
)
def test_every_variant_has_its_figures(name: str, ours: list[str]) -> None:
    methods, widths = (",".join(sorted({each.split("_")[i] for each in ours})) for i in (0, 1))
    measured, pipeline = compare(configs(f"model={name}", f"method={methods}", f"quant={widths}"), rounds=1)
    variants = ["pyg_fp32_edge_index", "pyg_fp32_csr", "pyg_bf16", "fp32", *ours]
    by_variant = {line.variant: line for line in measured}
    assert by_variant.keys() - {"dgl_fp32", "dgl_bf16"} == set(variants)
    peers = [name for name in by_variant if name.endswith(("_edge_index", "_csr", "dgl_fp32"))]
    assert min(by_variant[name].ratio_to_fastest_fp32_peer for name in peers) == 1
    assert by_variant["pyg_fp32_csr"].form in ("adj_t", "EdgeIndex") and by_variant["fp32"].form == ""
    assert all(line.step_seconds > 0 and line.peak_bytes > 0 for line in measured)
    assert {(line.dataset, line.model) for line in measured} == {("threads", name)}
    assert 0 < pipeline.share_of_epoch < 1 and pipeline.batches_seconds > 0


def test_labels() -> None:
    assert [label(config) for config in configs("quant=int8", "method=noisy")] == ["fp32", "noisy_int8"]


def test_all_variants_start_from_the_same_weights() -> None:
    fp32, *others = configs("model=gin")
    workload = Workload.prepare(fp32)
    weights = dict(workload.network(fp32).named_parameters())
    for config in others:
        for name, parameter in workload.network(config).named_parameters():
            assert torch.equal(parameter, weights[name])


def test_rounds_take_different_batches_of_the_training_part() -> None:
    workload = Workload.prepare(configs("model=gcn")[0])
    assert 1 < len(workload.batches) <= BATCHES
    assert all(batch.graph.num_graphs <= 16 for batch in workload.batches)
