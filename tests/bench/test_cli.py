"""`dqrun bench`: what is compared, mistakes in one line, the JSON file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dqrun.bench.cli import main, workloads
from dqrun.bench.training import label
from dqrun.cli import main as dqrun
from dqrun.errors import ConfigError

SMALL = ["dataset.graphs=40", "model.hidden=8", "model.layers=2", "train.batch_size=16", "threads=1"]
VARIANTS = {"pyg_fp32_edge_index", "pyg_fp32_csr", "pyg_bf16", "fp32", "dq_int4"}


def labels(*words: str) -> list[tuple[str, str, list[str]]]:
    groups = list(workloads(words))
    return [(group[0].dataset.name, group[0].model.name, [label(config) for config in group]) for group in groups]


def test_by_default_both_methods_at_both_widths_beside_fp32() -> None:
    (one,) = labels()
    assert one[0] == "threads" and one[2][0] == "fp32"
    assert sorted(one[2]) == ["dq_int4", "dq_int8", "fp32", "naive_int4", "naive_int8"]


def test_commas_give_a_group_for_each_dataset_and_model() -> None:
    groups = labels("model=gcn,gat", "quant=int4", "method=dq")
    assert groups == [("threads", "gat", ["fp32", "dq_int4"]), ("threads", "gcn", ["fp32", "dq_int4"])]


def test_fp32_is_measured_once() -> None:
    assert labels("quant=fp32,int8", "method=naive")[0][2] == ["fp32", "naive_int8"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training", "modl=gcn"], "modl"),
        (["training", "model=gcm"], "did you mean 'gcn'?"),
        (["training", "--rounds", "0"], "--rounds must be >= 1, got 0"),
        (["training", "--rounds", "many"], "invalid int value"),
        (["speed"], "invalid choice"),
        ([], "required"),
        (["training", "--json", "no/such/folder/x.json"], "--json must name a file that can be written"),
    ],
)
def test_a_mistake_is_one_line_and_measures_nothing(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dqrun(["bench", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert message in shown.err


def test_a_mistake_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        main(["training", "model=gcm", "--json", str(tmp_path / "x.json")])
    assert not list(tmp_path.iterdir())


def test_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert dqrun(["bench", "training", *SMALL, "quant=int4", "method=dq", "--rounds", "1", "--json", str(file)]) == 0
    text, document = capsys.readouterr().out, json.loads(file.read_text(encoding="utf-8"))
    assert all(
        word in text
        for word in (*VARIANTS, "/ fastest FP32 peer", "peak memory", "share of the time", "input pipeline")
    )
    assert document.keys() == {"machine", "results", "input_pipeline"}
    assert {line["variant"] for line in document["results"]} - {"dgl_fp32", "dgl_bf16"} == VARIANTS
    wanted = {"variant", "dataset", "model", "step_seconds", "ratio_to_fastest_fp32_peer", "peak_bytes"}
    assert all(wanted <= line.keys() for line in document["results"])
    assert document["machine"]["threads"] == 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib\nfrom dqrun.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['bench', '--help'])\n"
        "sys.exit(bool({'torch', 'numba', 'pandas'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "dqrun bench" in shown and "--json" in shown
