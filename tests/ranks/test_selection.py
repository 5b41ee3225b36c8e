"""Ranges of numbers that lie on several processes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_threads import together
from torch import Tensor

from dqrun.quant.values import Values
from dqrun.ranks.group import Group

NOTHING = (torch.tensor(torch.inf), torch.tensor(-torch.inf))


def parts_of(x: Tensor, ends: list[int]) -> list[Tensor]:
    edges = [0, *sorted(ends), len(x)]
    return [x[a:b] for a, b in pairwise(edges)]


def shared(values: list[Values[Tensor]], tail: float, seen: Any, percentile: str) -> list[tuple[float, float]]:
    def work(group: Group) -> tuple[float, float]:
        low, high = group.range(values[group.rank], (), tail, seen, percentile)
        return float(low), float(high)

    return together(len(values), work)


@given(st.data())
@settings(max_examples=25)
def test_it_is_the_range_of_all_numbers_together(data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 40))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    x = torch.randn(rows, 3, generator=generator)
    if data.draw(st.booleans()):
        x = x.round()  # many equal numbers
    weight = torch.randint(0, 4, (rows,), generator=generator) if data.draw(st.booleans()) else None
    protected = torch.rand(rows, generator=generator) < 0.3 if data.draw(st.booleans()) else None
    ends = data.draw(st.lists(st.integers(0, rows), min_size=1, max_size=2))
    tail = data.draw(st.sampled_from([0.0, 0.01, 0.1, 0.3]))
    percentile = data.draw(st.sampled_from(["symmetric", "kthvalue"]))
    seen = (torch.tensor(-0.5), torch.tensor(0.7)) if data.draw(st.booleans()) else None
    whole = Values(x, protected, weight).range((), tail, seen, percentile)
    columns = [parts_of(each, ends) if each is not None else [None] * 3 for each in (x, protected, weight)]
    values = [Values(*each) for each in zip(*columns, strict=False)]
    found = shared(values, tail, seen, percentile)
    assert found == [tuple(map(float, whole))] * len(values)


def test_a_range_that_stopped_growing_takes_one_exchange() -> None:
    values = [Values(torch.linspace(-1, 1, 100)), Values(torch.linspace(-2, 1, 100))]
    exchanges = []

    def work(group: Any) -> None:
        group.range(values[group.rank], (), 0.1, (torch.tensor(-3.0), torch.tensor(3.0)), "symmetric")
        exchanges.append(group.transport.meeting.exchanges)

    together(2, work)
    assert max(exchanges) == 1


def test_a_range_takes_three_exchanges_at_most() -> None:
    draw = torch.Generator().manual_seed(3)
    values = [Values(torch.randn(100, generator=draw)), Values(torch.randn(120, generator=draw) * 2)]
    exchanges = []

    def work(group: Any) -> None:
        group.range(values[group.rank], (), 0.1, None, "symmetric")
        exchanges.append(group.transport.meeting.exchanges)

    together(2, work)
    assert max(exchanges) == 3


@pytest.mark.parametrize("percentile", ["symmetric", "kthvalue"])
def test_numbers_that_no_process_has(percentile: str) -> None:
    nothing = [Values(torch.empty(0, 2)), Values(torch.empty(0, 2))]
    assert shared(nothing, 0.1, None, percentile) == [(torch.inf, -torch.inf)] * 2
    assert shared(nothing, 0.1, (torch.tensor(1.0), torch.tensor(2.0)), percentile) == [(1.0, 2.0)] * 2
