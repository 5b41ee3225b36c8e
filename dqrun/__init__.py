"""Quantised graph neural networks: trained, compared and run from one command line (`dqrun --help`)."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dqrun.integer import Program as Program
    from dqrun.integer import load_program as load_program

try:
    __version__ = version("dqrun")
except PackageNotFoundError:  # a checkout on the path that was never installed has no metadata to read
    __version__ = "0+checkout"


def __getattr__(name: str) -> Any:
    """`dqrun.load_program` and `dqrun.Program`, imported when asked for: the command line starts without torch."""
    if name in ("load_program", "Program"):
        import dqrun.integer

        return getattr(dqrun.integer, name)
    raise AttributeError(f"module 'dqrun' has no attribute {name!r}")
