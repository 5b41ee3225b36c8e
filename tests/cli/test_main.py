"""The command line: dispatch, flags, exit codes and one-line errors; training itself is replaced by a recorder."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from dqrun import __version__
from dqrun.cli import main
from dqrun.config import RunConfig
from dqrun.errors import DataError, TrialFailed
from dqrun.process import interrupts


class Recorder(types.ModuleType):
    """Stands in for dqrun.sweep.run: keeps what it was asked to run, then returns or raises `outcome`."""

    def __init__(self) -> None:
        super().__init__("dqrun.sweep.run")
        self.configs: list[RunConfig] = []
        self.quiet: bool | None = None
        self.outcome: int | BaseException = 0

    def run_all(self, configs: list[RunConfig], *, quiet: bool, advice: list[str]) -> int:
        self.configs, self.quiet = configs, quiet
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "dqrun.sweep.run", recorder)
    return recorder


def run_fresh(code: str) -> None:
    """Runs Python code in a process that has imported nothing yet."""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_run_gets_its_configuration(runner: Recorder) -> None:
    assert main(["model=gcn", "-q", "quant=int4"]) == 0
    (config,) = runner.configs
    assert (config.model.name, config.quant.label, runner.quiet) == ("gcn", "int4", True)


def test_a_sweep_gets_all_of_them_and_the_exit_code_is_the_runs(runner: Recorder) -> None:
    runner.outcome = 1
    assert main(["-m", "model=gcn,gin", "quant=int8,int4"]) == 1
    assert len(runner.configs) == 4
    assert runner.quiet is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dataset=coar"], "did you mean 'cora'?"),
        (["-m", "quant=int8,int5"], "got 'int5'"),
        (["model=gin,gcn"], "add -m"),
        (["compar"], "did you mean 'compare'?"),
        (["nonsense"], "neither a verb nor key=value"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--cfg", "jobs"], "invalid choice: 'jobs'"),
        (["--config-dir"], "expected one argument"),
        (["--config-dir=--", "model=gin"], "argument --config-dir: expected one argument"),
        (["export", "x", "--results=--"], "argument --results: expected one argument"),
        (["x" * 5000], "..."),
        (["-cp", "x"], "--config-path is not supported"),
        (["-cn", "x"], "--config-name is not supported"),
        (["--resolve"], "--resolve and --package go with --cfg"),
        (["--cfg", "job", "-m"], "--cfg and -m do not go together"),
        (["--cfg", "job", "quant=int5"], "got 'int5'"),
        (["--cfg", "job", "-p", "nope"], "--package must name a part of the configuration"),
        (["-sc"], "-sc must be followed by install=SHELL"),
        (["-sc", "install=tcsh"], "got 'install=tcsh'"),
    ],
)
def test_a_mistake_is_one_line_and_runs_nothing(
    arguments: list[str], message: str, runner: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("dqrun: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert runner.configs == []


@pytest.mark.parametrize(
    ("outcome", "code", "line"),
    [
        (DataError("raw file x.zip is truncated"), 2, "dqrun: raw file x.zip is truncated\n"),
        (TrialFailed("loss is not finite"), 1, "dqrun: loss is not finite\n"),
        (KeyboardInterrupt(), 130, "dqrun: interrupted; finished trials are kept, the same command goes on\n"),
        (PermissionError(13, "Permission denied", "r/summary.csv"), 2, "dqrun: r/summary.csv: Permission denied\n"),
        (interrupts.Ended(15), 143, "dqrun: interrupted; finished trials are kept, the same command goes on\n"),
    ],
)
def test_errors_of_a_run_are_one_line(
    outcome: BaseException, code: int, line: str, runner: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    runner.outcome = outcome
    assert main([]) == code
    assert capsys.readouterr().err == line


def test_a_verb_gets_the_rest_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    module = types.ModuleType("dqrun.analysis.compare")
    module.main = lambda argv: given.extend(argv) or 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dqrun.analysis.compare", module)
    assert main(["compare", "results", "--help"]) == 3
    assert given == ["results", "--help"]


def test_help_lists_groups_options_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    groups = "reddit_binary", "gat gatv2 gcn gin gine sage", "fp32 int1 int2 int3 int4 int8 ternary w1a2"
    for word in (*groups, "dqrun model=gin quant=int4", "compare"):
        assert word in text
    assert "schema" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_help_shows_a_users_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text("name: x\n", encoding="utf-8")
    assert main(["--config-dir", str(tmp_path), "-h"]) == 0
    assert " mine " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dqrun {__version__}\n"


def test_cfg_shows_the_whole_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "job", "quant=int4", "model=gat"]) == 0
    text = capsys.readouterr().out
    assert "name: gat" in text
    assert "bits: 4" in text
    assert "hydra:" not in text
    assert main(["--cfg", "job", "--resolve", "-p", "quant", "quant=int4"]) == 0
    assert "weight_bits: 4" in capsys.readouterr().out
    assert main(["--cfg", "hydra"]) == 0
    assert capsys.readouterr().out.startswith("hydra:")


@pytest.mark.parametrize("arguments", [["--info", "searchpath"], ["--info", "defaults"], ["--hydra-help"]])
def test_hydras_own_flags_answer(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "offered", "hidden"),
    [
        ("dqrun ", {"model=", "quant=", "train.", "device=", "recipe="}, {"schema=", "hydra/", "hydra."}),
        ("dqrun model=", {"model=gat", "model=gcn", "model=gin"}, set()),
        ("dqrun -q --multirun quant=int", {"quant=int4", "quant=int8"}, {"quant=fp32"}),
        ("dqrun model=gat model.hi", {"model.hidden="}, set()),
        ("dqrun recipe=", {"recipe=cora_gin"}, set()),
        ("dqrun model=[ mo", set(), set()),
    ],
)
def test_completion(
    line: str,
    offered: set[str],
    hidden: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert main(["-sc", "query=bash"]) == 0
    words = set(capsys.readouterr().out.split())
    assert offered <= words
    assert not hidden & words


def test_completion_installs_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dqrun"])
    assert main(["-sc", "install=bash"]) == 0
    script = capsys.readouterr().out
    assert "hydra_bash_completion dqrun" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_help_imports_neither_torch_nor_hydra() -> None:
    run_fresh("import sys; from dqrun.cli import main; main(['-h']); assert not {'torch', 'hydra'} & {*sys.modules}")


def test_mistakes_and_completion_import_no_torch() -> None:
    run_fresh(
        "import sys; from dqrun.cli import main; assert main(['model.hidden=0']) == 2; main(['--cfg', 'job']);"
        "assert not {'torch', 'torch_geometric', 'pandas', 'numba'} & {*sys.modules}"
    )


def test_a_closed_pipe_is_no_traceback() -> None:
    process = subprocess.run(
        f"{sys.executable} -m dqrun --cfg all | true", shell=True, capture_output=True, text=True, check=True
    )
    assert process.stderr == ""
