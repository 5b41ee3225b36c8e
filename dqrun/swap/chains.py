"""The modules and functions of a swapped network in order of execution, if they are a chain."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch_geometric.nn import Sequential, global_add_pool, global_max_pool, global_mean_pool

from dqrun.errors import ConfigError
from dqrun.swap.modules import SwappedConv, SwappedLinear, SwappedNorm, SwappedPool

Operation = SwappedConv | SwappedLinear | SwappedPool
Following = SwappedNorm | str
"""A batch norm, or an activation: relu, elu."""

_ACTIVATIONS: dict[Any, str] = {
    **dict.fromkeys((F.relu, torch.relu, nn.ReLU, "relu", "relu_"), "relu"),
    **dict.fromkeys((F.elu, nn.ELU), "elu"),
}
_NOTHING = (F.dropout, nn.Dropout, nn.Identity, "contiguous")
"""Functions, modules and methods that change nothing in evaluation."""
_POOLING = (global_add_pool, global_max_pool, global_mean_pool)
_POOLS = "pooling functions have no quantisation point: torch_geometric.nn.aggr.SumAggregation, a module, has one"


@dataclass(frozen=True)
class Step:
    """An operation, and the functions and modules that follow it up to the next operation."""

    operation: Operation
    following: list[Following]


class _Tracer(fx.Tracer):
    """Traces into the user's modules, but not into swapped modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        swapped = isinstance(m, Operation | SwappedNorm)
        return swapped or super().is_leaf_module(m, module_qualified_name)


def chain(network: nn.Module, pools: bool | None = None) -> list[Step]:
    """The steps of a network; raises ConfigError, with the operation's name, if they are no chain.

    Names of the arguments of `forward` have no meaning: the second argument of a convolution are the edges, that of a
    pooling module is the batch. `pools`: whether the network is called with an optional batch; None: first tries with a
    batch, then without.
    """
    if isinstance(network, Operation):
        return [Step(network, [])]
    optional = _optional(network)
    if pools is None and optional:
        try:
            return _steps(network, _trace(network, optional[1:]))
        except ConfigError:  # the third argument may be edge weights
            return _steps(network, _trace(network, optional))
    return _steps(network, _trace(network, optional[1:] if pools else optional))


def _steps(network: nn.Module, graph: fx.Graph) -> list[Step]:
    steps, inputs = list[Step](), _Inputs()
    present: fx.Node | None = None
    """The node of the last result; None: the input features."""
    for node in graph.nodes:
        if node.op == "placeholder":
            inputs.paths[node] = str(node.target)
        elif node.op == "output":
            inputs.require_present(node.args[0], present, "the result")
        elif node.op == "call_function" and node.target is getattr and node.args[0] in inputs.paths:
            inputs.paths[node] = f"{inputs.paths[node.args[0]]}.{node.args[1]}"
        elif node.users:
            given = [*node.args, *node.kwargs.values()]
            inputs.require_present(given[0] if given else None, present, _name(node))
            what = _what(node, network)
            inputs.require_others(given[1:], what, _name(node))
            _take(what, node, steps)
            present = node
    return steps


class _Inputs:
    """The arguments of a network's `forward`, and the role of each by its use: features, edges or batch."""

    def __init__(self) -> None:
        self.paths: dict[fx.Node, str] = {}
        """Name of an argument, or of an attribute of one: `x`, `data.edge_index`."""
        self._roles: dict[str, str] = {}

    def require_present(self, argument: Any, present: fx.Node | None, name: str) -> None:
        """Raises ConfigError unless `argument` is the result of the last operation or, for the first, the features."""
        begins = present is None and isinstance(argument, fx.Node) and self._is(argument, "features")
        if not begins and (present is None or argument is not present):
            raise ConfigError(f"{name} can't be lowered: it does not take the result of the operation before it")

    def require_others(self, others: list[Any], what: Any, name: str) -> None:
        """Raises ConfigError for a further argument that is neither the edges nor the batch, such as a computed value,
        a branch, or edge data.
        """
        role = "edges" if isinstance(what, SwappedConv) else ""
        role = "batch" if isinstance(what, SwappedPool) or what in _POOLING else role
        given = [each for each in others if isinstance(each, fx.Node)]
        for place, argument in enumerate(given):
            if place or not role or not self._is(argument, role):
                raise ConfigError(f"{name} can't be lowered: it takes {argument.name} beside the result before it")

    def _is(self, argument: fx.Node, role: str) -> bool:
        """Whether an argument has this role; an argument without a role gets it, if no other argument has it."""
        path = self.paths.get(argument)
        if path is None:
            return False
        known = {other for other, found in self._roles.items() if found == role}
        return known <= {path} and self._roles.setdefault(path, role) == role


