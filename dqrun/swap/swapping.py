"""`swap`: replaces PyG's convolutions, linear layers and batch norms of a network by dqrun's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch_geometric.nn import BatchNorm as PyGBatchNorm
from torch_geometric.nn import Linear as PyGLinear
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation, SumAggregation

from dqrun.errors import ConfigError
from dqrun.nn.linear import BatchNorm, Linear
from dqrun.nn.replaced import copied
from dqrun.register import require_unsupported
from dqrun.swap.convs import check_conv, convs
from dqrun.swap.modules import Inner, SwappedConv, SwappedLinear, SwappedNorm, SwappedPool
from dqrun.swap.passes import ForwardPass, PassHooks

LINEARS = (nn.Linear, PyGLinear)
NORMS = (nn.BatchNorm1d, PyGBatchNorm)
POOLS = {SumAggregation: "sum", MeanAggregation: "mean", MaxAggregation: "max"}


class View(nn.Module):
    """The sites of a swapped network with the names that plans use.

    `layers.I`: convolution I, with `mlp.K` for linear layers inside of it; `states.I`: the input of convolution I,
    after these the inputs of pooling modules; `norms.I`, `head.K`: batch norms and linear layers outside of
    convolutions; all in the order of the modules.
    """

    def __init__(self) -> None:
        super().__init__()
        for part in ("layers", "states", "norms", "head"):
            self.add_module(part, nn.ModuleList())

    @property
    def num_layers(self) -> int:
        """Number of convolutions."""
        layers = self.layers
        assert isinstance(layers, nn.ModuleList)
        return len(layers)

    def add(self, part: str, module: nn.Module) -> None:
        """Appends to one of the lists."""
        found = getattr(self, part)
        assert isinstance(found, nn.ModuleList)
        found.append(module)


@dataclass(frozen=True)
class Swapped:
    """The result of `swap`: the network, the view with its sites, and the state that its modules share."""

    model: nn.Module
    view: View
    forward_pass: ForwardPass
    left: tuple[str, ...]
    """Names of the modules with parameters that stay as they are."""
    kind: str
    """The registered name of the first convolution's layer, `gcn` without one: a plan's presets look at it."""


def swap(model: nn.Module, unsupported: str = "error") -> Swapped:
    """Replaces modules in `model` itself by dqrun's, with copies of its parameters; no site is quantised yet.

    `unsupported`: "error" raises ConfigError, in one line, with the name of a module that has parameters and can't be
    swapped; "fp32" leaves such a module unchanged (or only its own parameters, if modules inside of it are swapped).
    The result computes the same function as the given network; weights that linear layers share stay shared.
    """
    require_unsupported("unsupported", unsupported)
    if any("_dqrun_swapped" in vars(module) for module in model.modules()):
        raise ConfigError.rule("model", "be a network that is not quantised yet", type(model).__name__)
    shared, devices = _shared_parameters(model), []  # type: ignore[var-annotated]
    with torch.random.fork_rng(devices):  # layers draw weights, which are then replaced
        swapper = _Swapper(unsupported)
        root = swapper.module(model, "the network")
    if not swapper.made:
        raise ConfigError("the network must have a convolution of PyG, a linear layer or a batch norm to be quantised")
    _require_shared(shared, root, swapper.copies)
    if root is model:
        PassHooks(swapper.forward_pass).attach(root)
    found = Swapped(root, swapper.view, swapper.forward_pass, tuple(swapper.left), swapper.kind)
    vars(root)["_dqrun_swapped"] = found  # for `lower`; not a submodule, so that no state is saved twice
    return found


def _shared_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that several modules share, by their names in all of these modules except the first."""
    seen: set[int] = set()
    found = {}
    for name, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if id(parameter) in seen:
                found[f"{name}.{own}".lstrip(".")] = parameter
            seen.add(id(parameter))
    return found


def _require_shared(shared: dict[str, nn.Parameter], root: nn.Module, copies: dict[int, list[nn.Module]]) -> None:
    """Raises ConfigError if modules no longer share a parameter that they shared: training would make them differ."""
    for name, parameter in shared.items():
        left = sum(each is parameter for module in root.modules() for each in module._parameters.values())
        swapped = len(copies.get(id(parameter), ()))
        holders = 1 + sum(each is parameter for each in shared.values())
        if holders not in (left, swapped):
            rule = "belong to one module, or to linear layers alone, to be quantised"
            raise ConfigError.rule(f"the shared parameter {name}", rule, f"{holders} modules")


