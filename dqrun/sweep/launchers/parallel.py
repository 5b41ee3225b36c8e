"""`launcher=parallel jobs=N`: N processes on this machine.

Each process serves trials one after the other and keeps its dataset and compiled kernels. When one dies (killed, out of
memory), its trial is recorded as failed and a new process takes its place; the others go on.
"""

from __future__ import annotations

from dqrun.analysis.progress import Progress
from dqrun.process.cores import usable_cores
from dqrun.sweep.launchers.pool import Heard, Job, drive
from dqrun.sweep.launchers.processes import ProcessTask, WorkerProcess
from dqrun.sweep.plan import Plan, PlannedTrial
from dqrun.sweep.stopped import saying_what_stopped


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
    processes = _Processes(jobs, progress)
    try:
        with saying_what_stopped(processes.trained):
            drive(plan.with_threads(max(1, cores // jobs)), progress, processes.submit, jobs)
    finally:
        processes.stop()


class _Processes:
    """`jobs` worker processes, each with one trial at a time: when a process dies, its trial is known."""

    def __init__(self, jobs: int, progress: Progress) -> None:
        self._progress = progress
        self.trained: dict[str, tuple[PlannedTrial, int]] = {}
        """By name, the trials at work and the epochs that each has trained."""
        self._all: list[WorkerProcess] = []
        try:
            for _ in range(jobs):
                self._all.append(WorkerProcess())
        except BaseException:
            self.stop()
            raise
        self._free = list(self._all)

    def submit(self, job: Job) -> ProcessTask:
        worker = self._free.pop()
        worker.send(job)

        def ended(dead: bool) -> None:
            self.trained.pop(job.planned.name, None)
            self._free.append(self._replaced(worker) if dead else worker)

        def listen(heard: Heard) -> None:
            self.trained[job.planned.name] = job.planned, heard.epoch.epoch
            self._progress.heard(job.label, heard.title, heard.epochs, heard.epoch)

        return ProcessTask(worker, ended, listen)

    def _replaced(self, worker: WorkerProcess) -> WorkerProcess:
        """A new process in the place of a dead one."""
        worker.stop()
        self._all.remove(worker)
        self._all.append(WorkerProcess())
        return self._all[-1]

    def stop(self) -> None:
        """Ends all processes; the trials of those that are at work keep their checkpoints."""
        for worker in self._all:
            worker.stop()
