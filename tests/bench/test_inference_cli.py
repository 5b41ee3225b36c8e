"""The words of `dqrun bench inference`, and one run of it on a small graph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dqrun.bench.inference as inference
from dqrun import register
from dqrun.bench.inference_cli import Options, main, parse
from dqrun.errors import ConfigError


def test_words() -> None:
    assert parse([]) == Options("powerlaw", ("gcn",), 0)
    assert parse(["graph=zinc", "model=gin,gat", "threads=2"]) == Options("zinc", ("gin", "gat"), 2)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("graph=cora", "graph must be one of powerlaw, zinc, reddit_binary, got 'cora'"),
        ("model=gcn,mlp", f"model must be one of {', '.join(register.layer.names())}, got 'mlp'"),
        ("threads=-1", "threads must be an integer in 0..999999, got '-1'"),
        ("threads=\u0663", "threads must be an integer in 0..999999, got '\u0663'"),
        (f"threads={'9' * 5000}", "threads must be an integer in 0..999999, got '9999"),
        ("quant=int8", "must get graph=, model= or threads=, got 'quant=int8'"),
    ],
)
def test_mistakes(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse([word])


def test_mistakes_of_flags(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--rounds must be >= 1, got 0"):
        main(["--rounds", "0"])
    with pytest.raises(ConfigError, match="--json must name a file that can be written"):
        main(["--json", str(tmp_path / "missing" / "a.json")])


@pytest.mark.parametrize("model", ["gcn", "gat", "gin"])
def test_all_variants_and_fields(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a small graph and without torch.compile, which takes long."""

    def no_compiler(network: object) -> object:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(inference, "NODES", 300)
    monkeypatch.setattr(inference, "EDGES", 2_000)
    monkeypatch.setattr(inference, "CHANNELS", 16)
    monkeypatch.setattr("torch.nn.Module.compile", no_compiler)
    monkeypatch.setattr(inference, "copy_bandwidth", lambda: 1e10)
    assert main([f"model={model}", "threads=1", "--rounds", "1", "--json", str(tmp_path / "a.json")]) == 0
    text = capsys.readouterr().out
    assert "int4" in text and "edge_index_compiled: left out, RuntimeError: no compiler here" in text
    document = json.loads((tmp_path / "a.json").read_text())
    lines = {line["variant"]: line for line in document["results"]}
    assert [name for name in lines if not name.startswith("dgl")] == [
        "pyg_fp32_edge_index",
        "pyg_fp32_csr",
        "pyg_bf16",
        "fp32",
        *inference.WIDTHS,
        "int1",
    ]
    assert set(inference.WIDTHS) == {f"int{bits}{rows}" for bits in (8, 4, 2) for rows in ("", "-row")}
    assert lines["pyg_fp32_edge_index"]["speedup_vs_pyg_edge_index"] == 1.0
    assert lines["fp32"]["speedup_vs_own_fp32"] == 1.0
    assert all(line["run_seconds"] > 0 and line["peak_bytes"] > 0 for line in lines.values())
    assert 0 < document["notes"][model]["largest_difference_to_peers"] < 1e-3
    assert document["machine"]["threads"] == 1