class _Swapper:
    """Traverses a network; a module that is used in several places is swapped once."""

    def __init__(self, unsupported: str) -> None:
        self.unsupported = unsupported
        self.view, self.forward_pass = View(), ForwardPass()
        self.left: list[str] = []
        self.kind = "gcn"
        self.made: dict[nn.Module, nn.Module] = {}
        self.copies: dict[int, list[nn.Module]] = {}
        """The linear layers that hold the copy of a parameter, by the `id` of that parameter."""
        self._copied: dict[int, nn.Parameter] = {}
        self._part: nn.ModuleList | None = None
        """Of the view: where modules inside of a convolution go."""

    def module(self, module: nn.Module, name: str) -> nn.Module:
        """The module that replaces this one; its children are replaced in place."""
        if module in self.made:
            return self.made[module]
        try:
            found = self._replacement(module, name)
        except ConfigError:
            if self.unsupported == "error":
                raise
            own = [own for own, _ in module.named_parameters(recurse=False)]
            if isinstance(module, MessagePassing) or not own or not any(True for _ in module.children()):
                self.left.append(name)
                return module
            self.left += [own if name == "the network" else f"{name}.{own}" for own in own]
            found = None
        if found is not None:
            found.train(module.training)
            self.made[module] = found
            return found
        for child_name, child in list(module.named_children()):
            prefix = "" if name == "the network" else f"{name}."
            replaced = self.module(child, f"{prefix}{child_name}")
            if replaced is not child:
                setattr(module, child_name, replaced)
        return module

    def _replacement(self, module: nn.Module, name: str) -> nn.Module | None:
        """The module that replaces another; None: look inside. Raises ConfigError if neither is possible."""
        if isinstance(module, LINEARS + NORMS + tuple(convs())) and any(map(is_lazy, module.parameters())):
            raise ConfigError(f"{name} ({type(module).__name__}) must know its sizes: call the network once before")
        if type(module) in convs():
            return self._conv(module, name)
        if type(module) in LINEARS:
            return self._linear(module)
        if type(module) in NORMS:
            return self._norm(module, name)
        if type(module) in POOLS:
            pool = SwappedPool(module, POOLS[type(module)], self.forward_pass)
            self.view.add("states", pool.state)
            return pool
        own = [own for own, _ in module.named_parameters(recurse=False)]
        if isinstance(module, MessagePassing) or own:
            inside = (
                f": it has parameters of its own ({', '.join(own)}), and"
                if own and len(list(module.children()))
                else ":"
            )
            known = ", ".join(sorted({kind.__name__ for kind in (*convs(), *LINEARS, *NORMS)}))
            what = f"{name} ({type(module).__name__}) can't be quantised{inside} modules that can are {known}"
            raise ConfigError(f"{what}; unsupported='fp32' of dqrun.quantize or register.model leaves the rest in FP32")
        return None

    def _conv(self, conv: Any, name: str) -> nn.Module:
        kind = convs()[type(conv)]
        check_conv(name, conv, kind)
        layer = kind.layer.from_pyg(conv)
        index, view = self.view.num_layers, nn.Module()
        for part, module in layer.named_children():
            if part != "mlp":
                view.add_module(part, module)
        if kind.replaced.network:
            view.add_module("mlp", nn.ModuleList())
            self._part = view.mlp  # type: ignore[assignment]
            inner = self.module(getattr(conv, kind.replaced.network), f"{name}.{kind.replaced.network}")
            self._part = None
            layer.mlp = Inner(inner)
        loops = layer.uses_self_loops and getattr(conv, "add_self_loops", True)
        if index == 0:
            self.forward_pass.first_self_loops = loops
            self.kind = kind.name
        loop_weight = 2.0 if getattr(conv, "improved", False) else 1.0
        swapped = SwappedConv(layer, index, kind.replaced.names, self.forward_pass, loops, loop_weight)
        self.view.add("layers", view)
        self.view.add("states", swapped.state)
        return swapped

    def _linear(self, given: Any) -> nn.Module:
        out_channels, in_channels = given.weight.shape
        linear = Linear(in_channels, out_channels)
        linear.weight = self._copy(given.weight, linear)
        linear.bias = None if given.bias is None else self._copy(given.bias, linear)  # type: ignore[assignment]
        self._add("head", linear)
        return SwappedLinear(linear, self.forward_pass)

    def _copy(self, parameter: nn.Parameter, holder: nn.Module) -> nn.Parameter:
        """The copy of a parameter, the same one for each linear layer that holds it."""
        self.copies.setdefault(id(parameter), []).append(holder)
        return self._copied.setdefault(id(parameter), copied(parameter))

    def _norm(self, given: Any, name: str) -> nn.Module:
        if getattr(given, "allow_single_element", False):
            raise ConfigError.rule(f"{name}: allow_single_element", "be False to be quantised", True)
        norm = BatchNorm(1)
        norm.norm = given.module if isinstance(given, PyGBatchNorm) else given
        self._add("norms", norm)
        return SwappedNorm(norm, self.forward_pass)

    def _add(self, part: str, module: nn.Module) -> None:
        if self._part is not None:
            self._part.append(module)
        else:
            self.view.add(part, module)
