"""Checks objects that plug-ins have registered, before the first trial: classes of methods, stages of a training."""

from __future__ import annotations

import inspect
from typing import Any

from dqrun import register
from dqrun.config import RunConfig
from dqrun.errors import ConfigError, DqrunError
from dqrun.methods import Method, Stage, make_method
from dqrun.nn import Layer
from dqrun.plugins import place_of
from dqrun.quant import Phase
from dqrun.training.course import Course
from dqrun.training.metrics import higher_is_better, make_metric

HOOKS = tuple(name for name, hook in vars(Method).items() if inspect.isfunction(hook) and not name.startswith("_"))
"""The names that a method may override."""


def require_right_kinds(config: RunConfig) -> None:
    """Raises ConfigError, with the plug-in's name and the rule, for a part of a run that is not what its name says."""
    metric = config.dataset.metric
    if metric in register.metric.added():
        _require_metric(metric)
    if config.model.name in register.layer.added():
        _require_class(f"model={config.model.name}", register.layer.get(config.model.name), Layer)
    kind = config.method.kind
    if config.quant.is_fp32 or kind not in register.method.added():
        return
    _require_class(f"method={kind}", register.method.get(kind), Method)
    _require_hooks(f"method={kind}", register.method.get(kind))
    _require_stages(f"method={kind}", config)


def _require_class(name: str, found: Any, wanted: type) -> None:
    if not (isinstance(found, type) and issubclass(found, wanted)):
        place = f"{wanted.__module__}.{wanted.__name__}"
        raise ConfigError.rule(name, f"be a subclass of {place}", found)


def _require_hooks(name: str, made: type[Method]) -> None:
    """Raises ConfigError unless each hook accepts the arguments of `fit`."""
    for hook in HOOKS:
        own = inspect.getattr_static(made, hook)
        if not inspect.isfunction(own):
            raise ConfigError.rule(f"{name}: hook {hook}", "be a method of the class", own)
        wanted = inspect.signature(getattr(Method, hook))
        given = [each for each in wanted.parameters.values() if each.default is each.empty]
        try:
            inspect.signature(own).bind(*given)
        except TypeError:
            raise ConfigError(
                f"{name}: hook {hook} must take ({', '.join(wanted.parameters)}), got {inspect.signature(own)}"
            ) from None


def _require_stages(name: str, config: RunConfig) -> None:
    train = config.own_train
    stages = _called(f"{name}: hook stages", lambda: make_method(config).stages(train))
    where = f"{name}: hook stages"
    if not isinstance(stages, list | tuple) or not stages or not all(isinstance(each, Stage) for each in stages):
        raise ConfigError.rule(where, "give a list of at least one Stage", stages)
    for stage in stages:
        if not isinstance(stage.epochs, int) or not isinstance(stage.phase, Phase):
            raise ConfigError.rule(f"{where}, stage {stage.name!r},", "have whole epochs and a Phase", stage)
    course = _called(where, lambda: Course(train, tuple(stages)))
    searches = any(stage.anew is not None for stage in stages)
    calibrates = any(stage.phase is Phase.CALIBRATE for stage in stages)
    if not searches and course.epochs != train.epochs and (course.epochs or not calibrates):
        rule = f"give stages of train.epochs={train.epochs} epochs in all, unless one of them begins anew"
        raise ConfigError.rule(where, rule, course.epochs)


def _require_metric(name: str) -> None:
    where = f"dataset.metric={name}"
    higher_is_better(name)
    metric = _called(where, lambda: make_metric(name))
    for method in ("update", "compute"):
        if not callable(getattr(metric, method, None)):
            raise ConfigError.rule(
                where, "be a function, or a class with update and compute", register.metric.get(name)
            )


def _called(name: str, call: Any) -> Any:
    """The result of a plug-in's code; any exception becomes an error of one line."""
    try:
        return call()
    except DqrunError as error:
        raise type(error)(f"{name}: {error}") from error
    except Exception as error:
        raise ConfigError(f"{name}{place_of(error)}: {type(error).__name__}: {' '.join(str(error).split())}") from error
