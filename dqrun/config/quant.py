"""Bit-widths."""

from __future__ import annotations

from dataclasses import dataclass

from dqrun.config.rules import doc, require


@dataclass
class QuantConfig:
    """Bit-widths and grids (`quant.*`); null bits stand for FP32."""

    bits: int | None = doc("width of weights and activations, 2..8; null: FP32")
    weight_bits: int | None = doc("width of weights, 2..8; null: FP32")
    activation_bits: int | None = doc("width of activations, 2..8; null: FP32")
    symmetric_weights: bool = doc("weights on a grid with zero point 0 (else affine)", False)
    symmetric_activations: bool = doc("activations on a grid with zero point 0 (else affine)", False)

    def validate(self) -> None:
        for name in ("bits", "weight_bits", "activation_bits"):
            bits = getattr(self, name)
            require(bits is None or 2 <= bits <= 8, f"quant.{name}", "be in 2..8 or null", bits)

    @property
    def is_fp32(self) -> bool:
        """Whether nothing is quantised."""
        return self.weight_bits is None and self.activation_bits is None

    @property
    def label(self) -> str:
        """The name in tables: fp32, int8, int4, w4a8, w4a32, ..."""
        if self.is_fp32:
            return "fp32"
        if self.weight_bits == self.activation_bits:
            return f"int{self.weight_bits}"
        return f"w{self.weight_bits or 32}a{self.activation_bits or 32}"
