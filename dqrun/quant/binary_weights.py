"""Weights of one or two bits: sums of several sign bases, pairs of {0, 1}, ternary, and a share kept at more bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.kernels.grid_of_range import SMALLEST_SCALE
from dqrun.quant.learned_scale import LearnedScale
from dqrun.quant.quantizer import Quantizer
from dqrun.quant.rounding import Flip, Rounding
from dqrun.quant.scales import Phase, Quantizable, ScaleProvider
from dqrun.quant.signs import MeanScale, SignRounding, mean_to, signs, values_of
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.quant.values import Values

T = TypeVar("T")
TWN_THRESHOLD = 0.7


class TernaryRounding(Rounding):
    """-1, 0 or +1 times a scale: 0 where |x| <= 0.7 mean|x|, over elements that share a scale (Li et al. 2016, eq. 6).

    `spec`: 2 bits, symmetric, narrow. Gradients: the identity for x, the sum of gradient times code for a scale.
    """

    codes_of_spec = True

    def __init__(self, spec: QuantSpec, shape: tuple[int, ...] = ()) -> None:
        super().__init__(spec)
        self.shape = shape

    def forward(self, tensor: Quantizable[T], scales: Scales) -> T:
        x = values_of(tensor).x
        codes = self.encode(x.detach(), scales).to(x.dtype)
        return cast(T, codes * scales.scale + (x - x.detach()))

    def encode(self, x: Tensor, scales: Scales) -> Tensor:
        threshold = ternary_threshold(x, self.shape)
        return (x > threshold).to(torch.int32) - (x < -threshold).to(torch.int32)


class TernaryScale(ScaleProvider):
    """The mean of |x| over the elements that `TernaryRounding` does not make 0 (Li et al. 2016, eq. 5)."""

    def __init__(self, spec: QuantSpec, shape: tuple[int, ...] = ()) -> None:
        super().__init__(spec)
        self.shape = shape

    @torch.no_grad()
    def forward(self, tensor: Quantizable[object]) -> Scales:
        size = values_of(tensor).x.abs()
        kept = (size > ternary_threshold(size, self.shape)).to(size.dtype)
        scale = mean_to(size * kept, self.shape) / mean_to(kept, self.shape).clamp(min=SMALLEST_SCALE)
        scale = scale.clamp(min=SMALLEST_SCALE)
        return Scales(scale, torch.zeros_like(scale, dtype=torch.int32))


class TwoBinaries(Rounding):
    """a1 b1 - a2 b2 with b1, b2 in {0, 1}: levels -s, 0, s and 2s where a1 = 2s and a2 = s (DB-LLM: Chen et al., ACL
    Findings 2024, eq. 5 to 7).

    a1 is twice the quantiser's scale; `second` provides a2, which is trained apart from a1 where scales are learned.
    b1 = [x > (a1 - a2) / 2]; then b2 is chosen so that |x - a1 b1 + a2 b2| is smallest. Gradients: to x, the identity
    between the lowest and the highest level, 0 outside; to a1 and a2, the sums of gradient times b1 and times -b2.
    """

    def __init__(self, spec: QuantSpec, second: ScaleProvider) -> None:
        super().__init__(spec)
        self.second = second

    def forward(self, tensor: Quantizable[T], scales: Scales) -> T:
        x = values_of(tensor).x
        a1, a2 = 2 * scales.scale, self._second(x)
        b1, b2 = self.planes(x.detach(), a1.detach(), a2.detach())
        inside = (x >= -a2) & (x <= a1)
        through = (x - x.detach()) * inside
        return cast(T, a1 * b1 - a2 * b2 + through)

    def planes(self, x: Tensor, a1: Tensor, a2: Tensor) -> tuple[Tensor, Tensor]:
        """b1 and b2, of x's shape and type."""
        b1 = (x > (a1 - a2) / 2).to(x.dtype)
        b2 = (x - a1 * b1 < -a2 / 2).to(x.dtype)
        return b1, b2

    def _second(self, x: Tensor) -> Tensor:
        self.second.observe(Values(x), Phase.QUANTIZE)
        return self.second(Values(x)).scale

    @torch.no_grad()
    def flipped(self, x: Tensor, scales: Scales, flip: Flip) -> Tensor:
        """x rounded, its planes changed by `flip`."""
        a1, a2 = 2 * scales.scale, self.second(Values(x)).scale
        b1, b2 = (flip(plane.long(), 1) for plane in self.planes(x, a1, a2))
        return a1 * b1 - a2 * b2


class Bases(Quantizer):
    """The sum of several sign quantisers; each rounds the residual of those before it (residual binarisation: Li et
    al., ICCV 2017; BinaryDM: Zheng et al., ICLR 2025).

    `parts`: the first `kept` of them stay; further ones, if any, are for early epochs (`use_all`). The centring of the
    first part applies to the sum.
    """

    def __init__(self, parts: list[Quantizer], kept: int) -> None:
        first = parts[0]
        super().__init__(first.scales, first.rounding, name=first.name, centring=first.centring)
        self.further, self.kept = nn.ModuleList(parts[1:]), kept
        self._active = kept

    @property
    def bits(self) -> float:
        return float(self.kept)

    def use_all(self, every: bool) -> None:
        """Switches the bases beyond the first `kept` on (True) or off (False)."""
        self._active = 1 + len(self.further) if every else self.kept

    @property
    def has_codes(self) -> bool:
        return self.kept == 1 and super().has_codes

    def _rounded(self, tensor: Quantizable[T]) -> T:
        x, made = values_of(tensor).x, cast(Tensor, super()._rounded(tensor))
        for part in self._used(self._active):
            made = made + part(x - made.detach())
        return cast(T, made)

    def _flipped(self, x: Tensor, flip: Flip) -> Tensor:
        made, rest = super()._flipped(x, flip), x - super()._flipped(x, unchanged)
        for part in self._used(self.kept):
            made, rest = made + part.flipped(rest, flip), rest - part.flipped(rest, unchanged)
        return made

    def passing_scales(self) -> list[Tensor]:
        """The learned scales of the bases beyond the first `kept`, for a penalty that moves them towards 0."""
        found = [cast(Quantizer, part).scales for part in list(self.further)[self.kept - 1 :]]
        return [scales.log_scale.exp() for scales in found if isinstance(scales, LearnedScale) and scales.begun]

    def _used(self, number: int) -> list[Quantizer]:
        """The bases behind the first one, of `number` in all."""
        return cast("list[Quantizer]", list(self.further)[: number - 1])


