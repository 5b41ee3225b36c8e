"""The main job: `run_all` plans the trials of its configurations, launches them and shows the results."""

from __future__ import annotations

from collections.abc import Sequence

from dqrun.analysis.progress import Progress
from dqrun.config import RunConfig
from dqrun.errors import ConfigError
from dqrun.ranks.meeting import rank_here
from dqrun.runs.tracking import require_tool
from dqrun.sweep.launchers import launcher_for
from dqrun.sweep.plan import ALL_PARTS, Plan, make_plan
from dqrun.sweep.tidying import tidy


def run_all(configs: list[RunConfig], *, quiet: bool = False, advice: Sequence[str] = ()) -> int:
    """Runs every trial of every configuration that has no row yet; returns 1 when one failed, else 0.

    Each trial has its folder under `results.dir` as soon as it ends. So a command that was killed and is started again
    runs only the missing trials. `advice`: lines to print first.
    """
    if rank_here(configs[0]):
        from dqrun.sweep.following import follow_command  # imports torch

        return follow_command(configs)
    progress = Progress(quiet)
    for line in advice:
        progress.note(line)
    plan = run_plan(configs, progress)
    progress.summary(plan.cells)
    return 1 if any(row["status"] != "done" for row in progress.rows) else 0


def run_plan(configs: Sequence[RunConfig], progress: Progress, parts: Sequence[str] = ALL_PARTS) -> Plan:
    """Checks the plan, runs the trials and rebuilds the tables. `parts`: see `run_trial`."""
    for config in configs:
        require_device(config)
        require_tool(config)
    launch = launcher_for(configs)
    plan = make_plan(configs, parts)
    if plan.to_do:
        require_right_kinds(configs)
    folders = list({results.root: results for results in plan.cells.values()}.values())
    for results in folders:
        progress.complain(tidy(results))
    progress.plan(plan.describe(), len(plan.to_do), len(plan.known))
    try:
        launch(plan, progress)
    finally:
        progress.close()
        for results in folders:
            tidy(results)
    for results in folders:
        progress.complain(results.rebuild_tables())
    return plan


def require_right_kinds(configs: Sequence[RunConfig]) -> None:
    """Raises ConfigError if an object of a plug-in is not of the kind for which it is registered."""
    from dqrun.sweep import registered  # imports torch, which is not needed if all trials have their rows

    for config in configs:
        registered.require_right_kinds(config)


def require_device(config: RunConfig) -> None:
    """Raises ConfigError for a device that this machine lacks; launched trials may run on another machine."""
    if config.device != "cuda" or config.launcher.name not in ("plain", "parallel", "torchrun"):
        return
    import torch  # here, not above: it is not needed if all trials have their rows

    if not torch.cuda.is_available():
        raise ConfigError.rule("device", "be cpu on a machine without CUDA", config.device)
