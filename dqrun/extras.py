"""Imports packages that only some commands need (`pip install "dqrun[EXTRA]"`)."""

from __future__ import annotations

import importlib
from typing import Any

from dqrun.errors import ConfigError


def require(module: str, extra: str, wanted_by: str) -> Any:
    """The imported module; raises ConfigError with the name of the extra if it can't be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{wanted_by} needs the extra [{extra}]: pip install 'dqrun[{extra}]' ({reason})") from error
