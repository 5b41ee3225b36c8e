"""Packages that only some commands need (`pip install "dqrun[EXTRA]"`), imported when asked for."""

from __future__ import annotations

import importlib
from typing import Any

from dqrun.errors import ConfigError


def require(module: str, extra: str, wanted_by: str) -> Any:
    """The imported module; raises ConfigError that names the extra where it can't be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{wanted_by} needs the extra [{extra}]: pip install 'dqrun[{extra}]' ({reason})") from error
