"""launcher=torchrun: processes that train one trial together, started here or by torchrun."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dqrun.cli import main
from dqrun.composition.compose import load_configs
from dqrun.errors import ConfigError
from dqrun.ranks.alone import RanksLost, RanksSilent
from dqrun.ranks.meeting import rank_here, started
from dqrun.runs.protocol import cell_hash
from dqrun.sweep.launchers import gang
from dqrun.sweep.launchers.gang import GangTask
from dqrun.sweep.launchers.pool import Answer, Died
from dqrun.sweep.worker import Finished

TOGETHER = ["launcher=torchrun", "processes=2", "train.checkpoint_minutes=1e-9", "model.norm=none", "model=gin"]


def history(folder: Path, name: str) -> list[list[float]]:
    """Losses and metrics by epoch of the one run whose name holds `name`."""
    (path,) = (folder / "results" / "runs").glob(f"*-{name}-*/history.csv")
    return [[float(cell) for cell in line.split(",")[1:4]] for line in path.read_text().splitlines()[1:]]


def test_two_processes_give_the_rows_of_one_also_after_one_was_killed(sweeps: Any, tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    alone.mkdir()
    killed.mkdir()
    product = ["quant=fp32,int8,int4", "method=dq", "model.head_dropout=0.5"]
    assert sweeps.run(alone, "model=gin", "model.norm=none", *product).returncode == 0
    (killed / "kill").touch()  # process 1 of the FP32 trial dies after its second epoch
    done = sweeps.run(killed, *TOGETHER, *product)
    assert done.returncode == 1, done.stderr
    assert "process 1 of 2 died: killed by SIGKILL" in done.stderr and "Traceback" not in done.stderr
    assert len(list((killed / "results" / ".checkpoints").glob("*fp32*"))) == 1
    done = sweeps.run(killed, *TOGETHER, *product)
    assert done.returncode == 0, done.stderr
    assert "2 already done" in done.stderr and "1 to do, 1 of them from a checkpoint" in done.stderr
    assert not (killed / "results" / ".checkpoints").exists()
    for name, tolerance in (("fp32", 1e-4), ("int8", 1e-2), ("int4", 5e-2)):
        for one, two in zip(history(alone, name), history(killed, name), strict=True):
            assert two[:2] == pytest.approx(one[:2], rel=tolerance), name
    rows = [json.loads(path.read_text()) for path in (killed / "results" / "runs").glob("*/row.json")]
    assert [row["processes"] for row in rows] == [2, 2, 2]
    names = {path.name for folder in (alone, killed) for path in (folder / "results" / "runs").iterdir()}
    assert len(names) == 3  # the number of processes makes no other trial


def test_processes_that_torchrun_started(sweeps: Any, tmp_path: Path) -> None:
    words = ["dqrun", *sweeps.small, *TOGETHER, "quant=int8", "method=naive"]
    meeting = {"WORLD_SIZE": "2", "DQRUN_RANKS_FILE": str(tmp_path / "meeting")}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env={**sweeps.environment(), **meeting, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], said
    out, errors = (re.sub(r"^\[Gloo\].*\n", "", text, flags=re.MULTILINE) for text in said[1])  # of torch 2.8
    assert "int8" in said[0][0] and (out, errors) == ("", "")
    assert len(list((tmp_path / "results" / "runs").iterdir())) == 1


def configured(*words: str) -> Any:
    return load_configs(["dataset=threads", "launcher=torchrun", *words])[0]


def test_which_process_this_is() -> None:
    config = configured("processes=2")
    assert rank_here(config, {}) is None
    assert rank_here(config, {"RANK": "1", "WORLD_SIZE": "2"}) == 1
    for rank in ("2", "-1", "one", ""):
        with pytest.raises(ConfigError, match=r"RANK must be in 0\.\.1, set by what started the processes, got"):
            rank_here(config, {"RANK": rank, "WORLD_SIZE": "2"})
    assert rank_here(load_configs(["dataset=threads"])[0], {"RANK": "1", "WORLD_SIZE": "2"}) is None
    with pytest.raises(ConfigError, match=r"^processes must be 4, the number of processes that were started, got 2$"):
        rank_here(config, {"RANK": "1", "WORLD_SIZE": "4"})


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("gpu[007-009,012],big1", "gpu007"), ("big1,gpu[1-2]", "big1"), ("n[3,5]-ib", "n3-ib"), ("one", "one")],
)
def test_a_step_of_a_slurm_job_meets_on_its_first_host(hosts: str, first: str) -> None:
    step = {
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "3",
        "SLURM_NTASKS": "5",
        "SLURM_LOCALID": "1",
        "SLURM_JOB_ID": "70123",
    }
    place = started(step | {"SLURM_NNODES": "2", "SLURM_STEP_NODELIST": hosts})
    assert (place["RANK"], place["WORLD_SIZE"], place["LOCAL_RANK"], place["LOCAL_WORLD_SIZE"]) == ("3", "5", "1", "3")
    assert (place["MASTER_ADDR"], place["MASTER_PORT"]) == (first, "20123")
    assert started(step)["MASTER_ADDR"] == "127.0.0.1"
    assert started(step | {"MASTER_ADDR": "mine"})["MASTER_ADDR"] == "mine"
    assert rank_here(configured("processes=5"), step) == 3


def test_a_batch_script_and_a_single_task_start_no_processes() -> None:
    script = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7"}
    assert started(script) == {} == started(script | {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "1"})


def test_processes_need_a_launcher_that_starts_them() -> None:
    with pytest.raises(ConfigError, match=r"^processes must be 1 with launcher=parallel \(launcher=torchrun\), got 2$"):
        load_configs(["dataset=threads", "launcher=parallel", "processes=2"])


@pytest.mark.parametrize("method", ["binary", "pact", "lorap"])
def test_methods_whose_processes_would_differ_are_refused(method: str) -> None:
    with pytest.raises(ConfigError, match=rf"^processes must be 1 with method={method} \(naive, .*, got 2$"):
        configured("processes=2", f"method={method}")
    assert configured("processes=2", f"method={method}", "quant=fp32").processes == 2


def test_a_search_starts_its_processes_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["tune", "dataset=threads", "launcher=torchrun", "processes=2"]) == 2
    assert "dqrun tune starts the processes of a trial itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["quant=fp32"], True),
        (["method=naive"], True),
        (["method=dq"], True),
        (["method=ptq"], True),
        (["method=naive", "train.compress_gradients=int8"], False),
        (["dataset=cora", "model=gcn", "loader=neighbor", "loader.fanouts=[5,5]"], False),
    ],
)
def test_processes_count_where_they_change_more_than_rounding(words: list[str], same: bool) -> None:
    one, two = (cell_hash(configured(*words, f"processes={count}")) for count in (1, 2))
    assert (one == two) is same


def test_one_process_sends_no_gradients() -> None:
    assert cell_hash(configured("train.compress_gradients=int8")) == cell_hash(configured())


class Member:
    """A process that has said something."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def receive(self) -> Any:
        if isinstance(self.said, Died):
            raise self.said
        return self.said