class Salient(Quantizer):
    """A share of a weight's elements, the salient ones, has `kept.bits` bits; the others are scale times sign (PB-LLM:
    Shang et al., ICLR 2024).

    Salient elements are the largest by |w| ("magnitude") or by w^2 h ("hessian"). h is a moving average of the squared
    gradient; it approximates the diagonal of the Hessian (empirical Fisher information). Before the first gradient
    "hessian" chooses by |w|. The choice is made in the first training step after `choose`, and holds until the next
    one. The scale of the signs is the mean of |w| over the elements that are not salient. The grid of the salient ones
    is symmetric and ends at their largest |w|.

    Buffers: `salient`, bool, and `squared_gradient`, float32, of the weight's shape.
    """

    salient: Tensor
    squared_gradient: Tensor

    def __init__(self, signed: Quantizer, kept: SalientRule) -> None:
        """`signed`: the quantiser of the other elements, with `MeanScale` and `SignRounding`."""
        super().__init__(signed.scales, signed.rounding, name=signed.name, centring=signed.centring)
        self.kept, self._choose = kept, True
        self.register_buffer("salient", torch.zeros(kept.shape, dtype=torch.bool))
        self.register_buffer("squared_gradient", torch.zeros(kept.shape))

    @property
    def bits(self) -> float:
        """Mean bits of an element, including one bit per element that marks it as salient or not."""
        return 1 + self.kept.share * self.kept.bits + (1 - self.kept.share)

    def choose(self) -> None:
        """Lets the next training step choose the salient elements anew."""
        self._choose = True

    @property
    def has_codes(self) -> bool:
        return False

    def _rounded(self, tensor: Quantizable[T]) -> T:
        x = values_of(tensor).x
        if self.training and self._choose:
            self._choose_salient(x.detach())
        scales, rounding = self._low_and_high(x), cast(SignRounding, self.rounding)
        high = kernels.fake_quantize_broadcast(x, *scales[1][:2], *self.kept.ends)
        made = torch.where(self.salient, high, signs(x, scales[0], rounding.estimator, rounding.xnor))
        if self.training and made.requires_grad and self.kept.by == "hessian":
            made.register_hook(self._watch)  # type: ignore[no-untyped-call]
        return cast(T, made)

    def _flipped(self, x: Tensor, flip: Flip) -> Tensor:
        scale, high = self._low_and_high(x)
        low = self.rounding.encode(x, high)[~self.salient].long()
        codes = self.kept.spec.encode(x, high)[self.salient].long()
        made = scale.expand_as(x).clone()
        made[~self.salient] *= 2 * flip((low + 1) // 2, 1) - 1
        half = 1 << (self.kept.bits - 1)
        made[self.salient] = high.scale.expand_as(x)[self.salient] * (flip(codes + half, self.kept.bits) - half)
        return made

    def _low_and_high(self, x: Tensor) -> tuple[Tensor, Scales]:
        """The scale of the signs, and the scales of the salient elements."""
        provider = cast(MeanScale, self.scales)
        others = (~self.salient).to(x.dtype)
        size = x.abs() * others if provider.follows else x.detach().abs() * others
        shape = provider.shape
        low = (mean_to(size, shape) / mean_to(others, shape).clamp(min=SMALLEST_SCALE)).clamp(min=SMALLEST_SCALE)
        largest = (x.detach().abs() * self.salient).amax()
        return low, self.kept.spec.scales(-largest.view(*[1] * x.dim()), largest.view(*[1] * x.dim()))

    def _choose_salient(self, x: Tensor) -> None:
        watched = self.kept.by == "hessian" and bool(self.squared_gradient.any())  # not before the first gradient
        score = x.square() * self.squared_gradient if watched else x.abs()
        chosen = torch.zeros(x.numel(), dtype=torch.bool, device=x.device)
        chosen[score.flatten().topk(round(self.kept.share * x.numel())).indices] = True
        self.salient.copy_(chosen.view_as(x))
        self._choose = False

    def _watch(self, gradient: Tensor) -> None:
        self.squared_gradient.lerp_(gradient.detach().square(), 0.1)


@dataclass(frozen=True)
class SalientRule:
    """How salient elements of a weight of `shape` are chosen: a `share` of all, `by` "magnitude" or "hessian". They are
    kept at `bits`."""

    shape: tuple[int, ...]
    share: float
    bits: int
    by: str

    @property
    def spec(self) -> QuantSpec:
        """The codes of salient elements."""
        return QuantSpec(self.bits, symmetric=True, narrow=True)

    @property
    def ends(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return self.spec.qmin, self.spec.qmax


def ternary_threshold(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """0.7 mean|x| (Li et al. 2016, eq. 6), float32 of `shape`: elements of at most this size become 0."""
    return TWN_THRESHOLD * mean_to(x.abs(), shape)


def unchanged(codes: Tensor, bits: int) -> Tensor:
    """A `Flip` that returns the codes unchanged."""
    return codes
