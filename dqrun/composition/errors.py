"""Converts errors of Hydra, OmegaConf and YAML during composition to a `ConfigError` of one line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.errors import MissingConfigException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from dqrun.composition.fields import (
    DICTIONARIES,
    list_fields,
    nearest_field,
    owners,
    schema_name,
)
from dqrun.composition.overrides import Groups, unknown_option
from dqrun.config.method import MethodConfig
from dqrun.errors import ConfigError, DqrunError, suggestion

MANY = 12
"""More fields of a part than this are not listed in an error."""
PACKAGED_MAIN = "packaged_run"
"""Hydra's name of dqrun's `run.yaml` where a user's folder with presets comes first."""


@contextmanager
def one_line_errors(groups: Groups) -> Iterator[None]:
    """Turns whatever is raised inside, because of the user's words or presets, into a ConfigError of one line."""
    try:
        yield
    except DqrunError:
        raise
    # Composition runs Hydra, OmegaConf and PyYAML on what the user wrote. They document no common base, and let
    # AssertionError, TypeError or RecursionError through for odd presets: all of it is the user's to mend.
    except Exception as error:
        raise explain(error, groups) from error


def explain(error: Exception, groups: Groups) -> ConfigError:
    """The ConfigError for `error`: its preset file, field, what the field wants, the nearest name."""
    chain: list[Any] = _chain(error)
    where = re.match(r"In '([^']*)'", str(error))
    prefix = f"in {where[1]}.yaml: " if where and where[1] not in ("run", PACKAGED_MAIN) else ""
    for link in chain:
        if isinstance(link, MissingConfigException) and link.missing_cfg_file:
            group, _, option = link.missing_cfg_file.lstrip("/").partition("/")
            if group in groups:
                return ConfigError(f"{prefix}{unknown_option(group, option, groups[group])}")
    for link in chain:
        unknown = isinstance(link, ConfigAttributeError | ConfigKeyError) and link.full_key
        if unknown and (owners(link.full_key or "") or is_method(link.object_type)):
            return ConfigError(f"{prefix}{_explain_unknown(link, groups)}")
        if isinstance(link, OmegaConfBaseException) and schema_name(link.full_key or "") in list_fields():
            return ConfigError(f"{prefix}{_explain_field(link)}")
        if unknown:
            return ConfigError(f"{prefix}{_explain_unknown(link, groups)}")
    return ConfigError(f"{prefix}{_squeeze(error)}")


def _chain(error: BaseException) -> list[BaseException]:
    """The error and all errors that led to it, each once, the nearest first; Hydra wraps with and without `from`.

    The links may form a circle: under a debugger, or with OC_CAUSE=1, OmegaConf makes an error the cause of another one
    in whose context it stands.
    """
    chain = [error]
    for link in chain:
        for cause in (link.__cause__, link.__context__):
            if cause is not None and cause not in chain:
                chain.append(cause)
    return chain


def _explain_field(error: OmegaConfBaseException) -> str:
    """An error at a field of the schema."""
    name = str(error.full_key)
    reason = str(error.msg or error).splitlines()[0]
    if isinstance(error, MissingMandatoryValue):
        return f"{name} must have a value, got none"
    if "does not support deletion" in reason:
        return f"{name} must not be removed, got '~{name}'"
    if isinstance(error, ValidationError):
        rule = f"be {list_fields()[schema_name(name)].kind}"
        if value := re.match(r"Value '(.*)' of type", reason):
            return str(ConfigError.rule(name, rule, value[1]))
        if reason.endswith("is not Optional"):
            return str(ConfigError.rule(name, rule, None))
        if rule.startswith("be a list") and isinstance(word := getattr(error, "value", None), str):
            return str(ConfigError.rule(name, f"{rule}, as in {name}=[{word}]", word))
        return f"{name} must {rule}: {reason}"
    return f"{name}: {reason}"


def _explain_unknown(error: Any, groups: Groups) -> str:
    """A name that the schema lacks: the nearest that it has, or how to add an entry to a dictionary."""
    name = str(error.full_key)
    for part in DICTIONARIES:
        if name.startswith(f"{part}.") and error.object_type is dict:
            key = name.removeprefix(f"{part}.")
            return f"{part} has no entry {key!r}: add one with '+', as in '+{part}={{{key}: {{...}}}}'"
    if is_method(error.object_type):
        return unknown_method_field(name, error.object_type)
    if chosen_by := owners(name):
        return f"{name} is a field of {', '.join(chosen_by)} alone"
    if nearest_field(name) or "." in name:
        return unknown_field(name)
    return f"there is no field or group {name!r}{suggestion(name, groups)}"


def unknown_field(name: str) -> str:
    """What is said of a field that the schema lacks: the nearest that it has, or which the part has, in few words."""
    near = nearest_field(name)
    if near:
        return f"there is no field {name!r}{suggestion(near, [near])}"
    part = name.rpartition(".")[0]
    own = [known.rpartition(".")[2] for known in list_fields() if known.rpartition(".")[0] == part]
    return f"there is no field {name!r}" + (f": {part} has {', '.join(own)}" if 0 < len(own) <= MANY else "")


def is_method(made: type | None) -> bool:
    """Whether a part is a method's configuration."""
    return made is not None and issubclass(made, MethodConfig)


def unknown_method_field(name: str, method: type) -> str:
    """What is said of a field that the chosen method lacks: who has it, or the nearest; and which fields there are."""
    own = sorted(field.name for field in dataclasses.fields(method) if field.name not in ("kind", "name"))
    others, near = owners(name), suggestion(name.partition(".")[2], own)
    hint = f" ({', '.join(others)} has it)" if others else near
    return f"there is no field {name!r} of this method, which has {', '.join(own)}{hint}"


def _squeeze(error: BaseException) -> str:
    """An error's text as one line, without Hydra's list of search paths and OmegaConf's list of types."""
    if isinstance(error, RecursionError):
        return "presets refer to each other in a circle"
    text = re.sub(r"^In '[^']*': ", "", str(error)).partition("Config search path:")[0].partition("\n    full_key:")[0]
    return " ".join(text.split()) or type(error).__name__
