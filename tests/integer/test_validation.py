"""What a program must be: each rule broken once, refused in one line before any kernel runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dqrun.errors import ConfigError
from dqrun.integer.operations import Aggregate, Attention, Linear, Lookup, Operation, Quantize, Readout
from dqrun.integer.program import Program
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, RowGrid, Weight

BYTES, NIBBLES = CodeGrid(8, 0.5, 3), CodeGrid(4, 0.25, 7, spare=1)
K = 6


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def epilogue(grid: CodeGrid | None, **parts: Any) -> Epilogue:
    return Epilogue(**({"multiplier": numbers(0.1), "grid": grid} | parts))


def weight(outputs: int, inputs: int = K, value: int = 1) -> Weight:
    return Weight(torch.full((outputs, inputs), value, dtype=torch.int8))


QUANTIZE = Quantize("x", "a", K, BYTES)
QUANTIZE_ROWS = Quantize("x", "a", K, RowGrid(4))
SUM = Aggregate("a", "b", K, 1.5, epilogue(BYTES), residual="a")
VECTORS = Attention("b", "c", torch.ones(2, 2, 3), 0.2, True, epilogue(NIBBLES))
READOUT = Readout("c", "d", K, "mean", epilogue(BYTES))
HEAD = Linear("d", "logits", weight(2), 8, epilogue(None, bias=numbers(1, 2)))
WHOLE = (QUANTIZE, SUM, VECTORS, READOUT, HEAD)
TABLE = Lookup("x", "a", Codes.of(torch.ones(4, K), BYTES))
ROWS, POWERS = RowGrid(4, "real"), RowGrid(4, "integer", power_of_two=True)


def table_of_rows(grid: RowGrid, scale: float, offset: float) -> tuple[Operation, ...]:
    numbers_of_rows = torch.tensor([[0.5, 1.0]] * 3 + [[scale, offset]])
    return (Lookup("x", "a", Codes.of(torch.ones(4, K), grid, numbers_of_rows)), *WHOLE[1:])


def changed(place: int, **fields: Any) -> tuple[Operation, ...]:
    """The whole program with other fields in one operation."""
    return (*WHOLE[:place], replace(WHOLE[place], **fields), *WHOLE[place + 1 :])


def test_what_follows_from_a_program() -> None:
    signature = Program(WHOLE, False).signature
    assert (signature.in_channels, signature.num_categories, signature.out_channels) == (K, 0, 2)
    assert signature.graph_level and signature.degree_limit == (2**31 - 1) // 255
    assert signature.size_limit == (2**31 - 1) // 14  # the codes of a spare grid of 4 bits
    table = Program((TABLE, *WHOLE[1:]), False).signature
    assert (table.in_channels, table.num_categories) == (0, 4)


BROKEN: list[tuple[tuple[Operation, ...], str]] = [
    # names and order
    ((), r"operations must be 1\.\.4096, got 0"),
    (WHOLE[:-1], "operations.3.target must be 'logits' for the last operation alone, got 'd'"),
    (changed(1, target="logits"), "operations.1.target must be 'logits' for the last operation alone"),
    (changed(1, target="a"), "operations.1.target must be a new name, got 'a'"),
    (changed(1, target="x"), "operations.1.target must be a new name, got 'x'"),
    (changed(1, target="b\x1b[2J"), "operations.1.target must be letters, digits, _ and ., got"),
    (WHOLE[1:], "b.source must name a value of codes before it, got 'a'"),
    (changed(1, source="c"), "b.source must name a value of codes before it, got 'c'"),
    (changed(1, source="x"), "b.source must name a value of codes before it, got 'x'"),
    (changed(1, residual="x"), "b.residual must name a value of codes before it, got 'x'"),
    (changed(0, source="y"), "a must be the first operation and read 'x', got 0"),
    ((QUANTIZE, Quantize("x", "e", K, BYTES), *WHOLE[1:]), "e must be the first operation and read 'x', got 1"),
    ((QUANTIZE, Aggregate("a", "e", K, None, epilogue(BYTES)), *WHOLE[1:]), "each value must be read .* got .'e'."),
    # rows of nodes and of graphs
    (
        (QUANTIZE, Readout("a", "b", K, "sum", epilogue(BYTES)), VECTORS, READOUT, HEAD),
        "c.source must be a value of nodes for attention, got 'b, of graphs'",
    ),
    (
        (*WHOLE[:4], Readout("d", "e", K, "sum", epilogue(BYTES)), replace(HEAD, source="e")),
        "e.source must be a value of nodes for readout, got 'd, of graphs'",
    ),
    (
        (*WHOLE[:4], Aggregate("d", "e", K, None, epilogue(BYTES)), replace(HEAD, source="e")),
        "e.source must be a value of nodes for aggregate, got 'd, of graphs'",
    ),
    (
        (*WHOLE[:4], Readout("c", "e", K, "sum", epilogue(BYTES)), replace(HEAD, source="e", residual="")),
        "each value must be read by a later operation, got .'d'.",
    ),
    (
        (
            *WHOLE[:4],
            Readout("c", "e", K, "sum", epilogue(BYTES)),
            Linear("e", "f", weight(K), 8, epilogue(BYTES), residual="d"),
            replace(HEAD, source="f"),
        ),
        "operations must have at most one readout, got 2",
    ),
    (changed(4, degree_scale=True), "logits must be scaled by degrees of nodes only"),
    # channels
    (changed(0, channels=0), r"a.channels must be in 1\.\.1048576, got 0"),
    (changed(0, channels=2**20 + 1), r"a.channels must be in 1\.\.1048576"),
    (changed(0, channels=K - 1), "b.channels must be 5, the channels of its source, got 6"),
    (changed(3, channels=K + 1), "d.channels must be 6, the channels of its source, got 7"),
    (changed(4, weight=weight(2, K - 1)), "logits.weight must have 6 inputs, got 5"),
    (changed(4, weight=weight(0)), r"logits.channels must be in 1\.\.1048576, got 0"),
    (changed(2, attention=torch.ones(2, 2, 4)), "c.attention must have H C = 6, the channels of its source, got 8"),
    (
        changed(1, epilogue=epilogue(BYTES, multiplier=numbers(1, 2))),
        "b.epilogue.multiplier must have 6 numbers, got 2",
    ),
    (changed(4, epilogue=epilogue(None, bias=numbers(1))), "logits.epilogue.bias must have 2 numbers, got 1"),
    (
        changed(4, epilogue=epilogue(None, gain=numbers(1, 1), offset=numbers(1))),
        "logits.epilogue.offset must have 2 numbers, got 1",
    ),
    (
        (QUANTIZE, Linear("a", "b", weight(K - 1), 8, epilogue(BYTES), residual="a"), HEAD),
        "b.residual must be 5 channels of nodes, got '6 channels of nodes'",
    ),
    (
        (*WHOLE[:4], Linear("d", "e", weight(K), 8, epilogue(BYTES), residual="c"), replace(HEAD, source="e")),
        "e.residual must be 6 channels of graphs, got '6 channels of nodes'",
    ),
    (changed(4, residual="d"), "logits.residual must be none, got 'd'"),
    # codes and numbers
    (changed(4, weight=weight(2, value=-128)), r"logits.weight must be in -127\.\.127, got '-128\.\.-128'"),
    (changed(4, weight=weight(2, value=8), weight_bits=4), r"logits.weight must be in -7\.\.7, got '8\.\.8'"),
    (changed(4, weight=weight(2, value=0), weight_bits=1), r"logits.weight must be -1 or 1, got 0"),
    (changed(4, weight_bits=0), r"logits.weight_bits must be in 1\.\.8, got 0"),
    (changed(4, weight_bits=9), r"logits.weight_bits must be in 1\.\.8, got 9"),
    (
        (replace(TABLE, table=Codes.of(torch.full((4, K), 63), CodeGrid(6, 1.0, 0, spare=1))), *WHOLE[1:]),
        r"a.table must hold codes in 0\.\.62, got 63",
    ),
    (
        (replace(TABLE, table=Codes(torch.full((4, 1), 16, dtype=torch.uint8), 1, NIBBLES)), *WHOLE[1:]),
        "a.table must have zeros behind the last channel, got 1",
    ),
    ((replace(TABLE, table=Codes.of(torch.ones(0, K), BYTES)), *WHOLE[1:]), "a.table must have rows, got 0"),
    (changed(1, self_weight=float("inf")), r"b.self_weight must be finite and at most 3.4e\+38, got inf"),
    (changed(1, self_weight=float("nan")), "b.self_weight must be finite"),
    (changed(1, self_weight=2.0, mean=True), "b.self_weight must be null with a mean, got 2.0"),
    (changed(1, epilogue=epilogue(BYTES, multiplier=numbers(1e39))), "b.epilogue.multiplier must be finite"),
    (changed(4, epilogue=epilogue(None, bias=numbers(1, float("nan")))), "logits.epilogue.bias must be finite"),
    (changed(4, epilogue=epilogue(None, multiplier=numbers(1e30))), "logits must stay within float32, got 2.1"),
    (changed(2, attention=torch.full((2, 2, 3), torch.nan)), "c.attention must be finite"),
    (changed(2, attention=torch.full((2, 2, 3), 1e36)), "c.attention must keep logits within"),
    (changed(2, negative_slope=1.5), r"c.negative_slope must be in 0\.\.1, got 1.5"),
    (changed(2, negative_slope=float("nan")), r"c.negative_slope must be in 0\.\.1"),
    (changed(3, mode="median"), "d.mode must be one of sum, mean, max, got 'median'"),
    (changed(3, epilogue=epilogue(None)), "d.epilogue must lack a grid for 'logits' alone"),
    (changed(4, epilogue=epilogue(BYTES)), "logits.epilogue must lack a grid for 'logits' alone"),
    (
        changed(1, epilogue=epilogue(BYTES, row_scale=numbers(1))),
        "b must have no numbers of a batch, got 'some'",
    ),
    (
        changed(1, epilogue=epilogue(BYTES, row_term=numbers(1), channel_term=numbers(1))),
        "b must have no numbers of a batch, got 'some'",
    ),
    # rows with grids of their own
    (table_of_rows(ROWS, 0.0, 0.0), r"a.table.numbers must have scales of at least 1.18e-38, got 0\.0"),
    (table_of_rows(ROWS, -1.0, 0.0), r"a.table.numbers must have scales of at least 1.18e-38, got -1\.0"),
    (table_of_rows(ROWS, 1.0, float("nan")), "a.table.numbers must be finite and at most 3.4e[+]38, got nan"),
    (table_of_rows(ROWS, 1.0, 1e30), r"a.table.numbers must keep values within 1.18e[+]21, got 1\."),
    (table_of_rows(POWERS, 1.0, 0.5), r"a.table.numbers must have whole offsets, got"),
    (table_of_rows(POWERS, 3.0, 1.0), r"a.table.numbers must have powers of two as scales, got"),
    (
        (QUANTIZE_ROWS, Linear("a", "logits", weight(2), 8, epilogue(None, multiplier=numbers(1e10)))),
        r"logits must stay within float32, got",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("operations", "message"), BROKEN)
def test_a_broken_rule_is_one_line(operations: tuple[Operation, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Program(operations, False)
    assert "\n" not in str(error.value)


def test_sums_of_products_stay_within_int32() -> None:
    most = (2**31 - 1) // (255 * 127)

    def wide(inputs: int) -> Program:
        last = Linear("a", "logits", weight(2, inputs), 8, epilogue(None))
        return Program((Quantize("x", "a", inputs, BYTES), last), False)

    wide(most)
    with pytest.raises(ConfigError, match=r"^a must keep sums of products within 2147483647, the int32 range, got"):
        wide(most + 1)


def test_attention_of_many_heads_does_not_take_their_square() -> None:
    heads = 5000
    vectors = Attention("a", "b", torch.ones(2, heads, 1), 0.2, True, epilogue(BYTES))
    operations = Quantize("x", "a", heads, BYTES), vectors, Linear("b", "logits", weight(2, heads), 2, epilogue(None))
    with pytest.raises(ConfigError, match=r"b\.attention must have H H C <= 16777216, got 25000000"):
        Program(operations, True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CodeGrid(8, 1e-39, 0), r"code_grid.scale must be in 2\^-126..2\^126"),
        (lambda: CodeGrid(8, float("nan"), 0), r"code_grid.scale must be in"),
        (lambda: CodeGrid(8, 1.0, 0, spare=2), "code_grid.spare must be 0, or 1 from 2 bits on, got 2"),
        (lambda: CodeGrid(9, 1.0, 0), r"code_grid.bits must be in 1\.\.8"),
        (lambda: replace(VECTORS, attention=torch.ones(3, 2, 3)), r"c.attention must be float \[2, H, C\]"),
        (lambda: replace(VECTORS, attention=torch.ones(2, 6)), r"c.attention must be float \[2, H, C\]"),
        (lambda: replace(VECTORS, attention=torch.ones(2, 0, 3)), r"c.attention must be float \[2, H, C\]"),
    ],
)
def test_parts_refuse_what_no_program_has(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
