"""`Mixture`: the quantisers of several widths at one site, mixed while widths are searched, then the chosen one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from dqrun.kernels import R
from dqrun.kernels.combine import weighted_sum
from dqrun.quant.quantizer import Quantizer
from dqrun.quant.rounding import Flip, Rounding
from dqrun.quant.scales import Phase, Quantizable, ScaleProvider
from dqrun.quant.spec import Scales
from dqrun.ranks.alone import ALONE, Ranks

T = TypeVar("T")
SEARCHED = -1


class Mixture(Quantizer):
    """During a search, gives sum_k p_k Q_k(x) of its candidates Q_k, p = softmax(preference).

    With `temperature` the weights of a training step are p = softmax((preference + g) / temperature), g of the Gumbel
    distribution (Jang et al., ICLR 2017), drawn by `generator` (of the CPU); evaluation takes the preferred candidate.
    After `choose` the preferred candidate alone stands at the site.

    Parameter `preference`: float32 [K]. Buffer `chosen`: int64 0-d, the candidate, -1 during the search.
    """

    chosen: Tensor
    ranks: Ranks = ALONE

    def __init__(
        self,
        candidates: Sequence[Quantizer],
        temperature: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """`candidates`: quantisers of one site, one per width, in ascending order."""
        nn.Module.__init__(self)
        self.candidates = nn.ModuleList(candidates)
        self.protects, self.name, self.centring = candidates[0].protects, candidates[0].name, None
        self.phase = Phase.QUANTIZE
        self.temperature, self.generator = temperature, generator
        self.preference = nn.Parameter(torch.zeros(len(candidates)))
        self.register_buffer("chosen", torch.tensor(SEARCHED))
        self._choice: int | None = SEARCHED
        self.count = 0.0
        """Numbers that the last call rounded."""
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @property
    def searched(self) -> bool:
        """Whether the search continues; reads the device once after a state was loaded."""
        if self._choice is None:
            self._choice = int(self.chosen)
        return self._choice == SEARCHED

    @property
    def preferred(self) -> Quantizer:
        """The candidate that was chosen, or that would be chosen now."""
        index = int(self.preference.argmax()) if self.searched else self._choice
        return cast(Quantizer, self.candidates[cast(int, index)])

    @property
    def scales(self) -> ScaleProvider:  # type: ignore[override]  # of the preferred candidate
        return self.preferred.scales

    @property
    def rounding(self) -> Rounding:  # type: ignore[override]
        return self.preferred.rounding

    @torch.no_grad()
    def choose(self) -> None:
        """Ends the search with the preferred candidate, the narrowest of equals."""
        self.chosen.copy_(self.preference.argmax())
        self._choice = None

    def mean_bits(self) -> Tensor:
        """sum_k softmax(preference)_k bits_k, 0-d, with its gradient."""
        widths = torch.tensor([float(each.spec.bits) for each in self._quantizers], device=self.preference.device)
        return self.preference.softmax(0) @ widths

    def quantize(self, tensor: Quantizable[T]) -> T:
        self.count = self.ranks.total(tensor.count)
        if self.phase is Phase.BYPASS:
            return tensor.exact()
        if not self.searched or (self.temperature is not None and not self.training):
            return self.preferred.quantize(tensor)
        given: list[Any] = [each.quantize(tensor) for each in self._quantizers]
        return cast(T, weighted_sum(given, self._weights()))

    def round(self, x: R) -> R:
        return self.preferred.round(x)

    def encode(self, x: Tensor) -> tuple[Tensor, Scales]:
        return self.preferred.encode(x)

    def flipped(self, x: Tensor, flip: Flip) -> Tensor:
        return self.preferred.flipped(x, flip)

    def _weights(self) -> Tensor:
        if self.temperature is None or not self.training:
            return self.preference.softmax(0)
        uniform = torch.rand(self.preference.shape, generator=self.generator).clamp(min=1e-20)
        gumbel = -(-uniform.log()).log().to(self.preference.device)
        return ((self.preference + gumbel) / self.temperature).softmax(0)

    def _require_scales(self) -> None:
        self.preferred._require_scales()

    @property
    def _quantizers(self) -> list[Quantizer]:
        return cast(list[Quantizer], list(self.candidates))

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


def mixtures(model: nn.Module) -> list[Mixture]:
    """All mixtures of a network."""
    return [module for module in model.modules() if isinstance(module, Mixture)]


def _forget(mixture: nn.Module, _: Any) -> None:
    assert isinstance(mixture, Mixture)
    mixture._choice = None
