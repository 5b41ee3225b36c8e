"""`Local`: processes of this machine that exchange tensors and names through Unix sockets, one for each pair.

gloo has a thread of its own for messages. On a machine whose cores are all busy with training an exchange waits for
that thread in both processes, about a millisecond; a socket takes about a twentieth of that, and a step has a hundred
exchanges. `multiprocessing.connection` has no time limit for sending, and two processes that send large tensors to each
other would wait for ever; so messages are sent and received here as the sockets allow.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.ranks.alone import RanksLost, RanksSilent

LONGEST_PATH = 100  # of a socket, in bytes; Linux takes 107, macOS 103
_LENGTH = struct.Struct("<q")
_RANK = struct.Struct("<i")


def is_possible(file: str) -> bool:
    """Whether the processes that meet at `file` can use this transport."""
    return hasattr(socket, "AF_UNIX") and len(os.fsencode(_path(file, 10**6))) <= LONGEST_PATH


class Local:
    """The sockets to the other processes, by rank. `seconds`: time limit for a message of another process."""

    def __init__(self, rank: int, sockets: dict[int, socket.socket], seconds: float) -> None:
        self._rank, self._seconds = rank, seconds
        self._peers = {other: _Peer(each) for other, each in sockets.items()}

    @classmethod
    def meet(cls, file: str, rank: int, size: int, seconds: float) -> Local:
        """Connects to all other processes, which call this too; raises ConfigError if they do not within `seconds`."""
        end, sockets = time.monotonic() + seconds, dict[int, socket.socket]()
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(_path(file, rank))
                listener.listen(size)
                for other in range(rank):
                    sockets[other] = _connected(_path(file, other), end)
                    sockets[other].sendall(_RANK.pack(rank))
                for _ in range(size - 1 - rank):
                    listener.settimeout(max(0.001, end - time.monotonic()))
                    accepted, _ = listener.accept()
                    accepted.settimeout(max(0.001, end - time.monotonic()))
                    (other,) = _RANK.unpack(accepted.recv(_RANK.size, socket.MSG_WAITALL))
                    sockets[other] = accepted
            except (OSError, struct.error) as error:
                for each in sockets.values():
                    each.close()
                raise ConfigError(f"the processes of launcher=torchrun did not meet ({error})") from None
        return cls(rank, sockets, seconds)

    def close(self) -> None:
        """Ends the exchange: the other processes raise RanksLost."""
        for peer in self._peers.values():
            peer.socket.close()

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        own = tensor.detach().contiguous()
        content = own.view(-1).view(torch.uint8).numpy()
        found = self._exchanged(_LENGTH.pack(content.nbytes) + content.tobytes(), content.nbytes)
        others = {rank: torch.frombuffer(part, dtype=own.dtype) if part else own for rank, part in found.items()}
        return [own if rank == self._rank else others[rank].view(own.shape) for rank in range(len(found) + 1)]

    def summed(self, tensor: Tensor) -> Tensor:
        first, *others = self.gathered(tensor)
        total = first.clone()
        for other in others:  # in the order of ranks: the same bits in all processes
            total += other
        return total

    def begin(self, name: str) -> None:
        content = name.encode()
        for peer in self._peers.values():
            peer.out = memoryview(_LENGTH.pack(len(content)) + content)
        self._move(list(self._peers.values()), self._seconds)

    def names(self) -> Iterator[str]:
        first = self._peers[0]
        while True:
            self._receive([first], _LENGTH.size, None)  # without limit: the first process may be idle for hours
            (length,) = _LENGTH.unpack(first.into)
            self._receive([first], length, self._seconds)
            if not first.into:
                return
            yield first.into.decode()

    def _exchanged(self, message: bytes, size: int) -> dict[int, bytearray]:
        """Sends a message to each process and receives one of `size` bytes from each, by rank."""
        peers = list(self._peers.values())
        for peer in peers:
            peer.out = memoryview(message)
        self._receive(peers, _LENGTH.size + size, self._seconds)
        for peer in peers:
            if _LENGTH.unpack_from(peer.into) != (size,):
                raise RanksLost("another process of the trial sent something else")
        return {rank: peer.into[_LENGTH.size :] for rank, peer in self._peers.items()}

    def _receive(self, peers: Sequence[_Peer], size: int, seconds: float | None) -> None:
        """Receives `size` bytes from each, and sends what is left to send."""
        for peer in peers:
            peer.into, peer.got = bytearray(size), 0
        self._move(peers, seconds)

    def _move(self, peers: Sequence[_Peer], seconds: float | None) -> None:
        """Sends and receives until nothing is left; `seconds`: time limit for each message, None: none."""
        while busy := [peer for peer in peers if peer.move()]:
            waiting = select.poll()
            for peer in busy:
                waiting.register(peer.socket, peer.events)
            if not waiting.poll(None if seconds is None else seconds * 1000):
                raise RanksSilent(f"another process of the trial did not answer for {self._seconds:g} s")


class _Peer:
    """Another process: what is left to send, and what it has sent so far."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self.socket, self.out, self.into, self.got = connected, memoryview(b""), bytearray(), 0

    @property
    def events(self) -> int:
        """What `select.poll` waits for."""
        return (select.POLLOUT if self.out else 0) | (select.POLLIN if self.got < len(self.into) else 0)

    def move(self) -> bool:
        """Sends and receives what is possible at once; returns whether something is left."""
        try:
            if self.out:
                with suppress(BlockingIOError):
                    self.out = self.out[self.socket.send(self.out) :]
            if self.got < len(self.into):
                with suppress(BlockingIOError):
                    count = self.socket.recv_into(memoryview(self.into)[self.got :])
                    if not count:
                        raise RanksLost("another process of the trial ended")
                    self.got += count
        except OSError as error:
            raise RanksLost(f"another process of the trial ended ({error.strerror})") from None
        return bool(self.out) or self.got < len(self.into)


def _path(file: str, rank: int) -> str:
    return f"{file}.{rank}"


def _connected(path: str, end: float) -> socket.socket:
    """A connection to a socket that may not be there yet."""
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return connection
