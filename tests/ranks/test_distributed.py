"""How processes meet, and the names of trials that travel by the store."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch.distributed

from dqrun.ranks import distributed
from dqrun.ranks.alone import RanksLost
from dqrun.ranks.distributed import Distributed
from dqrun.ranks.meeting import FILE

dist: Any = torch.distributed
JOIN = """
import torch
from dqrun.ranks.distributed import join
group = join(60.0)
print(group.joined(torch.tensor([float(group.rank)])).tolist(), type(group.transport).__name__)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA all processes use torch.distributed")
@pytest.mark.parametrize(("name", "transport"), [("meeting", "Local"), ("x" * 100, "Distributed")])
def test_processes_that_the_command_starts_meet_at_a_file(name: str, transport: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = {**os.environ, "WORLD_SIZE": "2", FILE: str(Path(folder) / name)}
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", JOIN], env={**place, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True
            )
            for rank in range(2)
        ]
        said = [process.communicate(timeout=120)[0] for process in processes]
    assert said == [f"[0.0, 1.0] {transport}\n"] * 2


def test_a_process_waits_for_the_next_trial_as_long_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = dist.FileStore(str(tmp_path / "store"), 2)
    lead, other = Distributed(store, 9.0), Distributed(store, 9.0)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            lead.begin("one")
            lead.begin("")

    monkeypatch.setattr(distributed.time, "sleep", sleep)
    assert list(other.names()) == ["one"] and len(waits) == 3


def test_a_lost_store_ends_the_wait() -> None:
    class Lost:
        def check(self, keys: list[str]) -> bool:
            raise RuntimeError("[c10] at file.cpp:1] Broken pipe\nmore")

    with pytest.raises(RanksLost, match=r"^the first process of the trial ended \(Broken pipe\)$"):
        next(Distributed(Lost(), 9.0).names())
