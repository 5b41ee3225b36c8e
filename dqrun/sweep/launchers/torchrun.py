"""`launcher=torchrun processes=N`: N processes train each trial together.

This launcher starts them, for `jobs` trials at a time, unless `torchrun`, srun or another program has already started
this command N times (`ranks.meeting`). Then these processes train: the first one (rank 0) runs the sweep, the others
follow it (`sweep.following`) and write nothing.
"""

from __future__ import annotations

import traceback
from typing import Any

from dqrun.analysis.progress import Progress
from dqrun.errors import DqrunError
from dqrun.process.cores import usable_cores
from dqrun.ranks.alone import RanksLost
from dqrun.ranks.meeting import local_share, rank_here
from dqrun.runs.outcome import failed
from dqrun.runs.store import Results
from dqrun.sweep.launchers.gang import Gang
from dqrun.sweep.launchers.plain import run_here
from dqrun.sweep.launchers.servers import run_on
from dqrun.sweep.locks import Heartbeat
from dqrun.sweep.plan import Plan, PlannedTrial
from dqrun.sweep.worker import Finished, Worker, one_line


def check() -> None:
    """Nothing is needed beyond dqrun itself."""


def launch(plan: Plan, progress: Progress) -> None:
    """Runs the plan's trials, `jobs` at a time (0: one)."""
    if rank_here_of(plan) is not None:
        _lead(plan, progress)
        return
    if not plan.to_do:
        return
    config = plan.to_do[0].config
    cores, size = usable_cores(), config.processes
    if size > cores and config.device == "cpu":
        progress.note(f"processes={size} is more than the usable CPU cores ({cores}): they take turns")
    jobs = min(config.jobs or 1, len(plan.to_do))
    run_on(plan.with_threads(max(1, cores // (jobs * size))), progress, lambda: Gang(size), jobs)


class _Leader(Worker):
    """The worker of the first process; it ends the command if another process is lost."""

    def attempt(self, planned: PlannedTrial) -> Finished | None:
        finished = super().attempt(planned)
        if not self.in_step:
            raise DqrunError("a trial ended in this process alone: the same command, started again, goes on")
        return finished

    def _run_locked(
        self, planned: PlannedTrial, results: Results, beat: Heartbeat, start: dict[str, Any] | None
    ) -> Finished:
        try:
            return super()._run_locked(planned, results, beat, start)
        except RanksLost as error:
            lost = failed(planned.config, planned.trial, one_line(str(error)), traceback.format_exc())
            self._record(lost, planned, results, beat.confirm, keep_checkpoint=True)
            raise


def rank_here_of(plan: Plan) -> int | None:
    """`rank_here` of a plan's configurations, which have one launcher."""
    planned = [*plan.to_do, *plan.known]
    return rank_here(planned[0].config) if planned else None


def _lead(plan: Plan, progress: Progress) -> None:
    """Runs the trials in the first of the processes that another program started."""
    from dqrun.ranks.distributed import join

    config = [*plan.to_do, *plan.known][0].config
    worker = _Leader(progress, ranks=join(config.launcher.timeout))
    run_here(plan.with_threads(local_share(usable_cores(), config)), progress, worker)
    worker.ranks.end()
