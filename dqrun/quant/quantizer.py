"""`Quantizer`: an observer, a grid and a gradient estimator, put together."""

from __future__ import annotations

from enum import Enum
from typing import cast

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.errors import TrialFailed
from dqrun.kernels import R
from dqrun.quant.grid import SMALLEST_SCALE, Grid
from dqrun.quant.learned_scale import LearnedScale
from dqrun.quant.observer import Observer


class Phase(Enum):
    """What quantisers do: QUANTIZE (observing while training), OBSERVE (the same, but no learned step begins),
    CALIBRATE (observe, leave exact), BYPASS (nothing)."""

    QUANTIZE = "quantize"
    OBSERVE = "observe"
    CALIBRATE = "calibrate"
    BYPASS = "bypass"


class Quantizer(nn.Module):
    """Fake-quantises a tensor: each value goes to the nearest value of its grid.

    `estimator` is the gradient of rounding (see `kernels.fake_quantize`): "ste", "clipped" or "clipped_ends".
    `noise_rate` < 1 is quantisation noise (Fan et al. 2021): a training step quantises each element with this
    probability; `generator`, of the CPU, seeds the draws. `protects` False ignores rows that a method keeps exact.

    `learned_scale`: the scale is a parameter (LSQ, Esser et al. 2020). It and the zero point begin as those of the
    range that was observed up to the first training step (of `Phase.QUANTIZE`) that has seen more than zeros; from
    then on nothing is observed and the zero point stays. `is_weight`: it begins as 2 mean|x| / sqrt(qmax) instead
    (LSQ, section 2.1).
    """

    def __init__(
        self,
        grid: Grid,
        observer: Observer,
        estimator: str = "ste",
        noise_rate: float = 1.0,
        generator: torch.Generator | None = None,
        protects: bool = True,
        learned_scale: bool = False,
        is_weight: bool = False,
        name: str = "a quantiser",
    ) -> None:
        """`name`: of its site, for errors."""
        super().__init__()
        self.name, self._unseen = name, ""
        self.grid, self.observer, self.estimator = grid, observer, estimator
        self.noise_rate, self.generator, self.protects = noise_rate, generator, protects
        self.learned_scale, self.is_weight = (LearnedScale() if learned_scale else None), is_weight
        self.phase = Phase.QUANTIZE
        self._checked = False

    @property
    def observing(self) -> bool:
        """Whether this call updates the range."""
        if self.rounding:
            return self.training and (self.learned_scale is None or not self.learned_scale.begun)
        return self.phase is Phase.CALIBRATE

    @property
    def rounding(self) -> bool:
        """Whether this call rounds."""
        return self.phase in (Phase.QUANTIZE, Phase.OBSERVE)

    @property
    def beginning(self) -> bool:
        """Whether this call may give a learned step its first value."""
        return (
            self.learned_scale is not None
            and self.training
            and self.phase is Phase.QUANTIZE
            and not self.learned_scale.begun
        )

    @property
    def noisy(self) -> bool:
        """Whether this call leaves random elements exact."""
        return self.training and self.rounding and self.noise_rate < 1.0

    def forward(
        self, x: R, protected: Tensor | None = None, multiplicity: Tensor | None = None, relu: bool = False
    ) -> R:
        """Quantises float32 x [N, ...] and returns the same shape.

        `protected`: bool [N], rows that pass unchanged and are not observed. `multiplicity`: int64 [N], how often each
        row counts for the range (a node tensor that stands for its gathered copies counts out-degree times).
        `relu`: a ReLU follows the rounding, in the same pass. Raises TrialFailed in evaluation when no value was ever
        observed.
        """
        if self.phase is Phase.BYPASS:
            return _exact(x, relu)
        protected = self.protected_rows(protected)
        if self.observing:
            self.observer.observe(x, multiplicity, protected)
            self.note(protected, gathered=multiplicity is not None)
        if not self.rounding:
            return _exact(x, relu)
        if self.beginning and self.is_weight:
            assert isinstance(x, Tensor)
            mean = x.detach().abs().mean()
            self._begin(2 * mean / self.grid.qmax**0.5, torch.zeros_like(mean, dtype=torch.int32))
        return self.round(x, protected, relu)

    def note(self, protected: Tensor | None, gathered: bool) -> None:
        """Remembers of an observation why it may have been one of nothing, for an error in evaluation.

        `protected`: the rows that were left out. `gathered`: rows count as often as edges leave them.
        """
        if protected is None:
            self._unseen = "no edge carried one" if gathered else "its tensor was empty"
        else:
            self._unseen = "no edge left an unprotected node" if gathered else "every row was protected"

    def protected_rows(self, protected: Tensor | None) -> Tensor | None:
        """The rows that this quantiser leaves exact, bool [N] or None."""
        return protected if self.protects else None

    def round(self, x: R, protected: Tensor | None = None, relu: bool = False) -> R:
        """Fake-quantises with the present range, without observing."""
        scale, zero_point = self.params(x.numel())
        ends = self.grid.qmin, self.grid.qmax
        return kernels.fake_quantize(x, scale, zero_point, *ends, protected, self.estimator, relu, self.draw_noise())

    def draw_noise(self) -> kernels.Noise | None:
        """Which elements of the next tensor are to be rounded; None: all."""
        if not self.noisy:
            return None
        low, high = torch.randint(2**32, (2,), generator=self.generator).tolist()
        return kernels.Noise(self.noise_rate, low, high)

    def params(self, count: int = 1) -> tuple[Tensor, Tensor]:
        """Scale (float32) and zero point (int32), 0-d: of the present range, or learned.

        `count`: elements that are to be rounded. In training a learned scale takes a gradient, which is scaled by
        1 / sqrt(count * qmax) (LSQ, section 2.2).
        """
        if self.learned_scale is not None and self.learned_scale.begun:
            return self.learned_scale.scale((count * self.grid.qmax) ** -0.5), self.learned_scale.zero_point
        if self.observing:
            self._checked = False
        elif not self._checked:  # once per evaluation, not per call: reading the range synchronises a GPU
            if not self.observer.has_seen:
                why = self._unseen or "it was evaluated before training"
                raise TrialFailed(f"{self.name} cannot be quantised: no value was observed there, because {why}")
            self._checked = True
        scale, zero_point = self.grid.params(self.observer.low, self.observer.high)
        if self.beginning and self.observer.has_seen_nonzero and self._begin(scale, zero_point):
            return self.params(count)
        return scale, zero_point

    def _begin(self, scale: Tensor, zero_point: Tensor) -> bool:
        """Gives a learned step its first value, unless that is none to divide by; returns whether it did."""
        assert self.learned_scale is not None
        if scale.item() > SMALLEST_SCALE:
            self.learned_scale.begin(scale, zero_point)
        return self.learned_scale.begun

    def extra_repr(self) -> str:
        return f"{self.grid}, estimator={self.estimator}, noise_rate={self.noise_rate}, " + (
            f"learned_scale={self.learned_scale is not None}"
        )


def _exact(x: R, relu: bool) -> R:
    return cast(R, x.relu()) if relu else x
