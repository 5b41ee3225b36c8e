"""Methods of training with quantisation, each a class and its configuration in one file; `base.py` has the interface.

These modules import torch inside hooks only, so that a command line can be checked without torch.
"""

from dqrun.methods.base import Method as Method
from dqrun.methods.base import Stage as Stage
from dqrun.methods.base import make_method as make_method
from dqrun.methods.qat import Qat as Qat
from dqrun.methods.qat import QatConfig as QatConfig
