"""`launcher=parallel jobs=N`: N processes on this machine.

Each process runs trials one after the other and keeps its dataset and compiled kernels. If one dies (killed, out of
memory), its trial is recorded as failed and a new process replaces it; the others continue.
"""

from __future__ import annotations

from dqrun.analysis.progress import Progress
from dqrun.process.cores import usable_cores
from dqrun.sweep.launchers.processes import WorkerProcess
from dqrun.sweep.launchers.servers import run_on
from dqrun.sweep.plan import Plan


def check() -> None:
    """Nothing is needed beyond dqrun itself."""


def launch(plan: Plan, progress: Progress) -> None:
    """Runs the plan's trials in `jobs` processes (0: one per usable core)."""
    if not plan.to_do:
        return
    cores, wanted = usable_cores(), plan.to_do[0].config.jobs
    if wanted > cores:
        progress.note(f"jobs={wanted} is more than the usable CPU cores: {cores} used")
    jobs = min(wanted or cores, cores, len(plan.to_do))
    run_on(plan.with_threads(max(1, cores // jobs)), progress, WorkerProcess, jobs)
