"""`dqrun.quantize`: the swapped network computes what PyG's does, and trains in a loop of one's own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GATv2Conv, GCNConv, GINConv, GINEConv, SAGEConv, Sequential, TransformerConv
from torch_geometric.nn.models import GAT, GCN, GIN, GraphSAGE

import dqrun
from dqrun.config import QuantConfig
from dqrun.quant import Quantizer
from dqrun.quant.plan import quantizers
from dqrun.swap import swap

Inputs = dict[str, Any]


def train(model: nn.Module, batch: Inputs, steps: int = 3) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch).logsumexp(-1).sum().backward()
        optimizer.step()


def test_without_quantisers_it_computes_what_pyg_computes(network: nn.Module, batch: Inputs) -> None:
    network.eval()
    before = copy.deepcopy(network.state_dict())
    swapped = dqrun.quantize(network, quant="fp32")
    assert not list(quantizers(swapped)) and type(swapped) is type(network)
    assert torch.allclose(swapped(**batch), network(**batch), atol=1e-5, rtol=0)
    train(swapped, batch)  # copies: the given network is as it was
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not [name for name, _ in swapped.named_modules() if type(_).__module__.startswith("torch_geometric.nn.conv")]


def test_gradients_are_pygs(network: nn.Module, batch: Inputs) -> None:
    network.eval()
    swapped = dqrun.quantize(network, quant="fp32")
    x = [batch["x"].clone().requires_grad_() for _ in range(2)]
    for model, inputs in zip((network, swapped), x, strict=True):
        model(inputs, batch["edge_index"], batch["batch"]).square().sum().backward()
    assert x[0].grad is not None and x[1].grad is not None
    assert torch.allclose(x[0].grad, x[1].grad, rtol=1e-3, atol=1e-5)
    norms = [
        sum(float(p.grad.square().sum()) for p in m.parameters() if p.grad is not None) for m in (network, swapped)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@pytest.mark.parametrize(("method", "plan"), [("noisy", "paper"), ("dq", "paper"), ("dq", "integer")])
def test_it_trains_and_round_trips(network: nn.Module, batch: Inputs, method: str, plan: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = dqrun.quantize(network, "int4", method, plan)
    train(model, batch)
    exact = network.eval()(**batch)
    logits = model.eval()(**batch)
    assert logits.isfinite().all() and not torch.allclose(logits, exact, atol=1e-3)
    again = dqrun.quantize(network, "int4", method, plan)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(**batch), logits)
    assert torch.equal(copy.deepcopy(model)(**batch), logits)
    torch.save(model, tmp_path / "model.pt")
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=False)(**batch), logits)


def test_learned_scales_round_trip(network: nn.Module, batch: Inputs) -> None:
    method = ["naive", "method.learned_scale=true"]
    model = dqrun.quantize(network, "int4", method)
    train(model, batch)
    scales = {name: value for name, value in model.named_parameters() if "log_scale" in name}
    assert scales and all(value.isfinite() for value in scales.values())
    again = dqrun.quantize(network, "int4", method)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(**batch), model.eval()(**batch))


def test_post_training_quantisation(network: nn.Module, batch: Inputs) -> None:
    exact = network.eval()(**batch)
    model = dqrun.quantize(network, "int8", "ptq").eval()
    with pytest.raises(dqrun.TrialFailed, match="no value was observed"):
        model(**batch)
    with torch.no_grad(), dqrun.calibrating(model):
        assert torch.allclose(model(**batch), exact, atol=1e-4)
    rounded = model(**batch)
    assert not torch.equal(rounded, exact) and (rounded - exact).abs().max() < 0.2 * exact.abs().max()


@pytest.mark.parametrize(
    "conv",
    [
        GCNConv(6, 6, add_self_loops=False),
        GCNConv(6, 6, cached=True),
        GCNConv(6, 6, improved=True),
        SAGEConv(6, 6),
        SAGEConv(6, 6, bias=False),
        GATConv(6, 3, heads=3, add_self_loops=False),
        GATConv(6, 6, concat=False, bias=False),
        GATv2Conv(6, 3, heads=2),
        GATv2Conv(6, 6, heads=2, concat=False, share_weights=True, bias=False, add_self_loops=False),
        GINConv(nn.Identity(), eps=0.5),
        GINConv(nn.Linear(6, 6), train_eps=True),
    ],
    ids=repr,
)
def test_options_of_convolutions(conv: nn.Module, batch: Inputs) -> None:
    swapped = dqrun.quantize(conv, quant="fp32")
    x, edge_index = batch["x"], batch["edge_index"]
    assert torch.allclose(swapped(x, edge_index), conv(x, edge_index), atol=1e-5)


@pytest.mark.parametrize("improved", [True, False])
def test_edge_weights(batch: Inputs, improved: bool) -> None:
    conv = GCNConv(6, 6, improved=improved)
    weight = torch.rand(batch["edge_index"].size(1))
    x, edges = batch["x"], batch["edge_index"]
    swapped = dqrun.quantize(conv, quant="fp32")
    for given in (weight, None):
        assert torch.allclose(swapped(x, edges, given), conv(x, edges, given), atol=1e-5)
    assert torch.equal(swapped(x, edges, weight), swapped(x, edges, edge_weight=weight))
    assert not torch.allclose(swapped(x, edges), swapped(x, edges, weight), atol=1e-2)
    with pytest.raises(dqrun.DataError, match="edge_weight must have a row for each"):
        swapped(x, edges, weight[:3])


@pytest.mark.parametrize("edge_dim", [3, None])
def test_edge_features(batch: Inputs, edge_dim: int | None) -> None:
    conv = GINEConv(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), train_eps=True, edge_dim=edge_dim)
    nn.init.normal_(conv.eps)
    inputs = {"x": batch["x"], "edge_index": batch["edge_index"]}
    inputs["edge_attr"] = torch.randn(batch["edge_index"].size(1), edge_dim or 6)
    swapped = dqrun.quantize(conv, quant="fp32")
    assert torch.allclose(swapped(**inputs), conv(**inputs), atol=1e-5)
    model = dqrun.quantize(conv, "int4")
    train(model, inputs)
    assert model.eval()(**inputs).isfinite().all()


def test_scales_per_channel(network: nn.Module, batch: Inputs) -> None:
    model = dqrun.quantize(network, ["int4", "quant.weight_granularity=channel"])
    train(model, batch)
    sizes = {value.numel() for name, value in model.state_dict().items() if name.endswith("low")}
    assert len(sizes) > 1
    again = dqrun.quantize(network, ["int4", "quant.weight_granularity=channel"])
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(**batch), model.eval()(**batch))


@pytest.mark.parametrize("kind", [GCN, GAT, GIN, GraphSAGE])
def test_models_of_pyg(kind: type[nn.Module], batch: Inputs) -> None:
    options = {"norm": "BatchNorm"} if kind is GCN else {"v2": False, "heads": 2} if kind is GAT else {}
    model = kind(6, 8, 2, 3, dropout=0.1, **options).eval()
    swapped = dqrun.quantize(model, quant="fp32")
    inputs = {"x": batch["x"], "edge_index": batch["edge_index"]}
    assert torch.allclose(swapped(**inputs), model(**inputs), atol=1e-5)
    train(dqrun.quantize(model, "int8"), inputs, steps=1)


def test_sequential_of_pyg(batch: Inputs) -> None:
    parts = [(GCNConv(6, 8), "x, edge_index -> x"), nn.ReLU(), nn.Linear(8, 3)]
    model = Sequential("x, edge_index", parts)
    swapped = dqrun.quantize(model, quant="fp32")
    assert torch.allclose(swapped(batch["x"], batch["edge_index"]), model(batch["x"], batch["edge_index"]), atol=1e-5)


@pytest.mark.parametrize(
    ("conv", "message"),
    [
        (GCNConv(6, 6, normalize=False), r"conv1 \(GCNConv\): normalize must be True"),
        (SAGEConv(6, 6, aggr="max"), r"conv1 \(SAGEConv\): aggr must be mean to be quantised, got 'max'"),
        (SAGEConv(6, 6, normalize=True), "normalize must be False"),
        (GCNConv(6, 6, aggr="max"), r"conv1 \(GCNConv\): aggr must be add"),
        (GATConv(6, 6, negative_slope=0.1), r"negative_slope must be 0\.2 to be quantised, got 0\.1"),
        (GATConv(6, 6, edge_dim=2), "edge_dim must be None"),
        (GATConv((6, 6), 6), "in_channels must be one number"),
        (GCNConv(-1, 6), r"conv1 \(GCNConv\) must know its sizes"),
        (TransformerConv(6, 6), r"conv1 \(TransformerConv\) can't be quantised: modules that can are BatchNorm"),
        (nn.LSTM(6, 6), r"conv1 \(LSTM\) can't be quantised"),
    ],
)
def test_what_cannot_be_swapped_is_named_in_one_line(conv: nn.Module, message: str) -> None:
    model = nn.ModuleDict({"conv1": conv, "conv2": GCNConv(6, 6)})
    with pytest.raises(dqrun.ConfigError, match=message) as caught:
        dqrun.quantize(model)
    assert "\n" not in str(caught.value)
    left = dqrun.quantize(model, unsupported="fp32")
    assert type(left["conv1"]) is type(conv) and type(left["conv2"]) is not GCNConv


class Scaled(nn.Module):
    """A convolution, a linear layer and a parameter of the network's own, with a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = GCNConv(6, 6), nn.LayerNorm(6), nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.conv(x, edge_index)) * self.scale)  # type: ignore[no-any-return]


