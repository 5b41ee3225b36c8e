"""Which trials make one number, and what tells them apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from dqrun.config import MethodConfig, PlanConfig, ProtocolConfig, RunConfig

# Fields that leave a trial's result what it is: where files lie, how fast it is computed, and which other trials run.
INCIDENTAL = (
    "evaluate", "data", "results", "launcher", "jobs", "track", "device", "threads", "kernels", "rerun",
)  # fmt: skip
INCIDENTAL_PROTOCOL = ("trials", "folds", "first_seed")
INCIDENTAL_TRAIN = ("checkpoint_minutes",)


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
    """The same run without choices that have no effect.

    FP32 has no method and no plan; what a plan says of `states.*` means nothing unless a rule quantises them.
    """
    if config.quant.is_fp32:
        return replace(config, method=MethodConfig(name="none"), plan=PlanConfig(name="none"))
    rules = config.plan.rules
    if any(rule.exact is False for rule in rules.values()):
        return config
    kept = {glob: rule for glob, rule in rules.items() if not glob.startswith("states.")}
    return replace(config, plan=replace(config.plan, rules=kept))


def cell_hash(config: RunConfig, fingerprint: str = "") -> str:
    """Hash of what determines a run's results apart from seed and fold: trials that share it make one mean.

    `fingerprint`: of the contents of a user's own dataset.
    """
    tree: dict[str, Any] = asdict(canonical(config))
    for rule in tree["plan"]["rules"].values():
        if rule["headroom"] is None:  # younger than the first published rows, whose hashes stay
            del rule["headroom"]
    for name in INCIDENTAL:
        del tree[name]
    for name in INCIDENTAL_PROTOCOL:
        del tree["protocol"][name]
    for name in INCIDENTAL_TRAIN:
        del tree["train"][name]
    return _digest({**tree, "fingerprint": fingerprint})


def trial_hash(config: RunConfig, trial: Trial, fingerprint: str = "") -> str:
    """Hash of what determines one trial's result."""
    return _digest({"cell": cell_hash(config, fingerprint), **asdict(trial)})


def run_id(config: RunConfig, trial: Trial, fingerprint: str = "") -> str:
    """Name of a trial's folder: readable, and unique by its hash."""
    method = canonical(config).method.name
    parts = [config.dataset.name, config.model.name, config.quant.label, method, f"s{trial.seed}"]
    if trial.fold is not None:
        parts.append(f"f{trial.fold}")
    readable = "-".join(parts).lower().replace("/", "_").replace(" ", "_")
    return f"{readable}-{trial_hash(config, trial, fingerprint)[:8]}"


def _digest(tree: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]
