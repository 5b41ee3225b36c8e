"""The trials of a protocol, and the hashes that identify a trial and a configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from dqrun.config import (
    EvaluateConfig,
    FineTuneConfig,
    LoaderConfig,
    PlanConfig,
    ProtocolConfig,
    QuantConfig,
    RunConfig,
    SiteRule,
)
from dqrun.config.method import fp32_method
from dqrun.config.tasks import is_node_task, metric_of
from dqrun.names import path_name
from dqrun.plugins import versions_of

# Fields that leave a trial's result what it is: where files lie, how fast it is computed, and which other trials run.
INCIDENTAL = (
    "evaluate", "data", "results", "launcher", "jobs", "track", "device", "threads", "kernels", "rerun",
    "plugins", "tags", "notes",
)  # fmt: skip
INCIDENTAL_PROTOCOL = ("trials", "folds", "first_seed")
INCIDENTAL_TRAIN = ("checkpoint_minutes", "keep_state", "continue_from")
INCIDENTAL_DATASET = ("path",)  # where a user's folder lies: its content counts, see `fingerprint`
NAMED_DIGITS = 8
"""Digits of a trial's hash in the name of its folder."""
FP32 = QuantConfig(bits=None, weight_bits=None, activation_bits=None)


@dataclass(frozen=True)
class Trial:
    """One training: the seed of its weights and batch order, and its fold (None: the dataset's one split)."""

    seed: int
    fold: int | None = None


def trials(protocol: ProtocolConfig) -> list[Trial]:
    """All trials of a protocol: one per seed on one split, or one per fold."""
    if protocol.name == "seeds":
        return [Trial(protocol.first_seed + i) for i in range(protocol.trials)]
    folds = range(protocol.num_folds) if protocol.folds is None else protocol.folds
    return [Trial(protocol.first_seed, fold) for fold in folds]


def canonical(config: RunConfig) -> RunConfig:
    """The same run without settings that have no effect.

    The metric has its name. FP32 has no method, no plan, no grids and no warm start, and without a warm start there is
    nothing to fine-tune, nor is there for a method that trains nothing then; a loader has only what it reads; one
    process sends no gradients, and the number of processes counts where it changes more than the rounding of sums;
    without batch norms there is nothing to re-estimate; a method says which of its own choices have an effect; what
    stays in FP32 has no granularity. In a plan that lifts no exception, what it says of `states.*` and of the grids of
    exact sites means nothing.
    """
    metric = metric_of(config.dataset.task, config.dataset.metric)
    config = replace(config, dataset=replace(config.dataset, metric=metric))
    config = replace(config, loader=config.loader.effective if is_node_task(config.dataset.task) else LoaderConfig())
    if config.processes == 1:
        config = replace(config, train=replace(config.train, compress_gradients="none"))
    if shares_exactly(config):
        config = replace(config, processes=1)
    if not config.starts_warm:
        config = replace(config, train=replace(config.train, warm_start="none", fine_tune=FineTuneConfig()))
    elif not config.method.fine_tunes:
        config = replace(config, train=replace(config.train, fine_tune=FineTuneConfig()))
    if not config.model.has_batch_norm:
        config = replace(config, train=replace(config.train, bn_reestimation=0))
    if config.quant.is_fp32:
        return replace(config, quant=FP32, method=fp32_method(), plan=PlanConfig(name="none"))
    config = replace(config, quant=config.quant.effective, method=config.method.effective())
    rules = config.plan.rules
    if any(rule.fp32 is False for rule in rules.values()):
        return config
    kept = {
        glob: SiteRule(fp32=True) if rule.fp32 else rule
        for glob, rule in rules.items()
        if not glob.startswith("states.")
    }
    return replace(config, plan=replace(config.plan, rules=kept))


def shares_exactly(config: RunConfig) -> bool:
    """Whether several processes train, but for the rounding of sums, what one process trains.

    They do not where each draws its part of a sampled graph, or where gradients are rounded on their way. Methods that
    would train something else are refused with several processes.
    """
    sampled = is_node_task(config.dataset.task) and config.loader.name != "full"
    return not sampled and config.train.compress_gradients == "none"


def warm_start_of(config: RunConfig) -> RunConfig | None:
    """The run whose trial of the same seed and fold a trial's parameters come from, or None.

    It is what the same command line runs with `quant=fp32`.
    """
    if not config.starts_warm:
        return None
    return canonical(replace(config, quant=FP32, evaluate=EvaluateConfig(engine="float")))


def cell_hash(config: RunConfig, fingerprint: str = "") -> str:
    """Hash of all that determines results, without seed and fold: trials with the same hash make one mean.

    `fingerprint`: of the contents of a user's own dataset.
    """
    return _digest({**identity(config), "fingerprint": fingerprint})


def identity(config: RunConfig) -> dict[str, Any]:
    """All that determines a run's results, without seed, fold and data, as plain dictionaries.

    It is `canonical` without the incidental fields, and the versions of the plug-ins that the run uses.
    """
    tree: dict[str, Any] = asdict(canonical(config))
    for name in INCIDENTAL:
        del tree[name]
    for name in INCIDENTAL_PROTOCOL:
        del tree["protocol"][name]
    for name in INCIDENTAL_TRAIN:
        del tree["train"][name]
    for name in INCIDENTAL_DATASET:
        tree["dataset"][name] = None
    if tree["loader"] == asdict(LoaderConfig()):
        del tree["loader"]  # the one batch of every trial before there were others
    for part, name, alone in ((tree, "processes", 1), (tree["train"], "compress_gradients", "none")):
        if part[name] == alone:
            del part[name]  # one process, as in every trial before there could be more
    if used := versions_of(config):
        tree["plugins"] = used
    return tree


def completed(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree that `identity` gave, with the group that it leaves out where that is the default."""
    return tree if "loader" in tree else {**tree, "loader": asdict(LoaderConfig())}


def trial_hash(config: RunConfig, trial: Trial, fingerprint: str = "") -> str:
    """Hash of what determines one trial's result."""
    return _in_cell(cell_hash(config, fingerprint), trial)


def run_id(config: RunConfig, trial: Trial, fingerprint: str = "") -> str:
    """Name of a trial's folder: readable, and nearly unique by a part of its hash (see `Results.place`)."""
    return _name(config, trial, trial_hash(config, trial, fingerprint))


def named_trials(config: RunConfig, fingerprint: str = "") -> Iterator[tuple[Trial, str, str]]:
    """All trials of a run's protocol, each with its run_id and its hash."""
    cell = cell_hash(config, fingerprint)
    for trial in trials(config.protocol):
        digest = _in_cell(cell, trial)
        yield trial, _name(config, trial, digest), digest


def _in_cell(cell: str, trial: Trial) -> str:
    return _digest({"cell": cell, **asdict(trial)})


def _name(config: RunConfig, trial: Trial, digest: str) -> str:
    method = canonical(config).method.name
    parts = [config.dataset.name, config.model.name, config.quant.label, method, f"s{trial.seed}"]
    if trial.fold is not None:
        parts.append(f"f{trial.fold}")
    return f"{path_name('-'.join(parts))}-{digest[:NAMED_DIGITS]}"


def _digest(tree: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]
