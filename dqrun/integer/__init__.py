"""The integer engine: converts a network trained with `plan=integer` into a program of integer operations and runs it.

`load_program` and `Program` import torch and `dqrun.kernels` only; `dqrun.integer.lower` also imports the networks.
"""

from dqrun.integer.program import Program
from dqrun.integer.signature import Signature
from dqrun.integer.storage import load_program, save_program

__all__ = ["Program", "Signature", "load_program", "save_program"]
