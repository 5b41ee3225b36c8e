"""The names of trials that travel by the store at which processes meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch.distributed

from dqrun.ranks import distributed
from dqrun.ranks.alone import RanksLost
from dqrun.ranks.distributed import Distributed

dist: Any = torch.distributed


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
