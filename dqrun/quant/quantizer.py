"""`Quantizer`: a scale provider and a way of rounding, put together."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn

from dqrun.errors import TrialFailed
from dqrun.kernels import R
from dqrun.quant.rounding import Rounding
from dqrun.quant.scales import Phase, Quantizable, ScaleProvider
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.quant.values import Values

T = TypeVar("T")


class Quantizer(nn.Module):
    """Fake-quantises a tensor: `scales` gives scales and zero points, `rounding` takes each value to its grid.

    `protects` False ignores rows that a method leaves in FP32. `name`: of the site, for errors.
    """

    def __init__(
        self, scales: ScaleProvider, rounding: Rounding, protects: bool = True, name: str = "a quantiser"
    ) -> None:
        super().__init__()
        self.scales, self.rounding, self.protects, self.name = scales, rounding, protects, name
        self.phase = Phase.QUANTIZE
        self._if_empty, self._checked = "", False

    @property
    def spec(self) -> QuantSpec:
        """The codes."""
        return self.rounding.spec

    @property
    def rounds_now(self) -> bool:
        """Whether calls round in this phase."""
        return self.phase in (Phase.QUANTIZE, Phase.OBSERVE)

    @property
    def noisy(self) -> bool:
        """Whether this call leaves random elements exact."""
        return self.rounds_now and self.rounding.noisy

    def forward(
        self, x: R, protected: Tensor | None = None, multiplicity: Tensor | None = None, relu: bool = False
    ) -> R:
        """Quantises float32 x [N, ...] and returns the same shape; the other arguments are those of `Values`.

        Raises TrialFailed in evaluation when no value was ever observed.
        """
        return self.quantize(Values(x, self.protected_rows(protected), multiplicity, relu))

    def quantize(self, tensor: Quantizable[T]) -> T:
        """Observes and rounds, as far as the phase says."""
        if self.phase is Phase.BYPASS:
            return tensor.exact()
        if self.scales.observe(tensor, self.phase):
            self._if_empty, self._checked = tensor.if_empty, False
        elif self.rounds_now:
            self._require_scales()
        return self._rounded(tensor) if self.rounds_now else tensor.exact()

    def protected_rows(self, protected: Tensor | None) -> Tensor | None:
        """The rows that this quantiser leaves in FP32, bool [N] or None."""
        return protected if self.protects else None

    def round(self, x: R) -> R:
        """Fake-quantises with the present scales, without observing."""
        self._require_scales()
        return self._rounded(Values(x))

    def fixed_scales(self) -> Scales:
        """The scales of every tensor in evaluation; raises TrialFailed when no value was ever observed."""
        self._require_scales()
        return self.scales.fixed()

    def _rounded(self, tensor: Quantizable[T]) -> T:
        return self.scales.rounded(tensor, self.rounding)

    def _require_scales(self) -> None:
        """Once per evaluation, not per call: reading a range synchronises a GPU."""
        if not self._checked:
            if not self.scales.ready:
                why = self._if_empty or "it was evaluated before training"
                raise TrialFailed(f"{self.name} cannot be quantised: no value was observed there, because {why}")
            self._checked = True

    def extra_repr(self) -> str:
        return f"protects={self.protects}"
