"""`ForwardPass`: state that the modules of a swapped network share during a forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dqrun.graphs import Graph
from dqrun.swap.structures import Structures, rank_within

Draw = Callable[[Graph], Graph]
"""Gives a graph the masks of a training step: a method's `before_batch`."""


class ForwardPass:
    """The structures of graphs, and in training the masks of the present forward pass.

    A pass begins when the network is called. A convolution that is called outside of the network's own `forward`, as in
    a `training_step` that calls modules one by one, begins a new pass at its second call. Masks are drawn once in a
    pass; layers with the same number of nodes share them.
    """

    def __init__(self) -> None:
        self.structures = Structures()
        self.draw: Draw | None = None
        """None: the method has no masks."""
        self.first_self_loops = False
        """Whether the first convolution runs over self-loops."""
        self._inside = 0
        self._batch: Tensor | None = None
        self._masks: dict[int, Tensor] = {}
        self._present: Tensor | None = None
        self._called: set[int] = set()

    def begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Called before the network's forward: finds `batch` and `edge_index` in its arguments or a data object."""
        self._inside += 1
        if self._inside > 1:  # a network inside of a network
            return
        self._forget()
        if model.training and self.draw is not None:
            self._draw_first(model, args, kwargs)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _draw_first(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Draws the masks of a pass, outside of compiled graphs, because a method may run any code for them."""
        found = _arguments(model, args, kwargs)
        self._batch = found.get("batch")
        x, edge_index = found.get("x"), found.get("edge_index")
        if x is not None and edge_index is not None:
            self._draw(self.structures.graph(edge_index, x.size(0), self.first_self_loops), edge_index)

    def end(self) -> None:
        """Called after the network's forward."""
        self._inside -= 1
        if not self._inside:
            self._forget()

    def has_masks(self, num_nodes: int, training: bool) -> bool:
        """Whether masks for `num_nodes` nodes are drawn or not needed, so that degree ranks are not read."""
        return not training or self.draw is None or num_nodes in self._masks

    def masked(self, graph: Graph, edge_index: Tensor, index: int, training: bool) -> Graph:
        """The graph of `edge_index` that convolution `index` runs over, with its mask in training."""
        if not self._inside and index in self._called:
            self._forget()
        self._called.add(index)
        if not training or self.draw is None:
            self._present = None
            return graph
        if graph.num_nodes not in self._masks:
            self._draw(graph, edge_index)
        graph = graph.with_protection_masks(self._masks.get(graph.num_nodes)).layer(index)
        self._present = graph.protected
        return graph

    def protected(self, rows: int, training: bool) -> Tensor | None:
        """The mask of a node tensor outside of convolutions, bool [N]; None if its rows are no nodes of the pass."""
        mask = self._present
        return mask if training and mask is not None and mask.numel() == rows else None

    def _draw(self, graph: Graph, edge_index: Tensor) -> None:
        assert self.draw is not None
        if self._batch is not None and self._batch.numel() == graph.num_nodes:
            graph = replace(graph, degree_rank=rank_within(edge_index, self._batch))
        masks = self.draw(graph).protection_masks
        if masks is not None:
            self._masks[graph.num_nodes] = masks
            self._present = masks[0]

    def _forget(self) -> None:
        self._batch, self._present = None, None
        self._masks, self._called = {}, set()


class PassHooks:
    """Hooks that call `begin` and `end` of a pass; an object, so that a copied network uses a copy of the pass."""

    def __init__(self, forward_pass: ForwardPass) -> None:
        self.forward_pass = forward_pass

    def before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.forward_pass.begin(model, args, kwargs)

    def after(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.forward_pass.end()

    def attach(self, model: nn.Module) -> None:
        """Adds the hooks to a network."""
        model.register_forward_pre_hook(self.before, with_kwargs=True)
        model.register_forward_hook(self.after, always_call=True)


def _arguments(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors `x`, `edge_index` and `batch` of a call: by the names of parameters of `forward` or of attributes of
    a data object, else by position: features, edges, batch (a graph for each row of features).
    """
    try:
        given = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):  # the call itself will report the error
        return {}
    holders = [value for value in given.values() if not isinstance(value, Tensor) and hasattr(value, "edge_index")]
    found: dict[str, Tensor] = {}
    for name in ("x", "edge_index", "batch"):
        values = [given.get(name), *(getattr(holder, name, None) for holder in holders)]
        tensors = [value for value in values if isinstance(value, Tensor) and _is_dense(value)]
        if tensors:
            found[name] = tensors[0]
    return found if "edge_index" in found else found | _by_place(list(given.values()))


def _by_place(values: list[Any]) -> dict[str, Tensor]:
    """Features, edges and batch, if shape and type of the first arguments fit."""
    if len(values) < 2 or not all(map(_is_dense, values[:2])):
        return {}
    x, edge_index, *others = values
    if edge_index.dtype != torch.int64 or edge_index.dim() != 2 or edge_index.size(0) != 2:
        return {}
    found = {"x": x, "edge_index": edge_index}
    if others and _is_dense(others[0]) and others[0].dtype == torch.int64 and others[0].shape == x.shape[:1]:
        found["batch"] = others[0]
    return found


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided
