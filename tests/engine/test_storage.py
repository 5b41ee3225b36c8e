"""Program files: what is saved is what loads; damaged and foreign files are refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save, save_file

import dqrun
from dqrun.engine import load_program
from dqrun.engine.lower import lower
from dqrun.errors import DataError

Make = Callable[..., Any]


@pytest.mark.parametrize("name", ["gcn", "gat", "gin"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("categories", [0, 4])
def test_round_trip(trained: Make, random_graph: Make, tmp_path: Path, name: str, bits: int, categories: int) -> None:
    options = {"norm": "batch", "residual": True, "mlp_norm": name == "gin", "hidden": 6}
    program = lower(trained(name, bits, bits, categories=categories, **options), {"run": "r0"})
    program.save(tmp_path / "a.dqp")
    loaded = dqrun.load_program(tmp_path / "a.dqp")
    x, edge_index, batch = random_graph(40, 120, 3, seed=1, categories=categories)
    assert torch.equal(loaded(x, edge_index, batch), program(x, edge_index, batch))
    assert loaded.signature == program.signature and loaded.origin == {"run": "r0"}
    assert loaded.summary(10, 20, 2) == program.summary(10, 20, 2)


@pytest.mark.parametrize(("bits", "share"), [(8, 0.28), (4, 0.15)])
def test_size_of_a_large_program(trained: Make, tmp_path: Path, bits: int, share: float) -> None:
    model = trained("gcn", bits, bits, hidden=256, layers=3, graph_level=False)
    lower(model).save(tmp_path / "a.dqp")
    fp32 = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert fp32 > 100_000
    assert (tmp_path / "a.dqp").stat().st_size <= share * fp32


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a readable program file"):
        load_program(tmp_path / "missing")
    (tmp_path / "text").write_text("not a program")
    with pytest.raises(DataError, match="is not a readable program file"):
        load_program(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(DataError, match=r"must be of format dqrun-program-1 .* got None"):
        load_program(tmp_path / "foreign")


def test_damaged_files_are_refused_in_one_line(trained: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.dqp"
    lower(trained("gin")).save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
    structure = json.loads(metadata["program"])

    def check(program: Any, tensors: dict[str, torch.Tensor]) -> None:
        path.write_bytes(save(tensors, {**metadata, "program": json.dumps(program)}))
        with pytest.raises(DataError, match="is a damaged program file") as error:
            load_program(path)
        assert "\n" not in str(error.value)

    check([], tensors)
    check({**structure, "operations": [{"kind": "Nonsense"}]}, tensors)
    check({**structure, "signature": {}}, tensors)
    for missing in tensors:
        if missing.endswith(("weight", "multiplier")):
            check(structure, {name: tensor for name, tensor in tensors.items() if name != missing})
    weight = next(name for name in tensors if name.endswith("weight"))
    check(structure, {**tensors, weight: tensors[weight].flatten()})


def test_a_flipped_byte_never_ends_in_a_traceback(trained: Make, random_graph: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.dqp"
    lower(trained("gcn", layers=1, head=[])).save(path)
    whole = path.read_bytes()

    @settings(max_examples=80)
    @given(st.integers(0, 1500), st.integers(1, 255))
    def check(place: int, flip: int) -> None:
        damaged = bytearray(whole)
        damaged[place] ^= flip
        path.write_bytes(bytes(damaged))
        try:
            load_program(path)
        except DataError as error:
            assert "\n" not in str(error)

    check()


def test_loading_needs_no_training_code(trained: Make, tmp_path: Path) -> None:
    lower(trained("gat")).save(tmp_path / "a.dqp")
    code = (
        "import sys, dqrun; dqrun.load_program(sys.argv[1]);"
        "print([n for n in ('hydra', 'omegaconf', 'numba', 'pandas', 'torch_geometric', 'dqrun.training', 'dqrun.nn')"
        " if n in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.dqp")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
