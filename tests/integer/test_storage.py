"""Program files: what is saved is what loads; damaged and foreign files are refused in one line."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save, save_file
from torch import Tensor

import dqrun
from dqrun.errors import ConfigError, DataError
from dqrun.integer import load_program
from dqrun.integer.container import FORMAT, Reader, Writer
from dqrun.integer.lower import lower
from dqrun.integer.operations import Linear, Quantize, result_grid
from dqrun.integer.program import Program
from dqrun.kernels.integer import CodeGrid, Epilogue, Weight

Make = Callable[..., Any]
ONES = Weight(torch.ones(2, 2, dtype=torch.int8))


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("categories", [0, 4])
def test_round_trip(trained: Make, random_graph: Make, tmp_path: Path, name: str, bits: int, categories: int) -> None:
    granularity = "channel" if bits in (4, 8) else "tensor"
    options = {"norm": "batch", "residual": True, "mlp_norm": name == "gin", "hidden": 6}
    options["weight_granularity"] = granularity
    program = lower(trained(name, bits, bits, categories=categories, **options), {"run": "r0"})
    program.save(tmp_path / "a.dqp")
    loaded = dqrun.load_program(tmp_path / "a.dqp")
    x, edge_index, batch = random_graph(40, 120, 3, seed=1, categories=categories)
    assert torch.equal(loaded(x, edge_index, batch), program(x, edge_index, batch))
    assert loaded.signature == program.signature and loaded.origin == {"run": "r0"}
    assert loaded.summary(10, 20, 2) == program.summary(10, 20, 2)
    assert [result_grid(op) for op in loaded.operations] == [result_grid(op) for op in program.operations]


@given(st.floats(1e-30, 1e30), st.booleans())
def test_scales_come_back_to_the_bit(tmp_path_factory: pytest.TempPathFactory, scale: float, single: bool) -> None:
    grid = CodeGrid(4, torch.tensor(scale).item() if single else scale, 3)
    last = Linear("a", "logits", ONES, 8, Epilogue(torch.ones(1, dtype=torch.float64)))
    program = Program((Quantize("x", "a", 2, grid), last), False)
    path = tmp_path_factory.getbasetemp() / "scale.dqp"
    program.save(path)
    assert load_program(path).operations[0] == program.operations[0]


@pytest.mark.parametrize(("bits", "share"), [(8, 0.28), (4, 0.15)])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gcn", {"hidden": 145, "layers": 4, "residual": True, "categories": 21}),
        ("gat", {"hidden": 144, "layers": 4, "residual": True, "categories": 21, "heads": 8}),
        ("gin", {"hidden": 110, "layers": 4, "residual": True, "categories": 21}),
        ("gin", {"hidden": 96, "layers": 5, "norm": "none", "mlp_norm": True, "activation": "none"}),
    ],
)
def test_size_of_a_large_program(
    trained: Make, tmp_path: Path, name: str, options: dict[str, Any], bits: int, share: float
) -> None:
    """The networks of ZINC, and the GIN of REDDIT-BINARY half as wide again, all with random parameters."""
    model = trained(name, bits, bits, **({"norm": "batch", "head": [2, 4]} | options))
    lower(model).save(tmp_path / "a.dqp")
    fp32 = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert fp32 > 100_000
    assert (tmp_path / "a.dqp").stat().st_size <= share * fp32


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    def problem(name: str) -> str:
        with pytest.raises(DataError) as error:
            load_program(tmp_path / name)
        return str(error.value).removeprefix(f"{tmp_path / name} ")

    assert problem("missing") == "must be a program file that can be read (no such file)"
    (tmp_path / "folder").mkdir()
    assert problem("folder") == "must be a program file that can be read (is a directory)"
    (tmp_path / "text").write_text("not a program")
    (tmp_path / "empty").touch()
    save_file({"a": torch.zeros(1)}, tmp_path / "older", {"format": "dqrun-program-1"})
    for name in ("text", "empty", "older"):
        assert problem(name) == "is not a program file of format dqrun-program-5: dqrun export writes one"


def test_damaged_files_are_refused_in_one_line(trained: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.dqp"
    lower(trained("gin")).save(path)
    stored, structure = load(path.read_bytes()), plain_structure(path.read_bytes())

    def check(changed: Any, stored: dict[str, Tensor] = stored) -> None:
        path.write_bytes(save(stored, {FORMAT: packed(json.dumps(changed).encode())}))
        with pytest.raises(DataError, match="is a damaged program file") as error:
            load_program(path)
        assert "\n" not in str(error.value)

    check([])
    check({**structure, "operations": 3})
    check({**structure, "operations": [{"kind": "Nonsense"}]})
    check({**structure, "operations": structure["operations"][:-1]})  # tensors are left
    for name in structure:
        check({key: value for key, value in structure.items() if key != name})
    check({**structure, "more": 1})
    check({**structure, "self_loops": 1})
    check({**structure, "origin": [1]})
    check({**structure, "origin": {"mean": float("nan")}})
    check({**structure, "words": [-1, structure["words"][1]]})
    check({**structure, "words": [structure["words"][0] + 1, structure["words"][1]]})
    check(structure, {"codes": stored["codes"]})
    check(structure, {**stored, "numbers": stored["numbers"][:-1]})
    check(structure, {**stored, "numbers": torch.cat([stored["numbers"], stored["numbers"]])})
    check(structure, {**stored, "more": stored["numbers"].clone()})
    linear = next(operation for operation in structure["operations"] if operation["kind"] == "Linear")
    for name in ("weight", "epilogue"):
        check({**structure, "operations": [{**linear, name: {}}]})
    outputs, inputs = linear["weight"]["codes"][1:]
    linear["weight"]["codes"] = ["i1", inputs * outputs]
    check(structure)
    linear["weight"]["codes"] = ["i1", -outputs, -inputs]
    check(structure)


def test_memory_is_bounded_by_what_a_file_declares(tmp_path: Path) -> None:
    """Streams that decompress to more than they declare, or declare more than any program has, are not read on."""
    path, bomb = tmp_path / "a.dqp", zlib.compress(bytes(2**26), 9)
    large = {"words": [2**27 + 1, 0], "self_loops": False, "operations": [], "origin": {}}

    def problem(text: str, codes: bytes = bomb) -> str:
        path.write_bytes(save({"codes": torch.frombuffer(bytearray(codes), dtype=torch.uint8)}, {FORMAT: text}))
        tracemalloc.start()
        with pytest.raises(DataError) as error:
            load_program(path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
        tracemalloc.stop()
        return str(error.value)

    assert "structure must be one whole stream of at most 16777216 bytes" in problem(base64.b85encode(bomb).decode())
    assert "words must be sizes of 2 streams, 134217728 bytes in all" in problem(packed(json.dumps(large).encode()))
    small = {**large, "words": [10, 0]}
    assert "codes must be one whole stream of at most 10 bytes" in problem(packed(json.dumps(small).encode()))
    assert "maximum recursion depth" in problem(packed(b"[" * 100_000))


def packed(text: bytes) -> str:
    """The metadata entry of a structure."""
    return base64.b85encode(zlib.compress(text)).decode()


def plain_structure(data: bytes) -> Any:
    """The structure of a file, `words` included."""
    reader = Reader(data)
    words = [reader._parts[width].size(0) for width in (1, 4)]
    return {"words": words, **reader.structure}


def test_a_program_that_no_reader_takes_is_not_written() -> None:
    writer = Writer()
    writer.put(torch.zeros(2**27 + 1, dtype=torch.int8))
    with pytest.raises(ConfigError, match="program must take at most 134217728 bytes"):
        writer.write({})


def test_a_changed_byte_is_refused(trained: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.dqp"
    lower(trained("gcn", layers=1, head=[])).save(path)
    whole = path.read_bytes()

    @settings(max_examples=80)
    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    def check(place: int, change: int) -> None:
        damaged = bytearray(whole)
        damaged[place] ^= change
        for data in (bytes(damaged), whole[:place]):
            path.write_bytes(data)
            with pytest.raises(DataError) as error:
                load_program(path)
            assert "\n" not in str(error.value)

    check()


def test_loading_needs_no_training_code(trained: Make, tmp_path: Path) -> None:
    lower(trained("gat")).save(tmp_path / "a.dqp")
    code = (
        "import sys, dqrun; dqrun.load_program(sys.argv[1]);"
        "print([n for n in ('hydra', 'omegaconf', 'numba', 'pandas', 'torch_geometric', 'dqrun.training.loop',"
        " 'dqrun.nn')"
        " if n in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.dqp")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
