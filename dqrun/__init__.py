"""Quantised graph neural networks: trained, compared and run from one command line (`dqrun --help`) or from Python.

The names of this package are imported at their first use: `import dqrun` imports neither torch nor pandas. See
docs/howto/python.md.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dqrun import register as register
    from dqrun.api.lowering import lower as lower
    from dqrun.api.quantizing import calibrating as calibrating
    from dqrun.api.quantizing import quantize as quantize
    from dqrun.api.reading import load_model as load_model
    from dqrun.api.reading import results as results
    from dqrun.api.running import run as run
    from dqrun.errors import ConfigError as ConfigError
    from dqrun.errors import DataError as DataError
    from dqrun.errors import DqrunError as DqrunError
    from dqrun.errors import ResultsError as ResultsError
    from dqrun.errors import TrialFailed as TrialFailed
    from dqrun.integer import Program as Program
    from dqrun.integer import load_program as load_program

_PLACES = {
    "run": "dqrun.api.running",
    "results": "dqrun.api.reading",
    "load_model": "dqrun.api.reading",
    "quantize": "dqrun.api.quantizing",
    "calibrating": "dqrun.api.quantizing",
    "lower": "dqrun.api.lowering",
    "Program": "dqrun.integer",
    "load_program": "dqrun.integer",
    "ConfigError": "dqrun.errors",
    "DataError": "dqrun.errors",
    "DqrunError": "dqrun.errors",
    "ResultsError": "dqrun.errors",
    "TrialFailed": "dqrun.errors",
}
"""The module of each name."""

__all__ = [*_PLACES, "register"]  # pyright: ignore[reportUnsupportedDunderAll]

try:
    __version__ = version("dqrun")
except PackageNotFoundError:  # a checkout that was never installed has no metadata
    __version__ = "0+checkout"


def __getattr__(name: str) -> Any:
    """A public name, or the module `register`, imported at its first use: the command line starts without torch.

    Raises AttributeError for any other name.
    """
    if name == "register":
        return import_module("dqrun.register")
    if name not in _PLACES:
        raise AttributeError(f"module 'dqrun' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
