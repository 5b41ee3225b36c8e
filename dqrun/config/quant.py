"""Bit-widths and grids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from dqrun import register
from dqrun.config.rules import doc, require, require_one_of

WEIGHT_GRANULARITIES = ("tensor", "channel", "group")
ACTIVATION_GRANULARITIES = ("tensor", "row", "group")
ROW_OFFSETS = ("inside", "integer", "real")
ROW_SCALES = ("real", "power_of_two")
DEFAULT_OFFSET, DEFAULT_GROUP = "integer", 32


@dataclass
class QuantConfig:
    """Bit-widths and grids (`quant.*`); null bits stand for FP32."""

    bits: int | None = doc("width of weights and activations, 1..8; null: FP32")
    weight_bits: int | None = doc("width of weights, 1..8; null: FP32")
    activation_bits: int | None = doc("width of activations, 1..8; null: FP32")
    symmetric_weights: bool = doc("weights on a grid with zero point 0 (else affine)", False)
    symmetric_activations: bool = doc("activations on a grid with zero point 0 (else affine)", False)
    weight_granularity: str = doc(
        "what has a scale of its own: tensor (a whole weight), channel (each output channel of a weight), group (each "
        "group_size neighbouring inputs of an output channel; no integer program: a sum of products has one scale)",
        "tensor",
    )
    activation_granularity: str = doc(
        "what has a range of its own: tensor (observed in training), row (each node, from its own row in training and "
        "in evaluation), group (each group_size neighbouring elements of a row)",
        "tensor",
    )
    row_offset: str = doc(
        "row, group: where zero lies on an affine grid: inside (it has a code), integer (a whole number of steps from "
        "the codes, or inside), real (anywhere: the lowest code is the least element)",
        DEFAULT_OFFSET,
    )
    row_scale: str = doc("row, group: steps are real, or power_of_two (the next larger one)", "real")
    group_size: int = doc(
        "activation_granularity=group, weight_granularity=group: elements of a group, > 0", DEFAULT_GROUP
    )
    quantizer: str | None = doc(
        "a registered quantiser of a plug-in, which stands at a site in place of the method's; null: none", None
    )

    def validate(self) -> None:
        for name in ("bits", "weight_bits", "activation_bits"):
            bits = getattr(self, name)
            require(bits is None or 1 <= bits <= 8, f"quant.{name}", "be in 1..8 or null", bits)
        require_one_of("quant.weight_granularity", self.weight_granularity, WEIGHT_GRANULARITIES)
        require_one_of("quant.activation_granularity", self.activation_granularity, ACTIVATION_GRANULARITIES)
        require_one_of("quant.row_offset", self.row_offset, ROW_OFFSETS)
        require_one_of("quant.row_scale", self.row_scale, ROW_SCALES)
        if self.activation_bits == 1:
            kind, rule = self.activation_granularity, "be row where an activation has 1 bit"
            require(kind == "row", "quant.activation_granularity", rule, kind)
        require(self.group_size > 0, "quant.group_size", "be > 0", self.group_size)
        if self.quantizer is not None:
            register.quantizer.require(self.quantizer)

    @property
    def is_fp32(self) -> bool:
        """Whether nothing is quantised."""
        return self.weight_bits is None and self.activation_bits is None

    @property
    def has_row_ranges(self) -> bool:
        """Whether rows of activations, or groups of their elements, have ranges of their own."""
        return self.activation_bits is not None and self.activation_granularity != "tensor"

    @property
    def label(self) -> str:
        """The name in tables: fp32, int8, int4, w4a8, w4a32, int4-channel, int4-wgroup32 (of weights), int4-row,
        int4-row-pow2, int4-group32-real, int4-QUANTIZER, ..."""
        if self.is_fp32:
            return "fp32"
        same = self.weight_bits == self.activation_bits
        widths = f"int{self.weight_bits}" if same else f"w{self.weight_bits or 32}a{self.activation_bits or 32}"
        kind = self.effective.weight_granularity
        weights = {"tensor": "", "group": f"wgroup{self.group_size}"}.get(kind, kind)
        return "-".join(part for part in (widths, weights, *self._row_label(), self.quantizer) if part)

    def _row_label(self) -> list[str]:
        """The part of the label about ranges of rows."""
        if not self.has_row_ranges:
            return []
        kind = "row" if self.activation_granularity == "row" else f"group{self.group_size}"
        offset = "" if self.row_offset == DEFAULT_OFFSET else self.row_offset
        return [kind, offset, "pow2" if self.row_scale == "power_of_two" else ""]

    @property
    def effective(self) -> Self:
        """The same without fields that have no effect: grids of FP32 tensors, options of ranges that are not used."""
        weights = "tensor" if self.weight_bits is None else self.weight_granularity
        made = replace(self, weight_granularity=weights)
        if not self.has_row_ranges:
            made = replace(made, activation_granularity="tensor", row_offset=DEFAULT_OFFSET, row_scale="real")
        if "group" not in (made.activation_granularity, made.weight_granularity):
            made = replace(made, group_size=DEFAULT_GROUP)
        return made
