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

# Fields without effect on a trial's result: paths, speed of the computation, and other trials of the run.
INCIDENTAL = (
    "evaluate", "data", "results", "launcher", "jobs", "track", "device", "threads", "kernels", "rerun",
    "plugins", "tags", "notes",
)  # fmt: skip
INCIDENTAL_PROTOCOL = ("trials", "folds", "first_seed")
INCIDENTAL_TRAIN = ("checkpoint_minutes", "keep_state", "continue_from")
INCIDENTAL_DATASET = ("path",)  # of a user's folder: only its content counts, see `fingerprint`
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

    The default metric is replaced by its name. Removed or reset are:

    * in FP32: method, plan, grids and warm start;
    * settings of fine-tuning, without a warm start or with a method that then trains nothing;
    * settings of a loader that it does not read;
    * precision of exchanged gradients for one process, and the number of processes if it changes only the rounding of
      sums;
    * re-estimation of batch norms, if there are none;
    * settings without effect as the method itself states (`effective`), and granularities of tensors in FP32;
    * rules of a plan for `states.*` and for grids of sites in FP32, if the plan does not lift that exception.
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
    """Whether several processes give the result of one process, up to the rounding of sums.

    They do not if each draws its own part of a sampled graph, or if exchanged gradients are rounded. Methods whose
    training would differ for other reasons are refused with several processes.
    """
    sampled = is_node_task(config.dataset.task) and config.loader.name != "full"
    return not sampled and config.train.compress_gradients == "none"


def warm_start_of(config: RunConfig) -> RunConfig | None:
    """The run whose trial of the same seed and fold provides the initial parameters of a warm start, or None.

    It is the run of the same command line with `quant=fp32`.
    """
    if not config.starts_warm:
        return None
    return canonical(replace(config, quant=FP32, evaluate=EvaluateConfig(engine="float")))


def cell_hash(config: RunConfig, fingerprint: str = "") -> str:
    """Hash of everything that determines results except seed and fold: trials with equal hashes make one mean.

    `fingerprint`: of the contents of a user's own dataset.
    """
    return _digest({**identity(config), "fingerprint": fingerprint})


def identity(config: RunConfig) -> dict[str, Any]:
    """Everything that determines a run's results except seed, fold and data, as plain dictionaries.

    It has the fields of `canonical` without incidental ones, and the versions of the plug-ins that the run uses.
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
        del tree["loader"]  # the only loader of older versions: their hashes stay valid
    for part, name, alone in ((tree, "processes", 1), (tree["train"], "compress_gradients", "none")):
        if part[name] == alone:
            del part[name]  # one process, the only choice in older versions: their hashes stay valid
    if used := versions_of(config):
        tree["plugins"] = used
    return tree


def completed(tree: dict[str, Any]) -> dict[str, Any]:
    """The result of `identity` with the group that it leaves out for the default."""
    return tree if "loader" in tree else {**tree, "loader": asdict(LoaderConfig())}


def trial_hash(config: RunConfig, trial: Trial, fingerprint: str = "") -> str:
    """Hash of everything that determines one trial's result."""
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
