"""Processes of one machine exchange through Unix sockets; here they are threads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from dqrun.errors import ConfigError
from dqrun.ranks import local
from dqrun.ranks.alone import RanksLost, RanksSilent
from dqrun.ranks.local import Local

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")


def together(file: Path, size: int, work: Callable[[Local, int], Any]) -> list[Any]:
    """The results of `size` threads that met at the file."""

    def run(rank: int) -> Any:
        with closing(Local.meet(str(file), rank, size, 20)) as group:
            return work(group, rank)

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_tensors_of_each_type_and_size_arrive(tmp_path: Path, size: int) -> None:
    tensors = [
        torch.tensor(1.5, dtype=torch.float64), torch.tensor([], dtype=torch.float32), torch.tensor([True, False]),
        torch.arange(6).view(2, 3), torch.arange(10.0)[::3], torch.arange(1_000_000, dtype=torch.float32),
    ]  # fmt: skip

    def work(group: Local, rank: int) -> list[list[torch.Tensor]]:
        return [group.gathered(tensor if tensor.dtype == torch.bool else tensor + rank) for tensor in tensors]

    for found in together(tmp_path / "meeting", size, work):
        for tensor, parts in zip(tensors, found, strict=True):
            for rank, part in enumerate(parts):
                expected = tensor if tensor.dtype == torch.bool else tensor + rank
                assert torch.equal(part, expected) and part.dtype == tensor.dtype and len(parts) == size


def test_all_processes_have_the_same_bits_of_a_sum(tmp_path: Path) -> None:
    values = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    found = together(tmp_path / "meeting", 3, lambda group, rank: group.summed(values[rank]))
    assert all(torch.equal(each, values[0] + values[1] + values[2]) for each in found)


def test_names_arrive_between_tensors_until_an_empty_one(tmp_path: Path) -> None:
    def work(group: Local, rank: int) -> list[str]:
        heard = []
        if rank == 0:
            for name in ("first", "zweiter ü"):
                group.begin(name)
                group.gathered(torch.ones(3))
            group.begin("")
        else:
            for name in group.names():
                heard.append(name)
                group.gathered(torch.ones(3))
        return heard

    assert together(tmp_path / "meeting", 3, work) == [[], *[["first", "zweiter ü"]] * 2]


@pytest.fixture
def pair() -> Iterator[tuple[Local, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield Local(0, {1: one}, 0.1), other


def test_a_process_that_ended_or_is_silent_is_told(pair: tuple[Local, socket.socket]) -> None:
    group, other = pair
    with pytest.raises(RanksSilent, match=r"did not answer for 0\.1 s"):
        group.gathered(torch.ones(2))
    other.close()
    with pytest.raises(RanksLost, match="another process of the trial ended"):
        group.gathered(torch.ones(2))


def test_a_message_of_another_length_is_refused(pair: tuple[Local, socket.socket]) -> None:
    group, other = pair
    other.sendall(local._LENGTH.pack(4) + bytes(8))
    with pytest.raises(RanksLost, match="sent something else"):
        group.gathered(torch.ones(2))


def test_a_process_waits_for_a_name_longer_than_for_an_answer() -> None:
    one, other = socket.socketpair()
    with one, other:
        message = local._LENGTH.pack(5) + b"trial"
        threading.Timer(0.3, other.sendall, [message]).start()
        assert next(Local(1, {0: one}, 0.05).names()) == "trial"


def test_processes_that_do_not_come_are_one_line(tmp_path: Path) -> None:
    for rank in (0, 1):
        with pytest.raises(ConfigError, match=r"the processes of launcher=torchrun did not meet \("):
            Local.meet(str(tmp_path / f"meeting{rank}"), rank, 2, 0.1)


def test_a_path_that_is_too_long_for_a_socket_is_known(tmp_path: Path) -> None:
    assert local.is_possible("/tmp/dqrun-ranks-abcdefgh/meeting")
    assert not local.is_possible("/tmp/" + "x" * 100 + "/meeting")