def _optional(network: nn.Module) -> list[str]:
    """Names of the arguments of `forward` with a default; first the one that may be the batch, if there is one.

    That is the argument `batch`, else the third one, if it is optional.
    """
    if isinstance(network, Sequential):
        return []
    parameters = list(inspect.signature(network.forward).parameters.values())
    names = [each.name for each in parameters if each.default is not each.empty]
    third = parameters[2].name if len(parameters) > 2 else ""
    batch = "batch" if "batch" in names else third
    return [batch, *(name for name in names if name != batch)] if batch in names else ["", *names] if names else []


def _trace(network: nn.Module, fixed: list[str]) -> fx.Graph:
    """The calls of a network in evaluation; the arguments `fixed` have their defaults."""
    if isinstance(network, Sequential):
        return _of_sequential(network)
    parameters = inspect.signature(network.forward).parameters
    training = network.training
    try:
        tracer = _Tracer(autowrap_functions=_POOLING)
        return tracer.trace(network.eval(), concrete_args={name: parameters[name].default for name in fixed if name})
    except Exception as error:  # the user's forward may raise anything for tracing proxies
        reason = f"{error}".strip().partition("\n")[0]
        raise ConfigError(f"forward can't be lowered, it can't be followed as a chain of modules: {reason}") from None
    finally:
        network.train(training)


def _of_sequential(network: Sequential) -> fx.Graph:
    """The calls of PyG's `Sequential`, whose forward takes any arguments."""
    graph = fx.Graph()
    values: dict[str, fx.Node] = {name: graph.placeholder(name) for name in network.signature.param_dict}
    for child in network._children:
        module, args = getattr(network, child.name), tuple(values[name] for name in child.param_names)
        is_module = isinstance(module, nn.Module)
        result = graph.call_module(child.name, args) if is_module else graph.call_function(module, args)
        values.update(dict.fromkeys(child.return_names, result))
    graph.output(result)
    return graph


def _what(node: fx.Node, network: nn.Module) -> Any:
    """The module, function or name of the method that a node calls."""
    return network.get_submodule(str(node.target)) if node.op == "call_module" else node.target


def _take(what: Any, node: fx.Node, steps: list[Step]) -> None:
    """Adds one call to the chain."""
    kind, name = type(what) if isinstance(what, nn.Module) else what, _name(node)
    if isinstance(what, Operation):
        steps.append(Step(what, []))
    elif kind in _NOTHING:
        if kind is F.dropout and node.kwargs.get("training", [*node.args, True, True, True][2]) is not False:
            raise ConfigError(f"{name} can't be lowered: it is active in evaluation, without training=self.training")
    elif isinstance(what, SwappedNorm) or kind in _ACTIVATIONS:
        if not steps:
            raise ConfigError(f"{name} can't be lowered before the first convolution or linear layer")
        if getattr(what, "alpha", node.kwargs.get("alpha", 1.0)) != 1.0 or (kind is F.elu and len(node.args) > 1):
            raise ConfigError(f"{name} can't be lowered unless alpha is 1")
        steps[-1].following.append(what if isinstance(what, SwappedNorm) else _ACTIVATIONS[kind])
    else:
        hint = f": {_POOLS}" if what in _POOLING else ""
        raise ConfigError(f"{name} can't be lowered{hint}")


def _name(node: fx.Node) -> str:
    target: str | Callable[..., Any] = node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    return {operator.add.__name__: "the sum of two tensors"}.get(name, name)
