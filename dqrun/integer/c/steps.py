"""Converts the operations of a fixed-point program to the steps of a C library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch

from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.integer.c.constants import Constants
from dqrun.integer.c.library import Buffer, Finish, Product, Step
from dqrun.integer.fixed import FixedOperation
from dqrun.integer.operations import (
    Aggregate,
    Attention,
    Linear,
    LinearPair,
    Lookup,
    Operation,
    Readout,
    result_channels,
)
from dqrun.kernels.integer import Weight
from dqrun.kernels.integer.fixed import Factor, FixedEpilogue
from dqrun.kernels.integer.stored import storage_bits

Buffers = Mapping[str, Buffer]


@dataclass(frozen=True)
class Place:
    """The parts of a step: its operation's numbers, all buffers by site, and its constants."""

    fixed: FixedOperation
    buffers: Buffers
    constants: Constants

    @property
    def out(self) -> Buffer | None:
        return self.buffers.get(self.fixed.operation.target)

    def step(self, kind: str, what: str, products: tuple[Product, ...] = (), **numbers: object) -> Step:
        """The step of the operation, with its epilogue; `numbers`: further values for its template."""
        operation = self.fixed.operation
        if self.out is None:
            self.constants.macro("channels", result_channels(operation), "outputs")
        source = self.buffers[operation.source]
        finish = self.finish(str(numbers.pop("rows", "")))
        others = [product.source for product in products[1:]]
        residual = [] if finish is None or finish.residual is None else [finish.residual]
        takes = tuple({buffer.site: buffer for buffer in (source, *others, *residual)}.values())
        return Step(
            kind=kind,
            site=operation.target,
            name=self.constants.prefix,
            what=what,
            channels=result_channels(operation),
            constants=self.constants,
            source=source,
            out=self.out,
            per_graph=kind == "readout" or source.per_graph,
            finish=finish,
            products=products,
            takes=takes,
            numbers=numbers,
        )

    def finish(self, rows: str) -> Finish | None:
        """The epilogue as C expressions; its numbers become constants."""
        e = self.fixed.epilogue
        if e is None:
            return None
        mantissa, shift = self.factor("factor", e.factor, "an exact sum, in steps of the result")
        return Finish(
            mantissa=mantissa,
            shift=shift,
            fraction=""
            if e.grid is None
            else self.constants.macro("fraction", e.fraction, "bits behind the point of values in steps"),
            rows=rows,
            second=None if e.second is None else self.factor("second", e.second, "the second sum"),
            bias=self.term("bias", e.bias),
            pre_relu=e.pre_relu,
            falling=""
            if e.falling is None
            else self.constants.numbers(
                "falling", "uint8_t", e.falling.long(), "1: the gain behind the ReLU is negative"
            ),
            offset=self.term("offset", e.offset),
            activation=e.activation,
            elu=self.elu(e),
            shortcut=None if e.shortcut is None else self.factor("shortcut", e.shortcut, "codes of the residual"),
            residual=self.buffers.get(getattr(self.fixed.operation, "residual", "")),
        )

    def factor(self, name: str, factor: Factor, of: str) -> tuple[str, str]:
        mantissa = self.constants.numbers(f"{name}_mantissa", "int32_t", factor.mantissa, f"factor of {of}")
        return mantissa, self.constants.numbers(f"{name}_shift", "uint8_t", factor.shift, "its right shift")

    def term(self, name: str, numbers: Tensor | None) -> str:
        if numbers is None:
            return ""
        return self.constants.numbers(name, "int32_t", numbers, "added, in the unit of values")

    def elu(self, e: FixedEpilogue) -> tuple[str, ...]:
        if e.elu is None:
            return ()
        exponent = self.factor("exponent", e.elu.exponent, "a negative value, to an exponent of two")
        return *exponent, *self.factor("power", e.elu.steps, "exp(x) - 1, in steps")

    def product(self, source: str, weight: Weight, bits: int, name: str = "") -> Product:
        """Adds a weight to the constants; sums begin with -zero_point times the sum of an output's weights."""
        x, form = self.buffers[source], storage_bits(bits)
        kept = self.constants.array(
            f"{name}weight",
            "uint8_t" if form < 8 else "int8_t",
            weight.packed(bits),
            f"weight codes of {bits} bits, a row per output",
        )
        start = "0"
        if x.grid.zero_point:
            sums = -x.grid.zero_point * weight.row_sums.long()
            start = f"{self.constants.array(f'{name}start', 'int32_t', sums, '-(zero point) * sum of a row')}[c]"
        return Product(x, f"{kept}[c]", weight.codes.size(1), form, start)


def make_step(fixed: FixedOperation, buffers: Buffers, name: str) -> Step:
    """The step of an operation; its C names begin with `name`. Raises ConfigError for an operation without C form."""
    return _make(fixed.operation, Place(fixed, buffers, Constants(name)))


@singledispatch
def _make(operation: Operation, place: Place) -> Step:
    raise ConfigError(f"{operation.target}: an operation {type(operation).__name__} has no form in C")


@_make.register
def _(operation: Lookup, place: Place) -> Step:
    table = place.constants.array("table", "uint8_t", operation.table.data, "codes, a row per category")
    out = place.buffers[operation.target]
    return Step(
        kind="lookup",
        site=operation.target,
        name=place.constants.prefix,
        what="rows of a table of codes",
        channels=out.channels,
        constants=place.constants,
        source=out,
        out=out,
        per_graph=False,
        numbers={"table": table, "categories": operation.table.num_rows},
    )


@_make.register
def _(operation: Linear, place: Place) -> Step:
    product = place.product(operation.source, operation.weight, operation.weight_bits)
    rows = "root" if operation.degree_scale else ""
    return place.step("linear", f"{operation.source} times a weight", (product,), rows=rows)


@_make.register
def _(operation: LinearPair, place: Place) -> Step:
    first = place.product(operation.source, operation.weight, operation.weight_bits)
    second = place.product(operation.second, operation.second_weight, operation.second_weight_bits, "second_")
    return place.step("linear", f"{operation.source} and {operation.second}, each times a weight", (first, second))


@_make.register
def _(operation: Aggregate, place: Place) -> Step:
    rows = "reciprocal" if operation.mean else "root" if operation.degree_scale else ""
    word = "means" if operation.mean else "sums"
    own = operation.self_weight is not None and not operation.mean
    return place.step("aggregate", f"{word} of {operation.source} over edges", rows=rows, own=own)


@_make.register
def _(operation: Readout, place: Place) -> Step:
    rows = "reciprocal" if operation.mode == "mean" else ""
    return place.step("readout", f"{operation.mode} of {operation.source} over nodes", rows=rows, mode=operation.mode)


@_make.register
def _(operation: Attention, place: Place) -> Step:
    attention = place.fixed.attention
    assert attention is not None
    heads, channels = attention.vectors.shape[1:]
    made = place.step(
        "attention",
        f"{operation.source} over edges, weighted by a softmax",
        heads=place.constants.macro("heads", heads, "of attention"),
        per_head=place.constants.macro("per_head", channels, "channels of a head"),
        concat=attention.concat,
        head_bits=attention.head_bits,
        guard=place.constants.macro("guard", attention.guard, "bits of scores that are rounded away"),
        slope=place.constants.macro("slope", attention.slope, "of negative logits, in 2^-30"),
    )
    for name, vectors in zip(("source", "target"), attention.vectors, strict=True):
        made.numbers[name] = place.constants.array(
            name, "int32_t", vectors.flatten(), f"attention of the {name} of an edge"
        )
    return made
