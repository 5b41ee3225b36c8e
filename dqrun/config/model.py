"""The network."""

from __future__ import annotations

from dataclasses import dataclass

from dqrun import register
from dqrun.config.rules import doc, require, require_in, require_one_of

# Sizes beyond these are typing mistakes: building such a network takes minutes, or all memory.
LARGEST = {"layers": 1000, "hidden": 65_536, "heads": 65_536, "out_heads": 1024, "mlp_layers": 100}


@dataclass
class ModelConfig:
    """The network (`model.*`)."""

    name: str = doc(f"architecture: {', '.join(register.layer.names())}")
    layers: int = doc("number of message-passing layers, 1..1000")
    hidden: int = doc("channels of a hidden layer (GAT, GATv2: of all heads together), 1..65536")
    heads: int = doc("GAT, GATv2: attention heads of a hidden layer; must divide hidden", 1)
    out_heads: int = doc("GAT, GATv2: attention heads of a last layer that gives the logits (averaged), 1..1024", 1)
    mlp_layers: int = doc("GIN, GINE: linear layers of each layer's MLP, 1..100", 2)
    norm: str = doc("normalisation after each hidden layer: none, batch", "none")
    mlp_norm: bool = doc("GIN, GINE: batch norm as the last operation of each MLP (after its ReLU)", False)
    activation: str = doc("activation after each hidden layer: relu, elu, none", "relu")
    residual: bool = doc("add a layer's input to its output where the shapes agree", False)
    encoder: str = doc("before the first layer: none, linear (to `hidden`); categories always get an embedding", "none")
    readout: str = doc("graph tasks: mean, sum or max of the nodes; node tasks ignore it", "mean")
    head: list[int] = doc(
        "graph tasks: divisors of `hidden`, one per hidden linear layer of the head, e.g. [1] or [2, 4]", [1]
    )
    input_dropout: float = doc("dropout of the features that enter the first layer, [0, 1)", 0.0)
    dropout: float = doc("dropout of the features that enter each later layer, [0, 1)", 0.0)
    attention_dropout: float = doc("GAT, GATv2: dropout of attention coefficients, [0, 1)", 0.0)
    head_dropout: float = doc("dropout before the last linear layer of the head, [0, 1)", 0.0)

    @property
    def has_batch_norm(self) -> bool:
        """Whether networks of this kind hold batch norms; those of plug-ins may."""
        of_plugins = self.name in register.model or self.name in register.layer.added()
        has_mlp = self.name in register.layer and register.layer.entry(self.name).has_mlp
        return of_plugins or self.norm == "batch" or (has_mlp and self.mlp_norm)

    def validate(self) -> None:
        require_model(self.name)
        require_one_of("model.norm", self.norm, ("none", "batch"))
        require_one_of("model.activation", self.activation, ("relu", "elu", "none"))
        require_one_of("model.encoder", self.encoder, ("none", "linear"))
        require_one_of("model.readout", self.readout, ("mean", "sum", "max"))
        for name, most in LARGEST.items():
            require_in(f"model.{name}", getattr(self, name), 1, most)
        require(len(self.head) <= 100, "model.head", "hold at most 100 divisors", self.head)
        for name in ("input_dropout", "dropout", "attention_dropout", "head_dropout"):
            require(0 <= getattr(self, name) < 1, f"model.{name}", "be in [0, 1)", getattr(self, name))
        require(self.hidden % self.heads == 0, "model.heads", f"divide model.hidden={self.hidden}", self.heads)
        require(all(divisor >= 1 for divisor in self.head), "model.head", "hold divisors >= 1", self.head)


def require_model(name: str) -> None:
    """Raises ConfigError for a name that is neither that of a layer nor that of a whole network."""
    if name not in register.model:
        register.layer.require(name, register.model.names())
