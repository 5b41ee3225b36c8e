"""`dqrun.quantize`: a user's PyG network with dqrun's quantisers, trained in the user's own loop."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dqrun.api.errors import require_words
from dqrun.config import MethodConfig, PlanConfig, QuantConfig, RunConfig
from dqrun.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from dqrun.graphs import Graph
    from dqrun.methods import Method

Words = str | Sequence[str]


def quantize(
    model: nn.Module,
    quant: Words | QuantConfig = "int8",
    method: Words | MethodConfig = "dq",
    plan: Words | PlanConfig = "paper",
    *,
    recipe: str | None = None,
    unsupported: str = "error",
) -> nn.Module:
    """A copy of a PyG network that trains and evaluates with quantisation; it is called like the given network.

    PyG's convolutions, linear layers and batch norms are replaced by dqrun's, with copies of their parameters: create
    the optimiser from the result. `quant`, `method`, `plan`: the name of a preset, as on the command line (`"int4"`); a
    list of a preset and fields (`["dq", "method.protection.p_max=0.3"]`); or a configuration object. `recipe`: a preset
    of that group, such as `"cora_gat"`, whose settings of method and plan apply. `unsupported`: "error" refuses a
    module with parameters that can't be swapped, "fp32" leaves it as it is.

    In training mode the quantisers observe ranges, and a method that protects nodes draws masks: one for a forward
    pass, shared by its layers (or one for each, as the method says), by the degrees in the `edge_index` of the call.
    Degrees are ranked within each graph if `forward` of the network has a parameter `batch` or gets a data object with
    one, else among all nodes of the call. Masks come from torch's global generator. In evaluation mode all nodes are
    quantised, with the ranges observed in training.

    Raises ConfigError, in one line, for what can't be swapped and for unknown presets and fields.
    """
    import torch

    from dqrun.methods import Method, make_method
    from dqrun.quant import QuantPlan
    from dqrun.swap import swap

    if not isinstance(model, torch.nn.Module):
        raise ConfigError.rule("model", "be a torch.nn.Module", model)
    swapped = swap(copy.deepcopy(model), unsupported)
    words = [f"model={swapped.kind}", "~recipe" if recipe is None else f"recipe={recipe}"]
    config = compose(quant, method, plan, words)
    chosen = make_method(config, max(1, swapped.view.num_layers))
    chosen.extend(swapped.view)
    if chosen.learns_widths:  # in stages of dqrun's own training, or by degrees that a swapped network does not give
        rule = "be one that has no widths of its own, in dqrun.quantize"
        raise ConfigError.rule("method", rule, config.method.name)
    QuantPlan(config.quant, config.plan).apply(swapped.view, chosen)
    chosen.arrange(swapped.view)
    if type(chosen).before_batch is not Method.before_batch:
        swapped.forward_pass.draw = _Draw(chosen)
    return swapped.model


def compose(
    quant: Words | QuantConfig, method: Words | MethodConfig, plan: Words | PlanConfig, others: Sequence[str] = ()
) -> RunConfig:
    """A validated configuration with the given quantisation; `others`: overrides of its other parts."""
    from dqrun.composition.compose import load_configs

    given = {"quant": quant, "method": method, "plan": plan}
    words = [word for group, value in given.items() for word in _words(group, value)]
    (config,) = load_configs([*others, *words])
    objects: dict[str, Any] = {
        group: value for group, value in given.items() if isinstance(value, QuantConfig | MethodConfig | PlanConfig)
    }
    config = replace(config, **objects)
    config.validate()
    return config


def _words(group: str, value: Words | QuantConfig | MethodConfig | PlanConfig) -> list[str]:
    """The overrides for a value. A QuantConfig also becomes overrides: presets of methods depend on its widths."""
    if isinstance(value, QuantConfig):
        return [f"quant.{name}={'null' if width is None else width}" for name, width in vars(value).items()]
    if isinstance(value, MethodConfig | PlanConfig):
        return []
    if not isinstance(value, str | Sequence):
        kind = {"quant": "QuantConfig", "method": "MethodConfig", "plan": "PlanConfig"}[group]
        raise ConfigError.rule(group, f"be the name of a preset, a list of words, or a {kind}", value)
    words = [value] if isinstance(value, str) else list(value)
    require_words(group, words, f"{group}.FIELD=VALUE")
    full = [word if "=" in word else f"{group}={word}" for word in words]
    for word in full:
        if word.lstrip("+~").partition("=")[0].partition(".")[0] != group:
            raise ConfigError.rule(group, f"name a preset or fields of {group}.*", word)
    return full


class _Draw:
    """The method's changes to the graph of a call in training, such as masks of protected nodes.

    Draws come from torch's global generators. An object, so that networks can be copied and saved.
    """

    def __init__(self, method: Method) -> None:
        self.method = method

    def __call__(self, graph: Graph) -> Graph:
        import torch

        from dqrun.graphs import Batch
        from dqrun.training.seeding import Streams

        rank = graph.degree_rank
        generator = torch.default_generator if rank.is_cpu else torch.cuda.default_generators[rank.device.index]
        nothing = rank.new_empty(0)
        return self.method.before_batch(Batch(graph, nothing, nothing), Streams.all_from(generator)).graph


@contextmanager
def calibrating(model: nn.Module) -> Iterator[nn.Module]:
    """Inside the block the quantisers of a network observe values and do not round; afterwards they round.

    For post-training quantisation run a few batches of training data inside the block, in evaluation mode and without
    gradients. Yields `model`.
    """
    from dqrun.quant import Phase
    from dqrun.quant.plan import set_phase

    set_phase(model, Phase.CALIBRATE)
    try:
        yield model
    finally:
        set_phase(model, Phase.QUANTIZE)
