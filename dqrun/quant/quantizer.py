"""`Quantizer`: a scale provider combined with a way of rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from dqrun.errors import TrialFailed
from dqrun.kernels import R
from dqrun.quant.rounding import Flip, Rounding
from dqrun.quant.scales import Phase, Quantizable, ScaleProvider
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.quant.values import Values

T = TypeVar("T")


class Quantizer(nn.Module):
    """Fake-quantises a tensor: `scales` gives scales and zero points, `rounding` rounds each value to its grid.

    `protects` False: rows that a method protects are rounded too. `name`: of the site, for errors. `centring`: None, or
    a module that centres a tensor, float32 [N, ...], around 0 before it is observed and rounded. In phases without
    rounding it is not applied, so that a stage in FP32 is FP32 training.
    """

    def __init__(
        self,
        scales: ScaleProvider,
        rounding: Rounding,
        protects: bool = True,
        name: str = "a quantiser",
        centring: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.scales, self.rounding, self.protects, self.name = scales, rounding, protects, name
        self.centring = centring
        self.phase = Phase.QUANTIZE
        self._if_empty, self._checked = "", False

    @property
    def spec(self) -> QuantSpec:
        """The codes to which this quantiser rounds."""
        return self.rounding.spec

    passes_signs = False
    """For a weight of signs times scales: whether the gradient of x in x W^T uses the signs without the scales."""

    @property
    def bits(self) -> float:
        """Mean bits of an element."""
        return self.spec.bits

    @property
    def rounds_now(self) -> bool:
        """Whether calls round in this phase."""
        return self.phase in (Phase.QUANTIZE, Phase.OBSERVE)

    @property
    def noisy(self) -> bool:
        """Whether this call leaves random elements in FP32."""
        return self.rounds_now and self.rounding.noisy

    def forward(
        self, x: R, protected: Tensor | None = None, multiplicity: Tensor | None = None, relu: bool = False
    ) -> R:
        """Quantises float32 x [N, ...] and returns the same shape; the other arguments are those of `Values`.

        Raises TrialFailed in evaluation when no value was ever observed.
        """
        return self.quantize(Values(x, self.protected_rows(protected), multiplicity, relu))

    def quantize(self, tensor: Quantizable[T]) -> T:
        """Observes and rounds, each if the phase demands it. Raises as `forward`."""
        if self.phase is Phase.BYPASS:
            return tensor.exact()
        entered = self._entering(tensor) if self.rounds_now else tensor
        if self.scales.observe(entered, self.phase):
            if self._checked or self._if_empty != tensor.if_empty:  # attributes of modules are slow to set
                self._if_empty, self._checked = tensor.if_empty, False
        elif self.rounds_now:
            self._require_scales()
        return self._rounded(entered) if self.rounds_now else tensor.exact()

    @property
    def has_codes(self) -> bool:
        """Whether the output consists of `spec`'s codes, as an integer program requires."""
        return self.rounding.codes_of_spec

    def protected_rows(self, protected: Tensor | None) -> Tensor | None:
        """The rows that this quantiser leaves in FP32, bool [N] or None."""
        return protected if self.protects else None

    def round(self, x: R) -> R:
        """Fake-quantises float32 x [N, ...] with the present scales, without observing. Raises as `forward`."""
        self._require_scales()
        return self._rounded(self._entering(Values(x)))

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, Scales]:
        """The codes, int32 of x's shape, and the scales with which x is rounded in evaluation. Raises as `forward`."""
        self._require_scales()
        entered = self._entering(Values(x))
        assert isinstance(entered.x, Tensor)
        scales = self.scales(entered)
        return self.rounding.encode(entered.x, scales), scales

    @torch.no_grad()
    def flipped(self, x: Tensor, flip: Flip) -> Tensor:
        """x [N, ...] as rounded in evaluation, after `flip` has changed bits of its codes; same shape.

        Raises ConfigError for a rounding without codes.
        """
        self._require_scales()
        entered = self._entering(Values(x))
        assert isinstance(entered.x, Tensor)
        return self._flipped(entered.x, flip)

    def fixed_scales(self) -> Scales:
        """The scales that evaluation uses for every tensor.

        Raises TrialFailed if no value was ever observed, ConfigError if scales depend on the tensor (`RowRange`).
        """
        self._require_scales()
        return self.scales.fixed()

    def _entering(self, tensor: Quantizable[T]) -> Quantizable[T]:
        """The tensor that is observed and rounded, centred if asked for."""
        if self.centring is None:
            return tensor
        assert isinstance(tensor, Values)
        values = tensor.dense()
        return cast("Quantizable[T]", replace(values, x=self.centring(values.x)))

    def _flipped(self, x: Tensor, flip: Flip) -> Tensor:
        """`flipped`, applied to the input."""
        return self.rounding.flipped(x, self.scales(Values(x)), flip)

    def _rounded(self, tensor: Quantizable[T]) -> T:
        """The input, rounded with the present scales."""
        return self.scales.rounded(tensor, self.rounding)

    def _require_scales(self) -> None:
        """Checked once per evaluation, not per call: reading a range synchronises a GPU and breaks torch.compile."""
        if not self._checked and not torch.compiler.is_compiling():
            if not self.scales.ready:
                why = self._if_empty or "it was evaluated before training"
                raise TrialFailed(f"{self.name} cannot be quantised: no value was observed there, because {why}")
            self._checked = True

    def extra_repr(self) -> str:
        return f"protects={self.protects}"
