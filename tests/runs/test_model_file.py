"""Model files: what is saved is what loads, and nothing else is taken for one."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dqrun.composition.compose import load_configs
from dqrun.config.reading import PluginNeeded
from dqrun.data.features import FeatureRule
from dqrun.errors import DataError
from dqrun.graphs import CSR, Graph
from dqrun.nn.build import build_model
from dqrun.runs.model_file import Shapes, load_features, load_model, load_parameters, save_model


def test_round_trip(tmp_path: Path) -> None:
    (config,) = load_configs(["model=gcn", "quant=w4a8", "model.hidden=8", "model.layers=2"])
    shapes = Shapes(in_channels=3, num_categories=0, out_channels=2)
    model = build_model(config, 3, 0, 2)
    loops = torch.arange(5).repeat(2, 1)
    graph = Graph(CSR.from_edge_index(loops, 5), torch.tensor([0, 2, 5]), torch.tensor([0, 0, 1, 1, 1]), torch.ones(5))
    x = torch.randn(5, 3)
    model(x, graph)
    save_model(tmp_path / "model.safetensors", model, config, shapes)
    loaded, loaded_config = load_model(tmp_path / "model.safetensors")
    assert loaded_config == config
    assert torch.equal(loaded(x, graph), model.eval()(x, graph))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x10\0\0\0\0\0\0\0{}"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a readable model file") as error:
        load_model(path)
    assert "\n" not in str(error.value)


def test_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DataError, match="must be of format dqrun-model-1, got None"):
        load_model(tmp_path / "foreign.safetensors")
    with pytest.raises(DataError, match="is not a readable model file"):
        load_model(tmp_path / "missing.safetensors")


def test_parameters_of_an_fp32_network(tmp_path: Path) -> None:
    """What is not the quantisers' is taken over; networks of another shape are refused in one line."""
    words = ["model=gin", "model.hidden=8", "model.layers=2", "model.norm=batch"]
    (plain,), (quantised,) = load_configs([*words, "quant=fp32"]), load_configs([*words, "method.learned_scale=true"])
    first, second = build_model(plain, 3, 0, 2), build_model(quantised, 3, 0, 2)
    first.norms[0].norm.running_mean.fill_(0.7)  # type: ignore[index]
    path = tmp_path / "model.safetensors"
    save_model(path, first, plain, Shapes(3, 0, 2))
    load_parameters(path, second)
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items())
    for wider in (build_model(quantised, 4, 0, 2), build_model(load_configs(["model=gcn"])[0], 3, 0, 2)):
        with pytest.raises(DataError, match="holds another network") as error:
            load_parameters(path, wider)
        assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the file of a small network with other tensors or metadata."""
    (config,) = load_configs(["model=gin", "quant=int8", "model.hidden=4", "model.layers=1", "model.norm=batch"])
    model, path = build_model(config, 3, 0, 2), tmp_path_factory.mktemp("models") / "model.safetensors"
    x, loops = torch.randn(5, 3), torch.arange(5).repeat(2, 1)
    model(
        x, Graph(CSR.from_edge_index(loops, 5), torch.tensor([0, 5]), torch.zeros(5, dtype=torch.int64), torch.ones(5))
    )
    metadata = {
        "format": "dqrun-model-1",
        "config": asdict(config),
        "shapes": {"in_channels": 3, "num_categories": 0, "out_channels": 2},
        "features": {"kind": "given", "width": 3},
    }

    def write(tensors: dict[str, Any] | None = None, **entries: Any) -> Path:
        state = {name: value.clone() for name, value in model.state_dict().items()}
        for name, value in (tensors or {}).items():
            state.pop(name, None)
            if value is not None:
                state[name] = value
        texts = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in (metadata | entries).items()
            if value is not None
        }
        save_file(state, path, texts)
        return path

    return write


def with_config(**parts: Any) -> dict[str, Any]:
    """The metadata entry of the small network's configuration with other fields."""
    (config,) = load_configs(["model=gin", "quant=int8", "model.hidden=4", "model.layers=1", "model.norm=batch"])
    plain = asdict(config)
    for name, fields in parts.items():
        plain[name] = plain.get(name, {}) | fields
    return {"config": plain}


NAN, FIRST = torch.full((4, 3), torch.nan), "layers.0.mlp.0.weight"
OBSERVER = "layers.0.mlp.1.sites.weight.quantizer.scales"


