"""Python runs this at its start when the folder is on PYTHONPATH, in the workers of any launcher too: trials whose
generated dataset has seed 13 raise, those with seed 14 end their process. Where a file `kill` is in the folder of the
command, a process that follows another one in a trial removes the file and kills itself after the second epoch."""

import importlib.abc
import importlib.util
import os
import signal
import sys


def faulty(plain):
    """`run_trial` of a worker, with faults."""

    def run_trial(config, *rest, **more):
        if config.dataset.seed == 13:
            raise RuntimeError("this trial raises")
        if config.dataset.seed == 14:
            os._exit(3)
        return plain(config, *rest, **more)

    return run_trial


def killed(plain):
    """`run_trial` of a process that follows another one."""

    def run_trial(config, trial, dataset, report, *rest, **more):
        def report_or_die(epoch):
            if epoch.epoch == 2 and os.path.exists("kill"):
                os.remove("kill")
                os.kill(os.getpid(), signal.SIGKILL)
            report(epoch)

        return plain(config, trial, dataset, report_or_die, *rest, **more)

    return run_trial


FAULTS = {"dqrun.sweep.worker": faulty, "dqrun.sweep.following": killed}


class Faults(importlib.abc.MetaPathFinder):
    """Wraps `run_trial` when a module that calls it is imported, and costs other processes nothing."""

    def find_spec(self, name, path, target=None):
        if name not in FAULTS:
            return None
        wrap = FAULTS.pop(name)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_wrap(module):
            load(module)
            module.run_trial = wrap(module.run_trial)

        spec.loader.exec_module = load_and_wrap
        return spec


sys.meta_path.insert(0, Faults())