def task_of(*said: Any) -> tuple[GangTask, list[bool]]:
    members: Any = SimpleNamespace(members=[Member(each) for each in said])
    ended: list[bool] = []
    return GangTask(members, ended.append, lambda heard: None), ended


DONE = Answer(Finished({"status": "done"}, here=True), [], [])
FAILED = Answer(Finished({"status": "failed"}, here=True), [], [])
FOLLOWED = Answer(None, [], [])
LOST = RanksLost("another process of the trial ended")


def test_the_first_process_answers_for_all() -> None:
    task, ended = task_of(DONE, FOLLOWED)
    assert task.done() and task.result() is DONE and ended == [False]


def test_all_end_after_a_failure_of_which_the_others_may_not_know() -> None:
    task, ended = task_of(FAILED, None)
    assert task.done() and task.result() is FAILED and ended == [True]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ((LOST, Died("process 1 of 2 died: killed by SIGKILL", "")), "process 1 of 2 died: killed by SIGKILL"),
        ((LOST, MemoryError("no memory")), "process 1 of 2 failed: MemoryError: no memory"),
        ((None, ValueError("odd")), "process 1 of 2 failed: ValueError: odd"),
        (
            (LOST, RanksSilent("another process did not answer for 9 s")),
            "process 1 of 2: another process did not answer",
        ),
        ((RanksLost("another process did not answer for 9 s"), None), "process 0 of 2: another process did not answer"),
    ],
)
def test_the_cause_is_told_and_not_what_followed(
    said: tuple[Any, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gang, "GRACE", -1.0)
    task, ended = task_of(*said)
    assert task.done()
    with pytest.raises(Died, match=f"^{reason}"):
        task.result()
    assert ended == [True]


def test_a_process_that_failed_gives_the_first_time_to_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = task_of(None, ValueError("the data can't be read"))
    assert not task.done()
    monkeypatch.setattr(gang, "GRACE", -1.0)
    assert task.done()


def test_no_variable_of_this_process_makes_it_a_follower() -> None:
    assert "RANK" not in os.environ
