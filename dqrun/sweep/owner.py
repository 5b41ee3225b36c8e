"""`Owner`: the holder of a lock, and whether its process is still alive."""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

_TOKEN = re.compile("[0-9a-f]{12}")  # it becomes a part of file names


@dataclass(frozen=True)
class Owner:
    """One acquisition of a lock: by which process, where."""

    token: str  # unique to this acquisition
    host: str
    machine: str  # process numbers mean the same within one machine: host name, boot and process namespace
    pid: int  # 0: unknown
    started: str  # of the process, in clock ticks since boot: tells it from a later one with its number; "" unknown
    label: str = ""  # of the launched task that acquired it, so that its launcher can tell that it died

    @classmethod
    def new(cls, label: str = "") -> Owner:
        """A fresh acquisition by this process."""
        pid = os.getpid()
        return cls(uuid.uuid4().hex[:12], socket.gethostname(), machine(), pid, _state_and_start(pid)[1], label)

    @classmethod
    def from_json(cls, text: str) -> Owner:
        """The inverse of `to_json`; raises ValueError for anything else."""
        try:
            owner = cls(**json.loads(text))
        except (TypeError, RecursionError) as error:
            raise ValueError(f"not a lock: {error}") from None
        texts = (owner.token, owner.host, owner.machine, owner.started, owner.label)
        if not all(isinstance(value, str) for value in texts) or not _TOKEN.fullmatch(owner.token):
            raise ValueError("not a lock: its texts are none, or its token no hexadecimal number")
        if type(owner.pid) is not int or not 0 < owner.pid < 2**31:
            raise ValueError(f"not a lock: {owner.pid!r} is no process")
        return owner

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @property
    def is_known_dead(self) -> bool:
        """Whether the process ran on this machine and is gone; False where that can't be seen from here."""
        return self.machine == machine() and not _lives(self.pid, self.started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else "an owner that its damaged lock does not name"


@cache
def machine() -> str:
    """The scope of process numbers: containers on one host may have the same host name but different processes."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:  # not Linux
        pass
    return "/".join(parts)


def _lives(pid: int, started: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is alive, as another user's process
        pass
    state, now_started = _state_and_start(pid)
    return state not in ("Z", "X") and (not started or not now_started or started == now_started)


def _state_and_start(pid: int) -> tuple[str, str]:
    """A process's state letter and start time from Linux's /proc; empty where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]
