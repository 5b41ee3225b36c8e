"""`CSR`: what is derived from the two orders of edges."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dqrun.graphs import CSR

EDGES = torch.tensor([[0, 2, 1, 2], [1, 1, 0, 2]])


def test_sources_are_short_integers_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    csr = CSR.from_edge_index(EDGES, 3)
    assert csr.short_col.dtype == torch.int32 and csr.short_col.tolist() == csr.col.tolist() == [1, 0, 2, 2]
    monkeypatch.setattr("dqrun.graphs.csr.MOST_SHORT", 2)
    assert replace(csr).short_col.dtype == torch.int64
