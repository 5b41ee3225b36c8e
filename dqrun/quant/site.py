"""`Site`: a named tensor of a layer, to which a plan may attach a quantiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from dqrun.quant.granularity import Granularity
from dqrun.quant.groups import Groups
from dqrun.quant.quantizer import Quantizer
from dqrun.quant.scales import Phase


class Site(nn.Module):
    """A place that a tensor passes through: in FP32 until a plan gives it a quantiser.

    `weight`: the parameter that passes here (its settings are quant.weight_bits and method.weight_observer); only its
    shape is kept. None: an activation passes here. `channels`: the dimensions of the weight that number output
    channels. `nonnegative`: the tensor has no negative values (it follows a ReLU), so its grid may be unsigned.
    `fp32_by_default`: the site stays in FP32 unless a rule of the plan quantises it. `scalars`: rows are single
    numbers, or one for each head of an attention; with a range per row they would be exact, so rows share one range.
    `width`: number of elements in a row of an activation that enters a product, for quantisers with numbers for each
    channel; None: unknown.

    `may_be_sparse`: rows are features, or sums of features, that no weight has multiplied yet. They may be stored
    sparse or dense, with the same results: one range for each row, and a code for zero.

    `extension`: a module that a method applies to the tensor before rounding (`Method.extend`), or None.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        channels: tuple[int, ...] = (0,),
        nonnegative: bool = False,
        fp32_by_default: bool = False,
        scalars: bool = False,
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.weight_shape = None if weight is None else tuple(weight.shape)
        self.channels, self.nonnegative, self.fp32_by_default = channels, nonnegative, fp32_by_default
        self.scalars = scalars
        self.width = width
        self.may_be_sparse = False
        self.quantizer: Quantizer | None = None
        self.groups: Groups | None = None
        """Of a weight whose quantiser sees groups of inputs, [C, G, N]; None: it sees the weight itself."""
        self.extension: nn.Module | None = None

    @property
    def is_weight(self) -> bool:
        """Whether a parameter passes here."""
        return self.weight_shape is not None

    def grouped(self, granularity: Granularity) -> Groups | None:
        """How the weight is split into groups of inputs with scales of their own; None if it is not split."""
        if self.weight_shape is None or not granularity.size:
            return None
        return Groups(self.weight_shape, self.channels, granularity.size)

    def scale_shape(self, granularity: Granularity) -> tuple[int, ...]:
        """The shape of the scales of this tensor; () for an activation."""
        groups = self.grouped(granularity)
        if groups is not None:
            return groups.scale_shape
        return () if self.weight_shape is None else granularity.scale_shape(self.weight_shape, self.channels)

    @property
    def is_fp32(self) -> bool:
        """Whether the tensor passes unchanged."""
        return self.quantizer is None

    @property
    def idle(self) -> bool:
        """Whether the tensor passes unchanged now: without a quantiser, or with one that is switched off.

        A layer with a faster path for tensors in FP32 must test this, not `is_fp32`: so the training before
        post-training quantisation is bit for bit FP32 training.
        """
        return self.extension is None and (self.quantizer is None or self.quantizer.phase is Phase.BYPASS)

    def forward(
        self, x: Tensor, protected: Tensor | None = None, multiplicity: Tensor | None = None, relu: bool = False
    ) -> Tensor:
        """See `Quantizer.forward`; without a quantiser the identity, or a ReLU if one follows."""
        if self.extension is not None:
            x = self.extension(x)
        quantizer = self.quantizer
        if quantizer is None:
            return x.relu() if relu else x
        if self.groups is not None:
            return self.groups.join(quantizer(self.groups.split(x)))
        return quantizer(x, protected, multiplicity, relu)  # type: ignore[no-any-return]

    # nn.Module.__call__ is typed as returning Any; this gives callers the result type of `forward`
    __call__: Callable[..., Tensor]


class Sites(nn.Module):
    """The sites of one layer, as attributes: `Sites(input=Site(), weight=Site(self.weight))`."""

    def __init__(self, **sites: Site) -> None:
        super().__init__()
        for name, site in sites.items():
            self.add_module(name, site)

    def __getattr__(self, name: str) -> Site:
        site = super().__getattr__(name)
        assert isinstance(site, Site)
        return site


def named_sites(model: nn.Module) -> Iterator[tuple[str, Site]]:
    """All sites with their dotted names, e.g. `layers.0.mlp.1.weight` (the `sites` level is left out)."""
    for path, module in model.named_modules():
        if isinstance(module, Site):
            yield ".".join(part for part in path.split(".") if part != "sites"), module


def parts_with_ranks(model: nn.Module) -> list[nn.Module]:
    """The modules of a network that exchange values with the processes that share a batch: those with a `ranks`.

    Modules at the sites of weights are left out: weights are the same in all processes.
    """
    sites = [site for _, site in named_sites(model) if not site.is_weight]
    return [part for site in sites for part in site.modules() if hasattr(part, "ranks")]
