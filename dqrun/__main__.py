"""`python -m dqrun` is `dqrun`."""

import sys

from dqrun.cli import main

sys.exit(main())
