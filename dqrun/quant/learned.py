"""`Learned`: scales with a trained parameter, which gets its first value from the first data."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from dqrun.quant.scales import Phase, Quantizable, ScaleProvider
from dqrun.quant.spec import QuantSpec, Scales


class Start(Protocol):
    """What a learned parameter begins with: scales of an observed range (`RangeObserver`, `ShrunkRange`)."""

    spec: QuantSpec

    @property
    def scale_shape(self) -> torch.Size:
        """Shape of the scales."""

    @property
    def ready(self) -> bool:
        """See `ScaleProvider`; so for `observe`, `fixed` and `__call__`."""

    @property
    def has_seen_nonzero(self) -> bool:
        """Whether a range contains a value other than zero."""

    def observe(self, tensor: Quantizable[object], phase: Phase) -> bool: ...

    def fixed(self) -> Scales: ...

    def __call__(self, tensor: Quantizable[object]) -> Scales: ...


class Learned(ScaleProvider):
    """Has a parameter, named by `parameter`, with an element for each range of `start`: float32, NaN until `begin`."""

    parameter: ClassVar[str]

    def __init__(self, start: Start) -> None:
        super().__init__(start.spec)
        self.start = start
        self.register_parameter(self.parameter, nn.Parameter(torch.full(start.scale_shape, torch.nan)))
        self._begun: bool | None = False
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @property
    def begun(self) -> bool:
        """Whether the parameter has a value; reads the device once after a state was loaded."""
        if self._begun is None:
            self._begun = not bool(self.get_parameter(self.parameter).isnan().any())
        return self._begun

    @torch.no_grad()
    def begin(self, first: Tensor) -> None:
        """Sets the parameter to its first value, float32 of its shape."""
        self.get_parameter(self.parameter).copy_(first)
        self._begun = True

    @property
    def ready(self) -> bool:
        return self.begun or self.start.ready


def _forget(learned: nn.Module, _: Any) -> None:
    assert isinstance(learned, Learned)
    learned._begun = None
