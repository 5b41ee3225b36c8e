"""The power-law graph of the benchmark."""

import torch

from dqrun.bench.power_law import power_law_edges


def test_hubs_and_reproducibility() -> None:
    edges = power_law_edges(2_000, 20_000)
    assert edges.shape == (2, 20_000) and torch.equal(edges, power_law_edges(2_000, 20_000))
    assert int(edges.min()) >= 0 and int(edges.max()) < 2_000
    degree = torch.bincount(edges[1], minlength=2_000)
    assert int(degree.max()) > 20 * 10  # twenty times the mean
    assert torch.unique(edges, dim=1).size(1) == 20_000 and not bool((edges[0] == edges[1]).any())
    assert torch.bincount(edges[0], minlength=2_000).max() < 40  # sources are uniform


def test_ids_do_not_follow_degrees() -> None:
    degree = torch.bincount(power_law_edges(2_000, 20_000)[1], minlength=2_000)
    assert degree[:1_000].sum() < 0.7 * 20_000
