"""`Quantizer`: an observer, a grid and a gradient estimator, put together."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.errors import DqrunError
from dqrun.quant.grid import Grid
from dqrun.quant.observer import Observer


class Phase(Enum):
    """What quantisers do: QUANTIZE (observing while training), CALIBRATE (observe, leave exact), BYPASS (nothing)."""

    QUANTIZE = "quantize"
    CALIBRATE = "calibrate"
    BYPASS = "bypass"


class Quantizer(nn.Module):
    """Fake-quantises a tensor: each value goes to the nearest value of its grid.

    `estimator` is the gradient of rounding (see `kernels.fake_quantize`): "ste", "clipped" or "clipped_ends".
    `noise_rate` < 1 is quantisation noise (Fan et al. 2021): a training step quantises each element with this
    probability, drawn from `generator`. `protectable` False ignores the rows that a method keeps exact.
    """

    def __init__(
        self,
        grid: Grid,
        observer: Observer,
        estimator: str = "ste",
        noise_rate: float = 1.0,
        generator: torch.Generator | None = None,
        protectable: bool = True,
    ) -> None:
        super().__init__()
        self.grid, self.observer, self.estimator = grid, observer, estimator
        self.noise_rate, self.generator, self.protectable = noise_rate, generator, protectable
        self.phase = Phase.QUANTIZE
        self._checked = False

    @property
    def observing(self) -> bool:
        """Whether this call updates the range."""
        return self.phase is Phase.CALIBRATE or (self.training and self.phase is Phase.QUANTIZE)

    @property
    def noisy(self) -> bool:
        """Whether this call leaves random elements exact."""
        return self.training and self.noise_rate < 1.0

    def forward(
        self, x: Tensor, keep: Tensor | None = None, multiplicity: Tensor | None = None, relu: bool = False
    ) -> Tensor:
        """Quantises float32 x [N, ...] and returns the same shape.

        `keep`: bool [N], rows that pass unchanged and are not observed. `multiplicity`: int64 [N], how often each
        row counts for the range (a node tensor that stands for its gathered copies counts out-degree times).
        `relu`: a ReLU follows the rounding, in the same pass. Raises DqrunError in evaluation when no range was ever
        observed.
        """
        if self.phase is Phase.BYPASS:
            return x.relu() if relu else x
        keep = self.kept(keep)
        if self.observing:
            self.observer.observe(x, multiplicity, keep)
        if self.phase is Phase.CALIBRATE:
            return x.relu() if relu else x
        return self.round(x, keep, relu)

    def kept(self, keep: Tensor | None) -> Tensor | None:
        """The rows that this quantiser leaves exact, bool [N] or None."""
        return keep if self.protectable else None

    def round(self, x: Tensor, keep: Tensor | None = None, relu: bool = False) -> Tensor:
        """Fake-quantises with the present range, without observing."""
        scale, zero_point = self.params()
        grid = self.grid
        rounded = kernels.fake_quantize(x, scale, zero_point, grid.qmin, grid.qmax, keep, self.estimator, relu)
        if not self.noisy:
            return rounded
        chosen = torch.rand(x.shape, generator=self.generator, device=x.device) < self.noise_rate
        return torch.where(chosen, rounded, x.relu() if relu else x)

    def params(self) -> tuple[Tensor, Tensor]:
        """Scale (float32) and zero point (int32) of the present range, 0-d."""
        if self.observing:
            self._checked = False
        elif not self._checked:  # once per evaluation, not per call: reading the range synchronises a GPU
            if not self.observer.has_seen:
                raise DqrunError("a quantiser was evaluated before it had observed any value")
            self._checked = True
        return self.grid.params(self.observer.low, self.observer.high)

    def extra_repr(self) -> str:
        return f"{self.grid}, estimator={self.estimator}, noise_rate={self.noise_rate}"
