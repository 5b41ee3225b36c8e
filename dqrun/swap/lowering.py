"""Records a swapped network that is a chain as operations (`nn.lowering`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from dqrun.errors import ConfigError
from dqrun.nn.linear import BatchNorm
from dqrun.nn.lowering import LOGITS, Into, Lowering, Value
from dqrun.swap.chains import Following, Operation, chain
from dqrun.swap.modules import SwappedConv, SwappedLinear, SwappedNorm, SwappedPool
from dqrun.swap.swapping import Swapped


def lower_swapped(swapped: Swapped, to: Lowering, pools: bool | None = None) -> bool:
    """Records all operations of a network in `to`; returns whether layers need self-loops. `pools`: see `chain`.

    Raises ConfigError, in one line with its name, for an operation that programs do not have, and for a network that is
    no chain.
    """
    steps, names = chain(swapped.model, pools), _Names(swapped)
    convolutions = [step.operation for step in steps if isinstance(step.operation, SwappedConv)]
    loops = {conv.self_loops for conv in convolutions}
    if len(loops) > 1:
        raise ConfigError("convolutions of one program must all run over self-loops, or none")
    if any(conv.loop_weight != 1.0 for conv in convolutions):
        raise ConfigError("GCNConv with improved=True can't be lowered: self-loops of a program weigh 1")
    if not steps:
        raise ConfigError("the network has no operation that can be lowered")
    x = to.features(_channels(steps[0].operation), Into(names.site(steps[0].operation)))
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        target = LOGITS if following is None else names.site(following.operation)
        x = names.lower(step.operation, to, x, _into(step.following, Into(target)))
    return loops == {True}


def lower_inner(network: nn.Module, to: Lowering, x: Value, into: Into) -> Value:
    """Records the network inside of a convolution; x: the value of the site `0.input` of this part."""
    steps = chain(network)
    parts = [module for module in network.modules() if isinstance(module, SwappedLinear | SwappedNorm)]
    if not steps or steps[0].operation is not parts[0]:
        raise ConfigError(f"{to.prefix}nn can't be lowered: it must begin with a linear layer")
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        linear, name = step.operation, str(parts.index(step.operation))  # type: ignore[arg-type]
        assert isinstance(linear, SwappedLinear)
        target = into
        if following is not None:
            target = to.into(f"{parts.index(following.operation)}.input")  # type: ignore[arg-type]
        x = linear.linear.lower(to.part(name), x, _into(step.following, target))
    return x


class _Names:
    """Names of operations' sites in a plan."""

    def __init__(self, swapped: Swapped) -> None:
        self._of: dict[int, str] = {id(module): name for name, module in swapped.view.named_modules()}

    def site(self, operation: Operation) -> str:
        """The site of an operation's input."""
        if isinstance(operation, SwappedLinear):
            return f"{self._of[id(operation.linear)]}.input"
        return str(self._of[id(operation.state)])

    def lower(self, operation: Operation, to: Lowering, x: Value, into: Into) -> Value:
        """Records one operation."""
        if isinstance(operation, SwappedConv):
            return operation.layer.lower(to.part(f"layers.{operation.index}"), x, into)
        if isinstance(operation, SwappedPool):
            return to.readout(x, operation.mode, into)
        return operation.linear.lower(to.part(self._of[id(operation.linear)]), x, into)


def _channels(operation: Operation) -> int:
    if isinstance(operation, SwappedPool):
        raise ConfigError("pooling can't be lowered as the first operation")
    return operation.in_channels


def _into(following: Sequence[Following], into: Into) -> Into:
    """`into` with the functions and modules before it; raises ConfigError for an order that `Into` does not have."""
    tokens: list[BatchNorm | str] = [each.norm if isinstance(each, SwappedNorm) else each for each in following]
    tokens += ["relu", into.inner] if into.inner is not None else []
    tokens += [into.norm] if into.norm is not None else []
    tokens += [into.activation] if into.activation != "none" else []
    left = [token for i, token in enumerate(tokens) if not (i and token == "relu" == tokens[i - 1])]
    inner = norm = None
    if len(left) > 1 and left[0] == "relu" and isinstance(left[1], BatchNorm):
        inner, left = left[1], left[2:]
    if left and isinstance(left[0], BatchNorm):
        norm, left = left[0], left[1:]
    activation = left.pop(0) if left else "none"
    if left or not isinstance(activation, str):
        names = ", ".join(token if isinstance(token, str) else "batch norm" for token in tokens)
        raise ConfigError(
            f"{names} after one another can't be lowered: at most relu, batch norm, batch norm, activation"
        )
    for each in (inner, norm):
        if each is not None and (each.norm.running_mean is None or each.norm.weight is None):
            raise ConfigError("a batch norm without running statistics or without weights can't be lowered")
    return replace(into, inner=inner, norm=norm, activation=activation)
