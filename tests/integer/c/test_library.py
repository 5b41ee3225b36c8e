"""What a library says of itself, its names, its memory, and what is no library."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqrun.errors import ConfigError
from dqrun.integer import Program
from dqrun.integer.c import Library, Limits
from dqrun.integer.c.constants import RESERVED, identifiers
from dqrun.integer.c.memory import Lifetime, place
from dqrun.integer.lower import lower

Make = Callable[..., Any]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9), st.integers(0, 4)), max_size=12))
def test_values_that_live_together_do_not_overlap(drawn: list[tuple[int, int, int]]) -> None:
    values = [Lifetime(size, first, first + more) for size, first, more in drawn]
    offsets, size = place(values)
    assert size == max((o + v.size for o, v in zip(offsets, values, strict=True)), default=0)
    for i, value in enumerate(values):
        for j in range(i):
            apart = offsets[i] + value.size <= offsets[j] or offsets[j] + values[j].size <= offsets[i]
            assert apart or not value.meets(values[j])


def test_places_are_used_again() -> None:
    chain = [Lifetime(10, i, i + 1) for i in range(6)]
    assert place(chain)[1] == 20


def test_names_are_c_and_differ() -> None:
    sites = ["states.1", "states_1", "States.1", "0.conv", "int", "memory", "logits"]
    names = identifiers(sites)
    assert names["logits"] == "logits" and len({name.upper() for name in names.values()}) == len(sites)
    assert all(re.fullmatch(r"[A-Za-z_]\w*", name) and name not in RESERVED for name in names.values())


def test_the_header_tells_limits_and_sizes(trained: Make) -> None:
    program = lower(trained("gcn", activation_bits=4), {"run": "a*/b"}).with_epilogue("fixed")
    files = Library(program, Limits(50, 150, 9), "gcn_int4").render()
    assert set(files) == {"gcn_int4.h", "gcn_int4.c", "main.c", "CMakeLists.txt"}
    header = files["gcn_int4.h"]
    for name, value in {"MAX_NODES": 50, "MAX_EDGES": 150, "MAX_DEGREE": 9, "CHANNELS": 5, "ROW_BYTES": 3}.items():
        assert f"#define GCN_INT4_{name} {value}\n" in header
    assert "from the run a__b." in header
    assert not re.search(r"\b(float|double|malloc)\b", files["gcn_int4.c"].split("#ifdef GCN_INT4_FLOAT")[0])


def test_bytes_of_memory_and_constants(trained: Make) -> None:
    """Counted by hand: GIN without head, 8 channels, 5 features, 3 classes, INT8."""
    program = lower(trained("gin", layers=1, graph_level=False, mlp_layers=1)).with_epilogue("fixed")
    library = Library(program, Limits(10, 20), "net")
    assert library.ram_bytes == 10 * 5 + 4 * 11 + 2 * 20 + 4 * 5  # sums of 5 features, row_start, neighbour, sums
    start, bias = 4 * 3, 4 * 3
    assert library.flash_bytes in (5 * 3 + bias, 5 * 3 + bias + start)


def test_what_is_no_library_is_refused(trained: Make) -> None:
    program = lower(trained("gcn"))
    fixed = program.with_epilogue("fixed")

    def refused(message: str, program: Program = fixed, limits: Any = (5, 9), name: str = "net") -> None:
        with pytest.raises(ConfigError, match=message):
            Library(program, Limits(*limits), name)

    refused("epilogue must be fixed for the C export, got 'float64'", program)
    refused("--name must be lower-case letters, digits and _, a letter first, got 'Gcn'", name="Gcn")
    refused(r"--max-nodes must be in 1\.\.16777216, got 0", limits=(0, 9))
    refused("--max-edges must be at most 84215", limits=(5, 9_000_000))
    assert torch.equal(
        Library(fixed, Limits(5, 9), "net").roots.arrays[0].values[:3], torch.tensor([0, 2**30, 759250125])
    )