def test_a_networks_own_parameters_stay_in_fp32_and_its_modules_are_swapped() -> None:
    with pytest.raises(dqrun.ConfigError, match=r"\(Scaled\) can't be .*: it has parameters of its own \(scale\)"):
        dqrun.quantize(Scaled())
    swapped = swap(Scaled(), "fp32")
    assert swapped.left == ("scale", "norm")
    assert swapped.view.num_layers == 1 and len(list(swapped.view.head)) == 1  # type: ignore[arg-type]


class Tied(nn.Module):
    """Two linear layers with one weight."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, nn.Linear(6, 6)
        (first.lin if isinstance(first, GCNConv) else first).weight = self.second.weight  # type: ignore[assignment]


def test_weights_that_linear_layers_share_stay_shared() -> None:
    tied = dqrun.quantize(Tied(nn.Linear(6, 6)))
    assert tied.first.linear.weight is tied.second.linear.weight  # type: ignore[union-attr]
    assert tied.first.linear.bias is not tied.second.linear.bias  # type: ignore[union-attr]
    with pytest.raises(dqrun.ConfigError, match=r"the shared parameter second\.weight must belong to one module, or"):
        dqrun.quantize(Tied(GCNConv(6, 6)))


def test_a_network_is_quantised_once(network: nn.Module) -> None:
    with pytest.raises(dqrun.ConfigError, match="model must be a network that is not quantised yet"):
        dqrun.quantize(dqrun.quantize(network))


def test_presets_fields_and_objects(network: nn.Module) -> None:
    def first(model: nn.Module) -> Quantizer:
        return next(each for each in quantizers(model) if not each.name.endswith("weight"))

    assert first(dqrun.quantize(network, "w4a8")).spec.bits == 8
    by_object = dqrun.quantize(network, QuantConfig(bits=4, weight_bits=4, activation_bits=4))
    by_name = dqrun.quantize(network, "int4")
    assert repr(by_object) == repr(by_name)
    fields = dqrun.quantize(network, ["int8", "quant.symmetric_activations=true"], ["dq", "method.estimator=ste"])
    assert first(fields).spec.symmetric and first(fields).rounding.estimator == "ste"
    with pytest.raises(dqrun.ConfigError, match="quant must be one of"):
        dqrun.quantize(network, "int3000")
    with pytest.raises(dqrun.ConfigError, match="method must name a preset or fields of method"):
        dqrun.quantize(network, method=["train.lr=1"])
    with pytest.raises(dqrun.ConfigError, match=r"plan\.fp32 must match a site"):
        dqrun.quantize(network, plan=["paper", "plan.fp32=[nowhere]"])
    kept = dqrun.quantize(network, plan=["paper", "plan.fp32=['layers.0']"])
    assert len(list(quantizers(kept))) < len(list(quantizers(by_name)))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("sgquant", r"^method must be one that has no widths of its own, in dqrun\.quantize, got 'sgquant'$"),
        ("mixed", r"got 'mixed'$"),
        ("topgq", r"^model must be one of dqrun's layers for this method: other networks do not list their products$"),
    ],
)
def test_methods_that_need_a_network_of_dqruns_own(network: nn.Module, method: str, message: str) -> None:
    with pytest.raises(dqrun.ConfigError, match=message):
        dqrun.quantize(network, ["int8", "quant.activation_granularity=row"], method)


def test_what_is_no_network() -> None:
    with pytest.raises(dqrun.ConfigError, match=r"model must be a torch\.nn\.Module"):
        dqrun.quantize("gcn")  # type: ignore[arg-type]
    with pytest.raises(dqrun.ConfigError, match="the network must have a convolution of PyG"):
        dqrun.quantize(nn.ReLU())
    with pytest.raises(dqrun.ConfigError, match="unsupported must be error or fp32, got 'no'"):
        dqrun.quantize(GCNConv(1, 1), unsupported="no")


def test_what_a_convolution_does_not_take(batch: Inputs) -> None:
    x, edges = batch["x"], batch["edge_index"]
    model = dqrun.quantize(GATConv(6, 3))
    with pytest.raises(dqrun.DataError, match=r"edge_index must be a dense tensor .* got torch\.sparse_coo"):
        model(x, torch.eye(20).to_sparse())
    with pytest.raises(dqrun.DataError, match="x must be one tensor"):
        model((x, x), edges)
    with pytest.raises(dqrun.DataError, match="return_attention_weights must be None"):
        model(x, edges, return_attention_weights=True)
    with pytest.raises(TypeError, match="a quantised GATLayer takes at most 5 arguments, got 6"):
        model(x, edges, None, None, None, None)
    with pytest.raises(dqrun.DataError, match="edge_attr must be None"):
        model(x, edges, torch.ones(edges.size(1), 2))
    with pytest.raises(dqrun.DataError, match=r"edge_index must name nodes in 0\.\.9"):
        model(x[:10], edges)


class OfData(nn.Module):
    """A network that takes PyG's data object."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, data: Data) -> Tensor:
        return self.inner(data.x, data.edge_index, data.batch)  # type: ignore[no-any-return]


def test_a_network_of_data_objects(network: nn.Module, batch: Inputs) -> None:
    model = dqrun.quantize(OfData(network), quant="fp32").eval()
    assert torch.allclose(model(Data(**batch)), network.eval()(**batch), atol=1e-5)
    trained = dqrun.quantize(OfData(network), "int4")
    train(trained, {"data": Data(**batch)})


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of lightning itself
def test_it_trains_under_lightning(network: nn.Module, batch: Inputs) -> None:
    lightning = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = dqrun.quantize(network, "int8")

        def training_step(self, data: Inputs, place: int) -> Tensor:
            return self.model(**data).square().mean()  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=0.01)

    module = Module()
    loader = torch.utils.data.DataLoader([batch], batch_size=None)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    lightning.Trainer(max_epochs=2, **options).fit(module, loader)
    assert module.model.eval()(**batch).isfinite().all()
