"""Model files: what is saved is what loads, and nothing else is taken for one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dqrun.build import build_model
from dqrun.checkpoint import Shapes, load_model, load_parameters, save_model
from dqrun.compose import load_configs
from dqrun.errors import DataError
from dqrun.graph import CSR, Graph


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
    (plain,), (quantised,) = load_configs([*words, "quant=fp32"]), load_configs([*words, "method.step=learned"])
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
