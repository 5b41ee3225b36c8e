"""Fields of a sweep over options that do not all have them: each is given to the jobs for which it has a meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from omegaconf import DictConfig, OmegaConf

from dqrun.composition.overrides import Groups
from dqrun.config import EvaluateConfig, RunConfig
from dqrun.config.parts import PARTS, meaningful_fields


class Composes(Protocol):
    """The part of Hydra's interface that is used here."""

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The composed configuration of one job."""


def given_where_known(jobs: list[list[str]], session: Composes, groups: Groups) -> tuple[list[list[str]], list[str]]:
    """The jobs of a sweep, each without the fields that its own options lack and those of another job have.

    Second, a line for each field and option to which it is not given. A field that no option has stays: it is refused
    as it would be in one job.
    """
    lines: dict[str, None] = {}
    for part in PARTS:
        names = [name for word in jobs[0] if (name := _name(word)).startswith(f"{part}.")]
        if not names or len({_choice(job, part) for job in jobs}) == 1:
            continue
        known = _Known(session, groups, part)
        for name in dict.fromkeys(names):
            has = [known.has(job, name) for job in jobs]
            if all(has) or not any(has):
                continue
            for i, job in enumerate(jobs):
                if not has[i]:
                    lines[f"{name} is not given to {part}={known.option(job)}, which has no such field"] = None
            jobs = [job if has[i] else [word for word in job if _name(word) != name] for i, job in enumerate(jobs)]
    return jobs, list(lines)


class _Known:
    """The fields that the option of a part has, in each job of a sweep."""

    def __init__(self, session: Composes, groups: Groups, part: str) -> None:
        self._session, self._groups, self._part = session, groups, part
        self._found: dict[tuple[str, ...], tuple[str, frozenset[str]]] = {}

    def has(self, job: Sequence[str], name: str) -> bool:
        """Whether a dotted field is one of the job's option."""
        return name.partition(".")[2].partition(".")[0] in self._of(job)[1]

    def option(self, job: Sequence[str]) -> str:
        """The option's name."""
        return self._of(job)[0]

    def _of(self, job: Sequence[str]) -> tuple[str, frozenset[str]]:
        chosen = tuple(word for word in job if _name(word) in self._groups)
        if chosen not in self._found:
            tree = self._session.compose(chosen)
            kind = tree[self._part][PARTS[self._part].chooser]
            own = OmegaConf.get_type(tree, self._part) or PARTS[self._part].base
            option = str(tree.hydra.runtime.choices[self._part])
            self._found[chosen] = option, frozenset(meaningful_fields(self._part, str(kind), own))
        return self._found[chosen]


def _name(word: str) -> str:
    """The field or group of an override."""
    return word.lstrip("+~").partition("=")[0]


def _choice(job: Sequence[str], part: str) -> tuple[str, ...]:
    """The words of a job that can choose an option of a part."""
    return tuple(word for word in job if _name(word) in (part, "experiment"))


def engines_where_run(configs: Sequence[RunConfig]) -> list[str]:
    """In a sweep, takes `evaluate.engine=integer` from the configurations that have no integer program.

    Returns a line for each kind of them. Where none has a program, all keep it: it is refused as in one job.
    """
    asked = [config for config in configs if config.evaluate.engine == "integer"]
    without = [config for config in asked if not config.has_program]
    if len(without) == len(asked):
        return []
    for config in without:
        config.evaluate = EvaluateConfig(engine="float")
    reasons = {_why_no_program(config): None for config in without}
    return [f"evaluate.engine=integer is not given to {reason}" for reason in reasons]


def _why_no_program(config: RunConfig) -> str:
    quant = config.quant
    if quant.weight_bits is None or quant.activation_bits is None:
        return f"quant={quant.label}, which has no integer program"
    return f"plan={config.plan.name}, which has no integer program"
