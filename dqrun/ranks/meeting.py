"""Rank and address of processes that train together, from environment variables; imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from dqrun.config import RunConfig
from dqrun.errors import ConfigError

FILE = "DQRUN_RANKS_FILE"
"""Variable with the path of the file by which processes that this program started find each other."""


def started(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment with the variables of `torchrun` (rank, size, address); empty if no program started several
    processes.

    In a step of a Slurm job (`srun`) they are derived from Slurm's variables. Variables that are set already are kept.
    """
    if {"RANK", "WORLD_SIZE"} <= environment.keys():
        return dict(environment)
    if "SLURM_STEP_ID" not in environment or environment.get("SLURM_NTASKS", "1") == "1":
        return {}
    tasks, nodes = int(environment["SLURM_NTASKS"]), int(environment.get("SLURM_NNODES", 1))
    found = {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": str(tasks),
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(-(-tasks // nodes)),
        "MASTER_ADDR": "127.0.0.1" if nodes == 1 else _first_host(environment["SLURM_STEP_NODELIST"]),
        "MASTER_PORT": str(20_000 + int(environment["SLURM_JOB_ID"]) % 10_000),
    }
    return found | dict(environment)


def _first_host(hosts: str) -> str:
    """The first host of Slurm's list: `gpu007` for `gpu[007-009,012],big1`."""
    match = re.match(r"([^\[,]*)(?:\[(\d+)[^\]]*\]([^\[,]*))?", hosts)
    assert match is not None
    return "".join(part or "" for part in match.groups())


def rank_here(config: RunConfig, environment: Mapping[str, str] = os.environ) -> int | None:
    """This process's rank among those that another program started for the sweep; None if no program did.

    Raises ConfigError if their number is not `processes`, and for a rank that is none of them.
    """
    place = started(environment) if config.launcher.name == "torchrun" else {}
    if not place:
        return None
    size = place["WORLD_SIZE"]
    if size != str(config.processes):
        raise ConfigError.rule("processes", f"be {size}, the number of processes that were started", config.processes)
    if not re.fullmatch("[0-9]{1,9}", place["RANK"]) or int(place["RANK"]) >= config.processes:
        raise ConfigError.rule(
            "RANK", f"be in 0..{config.processes - 1}, set by what started the processes", place["RANK"]
        )
    return int(place["RANK"])


def local_share(cores: int, config: RunConfig) -> int:
    """Number of CPU cores for each process that another program started on this machine, >= 1."""
    return max(1, cores // int(started().get("LOCAL_WORLD_SIZE", config.processes)))