@pytest.mark.parametrize(
    ("tensors", "entries", "message"),
    [
        ({FIRST: NAN}, {}, rf"{FIRST} must be finite"),
        ({"norms.0.norm.running_var": torch.full((4,), -1.0)}, {}, "norms.0.norm.running_var must not be negative"),
        ({f"{OBSERVER}.low": torch.tensor(torch.nan)}, {}, r"scales must be a range, got nan\.\."),
        ({f"{OBSERVER}.low": torch.tensor(torch.inf)}, {}, r"scales must be a range, got inf\.\."),
        (
            {f"{OBSERVER}.high": torch.tensor(1e30), f"{OBSERVER}.low": torch.tensor(2e30)},
            {},
            "scales must be a range",
        ),
        ({FIRST: None}, {}, f"tensors are not those of its configuration: '{FIRST}'"),
        ({FIRST: torch.zeros(3, 4)}, {}, f"tensors are not those of its configuration: '{FIRST}'"),
        ({FIRST: torch.zeros(4, 3, dtype=torch.float64)}, {}, "tensors are not those of its configuration"),
        ({"more": torch.zeros(1)}, {}, "tensors are not those of its configuration: 'more'"),
        ({}, {"config": None}, "it lacks config"),
        ({}, {"shapes": None}, "it lacks shapes"),
        ({}, {"config": "{"}, "config: it is not JSON"),
        ({}, {"config": "[1]"}, "config: it is no JSON object"),
        ({}, {"config": "NaN"}, "config: it holds NaN"),
        ({}, {"config": "[" * 10**5}, "config: it is nested too deeply"),
        ({}, with_config(model={"colour": 1}), "config: Key 'colour' not in 'ModelConfig'"),
        ({}, with_config(model={"hidden": "4"}), "config: model.hidden is not of its field's type"),
        ({}, with_config(model={"hidden": 4.5}), "config: Value '4.5'"),
        ({}, with_config(model={"layers": 1000}), "config: a network of 1000 layers has more than"),
        ({}, with_config(model={"hidden": 2**62}), "config: model.hidden must be in"),
        ({}, with_config(model={"hidden": 2**16}), "tensors are not those of its configuration"),
        ({}, with_config(dataset={"task": "art"}), "config: dataset.task must be one of"),
        ({}, {"shapes": {"in_channels": 3}}, "shapes: it lacks num_categories, out_channels"),
        ({}, {"shapes": {"in_channels": 3, "num_categories": 2, "out_channels": 2}}, "either channels or categories"),
        (
            {},
            {"shapes": {"in_channels": 3.0, "num_categories": 0, "out_channels": 2}},
            "in_channels must be an integer",
        ),
        ({}, {"shapes": {"in_channels": -3, "num_categories": 0, "out_channels": 2}}, "they must be sizes"),
        ({}, {"features": {"kind": "given", "width": 4}}, "features: they do not fit a network of 3 channels"),
        ({}, {"features": {"kind": "art", "width": 3}}, "features: they do not fit"),
        ({}, {"features": {"kind": "given", "width": 3, "mean": None}}, "features: mean must be a number"),
    ],
)
def test_a_damaged_file_is_one_line(
    saved: Callable[..., Path], tensors: dict[str, Any], entries: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=rf"is a damaged model file \(.*{message}") as error:
        load_model(saved(tensors, **entries))
    assert "\n" not in str(error.value)


def test_a_network_of_a_plug_in_that_is_not_here_is_no_damage(saved: Callable[..., Path]) -> None:
    """An installed plug-in stands in no configuration: the model file of another machine may need one."""
    with pytest.raises(PluginNeeded, match=r"^model.name=mlp is of no plug-in that is installed here, nor of dqrun$"):
        load_model(saved(**with_config(model={"name": "mlp"})))


def test_all_that_open_a_model_file_refuse_the_same(saved: Callable[..., Path]) -> None:
    path, model = saved({FIRST: NAN}), build_model(load_configs(["model=gin", "quant=fp32"])[0], 3, 0, 2)
    for use in (load_model, load_features, lambda path: load_parameters(path, model)):
        with pytest.raises(DataError, match=f"{FIRST} must be finite"):
            use(path)


def test_a_range_that_saw_nothing_and_a_step_that_has_not_begun_are_no_damage(tmp_path: Path) -> None:
    (config,) = load_configs(["model=gin", "quant=int8", "method.learned_scale=true", "model.hidden=4"])
    save_model(tmp_path / "a", build_model(config, 3, 0, 2), config, Shapes(3, 0, 2), FeatureRule("given", 3))
    assert load_model(tmp_path / "a")[1] == config
    assert load_features(tmp_path / "a") == FeatureRule("given", 3)


def test_a_model_from_another_machine_loads_without_that_machines_folders(saved: Callable[..., Path]) -> None:
    assert load_model(saved(**with_config(data={"root": "/gone", "mirror": "/gone"})))[1].data.mirror == "/gone"
