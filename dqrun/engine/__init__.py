"""The integer engine: a network trained under `plan=integer` as a program of integer operations.

`load_program` and `Program` need torch and the kernels' seam only; `dqrun.engine.lower` also imports the networks.
"""

from dqrun.engine.program import Program
from dqrun.engine.signature import Signature
from dqrun.engine.storage import load_program, save_program

__all__ = ["Program", "Signature", "load_program", "save_program"]
