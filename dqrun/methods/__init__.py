"""Methods of training with quantisation, a class and its configuration in a file; `base.py` says what a method is.

None of these modules imports torch when it is imported: a command line is checked with the configurations alone.
"""

from dqrun.methods.base import Method as Method
from dqrun.methods.base import Stage as Stage
from dqrun.methods.base import make_method as make_method
from dqrun.methods.qat import Qat as Qat
from dqrun.methods.qat import QatConfig as QatConfig
