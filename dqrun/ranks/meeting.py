"""Where processes that train together meet, as the environment says; imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping

from dqrun.config import RunConfig
from dqrun.errors import ConfigError

FILE = "DQRUN_RANKS_FILE"
"""Variable with the path of the file by which processes that this program started find each other."""


def rank_here(config: RunConfig, environment: Mapping[str, str] = os.environ) -> int | None:
    """This process's number among those that another program started for the sweep; None: no program did.

    Raises ConfigError where their number is not `processes`.
    """
    if config.launcher.name != "torchrun" or not {"RANK", "WORLD_SIZE"} <= environment.keys():
        return None
    size = environment["WORLD_SIZE"]
    if size != str(config.processes):
        raise ConfigError.rule("processes", f"be {size}, the WORLD_SIZE of the environment", config.processes)
    return int(environment["RANK"])
