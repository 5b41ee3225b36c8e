"""`ScaleProvider`: the source of a quantiser's scales. `Quantizable`: the input of one call of a quantiser."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol, TypeVar

from torch import Tensor, nn

from dqrun import kernels
from dqrun.errors import ConfigError
from dqrun.kernels import Rows
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.ranks.alone import ALONE, Ranks

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Phase(Enum):
    """What quantisers do. QUANTIZE: round, and observe in training mode. OBSERVE: the same, but learned scales do not
    begin. CALIBRATE: observe, do not round. BYPASS: neither."""

    QUANTIZE = "quantize"
    OBSERVE = "observe"
    CALIBRATE = "calibrate"
    BYPASS = "bypass"


class Quantizable(Protocol[T_co]):
    """Numbers that are observed and rounded together: a tensor (`Values`), or the messages of a graph's edges."""

    @property
    def x(self) -> Rows:
        """The tensor itself, or for messages the tensor of their sources: float32 [N, ...]."""

    @property
    def protected(self) -> Tensor | None:
        """Rows of x that stay in FP32 and are not observed, bool [N] or None."""

    @property
    def count(self) -> int:
        """How many numbers there are."""

    @property
    def observed(self) -> int:
        """How many numbers count for the range."""

    @property
    def if_empty(self) -> str:
        """Reason for having no numbers to observe, as the end of a sentence in an error."""

    def range(
        self, shape: tuple[int, ...], tail: float, seen: kernels.Range | None, percentile: str
    ) -> tuple[Tensor, Tensor]:
        """Low and high, float32 of `shape`, with a share `tail` outside on each side; see `kernels.tail_range`."""

    def fake_quantize(self, scales: Scales, spec: QuantSpec, estimator: str, noise: kernels.Noise | None) -> T_co:
        """The numbers, rounded to uniform grids; see `kernels.fake_quantize`."""

    def mapped(self, f: kernels.Elementwise, keeps_zero: bool = True) -> T_co:
        """f of each number; see `kernels.mapped`. For roundings without an operator of their own: messages become a
        tensor."""

    def sample(self, most: int) -> Tensor:
        """At most `most` of the observed numbers, evenly chosen: float32, 1-d; see `kernels.sample`."""

    def exact(self) -> T_co:
        """The numbers without rounding."""


class ScaleProvider(nn.Module):
    """Gives a quantiser the scales of each call. They broadcast to the tensor: [], [C, 1], [N, 1], ...

    A provider keeps a range or parameters, or it computes scales from the tensor alone (`forward`). Its parameters are
    trained without weight decay.
    """

    widths_differ = False
    """Whether rows differ in width: `row_bits`, float32 [N], then has the widths of the last call."""
    row_bits: Tensor
    ranks: Ranks = ALONE
    """The processes that share the batch."""

    def __init__(self, spec: QuantSpec) -> None:
        super().__init__()
        self.spec = spec

    def observe(self, tensor: Quantizable[object], phase: Phase) -> bool:
        """Observes numbers before they are rounded; returns whether it did. Not called in `Phase.BYPASS`."""
        return False

    @property
    def ready(self) -> bool:
        """Whether scales are available; may read the device."""
        return True

    def forward(self, tensor: Quantizable[object]) -> Scales:
        """The scales with which the tensor is rounded; in training learned scales require a gradient."""
        raise NotImplementedError

    def rounded(self, tensor: Quantizable[T], rounding: Callable[[Quantizable[T], Scales], T]) -> T:
        """The tensor, rounded with its scales."""
        return rounding(tensor, self(tensor))

    def fixed(self) -> Scales:
        """The scales that evaluation uses for every tensor, without gradient.

        Raises ConfigError if scales depend on the tensor.
        """
        raise ConfigError(f"{type(self).__name__} has no scales apart from a tensor's")

    # nn.Module.__call__ is typed as returning Any
    __call__: Callable[..., Scales]
