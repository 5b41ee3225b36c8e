"""Shell completion of verbs, flags, runs, groups and fields."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from dqrun.cli import build_parser, main
from dqrun.cli.completion import candidates
from dqrun.cli.verbs import VERBS
from dqrun.composition.arguments import VerbParser


@pytest.mark.parametrize(
    ("line", "offered", "hidden"),
    [
        ("dqrun com", {"compare"}, {"model="}),
        ("dqrun ", {*VERBS, "model=", "train."}, {"hydra/", "schema="}),
        ("dqrun model=gin co", set(), {"compare"}),  # a verb is the first word
        ("dqrun -", {"-m", "-q", "--cfg", "--verbose"}, {"model="}),
        ("dqrun --co", {"--config-dir"}, {"--cfg"}),
        ("dqrun compare --", {"--baseline", "--rows", "--metric", "--output"}, {"-o", "--dataset"}),
        ("dqrun compare --spread ", {"ci95", "std", "both"}, {"r1"}),
        ("dqrun compare -o ", set(), {"r1", "table"}),
        ("dqrun show ", {"r1", "r2"}, {"--results", "model="}),
        ("dqrun show r2", {"r2"}, {"r1"}),
        ("dqrun rm r1 ", {"r2"}, set()),
        ("dqrun show --results other ", {"r3"}, {"r1", "r2"}),
        ("dqrun predict r", {"r1", "r2"}, set()),
        ("dqrun bench ", {"training", "inference"}, set()),
        ("dqrun bench training model=g", {"model=gcn", "model=gin"}, {"model=", "r1"}),
        ("dqrun tune quant=int", {"quant=int4", "quant=int8"}, {"quant=fp32"}),
        ("dqrun tune --config-dir mine dataset=o", {"dataset=own"}, set()),
        ("dqrun --config-dir mine dataset=o", {"dataset=own"}, set()),
        ("dqrun tune model=[ mo", set(), set()),
    ],
)
def test_what_is_offered(
    line: str, offered: set[str], hidden: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("results/runs/r1", "results/runs/r2", "results/runs/.r4-x", "other/runs/r3", "mine/dataset"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "mine" / "dataset" / "own.yaml").write_text("name: x\n")
    found = set(candidates(line, build_parser()))
    assert offered <= found and not hidden & found
    assert ".r4-x" not in found


def test_the_query_prints_a_word_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COMP_LINE", "dqrun compare --spread ")
    assert main(["-sc", "query=fish"]) == 0
    assert capsys.readouterr().out == "both\nci95\nstd\n"


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_has_a_parser(name: str) -> None:
    parser = VERBS[name].load().build_parser()
    assert isinstance(parser, VerbParser) and parser.prog == f"dqrun {name}"
    assert callable(importlib.import_module(VERBS[name].module).main)


def test_parsers_of_verbs_cost_no_torch() -> None:
    code = (
        "import sys; from dqrun.cli.verbs import VERBS; [verb.load().build_parser() for verb in VERBS.values()];"
        "assert not {'torch', 'torch_geometric', 'pandas', 'numba', 'matplotlib', 'scipy'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
