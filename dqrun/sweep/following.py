"""The other processes of a sweep that several processes train: they follow the first one, and write nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dqrun.config import RunConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.fingerprint import fingerprint
from dqrun.process.cores import usable_cores, use_threads
from dqrun.ranks.alone import Ranks, RanksLost
from dqrun.ranks.distributed import join
from dqrun.ranks.meeting import local_share
from dqrun.runs.protocol import Trial, named_trials, warm_start_of
from dqrun.sweep.plan import ALL_PARTS
from dqrun.training.state import Watcher
from dqrun.training.trial import run_trial

Followed = Mapping[str, tuple[RunConfig, Trial]]
"""By their hash, the trials that may begin."""


def trials_of(configs: Iterable[RunConfig]) -> Followed:
    """All trials of a command, and the FP32 trials that they start from."""
    found: dict[str, tuple[RunConfig, Trial]] = {}
    for config in configs:
        for each in (config, warm_start_of(config)):
            if each is not None:
                mark = fingerprint(each.dataset)
                found |= {digest: (each, trial) for trial, _, digest in named_trials(each, mark)}
    return found


def follow_command(configs: Sequence[RunConfig]) -> int:
    """Runs in all processes except the first, if a program started several: trains the trials that the first announces.

    The first process announces the end of the sweep. Without such an announcement the exit code is 1.
    """
    try:
        Follower(join(configs[0].launcher.timeout)).follow(trials_of(configs), ALL_PARTS)
    except RanksLost:
        return 1
    return 0


class Follower:
    """Trains the trials that the first process announces."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._datasets: dict[str, GraphDataset] = {}

    def follow(self, trials: Followed, parts: Sequence[str]) -> None:
        """Trains until the first process announces that no trial follows; raises the errors of a trial here."""
        for name in self.ranks.names():
            config, trial = trials[name]
            use_threads(config.threads or local_share(usable_cores(), config), lambda text: None)
            run_trial(config, trial, self._dataset(config), lambda epoch: None, Watcher(), parts, ranks=self.ranks)

    def _dataset(self, config: RunConfig) -> GraphDataset:
        """The dataset of a trial; the last one is cached."""
        key = repr((config.dataset, config.data))
        if key not in self._datasets:
            self._datasets = {key: load_dataset(config.dataset, config.data)}
        return self._datasets[key]
