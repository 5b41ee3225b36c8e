"""Integer programs as C99: a library of integers alone, with its memory laid out beforehand (docs/c_export.md)."""

from dqrun.integer.c.library import Limits
from dqrun.integer.c.writing import Library, write_library

__all__ = ["Library", "Limits", "write_library"]
