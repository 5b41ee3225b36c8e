"""`examples/` runs, by the commands that each file and README's "Extend it" give."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dqrun
from dqrun.cli import main
from dqrun.plugins.loading import forget

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(ROOT.glob("examples/*.py"))
COMMAND = re.compile(r"^(?:dqrun|python) .*$", re.MULTILINE)
FAST = ["train.epochs=1", "protocol.trials=1", "threads=1", "kernels=reference"]
SMALLER = {"rings_dataset.py": ["dataset.count=20"]}


def command_of(example: Path) -> str:
    """The command in the example's docstring."""
    (command,) = COMMAND.findall(example.read_text(encoding="utf-8").split('"""')[1])
    return str(command)


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("DQRUN_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    yield
    for name in [name for name in sys.modules if name.startswith("dqrun_plugin_")]:
        forget(name)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_is_short_and_its_command_runs(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) < 60
    program, *words = shlex.split(command_of(example).replace("[EPOCHS]", "1"))
    if program == "python":
        assert runpy.run_path(str(example))["main"](1) >= 0
        return
    small = SMALLER.get(example.name, ["dataset.graphs=20"])
    assert main(["-q", *words, *small, *FAST]) == 0, capsys.readouterr().err
    frame = dqrun.results("results")
    assert list(frame["status"]) == ["done"]


def test_the_readme_gives_the_commands_of_the_examples() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Extend it")[2].partition("\n## ")[0]
    for example in EXAMPLES:
        assert command_of(example).replace(" [EPOCHS]", "") in section, f"README, Extend it: {example.name}"


def test_a_network_of_graphsage_sweeps_in_workers_compares_and_exports(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = "plugins=[examples/sage_model.py]"
    words = [plugin, "model=mean_sage", "plan=integer", "dataset.graphs=20", *FAST]
    sweep = ["-q", "-m", *words, "quant=fp32,int8", "model.width=8", "launcher=parallel", "jobs=2"]
    assert main(sweep) == 0, capsys.readouterr().err
    frame = dqrun.results("results").set_index("quant")
    assert set(frame.index) == {"fp32", "int8"} and set(frame["model"]) == {"mean_sage"}
    assert all(", sage_model.py " in version for version in frame["dqrun_version"]), (
        "workers know the plug-in's version"
    )
    assert main(["compare", "--rows", "model"]) == 0 and "mean_sage" in capsys.readouterr().out
    run = str(Path("results/runs") / frame.loc["int8", "run_id"])
    assert main(["export", run, "-o", "sage.dqp", plugin]) == 0, capsys.readouterr().err
    assert main(["predict", "sage.dqp", "--dataset", "threads", "-o", "p.csv"]) == 0, "a program needs no plug-in"
    assert main(["predict", run, "--dataset", "threads", "-o", "n.csv", plugin]) == 0


def test_a_search_varies_settings_of_a_plugins_model(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    words = ["plugins=[examples/sage_model.py]", "model=mean_sage", "model.width=4", "dataset.graphs=20", *FAST]
    assert main(["tune", "-q", *words, "--trials", "2", "--search", "lr"]) == 0, capsys.readouterr().err
