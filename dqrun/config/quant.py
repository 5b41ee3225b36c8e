"""Bit-widths."""

from __future__ import annotations

from dataclasses import dataclass

from dqrun import register
from dqrun.config.rules import doc, require, require_one_of

WEIGHT_GRANULARITIES = ("tensor", "channel")


@dataclass
class QuantConfig:
    """Bit-widths and grids (`quant.*`); null bits stand for FP32."""

    bits: int | None = doc("width of weights and activations, 2..8; null: FP32")
    weight_bits: int | None = doc("width of weights, 2..8; null: FP32")
    activation_bits: int | None = doc("width of activations, 2..8; null: FP32")
    symmetric_weights: bool = doc("weights on a grid with zero point 0 (else affine)", False)
    symmetric_activations: bool = doc("activations on a grid with zero point 0 (else affine)", False)
    weight_granularity: str = doc(
        "what has a scale of its own: tensor (a whole weight), channel (each output channel of a weight)", "tensor"
    )
    quantizer: str | None = doc(
        "a registered quantiser of a plug-in, which stands at a site in place of the method's; null: none", None
    )

    def validate(self) -> None:
        for name in ("bits", "weight_bits", "activation_bits"):
            bits = getattr(self, name)
            require(bits is None or 2 <= bits <= 8, f"quant.{name}", "be in 2..8 or null", bits)
        require_one_of("quant.weight_granularity", self.weight_granularity, WEIGHT_GRANULARITIES)
        if self.quantizer is not None:
            register.quantizer.require(self.quantizer)

    @property
    def is_fp32(self) -> bool:
        """Whether nothing is quantised."""
        return self.weight_bits is None and self.activation_bits is None

    @property
    def label(self) -> str:
        """The name in tables: fp32, int8, int4, w4a8, w4a32, int4-channel, int4-QUANTIZER, ..."""
        if self.is_fp32:
            return "fp32"
        same = self.weight_bits == self.activation_bits
        widths = f"int{self.weight_bits}" if same else f"w{self.weight_bits or 32}a{self.activation_bits or 32}"
        granularity = "" if self.effective_granularity == "tensor" else self.effective_granularity
        return "-".join(part for part in (widths, granularity, self.quantizer) if part)

    @property
    def effective_granularity(self) -> str:
        """`weight_granularity`, which means nothing where weights are in FP32."""
        return "tensor" if self.weight_bits is None else self.weight_granularity
