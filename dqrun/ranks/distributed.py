"""`Distributed`: processes that torch.distributed joins, as `torchrun` or this program's own launcher started them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.process.interrupts import interruptible
from dqrun.ranks import local
from dqrun.ranks.alone import RanksLost, RanksSilent
from dqrun.ranks.group import Group
from dqrun.ranks.meeting import FILE, started

dist: Any = torch.distributed  # parts of it are not typed
POLL = 0.05
"""Seconds between two looks for the next trial."""


class Distributed:
    """Transfers tensors by gloo (CPU) and NCCL (CUDA), and names by the store of the process group."""

    def __init__(self, store: Any, seconds: float) -> None:
        self._store, self._seconds, self._told = store, seconds, 0

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        tensor = tensor.detach().contiguous()
        found = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        with self._lost():
            dist.all_gather(found, tensor)
        return found

    def summed(self, tensor: Tensor) -> Tensor:
        total = tensor.detach().clone()
        with self._lost():
            dist.all_reduce(total)
        return total

    def begin(self, name: str) -> None:
        with self._lost():
            self._store.set(f"trial/{self._told}", name)
        self._told += 1

    def names(self) -> Iterator[str]:
        while name := self._next():
            yield name

    def _next(self) -> str:
        """The next name; waits without limit, because the first process may be idle for hours."""
        key = f"trial/{self._told}"
        self._told += 1
        try:
            while not self._store.check(
                [key]
            ):  # `wait` raises the same error for a lost store and for a name that is not there yet
                time.sleep(POLL)
            return str(self._store.get(key).decode())
        except RuntimeError as error:
            raise RanksLost(f"the first process of the trial ended ({_short(error)})") from None

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # of gloo, NCCL and the store: torch has no class for it
            text = str(error)
            if "imed out" in text or "imeout" in text:
                raise RanksSilent(f"another process of the trial did not answer for {self._seconds:g} s") from None
            raise RanksLost(f"another process of the trial ended ({_short(error)})") from None


def join(seconds: float) -> Group:
    """This process's `Group`, with rank and size from the environment; see `meeting.started`.

    Waits for the others. `seconds`: time limit for an answer of another process. Raises ConfigError if they do not
    connect.
    """
    place = started()
    rank, size = int(place["RANK"]), int(place["WORLD_SIZE"])
    if FILE in place and not torch.cuda.is_available() and local.is_possible(place[FILE]):
        return Group(rank, size, local.Local.meet(place[FILE], rank, size, seconds))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(place.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    try:
        store = interruptible(lambda: _meet(place, rank, size, timedelta(seconds=seconds)))
    except KeyError as error:
        raise ConfigError(f"{error.args[0]} must be set for processes that another program starts") from None
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(f"the processes of launcher=torchrun did not meet ({_short(error)})") from None
    return Group(rank, size, Distributed(dist.PrefixStore("trials", store), seconds))


def _meet(place: Mapping[str, str], rank: int, size: int, wait: timedelta) -> Any:
    """Makes the process group of all processes; returns its store."""
    if FILE in place:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        store: Any = dist.FileStore(place[FILE], size)
    else:
        os.environ.update(MASTER_ADDR=place["MASTER_ADDR"], MASTER_PORT=place["MASTER_PORT"])
        store = next(dist.rendezvous("env://", rank, size, timeout=wait))[0]
    store.set_timeout(wait)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size, timeout=wait)
    return store


def _short(error: Exception) -> str:
    """The message of an error, without the position in torch's code."""
    text = str(error).strip().partition("\n")[0]
    return text.rpartition("] ")[2][:120] if text.startswith("[") else text[:120]
