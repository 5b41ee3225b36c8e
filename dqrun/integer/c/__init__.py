"""Integer programs as C99: a library without floating point, with fixed memory (docs/howto/c_export.md)."""

from dqrun.integer.c.library import Limits
from dqrun.integer.c.writing import Library, write_library

__all__ = ["Library", "Limits", "write_library"]
